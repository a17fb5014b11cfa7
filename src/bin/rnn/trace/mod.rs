//! `rnn trace`: forward propagation in time, step by step.
//!
//! `walk` computes every state, `text` writes the table, and `plot::unrolled` draws the network
//! unrolled over its time steps.

mod text;
mod walk;

use std::path::PathBuf;

use clap::Args;
use wgpu_rnn::{Model, Strategy};

use self::walk::Trace;
use crate::args::{ModelArgs, parse_positive};
use crate::data::read::csv::WholeCsv;
use crate::data::read::{Format, text as text_lines};
use crate::data::{self, Draft, InputOptions, Opened, Source, Values};
use crate::describe::{self, Choices};
use crate::device::DeviceArgs;
use crate::failure::{Failure, Result, shape_error};
use crate::plot;
use crate::plot::unrolled::{Column, Lane, Unrolled};
use crate::print;
use crate::report::Reporter;
use crate::table::number;

/// Watch a network read a sequence: input, previous state, new state, output, step by step.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rnn trace model.safetensors --text \"I love AI\"
  rnn trace model.safetensors --text \"I love AI\" --top 5 --plot unrolled.svg
  rnn trace sunspots.safetensors --input sunspots.csv --steps 12")]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// The sequence as text, for networks with a vocabulary
    #[arg(long, required_unless_present = "input", conflicts_with = "input")]
    text: Option<String>,

    /// The sequence in a data file (any input of rnn run); the first one is taken
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Stop after this many time steps [default: all]
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    steps: Option<usize>,

    /// Show the K likeliest outputs, or the first K values where outputs are no distribution
    #[arg(long, value_name = "K", default_value = "3", value_parser = parse_positive)]
    top: usize,

    /// Draw the network unrolled over its time steps
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When model or sequence cannot be read, or the device fails.
pub(crate) fn run(args: &TraceArgs) -> Result<()> {
    let reporter = Reporter::new(args.quiet);
    let model = args.model.load(&reporter)?;
    let mut values = read(args, &model)?;
    if let Some(steps) = args.steps {
        match &mut values {
            Values::Dense(values) => {
                values.truncate(steps.saturating_mul(model.input().spec().width()))
            }
            Values::Tokens(tokens) => tokens.truncate(steps),
        }
    }
    let draft = args.plot.as_deref().map(draft).transpose()?;
    let engine = args.device.open(Strategy::Auto, &reporter)?;
    let trace = walk::walk(&engine, &model, &values)?;
    if trace.steps.is_empty() {
        return Err(shape_error("sequence: expected at least 1 time step, got 0").into());
    }
    let labels = input_labels(&model, &values);
    // The file before the words: nobody may read what is printed.
    if let Some(draft) = draft {
        plot::save(&unrolled(&model, &trace, &labels).draw(), draft)?;
    }
    print(&text::table(&model, &trace, &labels, args.top))
}

fn draft(path: &std::path::Path) -> Result<Draft> {
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg")) {
        return Ok(Draft::create(path)?);
    }
    Err(Failure::usage(format!("--plot: expected a file ending in .svg, got {}", path.display())))
}

fn read(args: &TraceArgs, model: &Model) -> Result<Values> {
    if let Some(text) = &args.text {
        let vocabulary = text_lines::vocabulary(model.info.vocabulary.as_ref())?;
        let ids = vocabulary.encode(text).map_err(|e| e.in_context("--text"))?;
        let wanted = data::Wanted::of(model);
        let tokens = ids.into_iter().map(|id| wanted.token(i128::from(id)));
        return Ok(Values::Tokens(tokens.collect::<wgpu_rnn::Result<_>>()?));
    }
    let Some(path) = &args.input else {
        return Err(Failure::usage("expected --text or --input"));
    };
    let opened = data::open(path, Format::of(path)?, model, InputOptions::default())?;
    let sequence = match opened {
        Opened::Sequences(mut source) => source.next_sequence()?,
        Opened::Steps(csv) => WholeCsv::new(csv).next_sequence()?,
    };
    let sequence = sequence.ok_or_else(|| shape_error("input: expected 1 sequence, got none"))?;
    Ok(sequence.values)
}

/// Writes the input of every step.
fn input_labels(model: &Model, values: &Values) -> Vec<String> {
    match values {
        Values::Tokens(tokens) => tokens
            .iter()
            .map(|&id| {
                let id = usize::try_from(id).unwrap_or(usize::MAX);
                describe::token_text(model.info.vocabulary.as_ref(), id)
            })
            .collect(),
        Values::Dense(values) => {
            let row = |row: &[f32]| {
                let shown: Vec<String> = row.iter().take(3).map(|v| number(*v)).collect();
                let more = if row.len() > 3 { " …" } else { "" };
                format!("{}{more}", shown.join(" "))
            };
            values.chunks_exact(model.input().spec().width()).map(row).collect()
        }
    }
}

fn unrolled(model: &Model, trace: &Trace, labels: &[String]) -> Unrolled {
    let choices = Choices::of(model);
    let directed = trace.lanes.iter().any(|lane| lane.reverse);
    let lanes = trace.lanes.iter().map(|lane| Lane {
        name: lane.name(trace.lanes.len() > 1, directed),
        cell: lane.cell.name().to_uppercase(),
        reverse: lane.reverse,
        first: lane.direction == 0,
    });
    let columns = trace.steps.iter().zip(labels).map(|(step, label)| Column {
        input: label.clone(),
        states: step.states.iter().map(|state| state.h.clone()).collect(),
        output: step.output.as_ref().map(|output| match &choices {
            Some(choices) => {
                let top = choices.top(output, 2).into_iter();
                top.map(|choice| choices.write(choice)).collect()
            }
            None => output.iter().take(2).map(|value| number(*value)).collect(),
        }),
    });
    let plain = "Forward propagation in time".to_owned();
    Unrolled {
        title: describe::headline(model).unwrap_or(plain),
        subtitle: describe::model_line(model),
        lanes: lanes.collect(),
        columns: columns.collect(),
    }
}
