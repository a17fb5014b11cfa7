//! `rnn bench`: how fast devices run recurrent networks.
//!
//! `args` and `suites` say what to measure, `workload` describes it, `oracle` makes it ready with the
//! results that must come out, `sites` opens the devices, `prepare` turns a workload on a device into
//! calls, `measure` and `recording` time them, `drive` goes through all of it, and `record`, `print`, `compare`,
//! `verdict`, `calibration` and `html` say what came out.

mod args;
mod calibration;
mod compare;
mod drive;
mod html;
mod measure;
mod oracle;
mod prepare;
mod print;
mod record;
mod recording;
mod session;
mod sites;
mod suites;
mod verdict;
mod workload;

pub(crate) use self::args::BenchArgs;

use serde_json::Value;

use self::args::OutputFormat;
use self::compare::Comparison;
use self::drive::{Judged, Results, Sweep};
use self::record::{Build, Record, Status};
use self::sites::Site;
use self::suites::Suite;
use self::workload::{Workload, as_f64};
use crate::data::Draft;
use crate::device::Allowed;
use crate::failure::{Failure, Result};
use crate::report::Reporter;
use crate::table::{Align, Table};
use crate::{plot, print};

/// Runs the subcommand.
///
/// # Errors
/// [`Failure::Found`] when a result is wrong, a choice too slow or none judged under `--assert`, or a
/// measure slower or none compared under `--fail-on-regression`; device and I/O failures.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let workloads = args.workloads()?;
    if args.list {
        return print(&list(&workloads));
    }
    let old = args.compare.as_deref().map(compare::load).transpose()?;
    let draft = args.html.as_deref().map(Draft::create).transpose()?;
    let mut reporter = Reporter::new(args.quiet);
    let allowed = Allowed::by(&args.strategies());
    let sites = sites::open(&args.devices(), args.precision.precision, allowed, &reporter)?;
    let build = Build::now(args.suite_name());
    if args.suite == Some(Suite::Calibration) {
        return print(&constants(&sites, args.output)?);
    }
    let (results, printed) = sweep(args, &build, &sites, &workloads, &mut reporter);
    let records = &results.records;
    if let Some(draft) = draft {
        plot::save(&html::page(records, &build, &sites), draft)?;
    }
    let comparison = old.map(|old| compare::compare(&old, records));
    let mut text = match args.output {
        OutputFormat::Jsonl => String::new(),
        format => print::render(records, &build, format)?,
    };
    if let Some(comparison) = &comparison {
        let words = comparison_text(comparison);
        if args.output == OutputFormat::Md {
            text += &words;
        } else {
            // What a program reads stays whole.
            eprint!("{words}");
        }
    }
    let printed = printed.and_then(|()| print(&text));
    let is_bad = conclude(args, &results, comparison.as_ref(), &reporter);
    // The verdict stands whether or not somebody reads the table.
    if is_bad { Err(Failure::Found) } else { printed }
}

/// Says what is wrong, and returns whether something is.
fn conclude(
    args: &BenchArgs,
    results: &Results,
    comparison: Option<&Comparison>,
    reporter: &Reporter,
) -> bool {
    let wrong = results.records.iter().filter(|record| record.status == Status::Error);
    let mut is_bad = false;
    for record in wrong {
        let (name, measure) = (&record.workload, record.measure.name());
        reporter.warn(&format!("{name}, {measure}: {}", print::reason(record)));
        is_bad = true;
    }
    for Judged { what, used, verdict } in &results.judged {
        let line = format!(
            "{what}: auto ({used}) takes {:.2} times as long as the best other, {}",
            verdict.ratio,
            verdict.best.name()
        );
        if verdict.is_good() {
            reporter.note(&line);
        } else {
            reporter.warn(&line);
            is_bad = true;
        }
    }
    if args.assert {
        let good = results.judged.iter().filter(|judged| judged.verdict.is_good()).count();
        let judged = results.judged.len();
        reporter.note(&format!("assert: {good} of {judged} choices are good"));
        if judged == 0 {
            reporter.warn(
                "nothing was compared: no workload ran with more than one strategy (--assert)",
            );
            is_bad = true;
        }
    }
    if args.fail_on_regression && comparison.is_some_and(|c| c.compared == 0) {
        reporter.warn(
            "nothing was compared: the earlier run has none of these measures on these devices \
             (--fail-on-regression)",
        );
        is_bad = true;
    }
    is_bad | (args.fail_on_regression && comparison.is_some_and(|c| c.regressions > 0))
}

