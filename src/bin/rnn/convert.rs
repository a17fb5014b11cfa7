//! `rnn convert`: a model file from one format into another.

use std::path::PathBuf;

use clap::Args;

use crate::args::ModelArgs;
use crate::describe;
use crate::failure::{Failure, Result};
use crate::print;
use crate::report::Reporter;

/// Convert a model file between .safetensors and .onnx.
///
/// The endings name the formats. What the target format cannot say is an error; weights are kept
/// bit by bit.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rnn convert model.onnx model.safetensors
  rnn convert model.safetensors model.onnx
  rnn convert state_dict.safetensors --cell rnn-relu --head fc model.onnx")]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// The file to write (.safetensors, .onnx); one of that name is replaced
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When the model cannot be loaded, the target format cannot say it, or the file not be written.
pub(crate) fn run(args: &ConvertArgs) -> Result<()> {
    let (source, target) = (&args.model.model, &args.output);
    let same = |a: &PathBuf, b: &PathBuf| a == b || a.canonicalize().ok() == b.canonicalize().ok();
    if target.exists() && same(source, target) {
        return Err(Failure::usage(format!(
            "{}: expected another file than the one that is read",
            target.display()
        )));
    }
    let model = args.model.load(&Reporter::new(args.quiet))?;
    model.save(target)?;
    print(&format!("{}: {}\n", target.display(), describe::model_line(&model)))
}
