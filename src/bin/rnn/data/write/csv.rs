//! `.csv` output: `sequence,step,<names>`, a row per time step (or per sequence, for networks that
//! give one row per sequence). Sequences without steps have no rows.
//!
//! For the largest values the columns are `index_1,label_1,value_1,…`, `label_` only where the model names
//! its outputs; where a row has no places the cells are empty.

use std::fmt::Write as _;

use wgpu_rnn::{Result, Top};

use super::{Part, Shape, Sink, Target, Totals};

/// A file with a header.
pub(super) struct CsvFile {
    target: Target,
    shape: Shape,
}

impl CsvFile {
    /// Writes the header.
    ///
    /// # Errors
    /// `Io` when the disk is full.
    pub(super) fn new(mut target: Target, shape: Shape) -> Result<Self> {
        let names: String = if shape.is_top {
            let label =
                |n| if shape.names.is_empty() { String::new() } else { format!(",label_{n}") };
            (1..=shape.width).map(|n| format!(",index_{n}{},value_{n}", label(n))).collect()
        } else {
            shape.names.iter().map(|name| format!(",{}", quoted(name))).collect()
        };
        target.write(&format!("sequence,step{names}\n"))?;
        Ok(Self { target, shape })
    }
}

impl Sink for CsvFile {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        let mut text = String::new();
        let width = self.shape.width;
        for (index, row) in part.values.chunks_exact(width).enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{},{}", part.sequence, part.start + index);
            for (column, value) in row.iter().enumerate() {
                if let Some(place) = part.places.get(index * width + column) {
                    push_place(&mut text, *place, &self.shape.names);
                }
                let _ = write!(text, ",{value}");
            }
            text.push('\n');
        }
        self.target.write(&text)
    }

    fn finish(self: Box<Self>, _: &Totals<'_>) -> Result<()> {
        self.target.finish()
    }
}

/// Writes a place and its label, or empty cells where there is none.
fn push_place(text: &mut String, place: u32, names: &[String]) {
    let index = usize::try_from(place).ok().filter(|_| place != Top::NO_INDEX);
    // Writing to a String cannot fail.
    let _ = match index {
        Some(index) => write!(text, ",{index}"),
        None => write!(text, ","),
    };
    if !names.is_empty() {
        let name = index.and_then(|index| names.get(index)).map_or("", String::as_str);
        let _ = write!(text, ",{}", quoted(name));
    }
}

fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_delimiters_are_quoted() {
        assert_eq!(quoted("a"), "a");
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
    }
}
