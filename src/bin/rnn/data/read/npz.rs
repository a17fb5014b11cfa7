//! `.npz`: a zip of NumPy arrays, as `numpy.savez` and `savez_compressed` write it.

use std::io::{BufReader, Read, Seek};

use wgpu_rnn::{Model, Result, States, Tensor};
use zip::ZipArchive;

use crate::data::array::{Array, Bytes};
use crate::data::states;
use crate::failure::{format_error, io_error};

/// What an archive is read from: a file, or bytes in memory.
trait Place: Read + Seek {}

impl<T: Read + Seek> Place for T {}

/// An open archive.
pub(crate) struct Archive {
    zip: ZipArchive<Box<dyn Place>>,
    names: Vec<String>,
}

impl Archive {
    /// Opens an archive and lists its arrays.
    ///
    /// # Errors
    /// `Format` when it is damaged.
    pub(crate) fn open(file: impl Read + Seek + 'static) -> Result<Self> {
        let file: Box<dyn Place> = Box::new(BufReader::new(file));
        let zip = ZipArchive::new(file)
            .map_err(|e| format_error(format!("npz: expected a whole zip archive: {e}")))?;
        let names = zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        Ok(Self { zip, names })
    }

    /// Reads an array, where the archive has it.
    ///
    /// # Errors
    /// `Format` when it is damaged.
    pub(crate) fn array(&mut self, name: &str) -> Result<Option<Array>> {
        let entry = format!("{name}.npy");
        if !self.names.contains(&entry) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let mut file = self
            .zip
            .by_name(&entry)
            .map_err(|e| format_error(format!("{entry}: expected a readable entry: {e}")))?;
        file.read_to_end(&mut bytes).map_err(|e| io_error(&entry, "read", e))?;
        Array::new(Bytes::Owned(bytes)).map(Some).map_err(|e| e.in_context(entry))
    }

    /// Reads an array of floats, where the archive has it.
    ///
    /// # Errors
    /// `Format` when it is damaged, `Shape` when it holds no floats.
    pub(crate) fn tensor(&mut self, name: &str) -> Result<Option<Tensor>> {
        let array = self.array(name)?;
        array.map(|array| array.to_tensor().map_err(|e| e.in_context(name))).transpose()
    }

    /// Reads the array `input`.
    pub(crate) fn input(&mut self) -> Result<Array> {
        let array = self.array("input")?;
        array.ok_or_else(|| {
            let names = self.names.join(", ");
            format_error(format!("npz: expected an array named input, got {names}"))
        })
    }

    /// Reads the array `lengths`, where there is one.
    pub(crate) fn lengths(&mut self) -> Result<Option<Vec<i128>>> {
        let array = self.array("lengths")?;
        array.map(|array| array.to_integers().map_err(|e| e.in_context("lengths"))).transpose()
    }

    /// Reads initial states, where there are any.
    pub(crate) fn initial(&mut self, model: &Model) -> Result<Option<States>> {
        states::read(model, self)
    }
}
