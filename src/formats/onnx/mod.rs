//! `.onnx`: models in and out, with the names and layouts of the graph kept as an interface.
//!
//! Takes the bytes of a model, gives an [`OnnxModel`]: the network as a [`Model`], and what stands
//! around it in the graph, so that arrays under the graph's input names become a [`Batch`] and a
//! run's [`Output`] becomes arrays under the graph's output names.

mod assemble;
mod build;
mod export;
mod features;
mod feed;
mod fold;
mod graph;
mod interface;
mod nodes;
#[doc(hidden)]
pub mod proto;
mod read;
mod results;
mod size;
mod tensor;
mod value;
mod views;

pub use self::interface::{Dim, Port};
pub use self::tensor::{Array, read_tensor};

use std::path::Path;

use prost::Message;

use super::{LoadOptions, metadata};
use crate::batch::{Batch, Output, RunOptions, ZeroLength};
use crate::error::{Error, Result};
use crate::model::Model;

/// A model read from an ONNX file, and the interface of its graph.
#[derive(Clone, Debug)]
pub struct OnnxModel {
    model: Model,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    plan: interface::Plan,
}

impl OnnxModel {
    /// Loads a file; data kept outside of it is read from its folder.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Format` when it is damaged, `Weights` when shapes do not fit,
    /// `Unsupported`, listing every node that is not understood.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, &LoadOptions::default())
    }

    /// Loads a file; a graph leaves nothing open, so every option that is set is refused.
    ///
    /// # Errors
    /// As [`OnnxModel::load`], and `Unsupported` for an option.
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let path = path.as_ref();
        refuse_options(options).map_err(|e| e.in_context(path.display()))?;
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        Self::from_bytes(&bytes, Some(folder.unwrap_or(Path::new("."))))
            .map_err(|e| e.in_context(path.display()))
    }

    /// Reads the bytes of a file; `folder` is where data kept outside of it stands, `None` to refuse
    /// such data.
    ///
    /// # Errors
    /// As [`OnnxModel::load`].
    pub fn from_bytes(bytes: &[u8], folder: Option<&Path>) -> Result<Self> {
        let proto = proto::ModelProto::decode(bytes).map_err(|e| {
            Error::format(format!("expected an ONNX model, got damaged bytes: {e}")).with_source(e)
        })?;
        let assemble::Parts { mut model, inputs, outputs, plan } =
            assemble::assemble(read::read(&proto, folder)?)?;
        if let Some(entry) = proto.metadata_props.iter().find(|entry| entry.key == metadata::KEY) {
            model.info = metadata::read(&entry.value)?.info();
        }
        Ok(Self { model, inputs, outputs, plan })
    }

    /// Returns the network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Gives the network away; the graph's names and layouts are dropped.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Returns the graph's inputs, in its order; initial values of weights are none.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Returns the graph's outputs, in its order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Makes a batch of arrays under the names of the graph's inputs.
    ///
    /// # Errors
    /// `Shape`, listing every array that is missing, surplus, misshapen or out of range.
    pub fn batch(&self, arrays: &[(String, Array)]) -> Result<Batch> {
        let batch = feed::feed(self, arrays)?;
        batch.check_fits(&self.model)?;
        Ok(batch)
    }

    /// Returns how a run must treat what ONNX defines: the final states of empty sequences are zero.
    pub fn run_options(&self) -> RunOptions {
        RunOptions { zero_length: ZeroLength::Zeros, ..RunOptions::default() }
    }

    /// Turns the results of a run of `batch` into the graph's outputs: its names, shapes and order.
    ///
    /// # Errors
    /// `Shape` when `output` is not of this model and batch, or lacks what the graph puts out.
    pub fn results(&self, batch: &Batch, output: &Output) -> Result<Vec<(String, Array)>> {
        results::results(self, batch, output)
    }
}

fn refuse_options(options: &LoadOptions) -> Result<()> {
    let set = [
        ("cell", options.cell.is_some()),
        ("head", options.head.is_some()),
        ("activation", options.activation.is_some()),
        ("steps", options.steps.is_some()),
    ];
    match set.iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Err(Error::unsupported(format!(
            "{name}: expected no such option for an .onnx file, got one (the graph says it)"
        ))),
        None => Ok(()),
    }
}
