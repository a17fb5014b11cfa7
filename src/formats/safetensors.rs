//! `.safetensors`, as PyTorch writes a `state_dict`.
//!
//! Tensors carry PyTorch's names (`rnn.weight_ih_l0`, `fc.weight`, `embedding.weight`) with any
//! module in front, in F32, F16, BF16 or F64. What shapes do not tell stands in `__metadata__` under
//! `wgpu_rnn` (`metadata`); files without it are read by their names and shapes (`infer`); both
//! become a model in `description`. Weights that are not finite load, so that they stay visible.

use std::collections::HashMap;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::description::{self, Table};
use super::{infer, metadata};
use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::model::{Activation, HeadSteps, Model};

/// What a file may leave open, given by the caller. Every field overrides the file's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The cell; needed where shapes do not tell (tanh against ReLU, the GRU's reset). It holds for
    /// every layer and must have as many gates as the weights.
    pub cell: Option<Cell>,
    /// Module name of the output layer, such as `fc`; `none` for no output layer.
    ///
    /// With either, tensors that by their shapes would be another output layer (`X.weight
    /// [O, width]`, `X.bias [O]`) are left out. Tensors of any other shape are still refused.
    pub head: Option<String>,
    /// The output layer's function g. Refused for a network without an output layer.
    pub activation: Option<Activation>,
    /// For which steps the output layer is computed. Refused for a network without an output layer.
    pub steps: Option<HeadSteps>,
}

impl Model {
    /// Reads a model from the bytes of a `.safetensors` file.
    ///
    /// # Errors
    /// `Format` when the bytes or the metadata are damaged, `Unsupported` for metadata of another
    /// version, `Weights` when tensors do not fit (all listed) or an option contradicts the file.
    pub fn from_safetensors(bytes: &[u8], options: &LoadOptions) -> Result<Self> {
        let damaged = |e: safetensors::SafeTensorError| {
            Error::format(format!("expected a .safetensors file, got damaged bytes: {e}"))
                .with_source(e)
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let table: Table<'_> = file.tensors().into_iter().collect();
        let text = header.metadata().as_ref().and_then(|entries| entries.get(metadata::KEY));
        let mut description = match text {
            Some(text) => metadata::read(text)?,
            None => infer::infer(&table, options)?,
        };
        description.override_with(options)?;
        description::build(description, &table, options)
    }

    /// Writes the model as the bytes of a `.safetensors` file, F32, which PyTorch's `load_file`
    /// reads as a `state_dict`. The same model gives the same bytes.
    ///
    /// # Errors
    /// `Format` when two tensors would have one name, or the header grows too large.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let tensors: Vec<_> = self
            .tensors()
            .into_iter()
            .map(|tensor| {
                let bytes = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
                (tensor.name, tensor.shape, bytes)
            })
            .collect();
        let broken = |e: safetensors::SafeTensorError| {
            Error::format(format!("safetensors: cannot write: {e}")).with_source(e)
        };
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, bytes) in &tensors {
            if views.iter().any(|(other, _)| *other == name) {
                return Err(Error::format(format!(
                    "{name}: expected each tensor name once, got it twice (two modules share a \
                     name)"
                )));
            }
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(broken)?;
            views.push((name, view));
        }
        // One key alone, because the order of several would change from run to run.
        let entries = HashMap::from([(metadata::KEY.to_owned(), metadata::write(self)?)]);
        safetensors::serialize(views, Some(entries)).map_err(broken)
    }
}
