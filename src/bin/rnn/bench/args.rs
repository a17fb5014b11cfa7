//! Arguments of `rnn bench`, and the lists of numbers that its shape flags take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wgpu_rnn::{Cell, Strategy, StreamOptions};

use super::suites::Suite;
use super::workload::{Lengths, Measure, Workload};
use crate::args::parse_positive;
use crate::device::{PrecisionArgs, parse_device};
use crate::failure::{Failure, Result};

/// Measure how fast devices run recurrent networks, and compare them.
///
/// Every result is compared with the f64 reference before anything is timed; a wrong one is an error
/// and gives exit code 1.
#[derive(Args, Debug)]
#[command(after_help = after_help())]
pub(crate) struct BenchArgs {
    /// The workloads [default: quick, unless a shape is given]
    #[arg(long, value_enum, value_name = "NAME")]
    pub(super) suite: Option<Suite>,

    #[command(flatten)]
    pub(super) shape: ShapeArgs,

    /// Take only the workloads whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,

    /// Where to compute: as for the other commands, several with commas, or all: every adapter and
    /// the CPU path
    #[arg(
        long,
        value_name = "all|auto|cpu|gpu|INDEX|NAME",
        default_value = "auto",
        value_delimiter = ',',
        value_parser = parse_device
    )]
    device: Vec<String>,

    /// How the time loop runs on a GPU: several with commas, or all
    #[arg(
        long,
        value_name = "all|auto|step|...",
        default_value = "auto",
        value_delimiter = ',',
        value_parser = parse_strategy
    )]
    strategy: Vec<Strategies>,

    #[command(flatten)]
    pub(super) precision: PrecisionArgs,

    /// Fail when the automatic choice is more than 10 % slower than the best strategy that the
    /// device takes, or nothing could be compared; measures layer or frame with all of them, and
    /// again three times as long before it fails
    #[arg(long)]
    pub(super) assert: bool,

    /// Samples of each measure
    #[arg(short = 'r', long, value_name = "N", default_value = "5", value_parser = parse_positive)]
    pub(super) repetitions: usize,

    /// The least time of a sample, in milliseconds: what is measured is repeated so long
    #[arg(long, value_name = "MS", default_value = "50", value_parser = parse_positive)]
    pub(super) sample_ms: usize,

    /// Leave out workloads whose weights, inputs and outputs take more than this on the host, in GiB
    #[arg(long, value_name = "GIB", default_value = "4", value_parser = parse_positive)]
    pub(super) max_memory: usize,

    /// The format of standard output
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "md")]
    pub(super) output: OutputFormat,

    /// Compare with an earlier run: a file of -o json or -o jsonl
    #[arg(long, value_name = "OLD.json")]
    pub(super) compare: Option<PathBuf>,

    /// With --compare, exit with code 1 when something became slower beyond noise, or nothing could
    /// be compared
    #[arg(long, requires = "compare")]
    pub(super) fail_on_regression: bool,

    /// Write a page with charts and the table to this file, which needs nothing but itself
    #[arg(long, value_name = "FILE.html")]
    pub(super) html: Option<PathBuf>,

    /// List the workloads and run nothing
    #[arg(long)]
    pub(super) list: bool,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    pub(super) quiet: bool,
}

fn after_help() -> String {
    let depth = StreamOptions::default().depth;
    format!(
        "Shape flags take comma lists and ranges, and every combination runs:
  64,128,256     these
  64..512*2      64, 128, 256, 512
  8..32+8        8, 16, 24, 32
  1..4           1, 2, 3, 4

Measures:
  recurrence     one-hot tokens of 16 in place of the input: the products with h alone; from submit
                 to idle
  layer          the whole network, from submit to idle: no upload, no readback
  end_to_end     a run: upload, compute, readback
  frame          one step of one sequence, its state kept on the device (suite stream)
  stream         batches of which {depth} are in flight at a time, per batch (suite stream)

Examples:
  rnn bench                                             about a minute on a small machine
  rnn bench --device all --html report.html             every adapter and the CPU path
  rnn bench --suite deepbench --device gpu -o json > deepbench.json
  rnn bench --cell lstm --hidden 64..1024*2 --batch 1,16 --steps 100
  rnn bench --strategy all --assert
  rnn bench -o json > new.json --compare old.json --fail-on-regression"
    )
}

