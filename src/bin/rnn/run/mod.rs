//! `rnn run`: a network over a data file.
//!
//! `args` says what can be asked for, `drive` is the loop, `collect` keeps what is shown at the end,
//! `forecast` goes on past the end, `summary` prints. Arrays of an ONNX graph go through `graph`
//! instead.

mod args;
mod collect;
mod drive;
mod forecast;
mod graph;
mod picture;
mod summary;

pub(crate) use args::RunArgs;
pub(crate) use drive::to_batch;

use wgpu_rnn::{Engine, LoadedModel, Model, States};

use self::collect::Collected;
use self::drive::Drive;
use crate::args::ModelFile;
use crate::autotune::{self, Autotune};
use crate::data::read::Format;
use crate::data::read::csv::{IndexColumn, WholeCsv};
use crate::data::write::{self, Sink, Totals};
use crate::data::{self, Draft, InputOptions, Opened, Wanted, states};
use crate::failure::{Failure, Result};
use crate::plot;
use crate::print;
use crate::report::Reporter;

/// Time steps of the first sequence that a plot shows at most.
const PLOTTED: usize = 4000;

/// Names of what is read: the file, its features, its time steps.
#[derive(Clone, Debug)]
struct Labels {
    file: String,
    inputs: Vec<String>,
    index: Option<IndexColumn>,
}

impl Labels {
    /// Names the axis of time.
    fn index_name(&self) -> &str {
        self.index.as_ref().map_or("step", |index| index.name.as_str())
    }

    /// Returns the number that step `t` has in the file.
    fn number(&self, t: usize) -> i64 {
        let first = self.index.as_ref().map_or(0, |index| index.first);
        first.saturating_add(i64::try_from(t).unwrap_or(i64::MAX))
    }

