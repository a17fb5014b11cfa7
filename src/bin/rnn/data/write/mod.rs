//! Outputs: which format a name asks for, and the writers behind it.

mod csv;
mod jsonl;
mod npy;
mod npz;

use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::Value;
use wgpu_rnn::{Layout, Result, States};

use super::Draft;
use crate::failure::{self, Failure, io_error};

/// Some time steps of one sequence's output; parts come in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    /// The sequence's place in the input.
    pub(crate) sequence: usize,
    /// What the input calls it.
    pub(crate) id: Option<&'a Value>,
    /// The time step of the first row.
    pub(crate) start: usize,
    /// Rows `[steps, O]`, or `[steps, k]` for the largest values.
    pub(crate) values: &'a [f32],
    /// Places of the largest values, as `values`; else empty.
    pub(crate) places: &'a [u32],
    /// Whether the sequence ends here.
    pub(crate) last: bool,
}

/// What is known when everything is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals<'a> {
    /// Time steps of every sequence.
    pub(crate) lengths: &'a [usize],
    /// Final states, where they were asked for.
    pub(crate) states: Option<&'a States>,
}

/// Takes output as it is computed.
pub(crate) trait Sink {
    /// Writes the next part.
    ///
    /// # Errors
    /// `Io` when the disk is full.
    fn write(&mut self, part: &Part<'_>) -> Result<()>;

    /// Completes the output; a file appears under its name only now.
    ///
    /// # Errors
    /// `Io` when the disk is full.
    fn finish(self: Box<Self>, totals: &Totals<'_>) -> Result<()>;
}

/// The format of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One NumPy array.
    Npy,
    /// Arrays `output`, `h_n`, `c_n`, `lengths`.
    Npz,
    /// A row per time step.
    Csv,
    /// A line per sequence; also standard output.
    Jsonl,
}

impl Format {
    /// Tells the format by the ending; `-` is standard output.
    ///
    /// # Errors
    /// Usage for another ending.
    pub(crate) fn of(path: &Path) -> failure::Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match ending.as_str() {
            _ if is_stdout(path) => Ok(Self::Jsonl),
            "npy" => Ok(Self::Npy),
            "npz" => Ok(Self::Npz),
            "csv" => Ok(Self::Csv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            _ => Err(Failure::usage(format!(
                "{}: expected an output ending in .npy, .npz, .csv or .jsonl, or -, got {}",
                path.display(),
                if ending.is_empty() { "no ending".to_owned() } else { format!(".{ending}") }
            ))),
        }
    }

    /// Tells whether the format holds arrays, which have a layout and padding.
    pub(crate) fn is_array(self) -> bool {
        matches!(self, Self::Npy | Self::Npz)
    }
}

/// Tells whether `path` stands for standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The shape of an output.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Values per row: O, or k of the largest values.
    pub(crate) width: usize,
    /// Whether the values are the largest of their rows and come with their places.
    pub(crate) is_top: bool,
    /// Names of the O values; for the largest values empty where the model names none.
    pub(crate) names: Vec<String>,
    /// Whether there is one row per sequence instead of one per time step.
    pub(crate) last_step_only: bool,
    /// The padded number of time steps, where the input fixes it.
    pub(crate) steps: Option<usize>,
    /// Order of the first two axes of arrays.
    pub(crate) layout: Layout,
    /// What stands in arrays beyond a sequence's end.
    pub(crate) pad_value: f32,
}

/// Opens an output, so that a place that cannot be written is known before any work.
///
/// # Errors
/// `Io` when the place cannot be written; usage for an unknown ending.
pub(crate) fn open(path: &Path, shape: Shape) -> failure::Result<Box<dyn Sink>> {
    let format = Format::of(path)?;
    if is_stdout(path) {
        let lines = jsonl::JsonLines::new(Target::Stdout(std::io::stdout()), shape);
        return Ok(Box::new(lines));
    }
    let draft = Draft::create(path)?;
    Ok(match format {
        Format::Npy => Box::new(npy::NpyFile::new(draft, shape, npy::Elements::Values)?),
        Format::Npz => Box::new(npz::NpzFile::new(draft, shape)?),
        Format::Csv => {
            Box::new(csv::CsvFile::new(Target::File(BufWriter::new(FileOf(draft))), shape)?)
        }
        Format::Jsonl => {
            Box::new(jsonl::JsonLines::new(Target::File(BufWriter::new(FileOf(draft))), shape))
        }
    })
}

/// A draft as a stream.
struct FileOf(Draft);

impl Write for FileOf {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.file().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.file().flush()
    }
}

/// Where text goes.
enum Target {
    File(BufWriter<FileOf>),
    Stdout(std::io::Stdout),
}

impl Target {
    fn write(&mut self, text: &str) -> Result<()> {
        match self {
            Self::File(file) => {
                let written = file.write_all(text.as_bytes());
                written.map_err(|e| file.get_ref().0.failed(e))
            }
            Self::Stdout(stdout) => {
                let written = stdout.write_all(text.as_bytes());
                written.map_err(|e| io_error("standard output", "write", e))
            }
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::File(file) => {
                let FileOf(draft) = file.into_inner().map_err(|e| {
                    let (error, file) = e.into_parts();
                    file.get_ref().0.failed(error)
                })?;
                draft.commit()
            }
            Self::Stdout(mut stdout) => {
                stdout.flush().map_err(|e| io_error("standard output", "write", e))
            }
        }
    }
}
