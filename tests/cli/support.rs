//! A folder with models and data, the program started in it, and NumPy files written by hand: not by
//! the code under test.
#![allow(clippy::print_stdout, reason = "tests say what they skipped")]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use wgpu_rnn::model::{Unit, Vocabulary};
use wgpu_rnn::{
    Activation, Batch, Cell, Engine, HeadSpec, Init, InputSpec, LayerSpec, Model, Output, Tensor,
};

/// What a call of the program gave.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    /// Returns standard output of a call that must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }
}

/// A folder of its own for a test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }

    pub(crate) fn model(&self, name: &str, model: &Model) {
        model.save(self.path(name)).expect("saved");
    }

    /// Lists the files, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("a folder").flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rnn"));
        command.current_dir(self.0.path()).args(line.split_whitespace());
        // What was measured on this machine must not reach the tests.
        command.env("WGPU_RNN_CACHE", self.path("cache"));
        command
    }

    /// Calls the program; words are separated by white space.
    pub(crate) fn rnn(&self, line: &str) -> Outcome {
        self.rnn_with_input(line, "")
    }

    /// Calls the program with text on standard input.
    pub(crate) fn rnn_with_input(&self, line: &str, input: &str) -> Outcome {
        let mut command = self.command(line);
        finish(command.stdin(Stdio::piped()), input)
    }
}

/// Starts a command, feeds it, and waits.
pub(crate) fn finish(command: &mut Command, input: &str) -> Outcome {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that stops early closes the pipe: that is its right.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    Outcome {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// LSTM and GRU of different sizes over 2 features, 3 outputs.
pub(crate) fn dense() -> Model {
    Model::builder(InputSpec::Dense { size: 2 })
        .layer(LayerSpec::new(Cell::Lstm, 5))
        .layer(LayerSpec::new(Cell::Gru, 4))
        .head(HeadSpec::new(3))
        .build(Init::PyTorch, 1)
        .expect("a valid network")
}

/// One LSTM layer over 2 features, its states stackable, no head.
pub(crate) fn plain() -> Model {
    Model::builder(InputSpec::Dense { size: 2 })
        .layers(2, &LayerSpec::new(Cell::Lstm, 3))
        .build(Init::PyTorch, 2)
        .expect("a valid network")
}

/// A bidirectional GRU whose head speaks at the last step.
pub(crate) fn last_step() -> Model {
    Model::builder(InputSpec::Dense { size: 2 })
        .layer(LayerSpec::new(Cell::Gru, 4).bidirectional())
        .head(HeadSpec::new(3).last_step())
        .build(Init::PyTorch, 3)
        .expect("a valid network")
}

/// A forecaster of one feature.
pub(crate) fn forecaster() -> Model {
    let mut model = Model::builder(InputSpec::Dense { size: 1 })
        .layer(LayerSpec::new(Cell::RnnTanh, 6))
        .head(HeadSpec::new(1))
        .build(Init::PyTorch, 4)
        .expect("a valid network");
    model.info.forecast = true;
    model.info.columns = vec!["level".to_owned()];
    model
}

/// A character model over `a`, `b`, `c` and a space.
pub(crate) fn chars() -> Model {
    let mut model = Model::builder(InputSpec::Embedding { vocab: 4, size: 3 })
        .layer(LayerSpec::new(Cell::RnnTanh, 5))
        .head(HeadSpec::new(4).activation(Activation::Softmax))
        .build(Init::PyTorch, 5)
        .expect("a valid network");
    let tokens = ["a", "b", "c", " "].map(str::to_owned).to_vec();
    model.info.vocabulary = Some(Vocabulary::new(Unit::Char, tokens).expect("a vocabulary"));
    model
}

/// Runs a batch on the CPU path of the library.
pub(crate) fn library(model: &Model, batch: &Batch) -> Output {
    Engine::cpu().load(model).expect("loaded").run_blocking(batch).expect("a run")
}

/// Makes sequences of the given lengths whose every value is different.
pub(crate) fn sequences(lengths: &[usize], features: usize) -> Vec<Vec<f32>> {
    let mut next = 0u16;
    let mut value = || {
        next += 1;
        (f32::from(next) * 0.37).sin()
    };
    lengths.iter().map(|len| (0..len * features).map(|_| value()).collect()).collect()
}

/// Writes sequences as JSON lines with ids `s0`, `s1`, ….
pub(crate) fn json_lines(sequences: &[Vec<f32>], features: usize) -> String {
    let line = |(index, values): (usize, &Vec<f32>)| {
        let rows: Vec<&[f32]> = values.chunks(features).collect();
        format!("{}\n", serde_json::json!({ "id": format!("s{index}"), "input": rows }))
    };
    sequences.iter().enumerate().map(line).collect()
}

/// Compares values that may have been computed in batches of other sizes.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let close = (got - want).abs() <= 1e-6 || got.is_nan() && want.is_nan();
        assert!(close, "{what}: value {index}: {got}, expected {want}");
    }
}

