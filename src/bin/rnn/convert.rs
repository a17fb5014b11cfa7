//! `rnn convert`: a model file in another format.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use wgpu_rnn::Model;

use crate::args::{ModelArgs, is_onnx};
use crate::data::{Draft, same_file};
use crate::describe;
use crate::failure::{Failure, Result};
use crate::print;
use crate::report::Reporter;
use crate::table::bytes;

/// Write a model file in another format.
///
/// The endings name the formats. The network is kept with everything that the target can say of it; what
/// it cannot say is an error. Names and layouts of an .onnx graph are not part of the network: what is
/// written has this program's own.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rnn convert model.onnx model.safetensors
  rnn convert model.safetensors model.onnx
  rnn convert state_dict.safetensors model.onnx --cell rnn-relu --head fc --output-activation softmax
  rnn convert state_dict.safetensors whole.safetensors --cell gru-reset-before")]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// File to write (.safetensors, .onnx); it appears once it is complete
    #[arg(value_name = "TARGET")]
    target: PathBuf,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// Usage for an unknown ending, or for a target that is the model itself; when the model cannot be
/// loaded, said in the target's format, or written.
pub(crate) fn run(args: &ConvertArgs) -> Result<()> {
    let write = writer(&args.target)?;
    let source = &args.model.model;
    if same_file(source, &args.target) {
        return Err(Failure::usage(format!(
            "TARGET: expected a file of its own, got {}, the same file as the model {}",
            args.target.display(),
            source.display()
        )));
    }
    let reporter = Reporter::new(args.quiet);
    let model = args.model.load(&reporter)?;
    let content = write(&model).map_err(|e| e.in_context(args.target.display()))?;
    let mut draft = Draft::create(&args.target)?;
    draft.file().write_all(&content).map_err(|e| draft.failed(e))?;
    draft.commit()?;
    let size = bytes(u64::try_from(content.len()).unwrap_or(u64::MAX));
    print(&format!("{}: {}, {size}\n", args.target.display(), describe::model_line(&model)))
}

type Writer = fn(&Model) -> wgpu_rnn::Result<Vec<u8>>;

/// Finds the writer of the format that a name asks for.
fn writer(path: &Path) -> Result<Writer> {
    if is_onnx(path) {
        return Ok(Model::to_onnx);
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if ending == "safetensors" {
        return Ok(Model::to_safetensors);
    }
    Err(Failure::usage(format!(
        "{}: expected a target ending in .safetensors or .onnx, got {}",
        path.display(),
        if ending.is_empty() { "no ending".to_owned() } else { format!(".{ending}") }
    )))
}
