//! Arrays under the names of a graph's inputs and outputs: `.npz` in and out, a lone `.npy` too.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use wgpu_rnn::onnx::Array;
use wgpu_rnn::{Result, Tensor};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::read::npz::Archive;
use super::read::{Format, map_or_read};
use super::{Draft, array};
use crate::failure::{io_error, shape_error};

/// Arrays by name.
pub(crate) type Named = Vec<(String, Array)>;

/// What was read, and whether any of it was f64.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The arrays.
    pub(crate) arrays: Named,
    /// Whether one of them holds f64, which is narrowed to f32.
    pub(crate) narrowed: bool,
}

/// Reads every array of an `.npz` file, or the one of an `.npy` file under the name `first`.
///
/// # Errors
/// `Io`, `Format` or `Shape`, naming file and array.
pub(crate) fn read(path: &Path, format: Format, first: &str) -> Result<Inputs> {
    let in_file = |e: wgpu_rnn::Error| e.in_context(path.display());
    let file = File::open(path).map_err(|e| io_error(path.display(), "read", e))?;
    let mut inputs = Inputs { arrays: Vec::new(), narrowed: false };
    let mut take = |name: &str, array: &array::Array| {
        inputs.narrowed |= array.is_double();
        let array = convert(array).map_err(|e| in_file(e.in_context(name)))?;
        inputs.arrays.push((name.to_owned(), array));
        Ok(())
    };
    if format == Format::Npy {
        let bytes = map_or_read(&file, &path.display().to_string())?;
        take(first, &array::Array::new(bytes).map_err(in_file)?)?;
        return Ok(inputs);
    }
    let mut archive = Archive::open(file).map_err(in_file)?;
    for name in archive.arrays() {
        if let Some(array) = archive.array(&name).map_err(in_file)? {
            take(&name, &array)?;
        }
    }
    Ok(inputs)
}

/// Copies an array out: floats as f32, integers as i64.
fn convert(array: &array::Array) -> Result<Array> {
    if array.is_float() {
        return Ok(Array::F32(array.to_tensor()?));
    }
    let whole = |(place, value): (usize, i128)| {
        i64::try_from(value).map_err(|_| {
            shape_error(format!("expected values within i64's range, got {value} at place {place}"))
        })
    };
    let values = array.to_whole().into_iter().enumerate().map(whole).collect::<Result<_>>()?;
    Ok(Array::I64(Tensor::new(array.shape(), values)?))
}

fn encode(array: &Array) -> Result<Vec<u8>> {
    match array {
        Array::F32(tensor) => array::encode(tensor),
        Array::I64(tensor) => array::encode_whole(tensor.shape(), tensor.data()),
    }
}

/// Writes one array as `.npy` into `draft`.
///
/// # Errors
/// `Io` when the disk is full.
pub(crate) fn save_one(array: &Array, mut draft: Draft) -> Result<()> {
    let bytes = encode(array)?;
    draft.file().write_all(&bytes).map_err(|e| draft.failed(e))?;
    draft.commit()
}

/// Writes arrays as `.npz` into `draft`, in their order.
///
/// # Errors
/// `Io` when the disk is full.
pub(crate) fn save(arrays: &[(String, Array)], mut draft: Draft) -> Result<()> {
    let mut zip = ZipWriter::new(draft.file());
    let written = arrays.iter().try_for_each(|(name, array)| {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default().large_file(true))?;
        zip.write_all(&encode(array).map_err(std::io::Error::other)?)
    });
    let written = written.and_then(|()| Ok(zip.finish().map(|_| ())?));
    written.map_err(|e| draft.failed(e))?;
    draft.commit()
}
