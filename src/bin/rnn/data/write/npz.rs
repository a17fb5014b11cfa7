//! `.npz` output: `output`, final states `h_n` and `c_n` (one array per layer where layers differ in
//! size), and `lengths` when the sequences differ in length.

use std::io::{Seek as _, SeekFrom, Write as _};

use wgpu_rnn::Result;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::npy::NpyFile;
use super::{Part, Shape, Sink, Totals};
use crate::data::{Draft, array, states};

/// An archive whose output is spooled into a file of its own first: its shape comes before it.
pub(super) struct NpzFile {
    draft: Draft,
    output: NpyFile,
    steps: Option<usize>,
}

impl NpzFile {
    /// Takes the file to fill.
    ///
    /// # Errors
    /// `Io` when it cannot be written.
    pub(super) fn new(draft: Draft, shape: Shape) -> Result<Self> {
        let steps = shape.steps;
        let output = NpyFile::new(draft.sibling()?, shape)?;
        Ok(Self { draft, output, steps })
    }
}

impl Sink for NpzFile {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        self.output.write(part)
    }

    fn finish(self: Box<Self>, totals: &Totals<'_>) -> Result<()> {
        let Self { mut draft, output, steps } = *self;
        let mut output = output.complete()?;
        let mut small: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, tensor) in totals.states.map(states::arrays).unwrap_or_default() {
            small.push((name, array::encode(&tensor)?));
        }
        let longest = steps.or_else(|| totals.lengths.iter().copied().max()).unwrap_or(0);
        if totals.lengths.iter().any(|&length| length != longest) {
            let widen = |length: &usize| i64::try_from(*length).unwrap_or(i64::MAX);
            let lengths: Vec<i64> = totals.lengths.iter().map(widen).collect();
            small.push(("lengths".to_owned(), array::encode_whole(&[lengths.len()], &lengths)?));
        }
        let options = SimpleFileOptions::default().large_file(true);
        let mut zip = ZipWriter::new(draft.file());
        let mut write = || {
            zip.start_file("output.npy", options)?;
            output.file().seek(SeekFrom::Start(0))?;
            std::io::copy(output.file(), &mut zip)?;
            for (name, bytes) in &small {
                zip.start_file(format!("{name}.npy"), options)?;
                zip.write_all(bytes)?;
            }
            Ok::<(), std::io::Error>(())
        };
        let written = write().and_then(|()| Ok(zip.finish().map(|_| ())?));
        written.map_err(|e| draft.failed(e))?;
        draft.commit()
    }
}