/// Measures everything, with progress on standard error. Lines of JSON are printed as they come, so that a
/// run that is killed leaves what it measured; gives what became of printing them.
fn sweep(
    args: &BenchArgs,
    build: &Build,
    sites: &[Site],
    workloads: &[Workload],
    reporter: &mut Reporter,
) -> (Results, Result<()>) {
    let strategies = args.strategies();
    let count: usize = workloads.iter().map(|w| args.measures(w).len()).sum();
    let count = count * sites.len() * strategies.len();
    let least = as_f64(count) * (as_f64(args.repetitions) + 1.0) * as_f64(args.sample_ms) / 1e3;
    reporter.note(&format!(
        "up to {count} measures, {} samples each: at least {least:.0} s",
        args.repetitions
    ));
    let precision = args.precision.precision;
    let sweep = Sweep { args, build: build.clone(), strategies, precision };
    let mut results = Results::default();
    // Progress goes by work: a shape with more of it takes longer.
    let weights: Vec<u64> = workloads.iter().map(weight).collect();
    let work = weights.iter().copied().fold(0, u64::saturating_add);
    reporter.start_work(work.saturating_mul(sites.len() as u64));
    let mut printed = Ok(());
    let mut each = |records: &[Record]| {
        if args.output == OutputFormat::Jsonl && printed.is_ok() {
            let lines = print::render(records, build, args.output);
            printed = lines.and_then(|lines| reporter.aside(|| print(&lines)));
        }
    };
    for site in sites {
        for (workload, weight) in workloads.iter().zip(&weights) {
            reporter.doing(&workload.name());
            sweep.workload(site, workload, &mut results, &mut each);
            reporter.advance_work(*weight);
        }
    }
    let elapsed = reporter.stop();
    reporter.note(&format!("measured in {:.1} s", elapsed.as_secs_f64()));
    (results, printed)
}

/// Samples take a fixed time, and what exceeds it takes longer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive estimate, which saturates"
)]
fn weight(workload: &Workload) -> u64 {
    ((workload.flops() / 1e7) as u64).saturating_add(100)
}

fn list(workloads: &[Workload]) -> String {
    let mut table = Table::new([
        ("workload", Align::Left),
        ("lengths", Align::Left),
        ("GFLOP", Align::Right),
        ("measures", Align::Left),
    ]);
    for workload in workloads {
        let measures: Vec<&str> = workload.measures().iter().map(|m| m.name()).collect();
        table.row([
            workload.name(),
            workload.lengths.name().to_owned(),
            print::figure(workload.flops() / 1e9),
            measures.join(", "),
        ]);
    }
    table.render("")
}

fn constants(sites: &[Site], format: OutputFormat) -> Result<String> {
    let devices: Vec<_> = sites.iter().map(calibration::of_site).collect();
    Ok(match format {
        OutputFormat::Md => calibration::as_table(&devices).markdown(),
        OutputFormat::Csv => return print::csv_of(&calibration::as_numbers(&devices)),
        OutputFormat::Json => format!("{:#}\n", Value::from(calibration::as_json(&devices))),
        OutputFormat::Jsonl => {
            calibration::as_json(&devices).iter().map(|value| format!("{value}\n")).collect()
        }
    })
}

fn comparison_text(comparison: &Comparison) -> String {
    let Comparison { table, regressions, compared } = comparison;
    if *compared == 0 {
        return "\nNothing to compare: the earlier run has none of these measures.\n".to_owned();
    }
    format!(
        "\nAgainst the earlier run:\n\n{}\n{regressions} of {compared} measures became slower beyond \
         noise\n",
        table.markdown()
    )
}
