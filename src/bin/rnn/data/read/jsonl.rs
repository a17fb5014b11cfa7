//! `.jsonl`: a sequence a line, as JSON.
//!
//! ```text
//! {"id": "a", "input": [[0.1, 0.2], [0.3, 0.4]]}     dense, one row per time step
//! {"id": "b", "tokens": [3, 1, 4]}                   token ids
//! {"text": "hello"}                                  through the model's vocabulary
//! [[0.1, 0.2]]     [3, 1, 4]                         a bare array, without an id
//! ```
//! With one feature a time step may be a bare number. Other keys (labels, say) are passed over;
//! blank lines too.

use std::io::BufRead;

use serde_json::{Map, Value};
use wgpu_rnn::Result;

use super::{Source, text, unmarked};
use crate::data::{Sequence, Values, Wanted, narrow};
use crate::failure::{format_error, io_error, shape_error};

/// The lines of a file or of standard input.
pub(crate) struct JsonLines {
    lines: Box<dyn BufRead>,
    label: String,
    wanted: Wanted,
    line: usize,
    found: bool,
}

impl JsonLines {
    /// Takes lines to be read as `wanted`.
    pub(crate) fn new(lines: Box<dyn BufRead>, label: String, wanted: Wanted) -> Self {
        Self { lines, label, wanted, line: 0, found: false }
    }
}

impl Source for JsonLines {
    fn next_sequence(&mut self) -> Result<Option<Sequence>> {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line);
            if read.map_err(|e| io_error(&self.label, "read", e))? == 0 {
                break;
            }
            self.line += 1;
            let line = if self.line == 1 { unmarked(&line) } else { &line };
            if !line.trim().is_empty() {
                self.found = true;
                let place = || format!("{}: line {}", self.label, self.line);
                return parse(line, &self.wanted).map(Some).map_err(|e| e.in_context(place()));
            }
        }
        if self.found {
            return Ok(None);
        }
        Err(format_error(format!("{}: expected at least 1 sequence, got no lines", self.label)))
    }
}

fn parse(line: &str, wanted: &Wanted) -> Result<Sequence> {
    let value = serde_json::from_str(line).map_err(|e| {
        format_error(format!("expected JSON, got a fault at column {} ({})", e.column(), cause(&e)))
    })?;
    match value {
        Value::Array(steps) => Ok(Sequence { id: None, values: array(&steps, wanted)? }),
        Value::Object(object) => parse_object(object, wanted),
        other => Err(format_error(format!("expected an object or an array, got {}", kind(&other)))),
    }
}

/// Cuts serde_json's own place off: it counts from the start of our line.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn parse_object(mut object: Map<String, Value>, wanted: &Wanted) -> Result<Sequence> {
    let id = object.remove("id");
    let given = ["input", "tokens", "text"].map(|key| object.remove(key).map(|value| (key, value)));
    let mut given = given.into_iter().flatten();
    let (Some((key, value)), None) = (given.next(), given.next()) else {
        return Err(format_error("expected one of the keys input, tokens, text"));
    };
    let values = match (key, value) {
        ("text", Value::String(line)) => {
            Values::Tokens(text::vocabulary(wanted.vocabulary.as_ref())?.encode(&line)?)
        }
        ("tokens", Value::Array(_)) if wanted.vocab.is_none() => {
            return Err(shape_error(format!("tokens: expected {}, got tokens", wanted.describe())));
        }
        ("input" | "tokens", Value::Array(steps)) => {
            array(&steps, wanted).map_err(|e| e.in_context(key))?
        }
        (key, other) => {
            let want = if key == "text" { "a text" } else { "an array" };
            return Err(format_error(format!("{key}: expected {want}, got {}", kind(&other))));
        }
    };
    Ok(Sequence { id, values })
}

fn array(steps: &[Value], wanted: &Wanted) -> Result<Values> {
    let mut values = wanted.empty();
    for (t, step) in steps.iter().enumerate() {
        push(&mut values, step, wanted).map_err(|e| e.in_context(format!("step {t}")))?;
    }
    Ok(values)
}

