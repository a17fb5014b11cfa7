//! `rnn run` of an ONNX graph on arrays under the graph's own names: one batch in, the graph's outputs
//! out.

use std::fmt::Write as _;

use wgpu_rnn::onnx::{Array, OnnxModel};

use super::RunArgs;
use crate::autotune::Autotune;
use crate::data::read::Format;
use crate::data::{Draft, named, states, write};
use crate::describe;
use crate::failure::Result;
use crate::print;
use crate::report::Reporter;
use crate::table::{Align, Table, number};

/// First values that the summary shows of an output.
const SHOWN: usize = 6;

/// Runs `graph` on the arrays of the input.
///
/// # Errors
/// Usage for options that arrays of a graph leave without effect; data, device and I/O failures.
pub(super) fn run(
    args: &RunArgs,
    format: Format,
    graph: &OnnxModel,
    mut reporter: Reporter,
) -> Result<()> {
    args.check_graph()?;
    let first = graph.inputs().first().map_or("", |port| port.name.as_str());
    let inputs = named::read(&args.input, format, first)?;
    if inputs.narrowed {
        reporter.note("note: the input is f64 and is narrowed to f32");
    }
    let in_file = |e: wgpu_rnn::Error| e.in_context(args.input.display());
    let batch = graph.batch(&inputs.arrays).map_err(in_file)?;
    let draft = |path: &Option<std::path::PathBuf>| path.as_deref().map(Draft::create).transpose();
    let (output, states) = (draft(&args.output)?, draft(&args.states)?);
    let engine = super::open_engine(args, &reporter)?;
    let loaded = engine.load(graph.model())?;
    if args.autotune {
        Autotune::new().tune(&loaded, (batch.batch_size(), batch.steps()), &reporter)?;
    }
    reporter.start(Some(batch.batch_size()));
    let computed = loaded.run_blocking_with(&batch, &graph.run_options())?;
    reporter.advance(batch.batch_size(), batch.total_steps());
    let elapsed = reporter.stop();
    let results = graph.results(&batch, &computed)?;
    warn(&results, &reporter);
    if let Some(draft) = output {
        save(args, &results, draft, &reporter)?;
    }
    if let Some(draft) = states {
        states::save(&computed.states, draft)?;
    }
    let printed = if args.prints_summary() {
        print(&summary(args, graph, &inputs.arrays, &results))
    } else {
        Ok(())
    };
    reporter.last_line(elapsed);
    printed
}

fn save(
    args: &RunArgs,
    results: &[(String, Array)],
    draft: Draft,
    reporter: &Reporter,
) -> Result<()> {
    let format = args.output.as_deref().map(write::Format::of).transpose()?;
    if format == Some(write::Format::Npz) {
        return Ok(named::save(results, draft)?);
    }
    let Some((name, array)) = results.first() else { return Ok(()) };
    if results.len() > 1 {
        let names: Vec<&str> = results.iter().map(|(name, _)| name.as_str()).collect();
        let file = draft.wanted().display();
        reporter.note(&format!("note: {file} holds {name}, the first of {}", names.join(", ")));
    }
    Ok(named::save_one(array, draft)?)
}

/// Says what becomes of a graph's other inputs where the data hold sequences alone.
pub(super) fn note_inputs(graph: &OnnxModel, args: &RunArgs, reporter: &Reporter) {
    if graph.inputs().len() > 1 {
        let names: Vec<&str> = graph.inputs().iter().map(|port| port.name.as_str()).collect();
        let states = if args.initial.is_some() { "from --initial" } else { "zero" };
        reporter.note(&format!(
            "note: the graph reads {}; {} holds sequences and their lengths, and the initial states \
             are {states}",
            names.join(", "),
            args.input.display()
        ));
    }
}

fn warn(results: &[(String, Array)], reporter: &Reporter) {
    for (name, array) in results {
        let Array::F32(tensor) = array else { continue };
        let count = tensor.data().iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            let values = if count == 1 { "value" } else { "values" };
            reporter.warn(&format!("output {name}: {count} non-finite {values}"));
        }
    }
}

fn summary(
    args: &RunArgs,
    graph: &OnnxModel,
    inputs: &[(String, Array)],
    results: &[(String, Array)],
) -> String {
    let mut text = String::new();
    let file = args.model.model.display();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "model  {file}: {}", describe::model_line(graph.model()));
    let shapes: Vec<String> =
        inputs.iter().map(|(name, array)| format!("{name} {:?}", array.shape())).collect();
    let _ = writeln!(text, "input  {}: {}", args.input.display(), shapes.join(", "));
    let mut table = Table::new([
        ("name", Align::Left),
        ("shape", Align::Left),
        ("least", Align::Right),
        ("greatest", Align::Right),
        ("first values", Align::Left),
    ]);
    for (name, array) in results {
        let Array::F32(tensor) = array else { continue };
        let values = tensor.data();
        let shown: Vec<String> = values.iter().take(SHOWN).map(|value| number(*value)).collect();
        let more = if values.len() > SHOWN { " …" } else { "" };
        let bound = |fold: fn(f32, f32) -> f32| {
            values.iter().copied().reduce(fold).map_or_else(|| "-".to_owned(), number)
        };
        table.row([
            name.clone(),
            format!("{:?}", tensor.shape()),
            bound(f32::min),
            bound(f32::max),
            shown.join(" ") + more,
        ]);
    }
    let _ = write!(text, "\nOutputs\n{}", table.render("  "));
    text
}
