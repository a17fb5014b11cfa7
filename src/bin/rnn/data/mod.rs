//! Data files in and out: sequences, states, lengths.
//!
//! [`open`] tells the format of an input by its first bytes and then its ending; `read/` has a file
//! per input format, `write/` one per output format. All inputs give [`Sequence`]s in their order;
//! all outputs take parts of sequences in that order.

pub(crate) mod array;
mod draft;
mod map;
pub(crate) mod named;
pub(crate) mod read;
pub(crate) mod states;
pub(crate) mod write;

pub(crate) use draft::Draft;
pub(crate) use read::{InputOptions, Opened, Source, open};

use std::path::{Path, PathBuf};

use wgpu_rnn::model::Vocabulary;
use wgpu_rnn::{Model, Result};

use crate::failure::shape_error;

/// The time steps of one sequence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    /// Row-major `[steps, I]`.
    Dense(Vec<f32>),
    /// Token ids `[steps]`.
    Tokens(Vec<u32>),
}

/// One sequence of an input file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sequence {
    /// What the file calls it, where it does.
    pub(crate) id: Option<serde_json::Value>,
    /// Its time steps.
    pub(crate) values: Values,
}

/// What a network wants to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Dense features per time step, I; 1 for tokens.
    pub(crate) features: usize,
    /// Number of tokens, where the network takes tokens.
    pub(crate) vocab: Option<usize>,
    /// Token texts.
    pub(crate) vocabulary: Option<Vocabulary>,
    /// Names of the features.
    pub(crate) columns: Vec<String>,
}

impl Wanted {
    /// Reads off what `model` wants.
    pub(crate) fn of(model: &Model) -> Self {
        let spec = model.input().spec();
        Self {
            features: if spec.vocab().is_some() { 1 } else { spec.width() },
            vocab: spec.vocab(),
            vocabulary: model.info.vocabulary.clone(),
            columns: model.info.columns.clone(),
        }
    }

    /// Makes an empty list of steps of the right kind.
    pub(crate) fn empty(&self) -> Values {
        if self.vocab.is_some() { Values::Tokens(Vec::new()) } else { Values::Dense(Vec::new()) }
    }

    /// Counts the time steps of `values`.
    pub(crate) fn steps(&self, values: &Values) -> usize {
        match values {
            Values::Dense(values) => values.len() / self.features,
            Values::Tokens(tokens) => tokens.len(),
        }
    }

    /// Checks a token id.
    ///
    /// # Errors
    /// `Shape` when it is negative or not below the vocabulary size; callers add the place.
    pub(crate) fn token(&self, id: i128) -> Result<u32> {
        let vocab = self.vocab.unwrap_or(0);
        u32::try_from(id)
            .ok()
            .filter(|&id| usize::try_from(id).is_ok_and(|id| id < vocab))
            .ok_or_else(|| {
                shape_error(format!(
                    "expected token ids 0 to {}, got {id}",
                    vocab.saturating_sub(1)
                ))
            })
    }

    /// Describes the wanted input for error messages.
    pub(crate) fn describe(&self) -> String {
        match self.vocab {
            Some(vocab) => format!("integer token ids below {vocab}"),
            None if self.features == 1 => "floats, 1 feature per time step".to_owned(),
            None => format!("floats, {} features per time step", self.features),
        }
    }
}

/// Narrows to f32.
///
/// # Errors
/// `Shape` when a finite value is too large for f32; callers add the place.
pub(crate) fn narrow(value: f64) -> Result<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "the network computes in f32")]
    let narrowed = value as f32;
    if narrowed.is_infinite() && value.is_finite() {
        return Err(shape_error(format!("expected a value within f32's range, got {value:e}")));
    }
    Ok(narrowed)
}

/// Returns what is the same for all names of a file, whether or not it is there yet.
pub(crate) fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize();
        match (folder, path.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => path.to_path_buf(),
        }
    })
}

/// Tells whether two names are one file.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    identity(a) == identity(b)
}
