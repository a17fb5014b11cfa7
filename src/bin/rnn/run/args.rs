//! The arguments of `rnn run`, and the checks that need nothing but them.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use wgpu_rnn::{Layout, Model, Strategy, Top};

use crate::args::{ModelArgs, parse_positive, parse_strategy};
use crate::data::{identity, read, write};
use crate::device::{DeviceArgs, PrecisionArgs};
use crate::failure::{Failure, Result};

/// Run a network over a data file.
///
/// Without --output the last steps are printed, and for networks that predict their own next input
/// the forecast.
#[derive(Args, Debug)]
#[command(after_help = "Input formats, told by the first bytes, then by the ending:
  .npy    floats [B, T, I] or [T, I]; with 1 feature also [B, T] (where the last axis is not 1) and
          [T]; for token networks integers [B, T] or [T]
  .npz    arrays input, and optionally lengths, h_0, c_0; for an .onnx model the arrays of its graph's
          inputs by their names, as one batch (a lone .npy is the first input)
  .csv    one sequence, rows are time steps; a header is optional; , ; and tab are told apart
  .jsonl  a sequence a line: {\"id\": 1, \"input\": [[0.1, 0.2], [0.3, 0.4]]}, {\"tokens\": [3, 1]},
          {\"text\": \"hello\"}, or a bare array
  .txt    a sequence a line, for networks with a vocabulary
  -       standard input, as .jsonl

Output formats:
  .npy    [B, T, O], or [B, O] for networks that give one row per sequence
  .npz    arrays output, h_n, c_n, and lengths when they differ; for an .onnx model and arrays in,
          its graph's outputs by their names, in its shapes (.npy is the first output)
  .csv    columns sequence, step, and the outputs
  .jsonl  {\"id\": 1, \"output\": [[0.5], [0.6]]}; - writes it to standard output
  With --top K, in place of the outputs: .csv index_1, label_1, value_1, ...; .jsonl {\"id\": 1, \"top\":
          [[{\"index\": 3, \"label\": \"e\", \"value\": 0.5}]]}; .npz top_indices (-1 for none), top_values.
          Labels where the model names its outputs or has a vocabulary.

Examples:
  rnn run sunspots.safetensors sunspots.csv
  rnn run sunspots.safetensors sunspots.csv --forecast 30 --plot forecast.svg
  rnn run model.safetensors input.npy -o output.npy --device cpu
  rnn run model.safetensors ragged.jsonl -o output.jsonl --batch-size 64
  rnn run model.safetensors part1.npy -o out1.npy --states carry.npz
  rnn run model.safetensors part2.npy -o out2.npy --initial carry.npz
  rnn run language.safetensors text.txt -o next.jsonl --top 5
  rnn run model.onnx inputs.npz -o outputs.npz
  echo '[[0.1], [0.2]]' | rnn run model.safetensors - -o -")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(super) model: ModelArgs,

    /// Input file (.npy, .npz, .csv, .jsonl, .txt), or - for JSON lines on standard input
    pub(super) input: PathBuf,

    /// Output file (.npy, .npz, .csv, .jsonl), or - for JSON lines on standard output; it appears
    /// once it is complete
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Write the final states to this .npz file (h_n, c_n)
    #[arg(long, value_name = "FILE.npz")]
    pub(super) states: Option<PathBuf>,

    /// Start from the states in this .npz file (h_0, c_0, or h_n, c_n of an earlier run)
    #[arg(long, value_name = "FILE.npz")]
    pub(super) initial: Option<PathBuf>,

    /// Lengths of the sequences of an .npy or .npz input: .npy integers, or text with one a line
    #[arg(long, value_name = "FILE")]
    pub(super) lengths: Option<PathBuf>,

    #[command(flatten)]
    pub(super) device: DeviceArgs,

    #[command(flatten)]
    pub(super) precision: PrecisionArgs,

    /// How the time loop runs on a GPU
    #[arg(long, default_value = "auto", value_parser = parse_strategy,
        value_name = "auto|step|resident|step-tile|resident-tile|stationary|step-split|wavefront|\
grid-persistent|step-matrix")]
    strategy: Strategy,

    /// Measure the two best strategies on each shape of batch, use the faster one, and keep that for
    /// later runs of this network on this device
    #[arg(long, conflicts_with = "strategy")]
    pub(super) autotune: bool,

    /// Sequences computed together [default: up to 256, fewer where they are long]
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    pub(super) batch_size: Option<usize>,

    /// Order of the first two axes of .npy and .npz arrays, in and out
    #[arg(long, value_enum)]
    layout: Option<LayoutName>,

    /// What stands in .npy and .npz outputs beyond the end of a sequence [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(super) pad_value: Option<f32>,

    /// Columns of a .csv input, by name, or by number from 1
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) columns: Vec<String>,

    /// Write the K largest values of every output row with their places, the largest first, in place of
    /// the row (1 to 16); the order is that of the scores before softmax
    #[arg(long, value_name = "K", value_parser = parse_positive)]
    pub(super) top: Option<usize>,

    /// Steps to predict beyond the end of a single sequence by feeding outputs back [default: 11
    /// where the network predicts its own next input and the summary or the plot shows it, else 0]
    #[arg(long, value_name = "N", value_parser = parse_forecast)]
    pub(super) forecast: Option<usize>,

    /// Draw the first sequence, its output and the forecast
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LayoutName {
    /// [B, T, ...]
    Batch,
    /// [T, B, ...]
    Time,
}

impl RunArgs {
    /// Returns the strategy that was asked for.
    pub(super) fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Returns the layout of arrays.
    pub(super) fn layout(&self) -> Layout {
        match self.layout {
            Some(LayoutName::Time) => Layout::TimeMajor,
            _ => Layout::BatchFirst,
        }
    }

    /// Returns the output file, where one is named (not standard output).
    pub(super) fn prints_summary(&self) -> bool {
        self.output.is_none()
    }

    /// Refuses every option that the formats at hand leave without effect.
    ///
    /// # Errors
    /// Usage, naming the option.
    pub(super) fn check(&self, input: read::Format) -> Result<()> {
        let output = self.output.as_deref().map(write::Format::of).transpose()?;
        let array_out = output.is_some_and(write::Format::is_array);
        let refuse = |wrong: bool, option: &str, want: &str| {
            if wrong { Err(Failure::usage(format!("{option}: expected {want}"))) } else { Ok(()) }
        };
        refuse(
            self.layout.is_some() && !input.is_array() && !array_out,
            "--layout",
            "an .npy or .npz input or output to apply it to",
        )?;
        refuse(
            self.lengths.is_some() && !input.is_array(),
            "--lengths",
            "an .npy or .npz input to apply it to",
        )?;
        refuse(
            !self.columns.is_empty() && input != read::Format::Csv,
            "--columns",
            "a .csv input to apply it to",
        )?;
        refuse(
            self.batch_size.is_some() && input == read::Format::Csv,
            "--batch-size",
            "an input of several sequences (a .csv is one)",
        )?;
        refuse(
            self.pad_value.is_some() && !array_out,
            "--pad-value",
            "an .npy or .npz output, which is padded",
        )?;
        let to_stdout = self.output.as_deref().is_some_and(write::is_stdout);
        refuse(
            to_stdout && self.plot.is_none() && self.forecast.unwrap_or(0) > 0,
            "--forecast",
            "no output on standard output, where the forecast is printed (or a --plot to draw it)",
        )?;
        let is_top = self.top.is_some();
        let formats = "--output .npz, .csv or .jsonl, or -, for places and values";
        refuse(is_top && matches!(output, None | Some(write::Format::Npy)), "--top", formats)?;
        refuse(is_top && self.plot.is_some(), "--top", "no --plot, which draws whole rows")?;
        refuse(
            is_top && self.forecast.unwrap_or(0) > 0,
            "--top",
            "no --forecast, which feeds whole rows back",
        )?;
        check_ending("--states", self.states.as_deref(), "npz")?;
        check_ending("--plot", self.plot.as_deref(), "svg")?;
        self.check_files()
    }

    /// Returns the values of a row that is written.
    pub(super) fn width(&self, model: &Model) -> usize {
        self.top.unwrap_or_else(|| model.output_size())
    }

    /// Refuses largest values that the network does not have.
    ///
    /// # Errors
    /// Usage, with what it has.
    pub(super) fn check_top(&self, model: &Model) -> Result<()> {
        let Some(k) = self.top else { return Ok(()) };
        let most = model.output_size().min(Top::MOST);
        if model.head().is_none() {
            return Err(Failure::usage(
                "--top: expected a network with an output layer, got one without",
            ));
        }
        if k > most {
            let width = model.output_size();
            return Err(Failure::usage(format!(
                "--top: expected at most {most} for a network of {width} outputs, got {k}"
            )));
        }
        Ok(())
    }

    /// Refuses every option that has no meaning for arrays under a graph's names.
    ///
    /// # Errors
    /// Usage, naming the option.
    pub(super) fn check_graph(&self) -> Result<()> {
        let refuse = |wrong: bool, option: &str, why: &str| match wrong {
            true => Err(Failure::usage(format!("{option}: expected none for arrays, {why}"))),
            false => Ok(()),
        };
        let of_input = "which are an .onnx graph's inputs (states and lengths are among them)";
        refuse(self.initial.is_some(), "--initial", of_input)?;
        refuse(self.lengths.is_some(), "--lengths", of_input)?;
        refuse(self.layout.is_some(), "--layout", "whose axes the .onnx graph names")?;
        refuse(
            self.batch_size.is_some(),
            "--batch-size",
            "which are one batch of the .onnx graph",
        )?;
        refuse(self.pad_value.is_some(), "--pad-value", "which an .onnx graph pads with zeros")?;
        let of_sequences = "since they are no sequences before the .onnx graph reads them (give \
                            them as .csv, .jsonl or .txt)";
        refuse(self.top.is_some(), "--top", of_sequences)?;
        refuse(self.forecast.unwrap_or(0) > 0, "--forecast", of_sequences)?;
        refuse(self.plot.is_some(), "--plot", of_sequences)?;
        let output = self.output.as_deref().map(write::Format::of).transpose()?;
        if output.is_some_and(|format| !format.is_array()) {
            return Err(Failure::usage(
                "--output: expected .npz or .npy for the arrays that an .onnx graph gives",
            ));
        }
        Ok(())
    }

    /// Refuses a file that is to be written twice, or to be read and written.
    ///
    /// States may go back to where they came from: they are read before anything is written.
    fn check_files(&self) -> Result<()> {
        let outputs = [
            named("--output", self.output.as_deref()),
            named("--states", self.states.as_deref()),
            named("--plot", self.plot.as_deref()),
        ];
        let inputs = [
            named("the input", Some(&self.input)),
            named("the model", Some(&self.model.model)),
            named("--lengths", self.lengths.as_deref()),
        ];
        let mut taken: Vec<_> = inputs.into_iter().flatten().collect();
        for output in outputs.into_iter().flatten() {
            if let Some((owner, other, _)) = taken.iter().find(|(_, _, file)| *file == output.2) {
                let (option, path) = (output.0, output.1.display());
                return Err(Failure::usage(format!(
                    "{option}: expected a file of its own, got {path}, the same file as {owner} {}",
                    other.display()
                )));
            }
            taken.push(output);
        }
        Ok(())
    }
}

/// A file, the option that names it, and what is the same for all its names.
type Named<'a> = (&'a str, &'a Path, PathBuf);

fn named<'a>(option: &'a str, path: Option<&'a Path>) -> Option<Named<'a>> {
    let path = path.filter(|path| !write::is_stdout(path))?;
    Some((option, path, identity(path)))
}

/// Most steps of a forecast: each is a run of its own, and all are kept.
const MOST_FORECAST: usize = 1_000_000;

fn parse_forecast(text: &str) -> Result<usize, String> {
    let steps = text.parse().ok().filter(|steps| *steps <= MOST_FORECAST);
    steps.ok_or_else(|| format!("expected a whole number from 0 to {MOST_FORECAST}"))
}

fn check_ending(option: &str, path: Option<&Path>, ending: &str) -> Result<()> {
    let fits = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    match path {
        Some(path) if !fits(path) => Err(Failure::usage(format!(
            "{option}: expected a file ending in .{ending}, got {}",
            path.display()
        ))),
        _ => Ok(()),
    }
}
