//! From a description of a network and a table of tensors to a [`Model`]; lists every fault.
//!
//! Takes a [`Description`] (out of metadata or inferred from shapes) and the file's tensors; gives
//! the model, or one `Weights` error with a line for each tensor that is missing, surplus,
//! misshapen or of a type that is not read. It is its own file because both ways of describing a
//! network end here.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::tensor::{Dtype, TensorView};

use super::LoadOptions;
use super::slots::{family, slots};
use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::model::{
    Activation, DirectionWeights, Head, HeadSteps, Input, InputSpec, Layer, LayerNorm, LayerSpec,
    Model, ModelInfo, NO_MODULE, NORM_STEMS, layer_tensor_name,
};
use crate::tensor::Tensor;

/// The tensors of a file by name.
pub(super) type Table<'a> = BTreeMap<String, TensorView<'a>>;

/// A network without weights, and under which names its weights stand.
pub(super) struct Description {
    pub(super) input: InputSpec,
    /// Module of the embedding; empty without one.
    pub(super) embedding: String,
    pub(super) layers: Vec<LayerPlace>,
    pub(super) head: Option<HeadPlace>,
    /// Texts; the module names are filled in by [`build`].
    pub(super) info: ModelInfo,
}

/// A layer and where its tensors stand.
pub(super) struct LayerPlace {
    pub(super) spec: LayerSpec,
    /// Module name; empty or [`NO_MODULE`] for none.
    pub(super) module: String,
    /// The number in the names: `weight_ih_l{index}`.
    pub(super) index: usize,
}

impl LayerPlace {
    pub(super) fn name(&self, stem: &str, reverse: bool) -> String {
        join(&self.module, &layer_tensor_name(stem, self.index, reverse))
    }
}

/// The output layer and where its tensors stand.
pub(super) struct HeadPlace {
    pub(super) module: String,
    pub(super) activation: Activation,
    pub(super) steps: HeadSteps,
}

/// Joins a module name and the name of a tensor in it.
pub(super) fn join(module: &str, name: &str) -> String {
    if module.is_empty() || module == NO_MODULE {
        name.to_owned()
    } else {
        format!("{module}.{name}")
    }
}

/// Wraps fault lines as one readable error.
pub(super) fn fault_error(faults: &[String]) -> Error {
    let plural = if faults.len() == 1 { "" } else { "s" };
    Error::weights(format!("weights: {} fault{plural}\n  {}", faults.len(), faults.join("\n  ")))
}

impl Description {
    /// Returns the width of the last layer's output.
    pub(super) fn width(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.spec.output_size())
    }

    /// Returns the texts, with the names of the modules.
    pub(super) fn info(&self) -> ModelInfo {
        let layers = &self.layers;
        let one_module = layers.iter().all(|layer| layer.module == layers[0].module);
        let recurrent_name = match layers.first() {
            Some(layer) if one_module && layer.module.is_empty() => NO_MODULE.into(),
            Some(layer) if one_module => layer.module.clone(),
            // Stacked modules become one, whose layers are numbered through.
            _ => String::new(),
        };
        ModelInfo {
            recurrent_name,
            head_name: self.head.as_ref().map(|head| head.module.clone()).unwrap_or_default(),
            embedding_name: self.embedding.clone(),
            ..self.info.clone()
        }
    }

    /// Lets the caller's options win over what the file says.
    ///
    /// # Errors
    /// `Weights` when an option contradicts the file.
    pub(super) fn override_with(&mut self, options: &LoadOptions) -> Result<()> {
        if let Some(cell) = options.cell {
            for layer in &mut self.layers {
                check_gates(cell, layer)?;
                layer.spec.cell = cell;
            }
        }
        match options.head.as_deref() {
            Some("none") => self.head = None,
            Some(module) => {
                let (activation, steps) =
                    self.head.as_ref().map_or_else(Default::default, |h| (h.activation, h.steps));
                self.head = Some(HeadPlace { module: module.to_owned(), activation, steps });
            }
            None => {}
        }
        match &mut self.head {
            Some(head) => {
                head.activation = options.activation.unwrap_or(head.activation);
                head.steps = options.steps.unwrap_or(head.steps);
            }
            None if options.activation.is_some() || options.steps.is_some() => {
                let option = if options.activation.is_some() { "activation" } else { "steps" };
                return Err(Error::weights(format!(
                    "{option}: expected a file with an output layer, got one without (the option \
                     acts on the output layer)"
                )));
            }
            None => {}
        }
        Ok(())
    }
}

fn check_gates(cell: Cell, layer: &LayerPlace) -> Result<()> {
    let (asked, found) = (cell.gates(), layer.spec.cell.gates());
    if asked == found {
        return Ok(());
    }
    let fitting: Vec<_> =
        Cell::ALL.into_iter().filter(|c| c.gates() == found).map(Cell::name).collect();
    Err(Error::weights(format!(
        "cell {cell}: expected {} with {asked}*H rows, got {found}*H (this is {}-shaped: {})",
        layer.name("weight_hh", false),
        family(found),
        fitting.join(" or ")
    )))
}

