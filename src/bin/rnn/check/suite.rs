//! `rnn check --onnx`: case folders in the layout of ONNX's backend tests, on one device.
//!
//! ```text
//! DIR/<case>/model.onnx
//! DIR/<case>/test_data_set_<n>/input_<k>.pb, output_<k>.pb
//! ```
//! Every case runs on every strategy of the device, in one process, so that kernels compile once. The
//! arrays are taken by the names in the files, else by the graph's order.

mod compare;
mod folder;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wgpu_rnn::check;
use wgpu_rnn::onnx::OnnxModel;
use wgpu_rnn::{
    Batch, Engine, ErrorKind, LoadedModel, Output, States, Strategy, Tensor, reference,
};

use self::compare::{Difference, Tolerance};
use self::folder::{CaseFolder, Named};
use super::CheckArgs;
use crate::data::{Draft, write};
use crate::device::{self, is_reference};
use crate::failure::{Failure, Result, format_error};
use crate::print;
use crate::report::Reporter;
use crate::table::{Align, Table};

/// Tolerances of ONNX's own runner.
const ATOL: f64 = 1e-7;
const RTOL: f64 = 1e-3;

/// How a case ended on a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    /// The results differ.
    Fail,
    /// It could not be loaded or run.
    Error,
    /// The strategy does not take it; another one may.
    Refused,
    Pass,
}

impl Status {
    const ALL: [Self; 4] = [Self::Fail, Self::Error, Self::Refused, Self::Pass];

    const fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Pass => "pass",
        }
    }
}

/// A line of the report.
struct Row {
    case: String,
    strategy: &'static str,
    status: Status,
    /// Largest absolute difference, where something was compared.
    max_abs: Option<f64>,
    detail: String,
}

/// What computes the cases.
enum Runner {
    /// The f64 reference.
    Reference,
    /// An engine for each strategy, on one device.
    Engines(Vec<(&'static str, Strategy, Engine)>),
}

impl Runner {
    fn open(args: &CheckArgs, reporter: &Reporter) -> Result<Self> {
        if is_reference(&args.device) {
            reporter.note("device: the f64 reference (asked for)");
            return Ok(Self::Reference);
        }
        let engine = args.device.open(Strategy::Auto, reporter)?;
        if engine.info().is_cpu_path {
            return Ok(Self::Engines(vec![("cpu", Strategy::Auto, engine)]));
        }
        let on = |strategy: Strategy| (strategy.name(), strategy, engine.with_strategy(strategy));
        Ok(Self::Engines(Strategy::ALL.map(on).into()))
    }

    /// Names the device in full.
    fn describe(&self) -> String {
        match self {
            Self::Reference => "the f64 reference".to_owned(),
            Self::Engines(list) => {
                list.first().map_or_else(String::new, |(_, _, e)| device::describe(e.info()))
            }
        }
    }

    /// Runs a case, the one of number `index`, on every strategy that [`check::drivers`] gives it.
    fn run(&self, case: &CaseFolder, index: usize, tolerance: Tolerance) -> Vec<Row> {
        let row = |strategy, status, detail: &dyn ToString| Row {
            case: case.name.clone(),
            strategy,
            status,
            max_abs: None,
            detail: detail.to_string(),
        };
        let first = match self {
            Self::Reference => "reference",
            Self::Engines(list) => list.first().map_or("auto", |(name, _, _)| name),
        };
        let prepared = Prepared::read(case);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return vec![row(first, Status::Error, &error)],
        };
        let judge = |name, strategy, outcome: wgpu_rnn::Result<Difference>| match outcome {
            Ok(Difference { max_abs, fault }) => Row {
                max_abs: Some(max_abs),
                ..match fault {
                    Some(fault) => row(name, Status::Fail, &fault),
                    None => row(name, Status::Pass, &""),
                }
            },
            // The planner must find a way where it is left to choose.
            Err(error) if error.kind() == ErrorKind::Unsupported && strategy != Strategy::Auto => {
                row(name, Status::Refused, &error)
            }
            Err(error) => row(name, Status::Error, &error),
        };
        match self {
            Self::Reference => {
                let outcome = prepared.compare(tolerance, oracle);
                vec![judge(first, Strategy::Auto, outcome)]
            }
            Self::Engines(list) => list
                .iter()
                .filter(|(_, strategy, engine)| {
                    *strategy == Strategy::Auto || check::drivers(engine, index).contains(strategy)
                })
                .map(|(name, strategy, engine)| {
                    let mut loaded: Option<LoadedModel> = None;
                    let outcome = prepared.compare(tolerance, |graph, batch| {
                        let loaded = match &loaded {
                            Some(loaded) => loaded,
                            None => loaded.insert(engine.load(graph.model())?),
                        };
                        loaded.run_blocking_with(batch, &graph.run_options())
                    });
                    judge(name, *strategy, outcome)
                })
                .collect(),
        }
    }
}

/// Runs a batch through the f64 reference.
fn oracle(graph: &OnnxModel, batch: &Batch) -> wgpu_rnn::Result<Output> {
    let wide = reference::run::<f64>(graph.model(), batch, &graph.run_options())?;
    #[expect(clippy::cast_possible_truncation, reason = "a graph's outputs are f32")]
    let narrow =
        |tensor: &Tensor<f64>| Tensor::from_fn(tensor.shape(), |i| tensor.data()[i] as f32);
    let states = States {
        h: wide.h.iter().map(narrow).collect(),
        c: wide.c.iter().map(|c| c.as_ref().map(narrow)).collect(),
    };
    Ok(Output { output: narrow(&wide.output), top: None, states })
}

/// A case that is read.
struct Prepared {
    graph: OnnxModel,
    /// Per data set the batch and the expected outputs.
    sets: Vec<(Batch, Named)>,
}

impl Prepared {
    fn read(case: &CaseFolder) -> wgpu_rnn::Result<Self> {
        let sets = folder::data_sets(&case.path)?;
        // ONNX's own cases have the weights among the inputs, the same in every set. What cannot be
        // read, or has no name, is met again below.
        let first = sets.first().and_then(|set| folder::tensors(set, "input", &[]).ok());
        let weights = first.unwrap_or_default();
        let graph = OnnxModel::load_with_weights(case.path.join("model.onnx"), &weights)
            .map_err(|e| without_place(&case.path, e))?;
        let read = |set: &PathBuf| {
            let inputs = folder::tensors(set, "input", graph.inputs())?;
            let outputs = folder::tensors(set, "output", graph.outputs())?;
            if outputs.is_empty() {
                return Err(format_error("output_0.pb: expected at least one, got none"));
            }
            Ok((graph.batch(&inputs)?, outputs))
        };
        let name = |set: &PathBuf| set.file_name().unwrap_or_default().display().to_string();
        let sets = sets.iter().map(|set| read(set).map_err(|e| e.in_context(name(set))));
        Ok(Self { sets: sets.collect::<wgpu_rnn::Result<_>>()?, graph })
    }

