//! A trace as text: the equations, then a table with a line per step and layer.

use std::fmt::Write as _;

use wgpu_rnn::{Activation, Cell, Model};

use super::walk::{LaneState, Trace};
use crate::describe::{self, Choices};
use crate::table::{Align, Table, number};

/// Units of a state that are shown.
const UNITS: usize = 3;

/// Writes the whole trace.
pub(super) fn table(model: &Model, trace: &Trace, labels: &[String], top: usize) -> String {
    let mut text = format!("{}\n\n{}", describe::model_line(model), equations(model));
    let shown = "States: the first units, then the norm ‖·‖. They start at zero.";
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{shown}\n");
    text.push_str(&rows(model, trace, labels, top).render(""));
    text
}

fn rows(model: &Model, trace: &Trace, labels: &[String], top: usize) -> Table {
    let several = trace.lanes.len() > 1;
    let directed = trace.lanes.iter().any(|lane| lane.reverse);
    let with_c = trace.steps.iter().flat_map(|step| &step.states).any(|state| state.c.is_some());
    let mut columns = vec![("t", Align::Right), ("x_t", Align::Left)];
    if several {
        columns.push(("layer", Align::Left));
    }
    let before = if directed { "state before" } else { "h_{t-1}" };
    columns.extend([(before, Align::Left), ("h_t", Align::Left)]);
    if with_c {
        columns.push(("c_t", Align::Left));
    }
    columns.push(("y_t", Align::Left));
    let mut table = Table::new(columns);
    let choices = Choices::of(model);
    for (t, step) in trace.steps.iter().enumerate() {
        for (index, (lane, state)) in trace.lanes.iter().zip(&step.states).enumerate() {
            let (first, last) = (index == 0, index + 1 == trace.lanes.len());
            let mut cells = vec![
                if first { (t + 1).to_string() } else { String::new() },
                if first { labels[t].clone() } else { String::new() },
            ];
            if several {
                let name = lane.name(true, directed);
                cells.push(name.trim_start_matches("layer ").to_owned());
            }
            let zeros = LaneState { h: vec![0.0; state.h.len()], c: None };
            cells.push(vector(&trace.before(t, index).unwrap_or(&zeros).h));
            cells.push(vector(&state.h));
            if with_c {
                cells.push(state.c.as_deref().map_or_else(String::new, vector));
            }
            let output = step.output.as_deref().filter(|_| last);
            cells.push(output.map_or_else(String::new, |y| written(choices.as_ref(), y, top)));
            table.row(cells);
        }
    }
    table
}

fn vector(values: &[f32]) -> String {
    let shown: Vec<String> = values.iter().take(UNITS).map(|v| format!("{v:>5.2}")).collect();
    let more = if values.len() > UNITS { " …" } else { "" };
    let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    format!("[{}{more}] ‖{norm:.2}‖", shown.join(" "))
}

fn written(choices: Option<&Choices>, output: &[f32], top: usize) -> String {
    match choices {
        Some(choices) => {
            let top = choices.top(output, top).into_iter().map(|choice| choices.write(choice));
            top.collect::<Vec<_>>().join("  ")
        }
        None => {
            let more = if output.len() > top { " …" } else { "" };
            let shown: Vec<String> = output.iter().take(top).map(|v| number(*v)).collect();
            format!("{}{more}", shown.join(" "))
        }
    }
}

/// Writes the equations of the network's cells and output layer.
fn equations(model: &Model) -> String {
    let mut cells: Vec<Cell> = Vec::new();
    for layer in model.layers() {
        if !cells.contains(&layer.spec().cell) {
            cells.push(layer.spec().cell);
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for cell in cells {
        lines.extend(cell_equations(cell).iter().map(|line| (*line).to_owned()));
    }
    let projected = model.layers().iter().any(|layer| layer.spec().proj_size > 0);
    if projected {
        lines.push("h_t := W_hr·h_t".to_owned());
    }
    if let Some(head) = model.head() {
        let bias = if head.bias.is_some() { " + b_y" } else { "" };
        let sum = format!("W_y·h_t{bias}");
        lines.push(match head.activation {
            Activation::None => format!("y_t = {sum}"),
            activation => format!("y_t = {}({sum})", activation.name()),
        });
    } else {
        lines.push("y_t = h_t".to_owned());
    }
    if !model.layers().iter().any(|layer| layer.spec().bias) {
        lines.push("(the cells have no biases: b_* = 0)".to_owned());
    }
    if model.layers().iter().any(|layer| !layer.spec().options.is_default()) {
        lines.push(
            "(the cells' own equations; the first line names what this network changes)".into(),
        );
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

fn cell_equations(cell: Cell) -> &'static [&'static str] {
    match cell {
        Cell::RnnTanh => &["h_t = tanh(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)"],
        Cell::RnnRelu => &["h_t = max(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh, 0)"],
        Cell::Lstm => &[
            "i, f, o = σ(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)     g = tanh(the same, rows of g)",
            "c_t = f ⊙ c_{t-1} + i ⊙ g",
            "h_t = o ⊙ tanh(c_t)",
        ],
        Cell::Gru => &[
            "r, z = σ(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)",
            "n = tanh(W_in·x_t + b_in + r ⊙ (W_hn·h_{t-1} + b_hn))",
            "h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}",
        ],
        Cell::GruResetBefore => &[
            "r, z = σ(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)",
            "n = tanh(W_in·x_t + b_in + W_hn·(r ⊙ h_{t-1}) + b_hn)",
            "h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}",
        ],
        _ => &["h_t = cell(x_t, h_{t-1})"],
    }
}