    fn step(&self, t: usize) -> String {
        self.number(t).to_string()
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Usage for options that contradict each other or the files; data, device and I/O failures.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let format = Format::of(&args.input)?;
    args.check(format)?;
    let reporter = Reporter::new(args.quiet);
    match args.model.load_file(&reporter)? {
        ModelFile::Graph(graph) if format.is_array() => graph::run(args, format, &graph, reporter),
        ModelFile::Graph(graph) => {
            graph::note_inputs(&graph, args, &reporter);
            let network = graph.into_network();
            let named = |e: wgpu_rnn::Error| e.in_context(args.model.model.display());
            run_network(args, format, &network.map_err(named)?, reporter)
        }
        ModelFile::Network(model) => run_network(args, format, &model, reporter),
    }
}

/// Opens the device as it was asked for.
fn open_engine(args: &RunArgs, reporter: &Reporter) -> Result<Engine> {
    let engine = args.precision.apply(args.device.open(args.strategy(), reporter)?)?;
    if args.autotune {
        autotune::check(&engine)?;
    }
    Ok(engine)
}

/// Runs a network over sequences.
fn run_network(
    args: &RunArgs,
    format: Format,
    model: &Model,
    mut reporter: Reporter,
) -> Result<()> {
    args.check_top(model)?;
    let forecast = forecast_steps(args, model)?;
    let options = InputOptions {
        columns: &args.columns,
        lengths: args.lengths.as_deref(),
        layout: args.layout(),
    };
    let mut opened = data::open(&args.input, format, model, options)?;
    let initial = initial(args, model, &mut opened)?;
    check_single(args, forecast, known_sequences(&opened)).map_err(Failure::Usage)?;
    let mut outputs = Outputs::open(args, model, &opened)?;
    let engine = open_engine(args, &reporter)?;
    let loaded = engine.load(model)?;
    let wanted = Wanted::of(model);
    let keep = if args.plot.is_some() { PLOTTED } else { summary::ROWS };
    let keep_states = outputs.wants_states || forecast > 0;
    let mut drive = Drive {
        loaded: &loaded,
        collected: Collected::new(model, &wanted, args.width(model), (keep, keep_states)),
        wanted,
        autotune: args.autotune.then(Autotune::new),
        top: args.top,
        batch_size: args.batch_size,
        sink: outputs.sink.as_deref_mut().map(|sink| sink as &mut dyn Sink),
        reporter: &mut reporter,
    };
    let cut = |failure| cut_short(args, failure);
    let labels = drive_all(&mut drive, opened, initial, args).map_err(cut)?;
    let mut collected = drive.collected;
    let elapsed = reporter.stop();
    let states = collected.join_states()?;
    warn(&reporter, &collected, &labels, &output_columns(args, model));
    if let Err(missing) = check_single(args, forecast, Some(collected.lengths.len())) {
        reporter.warn(&format!("{missing}: no forecast"));
    }
    // Files before words: nobody may read what is printed. States come last, so that a run whose
    // output or picture failed can be repeated from where it started.
    if let Some(sink) = outputs.sink {
        let totals = Totals { lengths: &collected.lengths, states: states.as_ref() };
        sink.finish(&totals).map_err(|e| cut(e.into()))?;
    }
    let rows = predict(&loaded, &collected, states.as_ref(), forecast)?;
    if let Some(draft) = outputs.plot {
        plot::save(&picture::draw(model, &collected, &labels, &rows), draft)?;
    }
    if let (Some(draft), Some(states)) = (outputs.states, &states) {
        states::save(states, draft)?;
    }
    let mut text = String::new();
    if args.prints_summary() {
        let file = args.model.model.display().to_string();
        text += &summary::summary(model, &file, reporter.counts(), &collected.sample, &labels);
    }
    let to_stdout = args.output.as_deref().is_some_and(write::is_stdout);
    if !rows.is_empty() && !to_stdout {
        let start = collected.lengths.first().copied().unwrap_or(0);
        text += &summary::forecast(model, &rows, &labels, start);
    }
    let printed = if text.is_empty() { Ok(()) } else { print(&text) };
    reporter.last_line(elapsed);
    printed
}

/// Says how many steps to predict past the end.
fn forecast_steps(args: &RunArgs, model: &Model) -> Result<usize> {
    let obstacle = forecast::obstacle(model);
    match (args.forecast, obstacle) {
        (Some(0), _) => Ok(0),
        (Some(_), Some(obstacle)) => Err(Failure::usage(format!("--forecast: {obstacle}"))),
        (Some(steps), None) => Ok(steps),
        (None, None) if model.info.forecast && (args.prints_summary() || args.plot.is_some()) => {
            Ok(forecast::STEPS)
        }
        (None, _) => Ok(0),
    }
}

/// Returns the number of sequences, where it is known before reading.
fn known_sequences(opened: &Opened) -> Option<usize> {
    match opened {
        Opened::Sequences(source) => source.known().sequences,
        Opened::Steps(_) => Some(1),
    }
}

/// Refuses a forecast that was asked for where there are several sequences.
fn check_single(args: &RunArgs, steps: usize, known: Option<usize>) -> Result<(), String> {
    match known {
        Some(count) if count != 1 && steps > 0 && args.forecast.is_some() => {
            Err(format!("--forecast: expected one sequence, got {count}"))
        }
        _ => Ok(()),
    }
}

/// A reader that has enough ends a run well, but not one that was to write other files too.
fn cut_short(args: &RunArgs, failure: Failure) -> Failure {
    if args.states.is_some() || args.plot.is_some() { failure.unexcused() } else { failure }
}

/// Loads the initial states and checks them against what is known of the input.
fn initial(args: &RunArgs, model: &Model, opened: &mut Opened) -> Result<Option<States>> {
    let brought = match opened {
        Opened::Sequences(source) => source.take_initial(),
        Opened::Steps(_) => None,
    };
    if args.initial.is_some() && brought.is_some() {
        return Err(Failure::usage(format!(
            "--initial: expected none, since {} holds initial states of its own",
            args.input.display()
        )));
    }
    let states = match &args.initial {
        Some(path) => Some(states::load(model, path)?),
        None => brought,
    };
    if let (Some(states), Some(count)) = (&states, known_sequences(opened)) {
        states::check(states, model, count)?;
    }
    Ok(states)
}

/// Everything that is written, open before any work.
struct Outputs {
    sink: Option<Box<dyn Sink>>,
    states: Option<Draft>,
    plot: Option<Draft>,
    wants_states: bool,
}

impl Outputs {
    fn open(args: &RunArgs, model: &Model, opened: &Opened) -> Result<Self> {
        let steps = match opened {
            Opened::Sequences(source) => source.known().steps,
            Opened::Steps(_) => None,
        };
        let shape = write::Shape {
            width: args.width(model),
            is_top: args.top.is_some(),
            names: match args.top {
                Some(_) => crate::describe::labels(model),
                None => crate::describe::output_names(model),
            },
            last_step_only: model.is_per_sequence(),
            steps,
            layout: args.layout(),
            pad_value: args.pad_value.unwrap_or(0.0),
        };
        let sink = args.output.as_deref().map(|path| write::open(path, shape)).transpose()?;
        let format = args.output.as_deref().map(write::Format::of).transpose()?;
        let draft =
            |path: &Option<std::path::PathBuf>| path.as_deref().map(Draft::create).transpose();
        Ok(Self {
            sink,
            states: draft(&args.states)?,
            plot: draft(&args.plot)?,
            wants_states: args.states.is_some() || format == Some(write::Format::Npz),
        })
    }
}

fn drive_all(
    drive: &mut Drive<'_>,
    opened: Opened,
    initial: Option<States>,
    args: &RunArgs,
) -> Result<Labels> {
    let model = drive.loaded.model();
    let features = drive.wanted.features;
    let named = model.info.columns.len() == features;
    let numbered = || (0..features).map(|index| format!("x{index}")).collect();
    let inputs = if named { model.info.columns.clone() } else { numbered() };
    let mut labels = Labels { file: args.input.display().to_string(), inputs, index: None };
    match opened {
        Opened::Sequences(mut source) => {
            let known = source.known();
            if known.narrowed {
                drive.reporter.note("note: the input is f64 and is narrowed to f32");
            }
            drive.reporter.start(known.sequences);
            drive.sequences(source.as_mut(), initial.as_ref())?;
        }
        Opened::Steps(mut csv) => {
            drive.reporter.start(None);
            labels.inputs = csv.names().to_vec();
            if model.is_forward() {
                drive.steps(&mut csv, initial, drive::chunk(model))?;
                labels.index = csv.index().cloned();
            } else {
                let mut whole = WholeCsv::new(csv);
                drive.sequences(&mut whole, initial.as_ref())?;
                labels.index = whole.index().cloned();
            }
        }
    }
    Ok(labels)
}

/// Names the values of an output row.
fn output_columns(args: &RunArgs, model: &Model) -> Vec<String> {
    match args.top {
        Some(k) => (1..=k).map(|n| format!("value_{n}")).collect(),
        None => crate::describe::output_names(model),
    }
}

fn warn(reporter: &Reporter, collected: &Collected, labels: &Labels, outputs: &[String]) {
    let faults = [
        collected.bad_input.describe("input", &labels.inputs),
        collected.bad_output.describe("output", outputs),
    ];
    for fault in faults.into_iter().flatten() {
        reporter.warn(&fault);
    }
}

fn predict(
    loaded: &LoadedModel,
    collected: &Collected,
    states: Option<&States>,
    steps: usize,
) -> Result<Vec<Vec<f32>>> {
    let count = collected.lengths.len();
    match (states, collected.sample.last_output()) {
        (Some(states), Some(last)) if steps > 0 && count == 1 => {
            Ok(forecast::run(loaded, states.clone(), last, steps)?)
        }
        _ => Ok(Vec::new()),
    }
}
