//! `.npy` output: `[B, T, O]`, `[T, B, O]`, or `[B, O]`, written as it is computed.
//!
//! Rows are appended behind room for the header. Where T is known before, sequences are padded on
//! the way and only the header is filled in at the end. Where it is not (lines of text), or time
//! comes first, the rows are first appended without padding and laid out in a second pass over a
//! map of that file, so that memory never holds the whole output.

use std::io::{BufWriter, Seek as _, SeekFrom, Write};

use wgpu_rnn::{Layout, Result, Top};

use super::{Part, Shape, Sink, Totals};
use crate::data::{Draft, array, map};
use crate::failure::io_error;

/// What an array holds; every element has four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    /// Values, f32.
    Values,
    /// Places of the largest values, i32; −1 where there is none.
    Places,
}

impl Elements {
    /// NumPy's name of the type.
    const fn name(self) -> &'static str {
        match self {
            Self::Values => "<f4",
            Self::Places => "<i4",
        }
    }
}

/// An array on its way to a file.
pub(super) struct NpyFile {
    draft: Draft,
    shape: Shape,
    elements: Elements,
    /// T, where it is known and rows are padded on the way.
    padded: Option<usize>,
    /// Rows of each sequence.
    rows: Vec<usize>,
    /// Bytes that wait to be written in one go: a row may be as short as one value.
    pending: Vec<u8>,
}

/// Bytes after which they are written.
const ENOUGH: usize = 1 << 20;

impl NpyFile {
    /// Takes the file to fill.
    ///
    /// # Errors
    /// `Io` when it cannot be written.
    pub(super) fn new(mut draft: Draft, shape: Shape, elements: Elements) -> Result<Self> {
        let room = array::header(elements.name(), &[0], array::HEADER_ROOM)?;
        draft.file().write_all(&room).map_err(|e| draft.failed(e))?;
        let steps = if shape.last_step_only { Some(1) } else { shape.steps };
        let in_order = shape.last_step_only || shape.layout == Layout::BatchFirst;
        Ok(Self {
            draft,
            padded: steps.filter(|_| in_order),
            shape,
            elements,
            rows: Vec::new(),
            pending: Vec::new(),
        })
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.draft.file().write_all(&self.pending);
        self.pending.clear();
        written.map_err(|e| self.draft.failed(e))
    }

    /// Completes the array without giving the file its name.
    ///
    /// # Errors
    /// `Io` when the disk is full.
    pub(super) fn complete(mut self) -> Result<Draft> {
        self.flush()?;
        let (batch, width) = (self.rows.len(), self.shape.width);
        let longest = self.rows.iter().copied().max().unwrap_or(0);
        let steps = self.padded.or(self.shape.steps).unwrap_or(longest);
        let shape = if self.shape.last_step_only {
            vec![batch, width]
        } else {
            self.shape.layout.shape(steps, batch, width).to_vec()
        };
        let ragged = self.rows.iter().any(|&rows| rows != steps);
        let in_order = self.shape.last_step_only || self.shape.layout == Layout::BatchFirst;
        if self.padded.is_none() && (ragged || !in_order) {
            self.draft = self.lay_out(steps)?;
        }
        let header = array::header(self.elements.name(), &shape, array::HEADER_ROOM)?;
        let file = self.draft.file();
        let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header));
        written.map_err(|e| self.draft.failed(e))?;
        Ok(self.draft)
    }

    /// What stands beyond a sequence's end.
    fn pad(&self) -> [u8; 4] {
        match self.elements {
            Elements::Values => self.shape.pad_value.to_le_bytes(),
            // As i32 it is −1.
            Elements::Places => Top::NO_INDEX.to_le_bytes(),
        }
    }

    /// Copies the rows into a second file, padded and in the order of the layout.
    fn lay_out(&mut self, steps: usize) -> Result<Draft> {
        let mut laid_out = self.draft.sibling()?;
        let rows = map::map(self.draft.file())
            .map_err(|e| io_error(self.draft.wanted().display(), "read back", e))?;
        let bytes = self.shape.width * size_of::<f32>();
        let starts: Vec<usize> = self
            .rows
            .iter()
            .scan(array::HEADER_ROOM, |next, rows| {
                let start = *next;
                *next += rows * bytes;
                Some(start)
            })
            .collect();
        let pad = self.pad().repeat(self.shape.width);
        let mut file = BufWriter::new(laid_out.file());
        let batch = self.rows.len();
        let mut copy = || {
            file.write_all(&rows[..array::HEADER_ROOM])?;
            for flat in 0..batch * steps {
                let (b, t) = match self.shape.layout {
                    Layout::BatchFirst => (flat / steps, flat % steps),
                    Layout::TimeMajor => (flat % batch, flat / batch),
                };
                let start = starts[b] + t * bytes;
                let row = if t < self.rows[b] { &rows[start..start + bytes] } else { &pad };
                file.write_all(row)?;
            }
            file.flush()
        };
        let copied = copy();
        drop(file);
        copied.map_err(|e| laid_out.failed(e))?;
        Ok(laid_out)
    }
}

impl Sink for NpyFile {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        if self.rows.len() == part.sequence {
            self.rows.push(0);
        }
        match self.elements {
            Elements::Values => {
                self.pending.extend(part.values.iter().flat_map(|v| v.to_le_bytes()))
            }
            Elements::Places => {
                self.pending.extend(part.places.iter().flat_map(|p| p.to_le_bytes()))
            }
        }
        self.rows[part.sequence] += part.values.len() / self.shape.width;
        if let (Some(steps), true) = (self.padded, part.last) {
            let missing = steps.saturating_sub(self.rows[part.sequence]) * self.shape.width;
            self.pending.extend(self.pad().repeat(missing));
        }
        if self.pending.len() >= ENOUGH { self.flush() } else { Ok(()) }
    }

    fn finish(self: Box<Self>, _: &Totals<'_>) -> Result<()> {
        self.complete()?.commit()
    }
}
