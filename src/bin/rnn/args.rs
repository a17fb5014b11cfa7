//! Option groups and value parsers that several subcommands share.

use std::path::{Path, PathBuf};

use clap::Args;
use wgpu_rnn::{Activation, Cell, LoadOptions, Model};

use crate::failure::Result;
use crate::report::Reporter;

/// The model file and what may override its metadata.
#[derive(Args, Debug)]
pub(crate) struct ModelArgs {
    /// Model file (.safetensors, .onnx)
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,

    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// What the command line says in place of a model file's metadata.
#[derive(Args, Debug)]
pub(crate) struct Overrides {
    /// The cell, where the file does not say: a file's shapes do not tell rnn-tanh from rnn-relu,
    /// or gru from gru-reset-before
    #[arg(long, value_parser = parse_cell, value_name = "rnn-tanh|rnn-relu|lstm|gru|gru-reset-before")]
    pub(crate) cell: Option<Cell>,

    /// Module name of the output layer in the file, such as fc; none leaves it out
    #[arg(long, value_name = "NAME|none")]
    pub(crate) head: Option<String>,

    /// The function of the output layer
    #[arg(long, value_parser = parse_activation, value_name = "none|softmax|log-softmax|sigmoid|tanh|relu")]
    pub(crate) output_activation: Option<Activation>,
}

impl Overrides {
    /// Loads the model file at `path` with these overrides.
    ///
    /// # Errors
    /// As [`Model::load_with`].
    pub(crate) fn load(&self, path: &Path) -> Result<Model> {
        let options = LoadOptions {
            cell: self.cell,
            head: self.head.clone(),
            activation: self.output_activation,
            ..LoadOptions::default()
        };
        Ok(Model::load_with(path, &options)?)
    }
}

impl ModelArgs {
    /// Loads the model and says what was read off its shapes because the file does not state it.
    ///
    /// # Errors
    /// As [`Model::load_with`].
    pub(crate) fn load(&self, reporter: &Reporter) -> Result<Model> {
        let model = self.overrides.load(&self.model)?;
        for guess in &model.info.guesses {
            reporter.note(&format!("note: {guess}"));
        }
        Ok(model)
    }
}

fn parse_cell(text: &str) -> Result<Cell, String> {
    Cell::from_name(text).ok_or_else(|| expected(Cell::ALL.iter().map(|cell| cell.name())))
}

fn parse_activation(text: &str) -> Result<Activation, String> {
    Activation::from_name(text)
        .ok_or_else(|| expected(Activation::ALL.iter().map(|activation| activation.name())))
}

fn expected<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("expected {}", names.collect::<Vec<_>>().join(", "))
}

/// Parses a count of at least one.
pub(crate) fn parse_positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(count) => Ok(count),
    }
}
