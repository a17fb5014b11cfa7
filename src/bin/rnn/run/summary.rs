//! What a run without an output file prints: the network, the last steps, the forecast.

use std::fmt::Write as _;

use wgpu_rnn::Model;
use wgpu_rnn::model::{Unit, Vocabulary};

use super::Labels;
use super::collect::Sample;
use crate::data::Values;
use crate::describe::{self, Choices};
use crate::report::count;
use crate::table::{Align, Table, number};

/// Time steps that the summary shows.
pub(super) const ROWS: usize = 8;
/// Most columns of a kind in a table; the others are counted.
const COLUMNS: usize = 6;
/// Likeliest choices that a row shows.
const CHOICES: usize = 3;

/// Writes network, input and the last steps of the first sequence.
pub(super) fn summary(
    model: &Model,
    file: &str,
    (sequences, steps): (u64, u64),
    sample: &Sample,
    labels: &Labels,
) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "model  {file}: {}", describe::model_line(model));
    if !model.info.description.is_empty() {
        let _ = writeln!(text, "       {}", model.info.description);
    }
    let counts = (count(sequences, "sequence"), count(steps, "step"));
    let _ = writeln!(text, "input  {}: {}, {}", labels.file, counts.0, counts.1);
    let which =
        if sequences > 1 { format!(" of sequence 0 of {sequences}") } else { String::new() };
    let _ = writeln!(text, "\nLast steps{which}");
    text.push_str(&last_steps(model, sample, labels).render("  "));
    text
}

fn last_steps(model: &Model, sample: &Sample, labels: &Labels) -> Table {
    let (choices, one_row) = (Choices::of(model), model.is_per_sequence());
    let mut columns = vec![(labels.index_name().to_owned(), Align::Right)];
    let inputs = input_columns(model, labels);
    columns.extend(shorten(&inputs));
    let outputs = output_columns(model, choices.as_ref());
    columns.extend(shorten(&outputs));
    let mut table = Table::new(columns);
    let steps = sample.steps();
    let shown = steps.min(ROWS);
    for t in steps - shown..steps {
        let mut row = vec![labels.step(sample.start + t)];
        row.extend(shorten(&input_cells(model, &sample.input, t)));
        let place = if one_row { (t + 1 == steps).then_some(0) } else { Some(t) };
        let width = model.output_size();
        let output = place.and_then(|place| sample.output.chunks_exact(width).nth(place));
        if let Some(output) = output {
            row.extend(shorten(&output_cells(choices.as_ref(), output)));
        }
        table.row(row);
    }
    table
}

/// Keeps the first columns and marks that there are more.
fn shorten<T: Clone + Ellipsis>(all: &[T]) -> Vec<T> {
    if all.len() <= COLUMNS {
        return all.to_vec();
    }
    all[..COLUMNS - 1].iter().cloned().chain([T::ellipsis()]).collect()
}

trait Ellipsis {
    fn ellipsis() -> Self;
}

impl Ellipsis for String {
    fn ellipsis() -> Self {
        "…".to_owned()
    }
}

impl Ellipsis for (String, Align) {
    fn ellipsis() -> Self {
        ("…".to_owned(), Align::Left)
    }
}

fn input_columns(model: &Model, labels: &Labels) -> Vec<(String, Align)> {
    if model.input().spec().vocab().is_some() {
        return vec![("token".to_owned(), Align::Left)];
    }
    labels.inputs.iter().map(|name| (name.clone(), Align::Right)).collect()
}

fn input_cells(model: &Model, input: &Values, t: usize) -> Vec<String> {
    match input {
        Values::Tokens(tokens) => {
            let id = usize::try_from(tokens[t]).unwrap_or(usize::MAX);
            vec![describe::token_text(model.info.vocabulary.as_ref(), id)]
        }
        Values::Dense(values) => {
            let width = model.input().spec().width();
            values[t * width..(t + 1) * width].iter().map(|value| number(*value)).collect()
        }
    }
}

fn output_columns(model: &Model, choices: Option<&Choices>) -> Vec<(String, Align)> {
    let next = if model.info.forecast { "next " } else { "" };
    if choices.is_some() {
        let next =
            if model.input().spec().vocab() == Some(model.output_size()) { "next " } else { "" };
        let names = [format!("likeliest {next}"), "second".to_owned(), "third".to_owned()];
        let shown = model.output_size().min(CHOICES);
        return names.map(|n| (n.trim_end().to_owned(), Align::Left))[..shown].to_vec();
    }
    let names = describe::output_names(model);
    names.into_iter().map(|name| (format!("{next}{name}"), Align::Right)).collect()
}

fn output_cells(choices: Option<&Choices>, output: &[f32]) -> Vec<String> {
    match choices {
        Some(choices) => {
            choices.top(output, CHOICES).into_iter().map(|choice| choices.write(choice)).collect()
        }
        None => output.iter().map(|value| number(*value)).collect(),
    }
}

/// Writes the forecast; its first row is the step after the last known one.
pub(super) fn forecast(model: &Model, rows: &[Vec<f32>], labels: &Labels, start: usize) -> String {
    let choices = Choices::of(model);
    let mut columns = vec![(labels.index_name().to_owned(), Align::Right)];
    match choices {
        Some(_) => columns.push(("likeliest".to_owned(), Align::Left)),
        None => {
            let names = describe::output_names(model);
            let names: Vec<_> = names.into_iter().map(|name| (name, Align::Right)).collect();
            columns.extend(shorten(&names));
        }
    }
    let mut table = Table::new(columns);
    for (index, row) in rows.iter().enumerate() {
        let mut cells = vec![labels.step(start + index)];
        match &choices {
            Some(choices) => {
                cells.extend(choices.top(row, 1).into_iter().map(|choice| choices.write(choice)));
            }
            None => {
                let all: Vec<String> = row.iter().map(|value| number(*value)).collect();
                cells.extend(shorten(&all));
            }
        }
        table.row(cells);
    }
    let text = choices.and_then(|choices| continuation(model, &choices, rows));
    let text = text.map_or_else(String::new, |text| format!("  as text: {text:?}\n"));
    format!("\nForecast\n{}{text}", table.render("  "))
}

fn continuation(model: &Model, choices: &Choices, rows: &[Vec<f32>]) -> Option<String> {
    let vocabulary: &Vocabulary = model.info.vocabulary.as_ref()?;
    let likeliest = rows.iter().filter_map(|row| choices.top(row, 1).first().copied());
    let texts: Vec<&str> =
        likeliest.filter_map(|(id, _)| vocabulary.text(u32::try_from(id).ok()?)).collect();
    Some(texts.join(if vocabulary.unit() == Unit::Word { " " } else { "" }))
}
