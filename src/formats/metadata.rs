//! The JSON text under the key `wgpu_rnn` in a file's `__metadata__`: what shapes do not tell.
//!
//! Takes the text and gives a [`Description`], and back. It is its own file because it is the one
//! part of the format that is ours; the tensors are PyTorch's. Unknown keys are errors, so that a
//! misspelt one is never ignored, and a newer version is refused.

use serde::{Deserialize, Serialize};

use super::description::{Description, HeadPlace, LayerPlace};
use crate::cell::{Cell, CellFunction, CellOptions};
use crate::error::{Error, Result};
use crate::model::{
    Activation, Direction, HeadSteps, Input, InputSpec, LayerSpec, MAX_AXIS, Model, ModelInfo,
    Unit, Vocabulary,
};

/// The key in `__metadata__`.
pub(super) const KEY: &str = "wgpu_rnn";
/// The version that is written and read.
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    input: InputEntry,
    #[serde(default = "default_recurrent")]
    recurrent: String,
    layers: Vec<LayerEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<HeadEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vocabulary: Option<VocabularyEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    forecast: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    command: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum InputEntry {
    Dense {
        size: u64,
    },
    Embedding {
        vocab: u64,
        size: u64,
        #[serde(default = "default_embedding")]
        tensor: String,
    },
    OneHot {
        vocab: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerEntry {
    cell: String,
    hidden_size: u64,
    #[serde(default = "default_direction")]
    direction: String,
    #[serde(default = "default_bias")]
    bias: bool,
    #[serde(default)]
    proj_size: u64,
    /// Per direction the functions f, g, h.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    functions: Vec<Vec<FunctionEntry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clip: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cell_clip: Option<[f32; 2]>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    peephole: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    input_forget: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer_norm: Option<f32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionEntry {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alpha: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beta: Option<f32>,
}

impl From<&CellFunction> for FunctionEntry {
    fn from(function: &CellFunction) -> Self {
        let [alpha, beta] = function.parameters();
        Self { name: function.name().into(), alpha, beta }
    }
}

impl FunctionEntry {
    fn function(&self, what: &str) -> Result<CellFunction> {
        CellFunction::from_parts(&self.name, self.alpha, self.beta).ok_or_else(|| {
            let names = CellFunction::ALL.map(CellFunction::name);
            Error::format(format!(
                "metadata {KEY} {what}: expected one of {} with the parameters it takes, got {:?} \
                 with alpha {:?}, beta {:?}",
                names.join(", "),
                self.name,
                self.alpha,
                self.beta
            ))
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadEntry {
    #[serde(default = "default_head")]
    tensor: String,
    #[serde(default = "default_activation")]
    activation: String,
    #[serde(default = "default_steps")]
    steps: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VocabularyEntry {
    unit: String,
    tokens: Vec<String>,
}

fn default_recurrent() -> String {
    "rnn".into()
}
fn default_embedding() -> String {
    "embedding".into()
}
fn default_head() -> String {
    "fc".into()
}
fn default_direction() -> String {
    Direction::Forward.name().into()
}
fn default_activation() -> String {
    Activation::None.name().into()
}
fn default_steps() -> String {
    HeadSteps::Every.name().into()
}
const fn default_bias() -> bool {
    true
}

/// Reads the metadata text.
///
/// # Errors
/// `Unsupported` for a version other than ours; `Format` for anything that is not what the version
/// says, with the name of the key.
pub(super) fn read(text: &str) -> Result<Description> {
    let broken = |e: serde_json::Error| Error::format(format!("metadata {KEY}: {e}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(broken)?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(VERSION) => {}
        Some(version) => {
            return Err(Error::unsupported(format!(
                "metadata {KEY} version: expected {VERSION}, got {version} (the file was written \
                 by another release)"
            )));
        }
        None => {
            return Err(Error::format(format!(
                "metadata {KEY} version: expected {VERSION}, got nothing"
            )));
        }
    }
    let document: Document = serde_json::from_value(value).map_err(broken)?;
    document.into_description()
}

/// Writes the metadata text of a model; the same model gives the same text.
///
/// # Errors
/// `Format` when the text cannot be built.
pub(super) fn write(model: &Model) -> Result<String> {
    let info = &model.info;
    let or = |name: &str, default: fn() -> String| {
        if name.is_empty() { default() } else { name.to_owned() }
    };
    let document = Document {
        version: VERSION,
        input: match model.input() {
            Input::Dense { size } => InputEntry::Dense { size: widen(*size) },
            Input::OneHot { vocab } => InputEntry::OneHot { vocab: widen(*vocab) },
            Input::Embedding { table } => InputEntry::Embedding {
                vocab: widen(table.shape()[0]),
                size: widen(table.shape()[1]),
                tensor: or(&info.embedding_name, default_embedding),
            },
        },
        recurrent: or(&info.recurrent_name, default_recurrent),
        layers: model.layers().iter().map(|layer| LayerEntry::new(layer.spec())).collect(),
        head: model.head().map(|head| HeadEntry {
            tensor: or(&info.head_name, default_head),
            activation: head.activation.name().into(),
            steps: head.steps.name().into(),
        }),
        vocabulary: info.vocabulary.as_ref().map(|vocabulary| VocabularyEntry {
            unit: vocabulary.unit().name().into(),
            tokens: vocabulary.tokens().to_vec(),
        }),
        columns: info.columns.clone(),
        outputs: info.outputs.clone(),
        forecast: info.forecast,
        description: info.description.clone(),
        command: info.command.clone(),
    };
    serde_json::to_string(&document)
        .map_err(|e| Error::format(format!("metadata {KEY}: {e}")).with_source(e))
}

impl LayerEntry {
    fn new(spec: &LayerSpec) -> Self {
        Self {
            cell: spec.cell.name().into(),
            hidden_size: widen(spec.hidden_size),
            direction: spec.direction.name().into(),
            bias: spec.bias,
            proj_size: widen(spec.proj_size),
            functions: spec
                .options
                .functions
                .iter()
                .map(|list| list.iter().map(FunctionEntry::from).collect())
                .collect(),
            clip: spec.options.clip,
            cell_clip: spec.options.cell_clip,
            peephole: spec.options.peephole,
            input_forget: spec.options.input_forget,
            layer_norm: spec.options.layer_norm,
        }
    }

    fn options(&self, index: usize) -> Result<CellOptions> {
        let function =
            |entry: &FunctionEntry| entry.function(&format!("layers[{index}].functions"));
        Ok(CellOptions {
            functions: self
                .functions
                .iter()
                .map(|list| list.iter().map(function).collect())
                .collect::<Result<_>>()?,
            clip: self.clip,
            cell_clip: self.cell_clip,
            peephole: self.peephole,
            input_forget: self.input_forget,
            layer_norm: self.layer_norm,
        })
    }

    fn spec(&self, index: usize, input_size: usize) -> Result<LayerSpec> {
        let what = |key: &str| format!("layers[{index}].{key}");
        let cells = || Cell::ALL.map(Cell::name);
        let directions = || [Direction::Forward, Direction::Reverse, Direction::Bidirectional];
        Ok(LayerSpec {
            cell: named(&what("cell"), &self.cell, Cell::from_name, &cells())?,
            input_size,
            hidden_size: size(&what("hidden_size"), self.hidden_size, 1)?,
            direction: named(
                &what("direction"),
                &self.direction,
                Direction::from_name,
                &directions().map(Direction::name),
            )?,
            bias: self.bias,
            proj_size: size(&what("proj_size"), self.proj_size, 0)?,
            options: self.options(index)?,
        })
    }
}

impl Document {
    fn into_description(self) -> Result<Description> {
        let (input, embedding) = match self.input {
            InputEntry::Dense { size: n } => {
                (InputSpec::Dense { size: size("input.size", n, 1)? }, String::new())
            }
            InputEntry::OneHot { vocab } => {
                (InputSpec::OneHot { vocab: size("input.vocab", vocab, 1)? }, String::new())
            }
            InputEntry::Embedding { vocab, size: n, tensor } => {
                let vocab = size("input.vocab", vocab, 1)?;
                (InputSpec::Embedding { vocab, size: size("input.size", n, 1)? }, tensor)
            }
        };
        let mut width = input.width();
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, entry) in self.layers.iter().enumerate() {
            let spec = entry.spec(index, width)?;
            width = spec.output_size();
            layers.push(LayerPlace { spec, module: self.recurrent.clone(), index });
        }
        let head = self.head.map(HeadEntry::into_place).transpose()?;
        let vocabulary = self.vocabulary.map(VocabularyEntry::into_vocabulary).transpose()?;
        let info = ModelInfo {
            vocabulary,
            columns: self.columns,
            outputs: self.outputs,
            forecast: self.forecast,
            description: self.description,
            command: self.command,
            ..ModelInfo::default()
        };
        Ok(Description { input, embedding, layers, head, info })
    }
}

impl HeadEntry {
    fn into_place(self) -> Result<HeadPlace> {
        let activations = Activation::ALL.map(Activation::name);
        let steps = HeadSteps::ALL.map(HeadSteps::name);
        Ok(HeadPlace {
            activation: named(
                "head.activation",
                &self.activation,
                Activation::from_name,
                &activations,
            )?,
            steps: named("head.steps", &self.steps, HeadSteps::from_name, &steps)?,
            module: self.tensor,
        })
    }
}

impl VocabularyEntry {
    fn into_vocabulary(self) -> Result<Vocabulary> {
        let units = [Unit::Char.name(), Unit::Word.name()];
        let unit = named("vocabulary.unit", &self.unit, Unit::from_name, &units)?;
        Vocabulary::new(unit, self.tokens)
    }
}

fn named<T>(what: &str, text: &str, find: fn(&str) -> Option<T>, names: &[&str]) -> Result<T> {
    find(text).ok_or_else(|| {
        Error::format(format!(
            "metadata {KEY} {what}: expected one of {}, got {text:?}",
            names.join(", ")
        ))
    })
}

fn size(what: &str, value: u64, least: usize) -> Result<usize> {
    usize::try_from(value).ok().filter(|n| (least..=MAX_AXIS).contains(n)).ok_or_else(|| {
        Error::format(format!("metadata {KEY} {what}: expected {least} to {MAX_AXIS}, got {value}"))
    })
}

/// Widens a size for JSON.
fn widen(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
