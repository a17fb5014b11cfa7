//! `rnn check`: the case table on a device, against the f64 reference; or a folder of ONNX cases.

mod suite;

use std::path::PathBuf;

use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use wgpu_rnn::check::{Case, CaseReport, SOFTWARE_SAMPLE, cases, drivers, run_case};
use wgpu_rnn::{Batch, Engine, Model, Precision, RunOptions, Strategy};

use crate::args::Overrides;
use crate::data::{Values, Wanted};
use crate::device::{Allowed, DeviceArgs, PrecisionArgs, describe};
use crate::failure::{Failure, Result};
use crate::print;
use crate::report::Reporter;
use crate::run::to_batch;
use crate::table::{Align, Table};

/// Check a device against the f64 reference.
///
/// Every case runs on every strategy that the device offers. The exit code is 1 when one of them
/// fails, and when nothing ran.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rnn check
  rnn check --device 1
  rnn check --list --filter lstm
  rnn check model.safetensors --json
  rnn check --onnx onnx/backend/test/data/node --filter lstm --device cpu
  rnn check --onnx cases --device reference --rtol 1e-5 --atol 1e-6 -o report.jsonl

A folder of ONNX cases holds <case>/model.onnx and <case>/test_data_set_<n>/input_<k>.pb and
output_<k>.pb, or is one case itself. Every case runs on every strategy of the device; a line of the
report has case, device, strategy, status (pass, fail, refused by this strategy, error), max_abs and
detail.")]
pub(crate) struct CheckArgs {
    /// Model file to check beside the built-in cases, on random input of several shapes
    model: Option<PathBuf>,

    #[command(flatten)]
    overrides: Overrides,

    /// Run the cases of this folder instead, in the layout of ONNX's backend tests; for them --device
    /// may also be reference, the f64 reference
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    onnx: Option<PathBuf>,

    /// Absolute tolerance for --onnx [default: 1e-7, as ONNX's own runner]
    #[arg(long, value_name = "A", requires = "onnx", value_parser = parse_tolerance)]
    atol: Option<f64>,

    /// Relative tolerance for --onnx [default: 1e-3, as ONNX's own runner]
    #[arg(long, value_name = "R", requires = "onnx", value_parser = parse_tolerance)]
    rtol: Option<f64>,

    /// Write the report of --onnx to this file, a JSON line per case and strategy, or - for standard
    /// output
    #[arg(short, long, value_name = "FILE.jsonl", requires = "onnx")]
    output: Option<PathBuf>,

    #[command(flatten)]
    device: DeviceArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    /// Run the cases with strategy grid-persistent too, whose workgroups wait for one another; on adapters
    /// where a trial shows that they run side by side
    #[arg(long, conflicts_with = "onnx")]
    grid_persistent: bool,

    /// Run the cases with strategy step-matrix too, and multiply with cooperative matrices in --precision f16;
    /// on adapters that have them
    #[arg(long, conflicts_with = "onnx")]
    cooperative_matrix: bool,

    /// List the names of the cases and run nothing
    #[arg(long)]
    list: bool,