    fn compare(
        &self,
        tolerance: Tolerance,
        mut run: impl FnMut(&OnnxModel, &Batch) -> wgpu_rnn::Result<Output>,
    ) -> wgpu_rnn::Result<Difference> {
        let mut all = Difference::none();
        for (batch, expected) in &self.sets {
            let output = run(&self.graph, batch)?;
            let results = self.graph.results(batch, &output)?;
            for (name, want) in expected {
                let got = results.iter().find(|(own, _)| own == name).map(|(_, array)| array);
                all.add(compare::compare(name, got, want, tolerance));
            }
        }
        Ok(all)
    }
}

/// Takes the folder out of a message: the case's name says it.
fn without_place(folder: &Path, error: wgpu_rnn::Error) -> wgpu_rnn::Error {
    let text = error.to_string();
    let place = format!("{}: ", folder.join("model.onnx").display());
    let text = text.strip_prefix(&place).map_or(text.clone(), str::to_owned);
    wgpu_rnn::Error::new(error.kind(), text)
}

/// Runs every case below `args.onnx` and reports.
///
/// # Errors
/// [`Failure::Found`] when a case failed or none ran; device and I/O failures.
pub(super) fn run(args: &CheckArgs, folder: &Path) -> Result<()> {
    let mut cases = folder::cases(folder)?;
    if let Some(text) = &args.filter {
        cases.retain(|case| case.name.contains(text.as_str()));
    }
    if args.list {
        let names = cases.iter().map(|case| case.name.as_str());
        return super::print_names(&names.collect::<Vec<_>>(), args.json);
    }
    let path = args.output.as_deref();
    let to_stdout = path.is_some_and(write::is_stdout);
    let draft = path.filter(|_| !to_stdout).map(Draft::create).transpose()?;
    let tolerance = Tolerance { atol: args.atol.unwrap_or(ATOL), rtol: args.rtol.unwrap_or(RTOL) };
    let mut reporter = Reporter::new(args.quiet);
    let runner = Runner::open(args, &reporter)?;
    reporter.start(Some(cases.len()));
    let mut rows = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let index = if args.filter.is_some() { 0 } else { index };
        rows.extend(runner.run(case, index, tolerance));
        reporter.advance(1, 0);
    }
    reporter.stop();
    let device = if is_reference(&args.device) { "reference" } else { args.device.device.as_str() };
    let lines: String = rows.iter().map(|row| format!("{}\n", as_json(row, device))).collect();
    if let Some(mut draft) = draft {
        draft.file().write_all(lines.as_bytes()).map_err(|e| draft.failed(e))?;
        draft.commit()?;
    }
    let printed = print(&match (to_stdout, args.json) {
        (true, _) => lines,
        (false, true) => whole_json(&rows, device, &runner),
        (false, false) => as_text(&mut rows, &runner),
    });
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    if count(Status::Pass) + count(Status::Fail) == 0 {
        reporter.warn("nothing was compared");
        return Err(Failure::Found);
    }
    // The verdict stands whether or not somebody reads the table.
    let found = count(Status::Fail) + count(Status::Error) > 0;
    if found { Err(Failure::Found) } else { printed }
}