/// Reads the `output` of every line of a `.jsonl` result, flattened, with its id.
pub(crate) fn parse_lines(text: &str) -> Vec<(serde_json::Value, Vec<f32>)> {
    fn flatten(value: &serde_json::Value, into: &mut Vec<f32>) {
        match value {
            serde_json::Value::Array(list) => list.iter().for_each(|value| flatten(value, into)),
            value => into.push(value.to_string().parse().unwrap_or(f32::NAN)),
        }
    }
    let parse = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        let mut values = Vec::new();
        flatten(&value["output"], &mut values);
        (value["id"].clone(), values)
    };
    text.lines().map(parse).collect()
}

/// Writes a `.npy` file by the format's description.
pub(crate) fn npy(descr: &str, fortran: bool, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let axes: String = shape.iter().map(|axis| format!("{axis},")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({axes}), }}");
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("a short header").to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

/// Writes floats as `.npy`.
pub(crate) fn npy_f32(shape: &[usize], values: &[f32]) -> Vec<u8> {
    npy("<f4", false, shape, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}

/// Writes integers as `.npy`.
pub(crate) fn npy_i64(shape: &[usize], values: &[i64]) -> Vec<u8> {
    npy("<i8", false, shape, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}

/// Reads a row-major `.npy` of 4-byte floats or 8-byte integers; integers come as floats.
pub(crate) fn read_npy(bytes: &[u8]) -> Tensor {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(start % 64, 0, "data must be aligned");
    let header = std::str::from_utf8(&bytes[10..start]).expect("text");
    assert!(header.contains("'fortran_order': False") && header.ends_with('\n'), "{header}");
    let inside = header.split(['(', ')']).nth(1).expect("a shape");
    let axes = inside.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    let shape: Vec<usize> = axes.map(|axis| axis.parse().expect("an axis")).collect();
    let data = &bytes[start..];
    let values = if header.contains("'<f4'") {
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4"))).collect()
    } else if header.contains("'<i4'") {
        let integer = |b: &[u8]| i32::from_le_bytes(b.try_into().expect("4"));
        data.chunks_exact(4)
            .map(|b| f32::from(i16::try_from(integer(b)).expect("a small number")))
            .collect()
    } else {
        assert!(header.contains("'<i8'"), "{header}");
        let integer = |b: &[u8]| i64::from_le_bytes(b.try_into().expect("8"));
        data.chunks_exact(8)
            .map(|b| f32::from(i16::try_from(integer(b)).expect("a small number")))
            .collect()
    };
    Tensor::new(shape, values).expect("as many values as the shape says")
}

/// Writes a `.npz` file.
pub(crate) fn npz(arrays: &[(&str, Vec<u8>)], compressed: bool) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let method =
        if compressed { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), options).expect("started");
        zip.write_all(bytes).expect("written");
    }
    zip.finish().expect("finished").into_inner()
}

/// Reads all arrays of a `.npz` file.
pub(crate) fn read_npz(bytes: Vec<u8>) -> Vec<(String, Tensor)> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).expect("a zip");
    (0..zip.len())
        .map(|index| {
            let mut file = zip.by_index(index).expect("an entry");
            let name = file.name().expect("a name").trim_end_matches(".npy").to_owned();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).expect("readable");
            (name, read_npy(&bytes))
        })
        .collect()
}

/// The index of an adapter to measure, llvmpipe first, or `None` with a line that says so.
pub(crate) fn adapter(folder: &Folder) -> Option<u64> {
    let record: Value = serde_json::from_str(&folder.rnn("adapters --json").ok()).expect("JSON");
    let adapters = record["adapters"].as_array().expect("a list");
    let is_llvmpipe = |a: &&Value| a["name"].as_str().is_some_and(|n| n.contains("llvmpipe"));
    let usable: Vec<&Value> = adapters.iter().filter(|a| a["unusable"].is_null()).collect();
    let found = usable.iter().copied().find(is_llvmpipe).or_else(|| usable.first().copied());
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| v == "1");
    assert!(!(required && found.is_none()), "REQUIRE_GPU=1 and no usable adapter");
    if found.is_none() {
        println!("skipped (no adapter)");
    }
    found.and_then(|adapter| adapter["index"].as_u64())
}