    /// Take only the cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| "expected a number of at least 0".to_owned())
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure::Found`] when a case failed or none ran; device failures.
pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    if let Some(folder) = &args.onnx {
        args.overrides_need_a_model()?;
        if args.precision.precision != Precision::F32 {
            return Err(Failure::usage(format!(
                "--precision {}: expected f32 with --onnx, whose cases are held to f32's tolerance",
                args.precision.precision.name()
            )));
        }
        return suite::run(args, folder);
    }
    let list = gather(args)?;
    if args.list {
        let names = list.iter().map(|case| case.name.as_str());
        return print_names(&names.collect::<Vec<_>>(), args.json);
    }
    let mut reporter = Reporter::new(args.quiet);
    let allowed = Allowed {
        grid_persistent: args.grid_persistent,
        cooperative_matrix: args.cooperative_matrix,
    };
    let engine = args.device.open_for(Strategy::Auto, allowed, &reporter)?;
    let engine = args.precision.apply(engine)?;
    reporter.start(Some(list.len()));
    let mut reports = Vec::new();
    if engine.info().is_software && args.filter.is_none() {
        reporter.note(&format!(
            "one case in {SOFTWARE_SAMPLE} runs on the drivers that this adapter compiles slowly \
             (--filter TEXT runs all drivers)"
        ));
    }
    for (index, case) in list.iter().enumerate() {
        let index = if args.filter.is_some() { 0 } else { index };
        let mut strategies = drivers(&engine, index);
        strategies.extend(allowed.strategies());
        reports.extend(pollster::block_on(run_case(&engine, case, &strategies))?);
        reporter.advance(case.batch.batch_size(), case.batch.total_steps());
    }
    reporter.stop();
    let totals = Totals::of(&reports);
    let printed = print(&if args.json {
        as_json(&engine, &reports, &totals)
    } else {
        as_text(&engine, &reports, &totals)
    });
    if totals.passed == 0 && totals.failed == 0 {
        reporter.warn("nothing was compared");
    }
    // The verdict stands whether or not somebody reads the table.
    if totals.failed > 0 || totals.passed == 0 { Err(Failure::Found) } else { printed }
}

fn gather(args: &CheckArgs) -> Result<Vec<Case>> {
    let mut list = cases();
    match &args.model {
        Some(path) => {
            list.extend(model_cases(&args.overrides.load(path)?, &path.display().to_string())?)
        }
        None => args.overrides_need_a_model()?,
    }
    if let Some(text) = &args.filter {
        list.retain(|case| case.name.contains(text.as_str()));
    }
    Ok(list)
}

impl CheckArgs {
    fn overrides_need_a_model(&self) -> Result<()> {
        match self.overrides.given() {
            Some(option) => {
                Err(Failure::usage(format!("{option}: expected a model file to apply it to")))
            }
            None => Ok(()),
        }
    }
}

/// Makes cases of a model's own: one step, a full batch, and ragged lengths with an empty sequence.
fn model_cases(model: &Model, name: &str) -> Result<Vec<Case>> {
    let shapes: [(&str, &[usize]); 4] = [
        ("1 sequence, 1 step", &[1]),
        ("1 sequence, 40 steps", &[40]),
        ("5 sequences, 12 steps", &[12; 5]),
        ("6 sequences, ragged", &[9, 0, 17, 1, 17, 4]),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(1);
    shapes
        .iter()
        .map(|(shape, lengths)| {
            let batch = random_batch(model, lengths, &mut random)?;
            let (model, options) = (model.clone(), RunOptions::default());
            Ok(Case { name: format!("{name}: {shape}"), model, batch, options })
        })
        .collect()
}

fn random_batch(model: &Model, lengths: &[usize], random: &mut ChaCha8Rng) -> Result<Batch> {
    let wanted = Wanted::of(model);
    let mut sequence = |steps: usize| match wanted.vocab {
        Some(vocab) => {
            let vocab = u32::try_from(vocab).unwrap_or(u32::MAX);
            Values::Tokens((0..steps).map(|_| random.next_u32() % vocab).collect())
        }
        None => Values::Dense((0..steps * wanted.features).map(|_| unit(random)).collect()),
    };
    let sequences: Vec<Values> = lengths.iter().map(|&steps| sequence(steps)).collect();
    Ok(to_batch(&sequences.iter().collect::<Vec<_>>(), &wanted)?)
}

/// Draws from [-1, 1) in steps that f32 holds exactly.
fn unit(random: &mut ChaCha8Rng) -> f32 {
    let bits = u16::try_from(random.next_u32() & 0xffff).unwrap_or_default();
    f32::from(bits) / 32768.0 - 1.0
}

struct Totals {
    passed: usize,
    failed: usize,
    refused: usize,
    worst: f64,
}

impl Totals {
    fn of(reports: &[CaseReport]) -> Self {
        let count =
            |wanted: &str| reports.iter().filter(|report| verdict(report) == wanted).count();
        let compared = reports.iter().filter(|report| report.refused.is_none());
        Self {
            passed: count("pass"),
            failed: count("FAIL"),
            refused: count("n/a"),
            worst: compared.map(|report| report.max_abs).fold(0.0, f64::max),
        }
    }
}

fn verdict(report: &CaseReport) -> &'static str {
    match (&report.fault, &report.refused) {
        (Some(_), _) => "FAIL",
        (None, Some(_)) => "n/a",
        (None, None) => "pass",
    }
}

fn print_names(names: &[&str], json: bool) -> Result<()> {
    if json {
        return print(&format!("{:#}\n", Value::from(names)));
    }
    print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
}

fn as_text(engine: &Engine, reports: &[CaseReport], totals: &Totals) -> String {
    let mut table = Table::new([
        ("case", Align::Left),
        ("strategy", Align::Left),
        ("max error", Align::Right),
        ("result", Align::Left),
    ]);
    for report in reports {
        let reason = report.fault.as_ref().or(report.refused.as_ref());
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let error =
            if report.refused.is_some() { "-".into() } else { format!("{:.1e}", report.max_abs) };
        let result = format!("{}{reason}", verdict(report));
        table.row([report.case.clone(), report.strategy.clone(), error, result]);
    }
    let Totals { passed, failed, refused, worst } = totals;
    format!(
        "{}\n{passed} passed, {failed} failed, {refused} not applicable; largest error {worst:.1e}; {}\n",
        table.render(""),
        describe(engine.info())
    )
}

fn as_json(engine: &Engine, reports: &[CaseReport], totals: &Totals) -> String {
    let rows: Vec<Value> = reports
        .iter()
        .map(|report| {
            json!({
                "case": report.case, "strategy": report.strategy, "result": verdict(report),
                "max_abs": report.max_abs, "fault": report.fault, "refused": report.refused,
            })
        })
        .collect();
    let info = engine.info();
    let record = json!({
        "device": { "name": info.name, "backend": info.backend, "driver": info.driver },
        "passed": totals.passed,
        "failed": totals.failed,
        "refused": totals.refused,
        "max_abs": totals.worst,
        "cases": rows,
    });
    format!("{record:#}\n")
}
