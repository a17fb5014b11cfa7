//! ONNX graphs in the program: arrays by the graph's names, conversions, folders of cases.

use std::path::{Path, PathBuf};

use serde_json::Value;
use wgpu_rnn::onnx::{Array, read_tensor};
use wgpu_rnn::{Batch, Layout, Model, Tensor};

use crate::support::*;

/// A stateful two-layer LSTM as PyTorch exports it: x, h_0, c_0 → y, h_n, c_n.
const STATES: &str = "lstm_states_ts";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx").join(name)
}

/// The arrays of a fixture's data set: its inputs, or the outputs that came with it.
fn arrays(name: &str, kind: &str) -> Vec<(String, Array)> {
    (0..)
        .map(|k| fixture(name).join(format!("test_data_set_0/{kind}_{k}.pb")))
        .take_while(|path| path.exists())
        .map(|path| read_tensor(&std::fs::read(path).expect("readable")).expect("a tensor"))
        .collect()
}

fn as_npy(array: &Array) -> Vec<u8> {
    match array {
        Array::F32(tensor) => npy_f32(tensor.shape(), tensor.data()),
        Array::I64(tensor) => npy_i64(tensor.shape(), tensor.data()),
    }
}

fn as_npz(arrays: &[(String, Array)]) -> Vec<u8> {
    let named: Vec<_> = arrays.iter().map(|(name, a)| (name.as_str(), as_npy(a))).collect();
    npz(&named, false)
}

fn floats(array: &Array) -> &Tensor {
    match array {
        Array::F32(tensor) => tensor,
        Array::I64(_) => panic!("expected floats"),
    }
}

/// A folder with the graph as `m.onnx` and its inputs as `x.npz`.
fn folder(name: &str) -> Folder {
    let folder = Folder::new();
    folder.write("m.onnx", std::fs::read(fixture(name).join("model.onnx")).expect("a model"));
    folder.write("x.npz", as_npz(&arrays(name, "input")));
    folder
}

/// Compares an archive with the outputs that came with a fixture: names, order, shapes, values.
#[track_caller]
fn assert_outputs(bytes: Vec<u8>, name: &str) {
    let (got, want) = (read_npz(bytes), arrays(name, "output"));
    let names = |list: Vec<&String>| list.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(got.iter().map(|a| &a.0).collect()),
        names(want.iter().map(|a| &a.0).collect())
    );
    for ((array, got), (_, want)) in got.iter().zip(&want) {
        assert_eq!(got.shape(), want.shape(), "{name}: {array}");
        for (got, want) in got.data().iter().zip(floats(want).data()) {
            assert!(
                (got - want).abs() <= 1e-5 + 1e-5 * want.abs(),
                "{name}: {array}: {got} {want}"
            );
        }
    }
}

#[test]
fn arrays_go_in_and_out_under_the_names_of_the_graph() {
    for name in [STATES, "gru_lm_state_ts", "lstm_tokens_lens_peepholes", "lstm_classifier_last_ts"]
    {
        let folder = folder(name);
        folder.rnn("run m.onnx x.npz -o y.npz --device cpu").ok();
        assert_outputs(folder.bytes("y.npz"), name);
        // The order of the archive says nothing.
        let mut turned = arrays(name, "input");
        turned.reverse();
        folder.write("turned.npz", as_npz(&turned));
        folder.rnn("run m.onnx turned.npz -o turned_y.npz --device cpu").ok();
        assert_eq!(folder.bytes("turned_y.npz"), folder.bytes("y.npz"), "{name}");
    }
}

#[test]
fn a_lone_array_is_the_first_input_and_the_first_output() {
    let folder = folder(STATES);
    let (inputs, outputs) = (arrays(STATES, "input"), arrays(STATES, "output"));
    folder.write("x.npy", as_npy(&inputs[0].1));
    let run = folder.rnn("run m.onnx x.npz -o y.npy --device cpu");
    assert!(run.err.contains("holds y, the first of y, h_n, c_n"), "{}", run.err);
    run.ok();
    let (got, want) = (read_npy(&folder.bytes("y.npy")), floats(&outputs[0].1));
    assert_eq!(got.shape(), want.shape());
    for (got, want) in got.data().iter().zip(want.data()) {
        assert!((got - want).abs() <= 1e-5, "{got} {want}");
    }
    // States that a graph asks for are not made up.
    let run = folder.rnn("run m.onnx x.npy -o z.npy --device cpu");
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("h_0"), "{}", run.err);
    assert!(!folder.path("z.npy").exists());
}