/// One shape, or the product of several.
#[derive(Args, Debug)]
pub(super) struct ShapeArgs {
    /// Cells, with commas [default: lstm]
    #[arg(
        long,
        value_parser = parse_cell,
        value_delimiter = ',',
        value_name = "rnn-tanh|rnn-relu|lstm|gru|gru-reset-before"
    )]
    cell: Vec<Cell>,

    /// Input features [default: 128]
    #[arg(long, value_parser = parse_numbers, value_name = "LIST")]
    input: Option<Numbers>,

    /// Hidden units [default: 128]
    #[arg(long, value_parser = parse_numbers, value_name = "LIST")]
    hidden: Option<Numbers>,

    /// Sequences [default: 32]
    #[arg(long, value_parser = parse_numbers, value_name = "LIST")]
    batch: Option<Numbers>,

    /// Time steps [default: 100]
    #[arg(long, value_parser = parse_numbers, value_name = "LIST")]
    steps: Option<Numbers>,

    /// Layers [default: 1]
    #[arg(long, value_parser = parse_numbers, value_name = "LIST")]
    layers: Option<Numbers>,

    /// Both directions
    #[arg(long)]
    bidirectional: bool,

    /// Lengths of the sequences: all the same, or drawn from a log-normal distribution; both with a
    /// comma [default: full]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "full|log-normal")]
    lengths: Vec<Lengths>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// A Markdown table
    Md,
    /// Comma-separated values with a header
    Csv,
    /// One JSON array
    Json,
    /// One JSON object a line, printed as soon as it is measured
    Jsonl,
}

/// A list of sizes as the command line gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbers(Vec<usize>);

/// What one word of --strategy stands for.
#[derive(Clone, Debug)]
struct Strategies(Vec<Strategy>);

/// The planner's choice, then what it chooses from.
fn every() -> Vec<Strategy> {
    [Strategy::Auto].into_iter().chain(Strategy::DRIVERS).collect()
}

fn parse_strategy(text: &str) -> Result<Strategies, String> {
    let text = text.trim();
    if text == "all" {
        return Ok(Strategies(every()));
    }
    let one = crate::args::parse_strategy(text);
    one.map(|strategy| Strategies(vec![strategy])).map_err(|words| format!("{words}, or all"))
}

fn parse_cell(text: &str) -> Result<Cell, String> {
    Cell::from_name(text.trim())
        .ok_or_else(|| format!("expected {}", Cell::ALL.map(|cell| cell.name()).join(", ")))
}

/// Keeps the first of what is there more than once.
fn once<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    for item in items {
        if !list.contains(&item) {
            list.push(item);
        }
    }
    list
}

/// The most numbers of a list: more is a typing error.
const MOST: usize = 1000;
/// The most workloads of a shape: each takes a fraction of a second at least.
const MOST_WORKLOADS: usize = 10_000;
/// The most sequences whose lengths are drawn one by one, for every line of a list.
const MOST_DRAWN: usize = 1 << 24;

/// Parses `64,128`, `64..512*2`, `8..32+8`, `1..4`.
fn parse_numbers(text: &str) -> Result<Numbers, String> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let Some((first, rest)) = part.split_once("..") else {
            numbers.push(parse_positive(part.trim())?);
            continue;
        };
        let at = rest.find(['*', '+']).unwrap_or(rest.len());
        let (last, step) = rest.split_at(at);
        let (mut number, last) = (parse_positive(first.trim())?, parse_positive(last.trim())?);
        let by = step.get(1..).map_or(Ok(1), |by| parse_positive(by.trim()))?;
        let is_product = step.starts_with('*');
        if last < number || (is_product && by < 2) {
            return Err(format!("{part}: expected a range that rises, such as 64..512*2"));
        }
        while number <= last && numbers.len() <= MOST {
            numbers.push(number);
            number = if is_product { number.saturating_mul(by) } else { number.saturating_add(by) };
        }
    }
    if numbers.len() > MOST {
        return Err(format!("expected at most {MOST} numbers"));
    }
    Ok(Numbers(once(numbers)))
}

impl ShapeArgs {
    fn is_given(&self) -> bool {
        let lists = [&self.input, &self.hidden, &self.batch, &self.steps, &self.layers];
        !self.cell.is_empty()
            || lists.iter().any(|list| list.is_some())
            || self.bidirectional
            || !self.lengths.is_empty()
    }

