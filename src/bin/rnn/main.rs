//! The program `rnn`: run, train, inspect, convert, check and draw recurrent networks from the command
//! line.
//!
//! Every subcommand is a file (or folder) of its own that turns arguments into library calls and
//! prints what comes back; data files are read and written in `data/`, pictures drawn in `plot/`.
//! Exit codes: 0 for success, 1 when something failed or a check found a fault, 2 for a command line
//! that cannot be followed, 130 when interrupted.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program speaks through its standard streams"
)]

mod adapters;
mod args;
mod autotune;
mod bench;
mod cache;
mod calibrate;
mod calibration;
mod check;
mod convert;
mod data;
mod describe;
mod device;
mod failure;
mod generate;
mod inspect;
mod interrupt;
mod plot;
mod random;
mod report;
mod run;
mod table;
mod trace;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Recurrent neural networks (RNN, LSTM, GRU) on any GPU, or on the CPU where there is none.
#[derive(Parser)]
#[command(
    name = "rnn",
    version,
    about,
    after_help = "Examples:
  rnn run model.safetensors data.csv                   read the last steps and the forecast
  rnn run model.safetensors data.npy -o output.npy     compute a whole file
  rnn trace model.safetensors --text \"I love AI\"       watch the state pass from step to step
  rnn run model.onnx inputs.npz -o outputs.npz         run an ONNX graph on arrays by its names
  rnn convert model.onnx model.safetensors             write a model in another format
  rnn adapters                                         list the GPUs of this machine
  rnn calibrate                                        measure the GPU, for better choices in later runs
  rnn bench --device all                               compare how fast they are
  rnn train -o model.safetensors --data text.txt       learn the next character of a text
  rnn generate model.safetensors --prompt \"Alice \"     go on with a text

Environment variables:
  RUST_LOG=error|warn|info|debug   turns log lines on
  WGPU_RNN_CACHE=FOLDER            where measurements and compiled pipelines are kept
  WGPU_RNN_PIPELINE_CACHE=0        compiles pipelines anew in every run"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Inspect(inspect::InspectArgs),
    Convert(convert::ConvertArgs),
    Adapters(adapters::AdaptersArgs),
    Calibrate(calibrate::CalibrateArgs),
    Check(check::CheckArgs),
    Bench(Box<bench::BenchArgs>),
    Trace(trace::TraceArgs),
    Train(Box<train::TrainArgs>),
    Generate(generate::GenerateArgs),
}

fn main() -> ExitCode {
    // Without a display, wgpu's GL backend logs an error for every machine that is otherwise fine.
    let filter = env_logger::Env::default().default_filter_or("error,wgpu_hal=off");
    env_logger::Builder::from_env(filter).init();
    let command = Cli::parse().command;
    let outcome = interrupt::install().and_then(|()| match command {
        Command::Run(args) => run::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Adapters(args) => adapters::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Generate(args) => generate::run(&args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Writes `text` to standard output.
///
/// # Errors
/// `Io` when the stream is closed; `main` takes a closed pipe for the reader's wish to stop.
fn print(text: &str) -> failure::Result<()> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|e| Failure::from(failure::io_error("standard output", "write", e)))
}
