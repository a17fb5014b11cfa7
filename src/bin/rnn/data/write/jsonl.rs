//! `.jsonl` output: `{"id": …, "output": [[…], …]}`, a line per sequence, without padding.
//!
//! A network that gives one row per sequence has `"output": […]`, empty for a sequence without
//! steps. Where the input has no id, the id is the sequence's place. JSON knows no NaN and no
//! infinity: they are written as `null`.

use std::fmt::Write as _;

use wgpu_rnn::Result;

use super::{Part, Shape, Sink, Target, Totals};

/// Lines to a file or to standard output.
pub(super) struct JsonLines {
    target: Target,
    width: usize,
    flat: bool,
    open: bool,
    rows: usize,
}

impl JsonLines {
    /// Takes the place to write to.
    pub(super) fn new(target: Target, shape: Shape) -> Self {
        Self { target, width: shape.width, flat: shape.last_step_only, open: false, rows: 0 }
    }
}

impl Sink for JsonLines {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        let mut text = String::new();
        if !self.open {
            let id = part.id.map_or_else(|| part.sequence.to_string(), ToString::to_string);
            // Writing to a String cannot fail.
            let _ = write!(text, "{{\"id\":{id},\"output\":[");
            self.rows = 0;
        }
        for row in part.values.chunks_exact(self.width) {
            if self.rows > 0 {
                text.push(',');
            }
            self.rows += 1;
            push_row(&mut text, row, self.flat);
        }
        if part.last {
            text.push_str("]}\n");
        }
        self.open = !part.last;
        self.target.write(&text)
    }

    fn finish(self: Box<Self>, _: &Totals<'_>) -> Result<()> {
        self.target.finish()
    }
}

fn push_row(text: &mut String, row: &[f32], flat: bool) {
    if !flat {
        text.push('[');
    }
    for (index, value) in row.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // Rust writes the shortest text that reads back as the same f32, valid as JSON.
        let _ = if value.is_finite() { write!(text, "{value}") } else { write!(text, "null") };
    }
    if !flat {
        text.push(']');
    }
}
