//! The files of ONNX's backend tests: cases, data sets, tensors.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use wgpu_rnn::Result;
use wgpu_rnn::onnx::{Array, Port, read_tensor};

use crate::failure::{format_error, io_error};

/// Arrays by name.
pub(super) type Named = Vec<(String, Array)>;

/// A folder with a model and its data.
#[derive(Debug)]
pub(super) struct CaseFolder {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Lists the cases in `folder`, sorted by name, or the one that it is itself.
///
/// # Errors
/// `Io` when it cannot be listed, `Format` when it has no case.
pub(super) fn cases(folder: &Path) -> Result<Vec<CaseFolder>> {
    let is_case = |path: &Path| path.join("model.onnx").is_file();
    let case = |path: PathBuf| {
        // `.` has no name of its own.
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        let name = whole.file_name().unwrap_or_default().display().to_string();
        CaseFolder { name, path }
    };
    if is_case(folder) {
        return Ok(vec![case(folder.to_path_buf())]);
    }
    let entries = list(folder)?.into_iter().map(|entry| entry.path());
    let mut cases: Vec<_> = entries.filter(|path| is_case(path)).map(case).collect();
    if cases.is_empty() {
        return Err(format_error(format!(
            "{}: expected folders that hold a model.onnx, got none",
            folder.display()
        )));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

/// Lists the data sets of a case in the order of their numbers.
///
/// # Errors
/// `Io` when the folder cannot be listed, `Format` when there is none.
pub(super) fn data_sets(case: &Path) -> Result<Vec<PathBuf>> {
    let sets = numbered(case, "test_data_set_", "")?;
    if sets.is_empty() {
        return Err(format_error("test_data_set_0: expected at least one data set, got none"));
    }
    Ok(sets.into_iter().map(|(_, path)| path).collect())
}

/// Reads the tensors `<kind>_<k>.pb` of a data set under their own names, or the names of `ports` in
/// their order.
///
/// # Errors
/// `Io` or `Format`, naming the file.
pub(super) fn tensors(set: &Path, kind: &str, ports: &[Port]) -> Result<Named> {
    let read = |(place, path): (usize, PathBuf)| {
        let file = path.file_name().unwrap_or_default().display().to_string();
        let bytes = std::fs::read(&path).map_err(|e| io_error(&file, "read", e))?;
        let (name, array) = read_tensor(&bytes).map_err(|e| e.in_context(&file))?;
        if !name.is_empty() {
            return Ok((name, array));
        }
        let port = ports.get(place).ok_or_else(|| {
            format_error(format!(
                "{file}: expected a name, or one of the graph's {} {kind}s by number",
                ports.len()
            ))
        })?;
        Ok((port.name.clone(), array))
    };
    numbered(set, &format!("{kind}_"), ".pb")?.into_iter().map(read).collect()
}

/// Lists `<before><number><after>` in a folder by number.
fn numbered(folder: &Path, before: &str, after: &str) -> Result<Vec<(usize, PathBuf)>> {
    let number = |entry: &DirEntry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    };
    let entries = list(folder)?;
    let mut found: Vec<(usize, PathBuf)> =
        entries.iter().filter_map(|entry| Some((number(entry)?, entry.path()))).collect();
    found.sort();
    Ok(found)
}

fn list(folder: &Path) -> Result<Vec<DirEntry>> {
    std::fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(|e| io_error(folder.display(), "read", e))
}
