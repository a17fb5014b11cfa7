//! Models in and out of files, one file per format.
//!
//! [`Model::load`] and [`Model::save`] pick the format by the file's ending.

mod description;
mod infer;
mod metadata;
pub mod onnx;
pub(crate) mod pipelines;
mod safetensors;
mod slots;

pub use self::safetensors::LoadOptions;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::Model;

impl Model {
    /// Loads a model file; its ending names the format (`.safetensors`, `.onnx`).
    ///
    /// Of an `.onnx` file the network is kept and the graph's names and layouts are dropped;
    /// [`onnx::OnnxModel`] keeps both.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Format` when it is damaged or of another format, `Weights` when
    /// tensors are missing, surplus or misshapen (all listed), `Unsupported` for a graph that is
    /// more than a recurrent network.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, &LoadOptions::default())
    }

    /// Loads a model file and fills in what the file does not say.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let path = path.as_ref();
        match Ending::of(path)? {
            Ending::Onnx => onnx::OnnxModel::load_with(path, options)?
                .into_network()
                .map_err(|e| e.in_context(path.display())),
            Ending::Safetensors => {
                let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
                Self::from_safetensors(&bytes, options).map_err(|e| e.in_context(path.display()))
            }
        }
    }

    /// Writes a model file; its ending names the format (`.safetensors`, `.onnx`). A file of that
    /// name is replaced only once the new one is complete.
    ///
    /// # Errors
    /// `Io` when it cannot be written, `Format` for an unknown ending, `Unsupported` for a network
    /// that the format has no words for.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = match Ending::of(path)? {
            Ending::Onnx => self.to_onnx()?,
            Ending::Safetensors => self.to_safetensors()?,
        };
        write_atomically(path, &bytes)
    }
}

/// A model format by the ending of its files.
enum Ending {
    Safetensors,
    Onnx,
}

impl Ending {
    fn of(path: &Path) -> Result<Self> {
        let is = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
        if is("safetensors") {
            return Ok(Self::Safetensors);
        }
        if is("onnx") {
            return Ok(Self::Onnx);
        }
        Err(Error::format(format!(
            "{}: expected a file name that ends in .safetensors or .onnx, got {}",
            path.display(),
            path.extension().map_or_else(
                || "no ending".to_owned(),
                |ending| format!(".{}", ending.to_string_lossy())
            )
        )))
    }
}

/// Writes a file so that a reader sees the old bytes or all of the new ones, never a part.
///
/// A temporary file in the same folder (a rename across file systems is not atomic) is filled,
/// flushed to the disk and renamed. The standard library is enough for that, and a library without
/// the command-line program then needs no crate for temporary files.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let (temporary, mut file) = create_beside(path)?;
    let filled = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    filled.and_then(|()| std::fs::rename(&temporary, path)).map_err(|e| {
        // The first error is the one that counts; what cannot be removed stays behind.
        let _ = std::fs::remove_file(&temporary);
        Error::io(path, "write", e)
    })
}

/// Creates a file of a new name in the folder of `path`.
fn create_beside(path: &Path) -> Result<(PathBuf, File)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut attempt = 0;
    loop {
        let temporary =
            path.with_file_name(format!(".{name}.{}.{attempt}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            // Another thread's, or left behind by a process that was killed.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
            Err(e) => return Err(Error::io(path, "write", e)),
        }
    }
}