    /// Returns every combination.
    ///
    /// # Errors
    /// Usage when there are too many, or lengths of too many sequences would be drawn.
    fn workloads(&self) -> Result<Vec<Workload>> {
        let list = |numbers: &Option<Numbers>, default: usize| {
            numbers.as_ref().map_or(vec![default], |numbers| numbers.0.clone())
        };
        let (mut cells, mut lengths) = (once(self.cell.clone()), once(self.lengths.clone()));
        if cells.is_empty() {
            cells.push(Cell::Lstm);
        }
        if lengths.is_empty() {
            lengths.push(Lengths::Full);
        }
        type Set = fn(&mut Workload, usize);
        let axes: [(Vec<usize>, Set); 5] = [
            (list(&self.input, 128), |w, n| w.input = n),
            (list(&self.hidden, 128), |w, n| w.hidden = n),
            (list(&self.batch, 32), |w, n| w.batch = n),
            (list(&self.steps, 100), |w, n| w.steps = n),
            (list(&self.layers, 1), |w, n| w.layers = n),
        ];
        let sizes = axes.iter().map(|(numbers, _)| numbers.len());
        let count = sizes.fold(cells.len() * lengths.len(), usize::saturating_mul);
        if count > MOST_WORKLOADS {
            return Err(Failure::usage(format!(
                "--hidden and the other lists: expected at most {MOST_WORKLOADS} combinations, got \
                 {count} (shorter lists, or several calls)"
            )));
        }
        let start = Workload::new(Cell::Lstm, [0, 0, 0, 0]);
        let mut all = vec![Workload { bidirectional: self.bidirectional, ..start }];
        for (numbers, set) in axes {
            let with = |w: &Workload, n: usize| {
                let mut workload = w.clone();
                set(&mut workload, n);
                workload
            };
            all = all.iter().flat_map(|w| numbers.iter().map(move |n| with(w, *n))).collect();
        }
        let with_lengths = |w: &Workload| {
            lengths.iter().map(|l| Workload { lengths: *l, ..w.clone() }).collect::<Vec<_>>()
        };
        let all: Vec<Workload> = all.iter().flat_map(with_lengths).collect();
        let is_drawn = |w: &&Workload| w.lengths == Lengths::LogNormal && w.batch > MOST_DRAWN;
        if let Some(Workload { batch, .. }) = all.iter().find(is_drawn) {
            return Err(Failure::usage(format!(
                "--batch: expected at most {MOST_DRAWN} with --lengths log-normal, which are drawn \
                 one by one, got {batch}"
            )));
        }
        let of_cell = |cell: &Cell| {
            all.iter().map(|w| Workload { cell: *cell, ..w.clone() }).collect::<Vec<_>>()
        };
        Ok(cells.iter().flat_map(of_cell).collect())
    }
}

impl BenchArgs {
    /// Returns the suite's name, or `shape`.
    pub(super) fn suite_name(&self) -> &'static str {
        match self.suite {
            None if self.shape.is_given() => "shape",
            suite => suite.unwrap_or(Suite::Quick).name(),
        }
    }

    /// Returns what is to be measured.
    ///
    /// # Errors
    /// Usage when both a suite and a shape are given, too many workloads, or nothing is left; and for an
    /// option that the suite of constants has no use for.
    pub(super) fn workloads(&self) -> Result<Vec<Workload>> {
        if self.suite == Some(Suite::Calibration) {
            self.needs_no_workloads()?;
        }
        let mut list = match self.suite {
            Some(_) if self.shape.is_given() => {
                return Err(Failure::usage(
                    "--suite: expected a suite or a shape (--cell, --hidden and so on), got both",
                ));
            }
            None if self.shape.is_given() => self.shape.workloads()?,
            suite => suite.unwrap_or(Suite::Quick).workloads(),
        };
        if let Some(text) = &self.filter {
            list.retain(|workload| workload.name().contains(text.as_str()));
        }
        if list.is_empty() && self.suite != Some(Suite::Calibration) {
            return Err(Failure::usage("--filter: expected a part of a workload's name (--list)"));
        }
        Ok(list)
    }

    /// Refuses what the suite of constants has no use for: it times nothing.
    fn needs_no_workloads(&self) -> Result<()> {
        let given = [
            ("--html", self.html.is_some()),
            ("--compare", self.compare.is_some()),
            ("--fail-on-regression", self.fail_on_regression),
            ("--assert", self.assert),
            ("--filter", self.filter.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(Failure::usage(format!(
                "{name}: expected a suite of workloads, got calibration, which prints the constants \
                 of devices"
            ))),
            None => Ok(()),
        }
    }

    /// Lists what is timed of a workload.
    pub(super) fn measures(&self, workload: &Workload) -> Vec<Measure> {
        let all = workload.measures().iter().copied();
        all.filter(|measure| !self.assert || measure.is_judged()).collect()
    }

    /// Returns the words of --device, each once.
    pub(super) fn devices(&self) -> Vec<&str> {
        once(self.device.iter().map(String::as_str))
    }

    /// Returns the strategies, each once; --assert needs all of them.
    pub(super) fn strategies(&self) -> Vec<Strategy> {
        if self.assert {
            return every();
        }
        once(self.strategy.iter().flat_map(|word| &word.0).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_lists_and_ranges() {
        let cases: [(&str, &[usize]); 8] = [
            ("7", &[7]),
            ("64,128", &[64, 128]),
            ("64..512*2", &[64, 128, 256, 512]),
            ("8..32+8", &[8, 16, 24, 32]),
            ("1..4", &[1, 2, 3, 4]),
            ("1,10..30+10, 5", &[1, 10, 20, 30, 5]),
            ("5..12*2", &[5, 10]),
            ("16,16,8..32*2", &[16, 8, 32]),
        ];
        for (text, want) in cases {
            assert_eq!(parse_numbers(text), Ok(Numbers(want.to_vec())), "{text}");
        }
        for text in ["", "0", "a", "4..2", "1..8*1", "1..8*", "1..", "..4", "1..9-1", "1..99999"] {
            assert!(parse_numbers(text).is_err(), "{text}");
        }
    }
}