fn as_json(row: &Row, device: &str) -> Value {
    json!({
        "case": row.case, "device": device, "strategy": row.strategy,
        "status": row.status.name(), "max_abs": row.max_abs, "detail": row.detail,
    })
}

fn whole_json(rows: &[Row], device: &str, runner: &Runner) -> String {
    let counts: serde_json::Map<String, Value> = Status::ALL
        .into_iter()
        .map(|status| {
            let count = rows.iter().filter(|row| row.status == status).count();
            (status.name().to_owned(), count.into())
        })
        .collect();
    let rows: Vec<Value> = rows.iter().map(|row| as_json(row, device)).collect();
    format!("{:#}\n", json!({ "device": runner.describe(), "counts": counts, "cases": rows }))
}

/// Failures first, then a line per strategy; cases that pass are only counted.
fn as_text(rows: &mut [Row], runner: &Runner) -> String {
    rows.sort_by_key(|row| row.status);
    let mut text = String::new();
    let mut faults = Table::new([
        ("case", Align::Left),
        ("strategy", Align::Left),
        ("max error", Align::Right),
        ("result", Align::Left),
    ]);
    let faulty = |row: &&Row| matches!(row.status, Status::Fail | Status::Error);
    for row in rows.iter().filter(faulty) {
        // A list of faults has a line each; a table has one line a row.
        let detail = row.detail.split_whitespace().collect::<Vec<_>>().join(" ");
        faults.row([
            row.case.clone(),
            row.strategy.to_owned(),
            row.max_abs.map_or_else(|| "-".to_owned(), |max_abs| format!("{max_abs:.1e}")),
            format!("{}: {detail}", row.status.name()),
        ]);
    }
    if rows.iter().any(|row| faulty(&row)) {
        text += &faults.render("");
        text += "\n";
    }
    let mut names: Vec<&str> = Vec::new();
    for row in rows.iter() {
        if !names.contains(&row.strategy) {
            names.push(row.strategy);
        }
    }
    let mut table = Table::new([
        ("strategy", Align::Left),
        ("pass", Align::Right),
        ("fail", Align::Right),
        ("error", Align::Right),
        ("refused", Align::Right),
        ("largest error", Align::Right),
    ]);
    for name in names {
        let own = || rows.iter().filter(|row| row.strategy == name);
        let count = |status| own().filter(|row| row.status == status).count().to_string();
        let worst = own().filter_map(|row| row.max_abs).reduce(f64::max);
        table.row([
            name.to_owned(),
            count(Status::Pass),
            count(Status::Fail),
            count(Status::Error),
            count(Status::Refused),
            worst.map_or_else(|| "-".to_owned(), |worst| format!("{worst:.1e}")),
        ]);
    }
    text += &table.render("");
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let (passed, failed, wrong) = (count(Status::Pass), count(Status::Fail), count(Status::Error));
    let refused = count(Status::Refused);
    let device = runner.describe();
    format!(
        "{text}\n{passed} passed, {failed} failed, {wrong} errors, {refused} refused; {device}\n"
    )
}
