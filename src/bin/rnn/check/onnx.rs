//! `rnn check --onnx`: case folders in the layout of ONNX's backend tests, on a device.
//!
//! `DIR/CASE/model.onnx` with `test_data_set_N/input_K.pb` and `output_K.pb`, or one such case
//! folder. Every case runs on every strategy that takes it; results are compared with the files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use wgpu_rnn::onnx::{Array, OnnxModel, read_tensor};
use wgpu_rnn::{Engine, ErrorKind, Output, States, Strategy, Tensor, reference};

use super::CheckArgs;
use crate::device::describe;
use crate::failure::{Failure, Result, format_error, io_error};
use crate::print;
use crate::report::Reporter;
use crate::table::{Align, Table};

/// The device name that stands for the f64 reference.
const REFERENCE: &str = "reference";

/// One case on one strategy.
struct Row {
    case: String,
    strategy: &'static str,
    /// pass, fail, refused or error.
    status: &'static str,
    max_abs: f64,
    detail: String,
}

/// What computes a case: an engine with one strategy, or nothing for the f64 reference.
struct Way {
    name: &'static str,
    engine: Option<Engine>,
}

/// Runs every case folder below `folder`.
///
/// # Errors
/// [`Failure::Found`] when a case failed, could not be run, or there was none; device failures.
pub(super) fn run(args: &CheckArgs, folder: &Path) -> Result<()> {
    let cases = case_folders(folder)?;
    let mut reporter = Reporter::new(args.quiet);
    let (device, ways) = ways(args, &reporter)?;
    reporter.start(Some(cases.len()));
    let mut rows = Vec::new();
    for case in &cases {
        rows.extend(check_case(case, &ways, (args.atol, args.rtol)));
        reporter.advance(1, 0);
    }
    reporter.stop();
    if let Some(path) = &args.output {
        write_report(path, &device, &rows)?;
    }
    let count = |status: &str| rows.iter().filter(|row| row.status == status).count();
    let [passed, failed, refused, errors] = ["pass", "fail", "refused", "error"].map(count);
    let worst = rows.iter().filter(|row| row.status == "pass").map(|row| row.max_abs);
    let printed = print(&format!(
        "{}{} cases: {passed} passed, {failed} failed, {errors} errors, {refused} not applicable; \
         largest error {:.1e}; {device}\n",
        table(&rows),
        cases.len(),
        worst.fold(0.0, f64::max)
    ));
    if failed + errors > 0 || passed == 0 { Err(Failure::Found) } else { printed }
}

fn ways(args: &CheckArgs, reporter: &Reporter) -> Result<(String, Vec<Way>)> {
    if args.device.device == REFERENCE {
        return Ok((REFERENCE.into(), vec![Way { name: REFERENCE, engine: None }]));
    }
    let engine = args.device.open(Strategy::Auto, reporter)?;
    let device = describe(engine.info());
    if engine.info().is_cpu_path {
        return Ok((device, vec![Way { name: "cpu", engine: Some(engine) }]));
    }
    let strategies = [Strategy::Auto, Strategy::StepPerDispatch, Strategy::Resident];
    let way = |s: Strategy| Way { name: s.name(), engine: Some(engine.with_strategy(s)) };
    Ok((device, strategies.map(way).into()))
}

/// Lists the case folders in the order of their names.
fn case_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join("model.onnx").is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut cases: Vec<PathBuf> =
        entries(folder)?.into_iter().filter(|p| p.join("model.onnx").is_file()).collect();
    cases.sort();
    if cases.is_empty() {
        return Err(format_error(format!(
            "{}: expected case folders with a model.onnx each, got none",
            folder.display()
        ))
        .into());
    }
    Ok(cases)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| io_error(folder.display(), "read", e);
    let listing = std::fs::read_dir(folder).map_err(failed)?;
    let paths = listing.map(|entry| Ok(entry.map_err(failed)?.path()));
    paths.collect()
}

fn check_case(folder: &Path, ways: &[Way], tolerance: (f64, f64)) -> Vec<Row> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let row = |strategy, status, max_abs, detail| Row {
        case: name.clone(),
        strategy,
        status,
        max_abs,
        detail,
    };
    let loaded = OnnxModel::load(folder.join("model.onnx")).map_err(Failure::from).and_then(|m| {
        let sets = data_sets(folder, &m)?;
        Ok((m, sets))
    });
    let (model, sets) = match loaded {
        Ok(loaded) => loaded,
        Err(failure) => return vec![row(ways[0].name, "error", f64::NAN, text(&failure))],
    };
    let outcome = |way: &Way| match compare_sets(&model, &sets, way, tolerance) {
        Ok((max_abs, None)) => row(way.name, "pass", max_abs, String::new()),
        Ok((max_abs, Some(fault))) => row(way.name, "fail", max_abs, fault),
        Err(Failure::Failed(e))
            if e.kind() == ErrorKind::Unsupported && way.name == Strategy::Resident.name() =>
        {
            row(way.name, "refused", f64::NAN, e.to_string())
        }
        Err(failure) => row(way.name, "error", f64::NAN, text(&failure)),
    };
    ways.iter().map(outcome).collect()
}

fn text(failure: &Failure) -> String {
    match failure {
        Failure::Usage(message) => message.clone(),
        Failure::Failed(error) => error.to_string(),
        Failure::Found => "a fault was found".into(),
    }
}

type Named = Vec<(String, Array)>;

