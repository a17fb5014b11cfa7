//! `.jsonl` output: `{"id": …, "output": [[…], …]}`, a line per sequence, without padding.
//!
//! A network that gives one row per sequence has `"output": […]`, empty for a sequence without
//! steps. Where the input has no id, the id is the sequence's place. JSON knows no NaN and no
//! infinity: they are written as `null`.
//!
//! For the largest values a row is `[{"index": 3, "label": "e", "value": 0.5}, …]` under `"top"`, `label`
//! only where the model names its outputs; the index of a row without places is `null`.

use std::fmt::Write as _;

use wgpu_rnn::{Result, Top};

use super::{Part, Shape, Sink, Target, Totals};

/// Lines to a file or to standard output.
pub(super) struct JsonLines {
    target: Target,
    shape: Shape,
    open: bool,
    rows: usize,
}

impl JsonLines {
    /// Takes the place to write to.
    pub(super) fn new(target: Target, shape: Shape) -> Self {
        Self { target, shape, open: false, rows: 0 }
    }
}

impl Sink for JsonLines {
    fn write(&mut self, part: &Part<'_>) -> Result<()> {
        let mut text = String::new();
        if !self.open {
            let id = part.id.map_or_else(|| part.sequence.to_string(), ToString::to_string);
            // Writing to a String cannot fail.
            let what = if self.shape.is_top { "top" } else { "output" };
            let _ = write!(text, "{{\"id\":{id},\"{what}\":[");
            self.rows = 0;
        }
        let width = self.shape.width;
        for (index, row) in part.values.chunks_exact(width).enumerate() {
            if self.rows > 0 {
                text.push(',');
            }
            self.rows += 1;
            let places = part.places.get(index * width..(index + 1) * width);
            push_row(&mut text, row, places, &self.shape);
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

fn push_row(text: &mut String, row: &[f32], places: Option<&[u32]>, shape: &Shape) {
    let flat = shape.last_step_only;
    if !flat {
        text.push('[');
    }
    for (index, value) in row.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        if let Some(places) = places {
            push_place(text, places[index], &shape.names);
        }
        // Rust writes the shortest text that reads back as the same f32, valid as JSON.
        let _ = if value.is_finite() { write!(text, "{value}") } else { write!(text, "null") };
        if places.is_some() {
            text.push('}');
        }
    }
    if !flat {
        text.push(']');
    }
}

/// Opens the object of one of the largest values, up to the value.
fn push_place(text: &mut String, place: u32, names: &[String]) {
    let index = usize::try_from(place).ok().filter(|_| place != Top::NO_INDEX);
    let number = index.map_or_else(|| "null".to_owned(), |index| index.to_string());
    // Writing to a String cannot fail.
    let _ = write!(text, "{{\"index\":{number},");
    if let Some(name) = index.and_then(|index| names.get(index)) {
        let _ = write!(text, "\"label\":{},", serde_json::Value::from(name.as_str()));
    }
    text.push_str("\"value\":");
}