/// Builds the model that `description` describes out of `table`.
///
/// With an explicit choice of head, tensors that would be another output layer by their shape
/// (`X.weight [O, width]`, `X.bias [O]`) are left out; every other surplus tensor is a fault.
///
/// # Errors
/// `Weights`, listing every fault; `Shape` or `Unsupported` when the sizes make no network.
pub(super) fn build(
    description: Description,
    table: &Table<'_>,
    options: &LoadOptions,
) -> Result<Model> {
    let slots = slots(&description, table);
    let mut faults = Vec::new();
    slots.iter().for_each(|slot| slot.check(table, &mut faults));
    let used: BTreeSet<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
    let left_out = if options.head.is_some() {
        head_tensors(table, description.width())
    } else {
        BTreeSet::new()
    };
    for (name, view) in table {
        if !used.contains(name.as_str()) && !left_out.contains(name) {
            faults.push(format!("{name}: expected no such tensor, got {:?}", view.shape()));
        }
    }
    if !faults.is_empty() {
        return Err(fault_error(&faults));
    }
    assemble(description, table)
}

/// Lists the tensors of every module that could be an output layer by its shapes.
fn head_tensors(table: &Table<'_>, width: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for module in head_candidates(table, width) {
        names.insert(join(&module, "weight"));
        names.insert(join(&module, "bias"));
    }
    names
}

/// Lists the modules with `X.weight [O, width]` and, where there is one, `X.bias [O]`.
pub(super) fn head_candidates(table: &Table<'_>, width: usize) -> Vec<String> {
    let fits = |module: &str, shape: &[usize]| {
        let bias = table.get(&join(module, "bias"));
        shape.len() == 2 && shape[1] == width && bias.is_none_or(|b| b.shape() == &shape[..1])
    };
    table
        .iter()
        .filter_map(|(name, view)| Some((name.strip_suffix(".weight")?, view.shape())))
        .filter(|(module, shape)| fits(module, shape))
        .map(|(module, _)| module.to_owned())
        .collect()
}

fn assemble(description: Description, table: &Table<'_>) -> Result<Model> {
    let info = description.info();
    let Description { input, embedding, layers, head, .. } = description;
    let input = match input {
        InputSpec::Dense { size } => Input::Dense { size },
        InputSpec::OneHot { vocab } => Input::OneHot { vocab },
        InputSpec::Embedding { .. } => {
            Input::Embedding { table: tensor(table, &join(&embedding, "weight"))? }
        }
    };
    let layers = layers.iter().map(|place| layer(place, table)).collect::<Result<Vec<_>>>()?;
    let head = head
        .map(|place| {
            Ok::<_, Error>(Head {
                weight: tensor(table, &join(&place.module, "weight"))?,
                bias: optional(table, &join(&place.module, "bias"))?,
                activation: place.activation,
                steps: place.steps,
            })
        })
        .transpose()?;
    let mut model = Model::new(input, layers, head)?;
    model.info = info;
    Ok(model)
}

fn layer(place: &LayerPlace, table: &Table<'_>) -> Result<Layer> {
    let directions = (0..place.spec.direction.count())
        .map(|d| {
            let name = |stem: &str| place.name(stem, d == 1);
            Ok(DirectionWeights {
                weight_ih: tensor(table, &name("weight_ih"))?,
                weight_hh: tensor(table, &name("weight_hh"))?,
                bias_ih: optional(table, &name("bias_ih"))?,
                bias_hh: optional(table, &name("bias_hh"))?,
                weight_hr: optional(table, &name("weight_hr"))?,
                peephole: optional(table, &name("peephole"))?,
                layer_norm: layer_norm(&place.spec, table, name)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Layer::new(place.spec.clone(), directions)
}

fn layer_norm(
    spec: &LayerSpec,
    table: &Table<'_>,
    name: impl Fn(&str) -> String,
) -> Result<Option<LayerNorm>> {
    if spec.options.layer_norm.is_none() {
        return Ok(None);
    }
    let [ih_weight, ih_bias, hh_weight, hh_bias, c_weight, c_bias] = NORM_STEMS.map(name);
    Ok(Some(LayerNorm {
        ih_weight: tensor(table, &ih_weight)?,
        ih_bias: tensor(table, &ih_bias)?,
        hh_weight: tensor(table, &hh_weight)?,
        hh_bias: tensor(table, &hh_bias)?,
        c_weight: optional(table, &c_weight)?,
        c_bias: optional(table, &c_bias)?,
    }))
}

fn optional(table: &Table<'_>, name: &str) -> Result<Option<Tensor>> {
    table.contains_key(name).then(|| tensor(table, name)).transpose()
}

fn tensor(table: &Table<'_>, name: &str) -> Result<Tensor> {
    let view = table
        .get(name)
        .ok_or_else(|| Error::weights(format!("{name}: expected a tensor, got nothing")))?;
    let bytes = view.data();
    let values = match view.dtype() {
        Dtype::F32 => decode(bytes, f32::from_le_bytes),
        Dtype::F16 => decode(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => decode(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        _ => decode(bytes, narrow),
    };
    Tensor::new(view.shape(), values).map_err(|e| e.in_context(name))
}

fn decode<const N: usize>(bytes: &[u8], value: fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "networks are f32; F64 weights are rounded")]
fn narrow(bytes: [u8; 8]) -> f32 {
    f64::from_le_bytes(bytes) as f32
}
