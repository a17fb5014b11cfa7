//! `.csv` output: `sequence,step,<names>`, a row per time step (or per sequence, for networks that
//! give one row per sequence). Sequences without steps have no rows.

use std::fmt::Write as _;

use wgpu_rnn::Result;

use super::{Part, Shape, Sink, Target, Totals};

/// A file with a header.
pub(super) struct CsvFile {
    target: Target,
    width: usize,
}

impl CsvFile {
    /// Writes the header.
    ///
    /// # Errors
    /// `Io` when the disk is full.
    pub(super) fn new(mut target: Target, shape: Shape) -> Result<Self> {
        let names: String = shape.names.iter().map(|name| format!(",{}", quoted(name))).collect();
        target.write(&format!("sequence,step{names}\n"))?;
        Ok(Self { target, width: shape.width })
    }
}

impl Sink for CsvFile {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        let mut text = String::new();
        for (index, row) in part.values.chunks_exact(self.width).enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{},{}", part.sequence, part.start + index);
            for value in row {
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
