//! Inputs: which format a file has, and the sequences in it.

pub(crate) mod arrays;
pub(crate) mod csv;
pub(crate) mod jsonl;
pub(crate) mod lengths;
pub(crate) mod npz;
pub(crate) mod text;

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use wgpu_rnn::{Layout, Model, States};

use super::array::{Array, Bytes, MAGIC};
use super::{Sequence, Wanted, map};
use crate::failure::{Failure, Result, io_error};

/// A list of sequences, read one by one.
pub(crate) trait Source {
    /// Reads the next sequence, or `None` after the last.
    ///
    /// # Errors
    /// Naming the file and the place in it.
    fn next_sequence(&mut self) -> wgpu_rnn::Result<Option<Sequence>>;

    /// Returns what is known before reading.
    fn known(&self) -> Known {
        Known::default()
    }

    /// Takes the initial states that the file brings along.
    fn take_initial(&mut self) -> Option<States> {
        None
    }
}

/// What a source knows before it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// How many sequences there are.
    pub(crate) sequences: Option<usize>,
    /// The padded number of time steps, T.
    pub(crate) steps: Option<usize>,
    /// Whether every sequence has T steps, so that sorting gains nothing.
    pub(crate) uniform: bool,
    /// Whether the file holds f64, which is narrowed to f32.
    pub(crate) narrowed: bool,
}

/// An input that is open.
pub(crate) enum Opened {
    /// Many sequences.
    Sequences(Box<dyn Source>),
    /// One sequence whose time steps come one by one.
    Steps(Box<csv::CsvSteps>),
}

/// Options that say how an input is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InputOptions<'a> {
    /// Columns of a `.csv`; empty for the model's own choice.
    pub(crate) columns: &'a [String],
    /// A file with one length per sequence, for `.npy` and `.npz`.
    pub(crate) lengths: Option<&'a Path>,
    /// Order of the first two axes of `.npy` and `.npz` arrays.
    pub(crate) layout: Layout,
}

/// The format of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One NumPy array.
    Npy,
    /// A zip of NumPy arrays.
    Npz,
    /// Rows are time steps of one sequence.
    Csv,
    /// A sequence a line, as JSON.
    Jsonl,
    /// A sequence a line, as text.
    Text,
}

impl Format {
    /// Tells the format by the file's first bytes, then by its ending; `-` is standard input.
    ///
    /// # Errors
    /// `Io` when the file cannot be read; usage when neither tells.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        if is_stdin(path) {
            return Ok(Self::Jsonl);
        }
        let mut start = Vec::new();
        let read = File::open(path).and_then(|file| file.take(6).read_to_end(&mut start));
        read.map_err(|e| io_error(path.display(), "read", e))?;
        if start.starts_with(MAGIC) {
            return Ok(Self::Npy);
        }
        if start.starts_with(b"PK\x03\x04") {
            return Ok(Self::Npz);
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match ending.as_str() {
            "npy" => Ok(Self::Npy),
            "npz" => Ok(Self::Npz),
            "csv" | "tsv" => Ok(Self::Csv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "txt" => Ok(Self::Text),
            _ => Err(Failure::usage(format!(
                "{}: expected an input ending in .npy, .npz, .csv, .tsv, .jsonl or .txt, got {}",
                path.display(),
                if ending.is_empty() { "no ending".to_owned() } else { format!(".{ending}") }
            ))),
        }
    }

    /// Tells whether the format holds arrays, which have a layout and lengths apart.
    pub(crate) fn is_array(self) -> bool {
        matches!(self, Self::Npy | Self::Npz)
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens the input at `path` for `model`.
///
/// # Errors
/// `Io`, `Format` or `Shape`, naming file and place; usage for an unknown ending.
pub(crate) fn open(
    path: &Path,
    format: Format,
    model: &Model,
    options: InputOptions<'_>,
) -> Result<Opened> {
    let wanted = Wanted::of(model);
    let label = if is_stdin(path) { "standard input".into() } else { path.display().to_string() };
    let in_file = |e: wgpu_rnn::Error| e.in_context(&label);
    let file = || File::open(path).map_err(|e| io_error(path.display(), "read", e));
    let given = options.lengths.map(lengths::read).transpose()?;
    let source: Box<dyn Source> = match format {
        Format::Npy => {
            let array = Array::new(map_or_read(&file()?, &label)?).map_err(in_file)?;
            let form = arrays::Form { layout: options.layout, lengths: given };
            Box::new(arrays::ArraySource::new(array, wanted, form, &label).map_err(in_file)?)
        }
        Format::Npz => {
            let mut archive = npz::Archive::open(file()?).map_err(in_file)?;
            let lengths = archive.lengths().map_err(in_file)?;
            if lengths.is_some() && given.is_some() {
                return Err(Failure::usage(format!(
                    "--lengths: expected none, since {label} holds lengths of its own"
                )));
            }
            let initial = archive.initial(model).map_err(in_file)?;
            let array = archive.input().map_err(in_file)?;
            let form = arrays::Form { layout: options.layout, lengths: given.or(lengths) };
            let source = arrays::ArraySource::new(array, wanted, form, &label).map_err(in_file)?;
            Box::new(source.with_initial(initial))
        }
        Format::Csv => {
            let steps = csv::CsvSteps::new(file()?, &label, wanted, options.columns)?;
            return Ok(Opened::Steps(Box::new(steps)));
        }
        Format::Jsonl if is_stdin(path) => {
            let stdin = BufReader::new(std::io::stdin());
            Box::new(jsonl::JsonLines::new(Box::new(stdin), label, wanted))
        }
        Format::Jsonl => {
            Box::new(jsonl::JsonLines::new(Box::new(BufReader::new(file()?)), label, wanted))
        }
        Format::Text => {
            let lines = Box::new(BufReader::new(file()?));
            Box::new(text::TextLines::new(lines, label, wanted)?)
        }
    };
    Ok(Opened::Sequences(source))
}

/// Takes the byte order mark away that some programs put in front of a text.
fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Maps a file, or reads it where it cannot be mapped (a pipe, an empty file).
fn map_or_read(mut file: &File, label: &str) -> Result<Bytes> {
    if let Ok(map) = map::map(file) {
        return Ok(Bytes::Mapped(map));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| io_error(label, "read", e))?;
    Ok(Bytes::Owned(bytes))
}
