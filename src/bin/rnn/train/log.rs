//! The log: a line of JSON for every look at the loss and every epoch.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wgpu_rnn::Result;

use crate::failure::io_error;

/// A log file, or none.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<(File, PathBuf)>,
}

impl Log {
    /// Opens the log at `path`, empty, or after its last line where `append`.
    ///
    /// # Errors
    /// `Io` when it cannot be written.
    pub(super) fn open(path: Option<&Path>, append: bool) -> Result<Self> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.create(true).append(append).write(true).truncate(!append);
            let file = options.open(path).map_err(|e| io_error(path.display(), "write", e))?;
            Ok((file, path.to_path_buf()))
        };
        Ok(Self { file: path.map(open).transpose()? })
    }

    /// Writes a line at once, so that it can be watched.
    ///
    /// # Errors
    /// `Io` when the disk is full.
    pub(super) fn line(&mut self, value: &Value) -> Result<()> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        let line = format!("{value}\n");
        file.write_all(line.as_bytes()).map_err(|e| io_error(path.display(), "write", e))
    }
}

/// A number for JSON, which has none for NaN and infinity: those come as text.
pub(super) fn number(value: f64) -> Value {
    if value.is_finite() { value.into() } else { value.to_string().into() }
}
