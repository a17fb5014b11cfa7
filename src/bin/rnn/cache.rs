//! What the program keeps between runs: JSON files of entries in one folder.
//!
//! A file may be lost at any time and must never be in the way.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Draft;
use crate::failure::{Result, io_error};

/// The folder of what is kept, in place of the platform's.
const FOLDER_VARIABLE: &str = "WGPU_RNN_CACHE";

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Content {
    /// Entries, those of other versions too, whose fields may differ.
    pub(crate) devices: Vec<Value>,
}

/// Returns the folder of everything that is kept between runs.
pub(crate) fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(folder) = set(FOLDER_VARIABLE) {
        return Some(folder);
    }
    let caches = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library").join("Caches"))
    } else {
        // The specification of XDG has a relative path ignored.
        let named = set("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
        named.or_else(|| set("HOME").map(|home| home.join(".cache")))
    };
    caches.map(|folder| folder.join("wgpu-rnn"))
}

/// Reads a file; one that is missing has no entries.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn read(path: &Path) -> Result<Content, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map_err(|e| e.to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Content::default()),
        Err(e) => Err(e.to_string()),
    }
}

/// Makes an entry of a file.
///
/// # Errors
/// `Io`, which a value of numbers and text does not give.
pub(crate) fn entry(path: &Path, entry: impl Serialize) -> Result<Value> {
    Ok(serde_json::to_value(entry).map_err(|e| io_error(path.display(), "write", e.into()))?)
}

/// Writes an entry in place of those that `is_replaced` names; what is damaged is lost anyway.
///
/// # Errors
/// `Io` when the file cannot be written.
pub(crate) fn replace(
    path: &Path,
    is_replaced: impl Fn(&Value) -> bool,
    entry: Value,
) -> Result<()> {
    let mut content = read(path).unwrap_or_default();
    content.devices.retain(|old| !is_replaced(old));
    content.devices.push(entry);
    let failed = |e: serde_json::Error| io_error(path.display(), "write", e.into());
    let text = serde_json::to_string_pretty(&content).map_err(failed)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| io_error(folder.display(), "create", e))?;
    }
    let mut draft = Draft::create(path)?;
    draft.file().write_all(text.as_bytes()).map_err(|e| draft.failed(e))?;
    Ok(draft.commit()?)
}