/// Reads `test_data_set_*`: inputs and outputs, named as the graph names them.
fn data_sets(folder: &Path, model: &OnnxModel) -> Result<Vec<(Named, Named)>> {
    let mut folders: Vec<PathBuf> = entries(folder)?
        .into_iter()
        .filter(|path| path.is_dir() && file_name(path).starts_with("test_data_set_"))
        .collect();
    folders.sort();
    let ports = |ports: &[wgpu_rnn::onnx::Port]| ports.iter().map(|p| p.name.clone()).collect();
    let (inputs, outputs): (Vec<String>, Vec<String>) =
        (ports(model.inputs()), ports(model.outputs()));
    let sets: Vec<_> = folders
        .iter()
        .map(|set| Ok((arrays(set, "input_", &inputs)?, arrays(set, "output_", &outputs)?)))
        .collect::<Result<_>>()?;
    if sets.iter().all(|(_, outputs)| outputs.is_empty()) {
        let place = folder.display();
        return Err(format_error(format!("{place}: expected output_*.pb files, got none")).into());
    }
    Ok(sets)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn arrays(folder: &Path, prefix: &str, names: &[String]) -> Result<Named> {
    let mut files: Vec<(usize, PathBuf)> = entries(folder)?
        .into_iter()
        .filter_map(|path| {
            let name = file_name(&path);
            let number = name.strip_prefix(prefix)?.strip_suffix(".pb")?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|(number, path)| {
            let bytes = std::fs::read(&path).map_err(|e| io_error(path.display(), "read", e))?;
            let (name, array) = read_tensor(&bytes).map_err(|e| e.in_context(path.display()))?;
            let by_order = || names.get(number).cloned().unwrap_or_default();
            Ok((if name.is_empty() { by_order() } else { name }, array))
        })
        .collect()
}

/// Runs every data set; gives the largest difference and the first fault.
fn compare_sets(
    model: &OnnxModel,
    sets: &[(Named, Named)],
    way: &Way,
    tolerance: (f64, f64),
) -> Result<(f64, Option<String>)> {
    let (mut worst, mut fault) = (0.0f64, None);
    for (inputs, expected) in sets {
        let batch = model.batch(inputs)?;
        let output = match &way.engine {
            Some(engine) => {
                engine.load(model.model())?.run_blocking_with(&batch, &model.run_options())?
            }
            None => {
                from_reference(reference::run::<f64>(model.model(), &batch, &model.run_options())?)
            }
        };
        let got = model.results(&batch, &output)?;
        for (name, want) in expected {
            let found = got.iter().find(|(n, _)| n == name).map(|(_, array)| array);
            let (max_abs, first) = compare(name, found, want, tolerance);
            worst = if max_abs.is_nan() { f64::NAN } else { worst.max(max_abs) };
            fault = fault.or(first);
        }
    }
    Ok((worst, fault))
}

#[expect(clippy::cast_possible_truncation, reason = "results are reported as f32")]
fn from_reference(output: reference::ReferenceOutput<f64>) -> Output {
    let narrow = |t: &Tensor<f64>| Tensor::from_fn(t.shape(), |i| t.data()[i] as f32);
    Output {
        output: narrow(&output.output),
        states: States {
            h: output.h.iter().map(narrow).collect(),
            c: output.c.iter().map(|c| c.as_ref().map(narrow)).collect(),
        },
    }
}

fn values(array: &Array) -> Vec<f64> {
    match array {
        Array::F32(tensor) => tensor.data().iter().map(|v| f64::from(*v)).collect(),
        #[expect(clippy::cast_precision_loss, reason = "compared as numbers of order one")]
        Array::I64(tensor) => tensor.data().iter().map(|v| *v as f64).collect(),
    }
}

/// An element passes when `|got − want| ≤ atol + rtol·|want|`, or both are NaN or the same infinity.
fn compare(
    name: &str,
    got: Option<&Array>,
    want: &Array,
    (atol, rtol): (f64, f64),
) -> (f64, Option<String>) {
    let Some(got) = got else {
        return (f64::NAN, Some(format!("{name}: expected an output of that name, got none")));
    };
    if got.shape() != want.shape() {
        let (want, got) = (want.shape(), got.shape());
        return (f64::NAN, Some(format!("{name}: expected shape {want:?}, got {got:?}")));
    }
    let (mut worst, mut fault) = (0.0f64, None);
    for (index, (got, want)) in values(got).into_iter().zip(values(want)).enumerate() {
        if (got.is_nan() && want.is_nan()) || got.to_bits() == want.to_bits() {
            continue;
        }
        let diff = (got - want).abs();
        let is_close = want.is_finite() && diff <= atol + rtol * want.abs();
        if !is_close && fault.is_none() {
            fault = Some(format!("{name}, element {index}: expected {want:e}, got {got:e}"));
        }
        worst = if diff.is_nan() { f64::NAN } else { worst.max(diff) };
    }
    (worst, fault)
}

fn write_report(path: &Path, device: &str, rows: &[Row]) -> Result<()> {
    let failed = |e| io_error(path.display(), "write", e);
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    for row in rows {
        let max_abs = row.max_abs.is_finite().then_some(row.max_abs);
        let line = json!({
            "case": row.case, "device": device, "strategy": row.strategy, "status": row.status,
            "max_abs": max_abs, "detail": row.detail,
        });
        writeln!(file, "{line}").map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    Ok(())
}

/// Lists what did not pass; a pass is a number in the last line.
fn table(rows: &[Row]) -> String {
    let mut table = Table::new([
        ("case", Align::Left),
        ("strategy", Align::Left),
        ("result", Align::Left),
        ("detail", Align::Left),
    ]);
    let faults = || rows.iter().filter(|row| matches!(row.status, "fail" | "error"));
    if faults().next().is_none() {
        return String::new();
    }
    for row in faults() {
        let detail = row.detail.replace('\n', "; ");
        table.row([row.case.clone(), row.strategy.into(), row.status.into(), detail]);
    }
    format!("{}\n", table.render(""))
}
