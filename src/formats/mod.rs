//! Models in and out of files, one file per format.
//!
//! [`Model::load`] and [`Model::save`] pick the format by the file's ending.

mod safetensors;

pub use self::safetensors::LoadOptions;

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::Model;

impl Model {
    /// Loads a model file; its ending names the format (`.safetensors`).
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Format` when it is damaged or of another format, `Weights` when
    /// tensors are missing, surplus or misshapen (all listed).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, &LoadOptions::default())
    }

    /// Loads a model file and fills in what the file does not say.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        Self::from_safetensors(&bytes, options).map_err(|e| e.in_context(path.display()))
    }

    /// Writes a model file; its ending names the format (`.safetensors`). A file of that name is
    /// replaced only once the new one is complete.
    ///
    /// # Errors
    /// `Io` when it cannot be written, `Format` for an unknown ending.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.to_safetensors()?).map_err(|e| Error::io(path, "write", e))
    }
}
