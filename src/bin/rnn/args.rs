//! Option groups and value parsers that several subcommands share.

use std::path::{Path, PathBuf};

use clap::Args;
use wgpu_rnn::onnx::OnnxModel;
use wgpu_rnn::{Activation, Cell, HeadSteps, LoadOptions, Model, Strategy};

use crate::failure::{Failure, Result};
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

    /// The steps that the output layer reads: every one, the last valid one (of both directions), or
    /// the final state of each direction
    #[arg(long, value_parser = parse_steps, value_name = "every|last|final")]
    pub(crate) output_steps: Option<HeadSteps>,
}

impl Overrides {
    /// Returns the first option that is set.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let set = [
            ("--cell", self.cell.is_some()),
            ("--head", self.head.is_some()),
            ("--output-activation", self.output_activation.is_some()),
            ("--output-steps", self.output_steps.is_some()),
        ];
        set.iter().find(|(_, is_set)| *is_set).map(|(name, _)| *name)
    }

    /// Loads the model file at `path` with these overrides.
    ///
    /// # Errors
    /// As [`Model::load_with`]; usage for an override of an `.onnx` file.
    pub(crate) fn load(&self, path: &Path) -> Result<Model> {
        Ok(match self.load_file(path)? {
            ModelFile::Network(model) => *model,
            ModelFile::Graph(graph) => {
                graph.into_network().map_err(|e| e.in_context(path.display()))?
            }
        })
    }

    fn load_file(&self, path: &Path) -> Result<ModelFile> {
        if is_onnx(path) {
            if let Some(option) = self.given() {
                return Err(Failure::usage(format!(
                    "{option}: expected a .safetensors model to apply it to, got {}, whose graph \
                     says it",
                    path.display()
                )));
            }
            return Ok(ModelFile::Graph(Box::new(OnnxModel::load(path)?)));
        }
        let options = LoadOptions {
            cell: self.cell,
            head: self.head.clone(),
            activation: self.output_activation,
            steps: self.output_steps,
        };
        Ok(ModelFile::Network(Box::new(Model::load_with(path, &options)?)))
    }
}

/// A model file that is loaded.
#[derive(Debug)]
pub(crate) enum ModelFile {
    /// A network.
    Network(Box<Model>),
    /// A network with the names and layouts of its ONNX graph.
    Graph(Box<OnnxModel>),
}

impl ModelFile {
    /// Returns the network.
    pub(crate) fn model(&self) -> &Model {
        match self {
            Self::Network(model) => model,
            Self::Graph(graph) => graph.model(),
        }
    }
}

/// Tells whether `path` names an ONNX file.
pub(crate) fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"))
}

impl ModelArgs {
    /// Loads the model and says what was read off its shapes because the file does not state it.
    ///
    /// # Errors
    /// As [`Model::load_with`].
    pub(crate) fn load(&self, reporter: &Reporter) -> Result<Model> {
        let model = self.overrides.load(&self.model)?;
        note_guesses(&model, reporter);
        Ok(model)
    }

    /// Loads the model with its graph, where it has one, and says what was read off its shapes.
    ///
    /// # Errors
    /// As [`Model::load_with`].
    pub(crate) fn load_file(&self, reporter: &Reporter) -> Result<ModelFile> {
        let file = self.overrides.load_file(&self.model)?;
        note_guesses(file.model(), reporter);
        Ok(file)
    }
}

fn note_guesses(model: &Model, reporter: &Reporter) {
    for guess in &model.info.guesses {
        reporter.note(&format!("note: {guess}"));
    }
}

/// Parses the name of a cell.
pub(crate) fn parse_cell(text: &str) -> Result<Cell, String> {
    Cell::from_name(text).ok_or_else(|| expected(Cell::ALL.iter().map(|cell| cell.name())))
}

fn parse_activation(text: &str) -> Result<Activation, String> {
    Activation::from_name(text)
        .ok_or_else(|| expected(Activation::ALL.iter().map(|activation| activation.name())))
}

fn parse_steps(text: &str) -> Result<HeadSteps, String> {
    HeadSteps::from_name(text)
        .ok_or_else(|| expected(HeadSteps::ALL.iter().map(|steps| steps.name())))
}

/// Parses the name of a strategy.
pub(crate) fn parse_strategy(text: &str) -> Result<Strategy, String> {
    Strategy::from_name(text)
        .ok_or_else(|| expected(Strategy::ALL.iter().map(|strategy| strategy.name())))
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

/// Parses a number of at least 0.
pub(crate) fn parse_not_negative<T>(text: &str) -> Result<T, String>
where
    T: std::str::FromStr + Copy + Into<f64>,
{
    let fits = |value: &T| (*value).into().is_finite() && (*value).into() >= 0.0;
    let value = text.parse().ok().filter(fits);
    value.ok_or_else(|| "expected a number of at least 0".to_owned())
}
