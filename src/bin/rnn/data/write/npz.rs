//! `.npz` output: `output` (or the largest values as `top_indices` and `top_values`), final states `h_n` and `c_n` (one array per layer where layers differ in
//! size), and `lengths` when the sequences differ in length.

use std::io::{Seek as _, SeekFrom, Write as _};

use wgpu_rnn::Result;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::npy::{Elements, NpyFile};
use super::{Part, Shape, Sink, Totals};
use crate::data::{Draft, array, states};

/// An archive whose output is spooled into files of its own first: a shape comes before its values.
pub(super) struct NpzFile {
    draft: Draft,
    /// Arrays with their names.
    outputs: Vec<(&'static str, NpyFile)>,
    steps: Option<usize>,
}

impl NpzFile {
    /// Takes the file to fill.
    ///
    /// # Errors
    /// `Io` when it cannot be written.
    pub(super) fn new(draft: Draft, shape: Shape) -> Result<Self> {
        let steps = shape.steps;
        let named: &[_] = if shape.is_top {
            &[("top_indices", Elements::Places), ("top_values", Elements::Values)]
        } else {
            &[("output", Elements::Values)]
        };
        let open = |(name, elements): &(&'static str, Elements)| {
            Ok((*name, NpyFile::new(draft.sibling()?, shape.clone(), *elements)?))
        };
        let outputs = named.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { draft, outputs, steps })
    }
}

impl Sink for NpzFile {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|(_, output)| output.write(part))
    }

    fn finish(self: Box<Self>, totals: &Totals<'_>) -> Result<()> {
        let Self { mut draft, outputs, steps } = *self;
        let mut large = Vec::new();
        for (name, output) in outputs {
            large.push((name, output.complete()?));
        }
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
            for (name, output) in &mut large {
                zip.start_file(format!("{name}.npy"), options)?;
                output.file().seek(SeekFrom::Start(0))?;
                std::io::copy(output.file(), &mut zip)?;
            }
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