fn push(values: &mut Values, step: &Value, wanted: &Wanted) -> Result<()> {
    match values {
        Values::Tokens(tokens) => {
            let id = step.as_i64().map(i128::from).or_else(|| step.as_u64().map(i128::from));
            let id = id.ok_or_else(|| {
                format_error(format!("expected an integer token id, got {}", kind(step)))
            })?;
            tokens.push(wanted.token(id)?);
        }
        Values::Dense(values) => {
            let row = match step {
                Value::Array(row) => row.as_slice(),
                number if wanted.features == 1 => std::slice::from_ref(number),
                other => {
                    return Err(shape_error(format!(
                        "expected an array of {} features, got {}",
                        wanted.features,
                        kind(other)
                    )));
                }
            };
            if row.len() != wanted.features {
                return Err(shape_error(format!(
                    "expected {} features, got {}",
                    wanted.features,
                    row.len()
                )));
            }
            for value in row {
                let number = value.as_f64().ok_or_else(|| {
                    format_error(format!("expected a number, got {}", kind(value)))
                })?;
                values.push(narrow(number)?);
            }
        }
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu_rnn::model::{Unit, Vocabulary};
    use wgpu_rnn::{Cell, Init, InputSpec, LayerSpec, Model};

    fn wanted(input: InputSpec) -> Wanted {
        let layer = LayerSpec::new(Cell::Gru, 2);
        let mut model = Model::builder(input).layer(layer).build(Init::PyTorch, 1).expect("valid");
        if input.vocab().is_some() {
            let tokens = ["a", "b", "c"].map(str::to_owned).to_vec();
            model.info.vocabulary = Some(Vocabulary::new(Unit::Char, tokens).expect("valid"));
        }
        Wanted::of(&model)
    }

    #[test]
    fn every_form_of_a_line_is_read() {
        let (dense, single) = (InputSpec::Dense { size: 2 }, InputSpec::Dense { size: 1 });
        let tokens = InputSpec::OneHot { vocab: 3 };
        let cases = [
            (
                dense,
                r#"{"id": 7, "input": [[1, 2], [3.5, 4]]}"#,
                Values::Dense(vec![1., 2., 3.5, 4.]),
            ),
            (dense, "[[1, 2]]", Values::Dense(vec![1., 2.])),
            (single, "[1, [2]]", Values::Dense(vec![1., 2.])),
            (single, r#"{"input": []}"#, Values::Dense(vec![])),
            (tokens, "[2, 0]", Values::Tokens(vec![2, 0])),
            (tokens, r#"{"tokens": [1], "label": "x"}"#, Values::Tokens(vec![1])),
            (tokens, r#"{"text": "cab"}"#, Values::Tokens(vec![2, 0, 1])),
        ];
        for (input, line, want) in cases {
            let got = parse(line, &wanted(input)).expect(line);
            assert_eq!(got.values, want, "{line}");
        }
        let id = parse(r#"{"id": 7, "input": []}"#, &wanted(dense)).expect("a line").id;
        assert_eq!(id, Some(Value::from(7)));
    }

    #[test]
    fn faults_are_named() {
        let (dense, tokens) = (InputSpec::Dense { size: 2 }, InputSpec::OneHot { vocab: 3 });
        let cases = [
            (dense, r#"{"input": [[1, 2], [3]]}"#, "input: step 1: expected 2 features, got 1"),
            (dense, "[[1, null]]", "step 0: expected a number, got null"),
            (dense, "[1, 2]", "step 0: expected an array of 2 features, got a number"),
            (dense, r#"{"tokens": [1]}"#, "expected floats, 2 features"),
            (dense, r#"{"text": "a"}"#, "expected a model with a vocabulary"),
            (dense, r#"{"input": [[1e60, 0]]}"#, "range"),
            (dense, "{", "expected JSON, got a fault at column"),
            (dense, "3", "expected an object or an array, got a number"),
            (dense, "{}", "expected one of the keys input, tokens, text"),
            (tokens, r#"{"tokens": [1], "text": "a"}"#, "expected one of the keys"),
            (tokens, "[3]", "step 0: expected token ids 0 to 2, got 3"),
            (tokens, "[-1]", "got -1"),
            (tokens, "[0.5]", "expected an integer token id"),
            (tokens, r#"{"text": "ax"}"#, "got \"x\" at position 2"),
        ];
        for (input, line, want) in cases {
            let error = parse(line, &wanted(input)).expect_err(line).to_string();
            assert!(error.contains(want), "{line}: {error}");
        }
    }
}