#[test]
fn summary_names_every_output() {
    let text = folder(STATES).rnn("run m.onnx x.npz --device cpu").ok();
    for part in ["h_n", "c_n", "first values", "x [", "lstm 6"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn inspect_shows_the_ports_of_a_graph_and_the_options_of_its_cells() {
    let states = folder(STATES);
    let text = states.rnn("inspect m.onnx --device cpu").ok();
    for part in ["input", "output", "h_0", "c_n"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let record: Value =
        serde_json::from_str(&states.rnn("inspect m.onnx --json --device cpu -q").ok())
            .expect("JSON");
    let names = |kind: &str| -> Vec<String> {
        let ports = record["graph"][kind].as_array().expect("ports").iter();
        ports.map(|port| port["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names("inputs"), ["x", "h_0", "c_0"]);
    assert_eq!(names("outputs"), ["y", "h_n", "c_n"]);
    let text = folder("lstm_tokens_lens_peepholes").rnn("inspect m.onnx --device cpu").ok();
    assert!(text.contains("peepholes"), "{text}");
}

#[test]
fn arrays_that_a_graph_cannot_take_are_refused() {
    let folder = folder(STATES);
    let inputs = arrays(STATES, "input");
    let renamed = |from: &str, to: &str| {
        let rename = |name: &String| if name == from { to.to_owned() } else { name.clone() };
        as_npz(&inputs.iter().map(|(name, a)| (rename(name), a.clone())).collect::<Vec<_>>())
    };
    let flat = Array::F32(Tensor::new([2], vec![0.0; 2]).expect("a tensor"));
    let mut narrow = inputs.clone();
    narrow[1].1 = flat;
    folder.write("renamed.npz", renamed("c_0", "cell"));
    folder.write("without.npz", as_npz(&inputs[..2]));
    folder.write("narrow.npz", as_npz(&narrow));
    folder.write("empty.npz", npz(&[], false));
    let before = folder.names();
    for (line, code, message) in [
        ("m.onnx renamed.npz -o y.npz", 1, "c_0"),
        ("m.onnx without.npz -o y.npz", 1, "c_0"),
        ("m.onnx narrow.npz -o y.npz", 1, "h_0"),
        ("m.onnx empty.npz -o y.npz", 1, "x"),
        ("m.onnx missing.npz -o y.npz", 1, "missing.npz"),
        ("missing.onnx x.npz -o y.npz", 1, "missing.onnx"),
        ("m.onnx x.npz -o y.csv", 2, "expected .npz or .npy"),
        ("m.onnx x.npz --initial x.npz", 2, "--initial"),
        ("m.onnx x.npz --layout time", 2, "--layout"),
        ("m.onnx x.npz --batch-size 1", 2, "--batch-size"),
    ] {
        let run = folder.rnn(&format!("run {line} --device cpu"));
        assert_eq!(run.code, Some(code), "{line}: {}", run.err);
        assert!(run.err.contains(message), "{line}: {}", run.err);
        assert!(!run.err.contains("panicked"), "{line}: {}", run.err);
        assert_eq!(folder.names(), before, "{line}");
    }
}

#[test]
fn a_damaged_graph_is_an_error() {
    let folder = folder(STATES);
    let whole = folder.bytes("m.onnx");
    for (name, bytes) in [
        ("empty.onnx", Vec::new()),
        ("text.onnx", b"not a graph".to_vec()),
        ("cut.onnx", whole[..whole.len() / 2].to_vec()),
    ] {
        folder.write(name, bytes);
        for line in [format!("run {name} x.npz"), format!("convert {name} y.safetensors")] {
            let run = folder.rnn(&line);
            assert_eq!(run.code, Some(1), "{line}: {}", run.err);
            assert!(run.err.contains(name), "{line}: {}", run.err);
            assert!(!run.err.contains("panicked"), "{line}: {}", run.err);
        }
    }
    assert!(!folder.path("y.safetensors").exists());
}

/// Every value of a network on the same batch, before and after.
#[track_caller]
fn assert_same_network(width: usize, before: &Model, after: &Model, what: &str) {
    let lengths = [5, 2, 0];
    let batch = Batch::ragged(&sequences(&lengths, width), width).expect("a batch");
    let (before, after) = (library(before, &batch), library(after, &batch));
    assert_eq!(before.output.shape(), after.output.shape(), "{what}");
    assert_close(after.output.data(), before.output.data(), what);
    for (layer, (before, after)) in before.states.h.iter().zip(&after.states.h).enumerate() {
        assert_close(after.data(), before.data(), &format!("{what}: h of layer {layer}"));
    }
}

#[test]
fn conversion_keeps_the_network_both_ways() {
    let folder = Folder::new();
    for (width, model) in [(2, dense()), (2, plain()), (1, forecaster())] {
        folder.model("a.safetensors", &model);
        let text = folder.rnn("convert a.safetensors b.onnx").ok();
        assert!(text.contains("b.onnx: ") && text.contains(" feature"), "{text}");
        folder.rnn("convert b.onnx c.safetensors").ok();
        for file in ["b.onnx", "c.safetensors"] {
            let again = Model::load(folder.path(file)).expect(file);
            assert_same_network(width, &model, &again, file);
        }
    }
    // A graph that an exporter wrote gives the same results as before.
    let folder = self::folder(STATES);
    folder.rnn("convert m.onnx m.safetensors").ok();
    let (x, want) = (arrays(STATES, "input"), arrays(STATES, "output"));
    folder.write(
        "x.npz",
        npz(
            &[("input", as_npy(&x[0].1)), ("h_0", as_npy(&x[1].1)), ("c_0", as_npy(&x[2].1))],
            false,
        ),
    );
    let layout =
        if floats(&x[0].1).shape()[0] == floats(&x[1].1).shape()[1] { "batch" } else { "time" };
    folder.rnn(&format!("run m.safetensors x.npz -o y.npz --layout {layout} --device cpu")).ok();
    let got = read_npz(folder.bytes("y.npz"));
    let find = |name: &str| got.iter().find(|(n, _)| n == name).expect(name).1.clone();
    for (name, want) in [("output", &want[0].1), ("h_n", &want[1].1), ("c_n", &want[2].1)] {
        assert_eq!(find(name).shape(), floats(want).shape(), "{name}");
        for (got, want) in find(name).data().iter().zip(floats(want).data()) {
            assert!((got - want).abs() <= 1e-5, "{name}: {got} {want}");
        }
    }
}

#[test]
fn conversion_uses_the_overrides() {
    let folder = Folder::new();
    folder.model("a.safetensors", &chars());
    folder.rnn("convert a.safetensors b.onnx --cell rnn-relu --output-activation log-softmax").ok();
    let got = Model::load(folder.path("b.onnx")).expect("a model");
    let batch = Batch::tokens([0u32, 1, 3, 2], 1, 4, Layout::BatchFirst).expect("a batch");
    let log = library(&got, &batch).output;
    assert!(log.data().iter().all(|value| *value < 0.0), "log probabilities");
    assert_ne!(log.data(), library(&chars(), &batch).output.data());
}

#[test]
fn conversion_refuses_what_it_cannot_write() {
    let folder = Folder::new();
    folder.model("a.safetensors", &dense());
    let before = folder.names();
    for (line, code, message) in [
        ("a.safetensors b.csv", 2, "expected a target ending in .safetensors or .onnx, got .csv"),
        ("a.safetensors b", 2, "got no ending"),
        ("a.safetensors ./a.safetensors", 2, "the same file"),
        ("missing.onnx b.safetensors", 1, "missing.onnx"),
        ("a.safetensors no/such/b.onnx", 1, "no/such"),
    ] {
        let run = folder.rnn(&format!("convert {line}"));
        assert_eq!(run.code, Some(code), "{line}: {}", run.err);
        assert!(run.err.contains(message), "{line}: {}", run.err);
        assert_eq!(folder.names(), before, "{line}");
    }
}

/// Copies a fixture into `folder` under its name.
fn copy_case(folder: &Folder, name: &str) {
    let set = folder.path(name).join("test_data_set_0");
    std::fs::create_dir_all(&set).expect("a folder");
    let copy = |from: PathBuf, to: PathBuf| std::fs::copy(from, to).map(|_| ()).expect("copied");
    copy(fixture(name).join("model.onnx"), folder.path(name).join("model.onnx"));
    for entry in std::fs::read_dir(fixture(name).join("test_data_set_0")).expect("a set").flatten()
    {
        copy(entry.path(), set.join(entry.file_name()));
    }
}

#[test]
fn case_folders_are_checked_on_the_reference_and_the_cpu_path() {
    let folder = Folder::new();
    for name in [STATES, "gru_lm_state_ts"] {
        copy_case(&folder, name);
    }
    let list = folder.rnn("check --onnx . --list").ok();
    assert_eq!(list.lines().collect::<Vec<_>>(), ["gru_lm_state_ts", STATES]);
    let half = folder.rnn("check --onnx . --precision f16 --device cpu");
    assert_eq!(half.code, Some(2), "{}", half.err);
    assert!(half.err.contains("--precision f16: expected f32 with --onnx"), "{}", half.err);
    for device in ["reference", "cpu"] {
        let line = format!("check --onnx . --device {device} --atol 1e-5 --rtol 1e-5 -o r.jsonl");
        let text = folder.rnn(&line).ok();
        assert!(text.contains("2 passed, 0 failed, 0 errors, 0 refused"), "{text}");
        let rows: Vec<Value> =
            folder.read("r.jsonl").lines().map(|l| serde_json::from_str(l).expect(l)).collect();
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!((&row["device"], &row["status"]), (&device.into(), &"pass".into()), "{row}");
            assert!(row["max_abs"].as_f64().expect("a number") < 1e-5, "{row}");
        }
    }
    let text = folder.rnn("check --onnx . --filter gru --json --device cpu").ok();
    let record: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(record["counts"]["pass"], 1);
}

#[test]
fn a_case_with_other_outputs_fails() {
    let folder = Folder::new();
    copy_case(&folder, STATES);
    copy_case(&folder, "gru_lm_state_ts");
    // The last value of an output, a little off.
    let path = folder.path(STATES).join("test_data_set_0/output_2.pb");
    let mut bytes = std::fs::read(&path).expect("readable");
    let last = bytes.len() - 4;
    let value = f32::from_le_bytes(bytes[last..].try_into().expect("4")) + 0.01;
    bytes[last..].copy_from_slice(&value.to_le_bytes());
    std::fs::write(&path, bytes).expect("written");
    for device in ["reference", "cpu"] {
        let run = folder.rnn(&format!("check --onnx . --device {device} -o - --quiet"));
        assert_eq!(run.code, Some(1), "{}", run.err);
        let rows: Vec<Value> = run.out.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
        let status =
            |case: &str| rows.iter().find(|r| r["case"] == case).expect(case)["status"].clone();
        assert_eq!((status(STATES), status("gru_lm_state_ts")), ("fail".into(), "pass".into()));
        assert!(run.out.contains("c_n[") && run.out.contains("1 of "), "{}", run.out);
    }
}

#[test]
fn faulty_case_folders_are_told_apart() {
    let folder = Folder::new();
    copy_case(&folder, STATES);
    let model = folder.path(STATES).join("model.onnx");
    let (whole, check) = (std::fs::read(&model).expect("readable"), "check --onnx . --device cpu");
    std::fs::write(&model, &whole[..whole.len() / 2]).expect("written");
    let run = folder.rnn(check);
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.out.contains("0 passed, 0 failed, 1 errors"), "{}", run.out);
    std::fs::write(&model, whole).expect("written");
    std::fs::remove_dir_all(folder.path(STATES).join("test_data_set_0")).expect("removed");
    let run = folder.rnn(check);
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.out.contains("test_data_set_0"), "{}", run.out);
    std::fs::remove_file(&model).expect("removed");
    let run = folder.rnn(check);
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.err.contains("expected folders that hold a model.onnx"), "{}", run.err);
    assert_eq!(folder.rnn("check --onnx . --atol -1").code, Some(2));
    assert_eq!(folder.rnn("check --atol 1").code, Some(2), "tolerances are for --onnx");
    assert_eq!(folder.rnn("check m.onnx --onnx .").code, Some(2));
}
