//! Every exported model in this folder, through the f64 reference and the CPU path, against the outputs that came
//! with it.

use std::path::{Path, PathBuf};

use wgpu_rnn::onnx::{Array, OnnxModel, read_tensor};
use wgpu_rnn::reference;
use wgpu_rnn::{Engine, Output, States, Tensor};

#[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
fn narrow(tensor: &Tensor<f64>) -> Tensor {
    Tensor::from_fn(tensor.shape(), |i| tensor.data()[i] as f32)
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx");
    let entries = std::fs::read_dir(root).expect("tests/onnx").flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.join("model.onnx").exists()).collect();
    folders.sort();
    folders
}

fn tensors(folder: &Path, kind: &str) -> Vec<(String, Array)> {
    (0..)
        .map(|index| folder.join(format!("test_data_set_0/{kind}_{index}.pb")))
        .take_while(|path| path.exists())
        .map(|path| read_tensor(&std::fs::read(path).expect("readable")).expect("a tensor"))
        .collect()
}

pub(crate) fn run(
    model: &OnnxModel,
    inputs: &[(String, Array)],
) -> Result<Vec<(String, Array)>, String> {
    let batch = model.batch(inputs).map_err(|e| e.to_string())?;
    let wide = reference::run::<f64>(model.model(), &batch, &model.run_options())
        .map_err(|e| e.to_string())?;
    let output = Output {
        output: narrow(&wide.output),
        top: None,
        states: States {
            h: wide.h.iter().map(narrow).collect(),
            c: wide.c.iter().map(|c| c.as_ref().map(narrow)).collect(),
        },
    };
    model.results(&batch, &output).map_err(|e| e.to_string())
}

fn run_on_cpu(
    model: &OnnxModel,
    inputs: &[(String, Array)],
) -> Result<Vec<(String, Array)>, String> {
    let run = || {
        let batch = model.batch(inputs)?;
        let loaded = Engine::cpu().load(model.model())?;
        let output = loaded.run_blocking_with(&batch, &model.run_options())?;
        model.results(&batch, &output)
    };
    run().map_err(|e: wgpu_rnn::Error| e.to_string())
}

pub(crate) fn compare(want: &[(String, Array)], got: &[(String, Array)]) -> Result<(), String> {
    if want.len() != got.len() {
        return Err(format!("{} outputs, want {}", got.len(), want.len()));
    }
    for ((want_name, want), (name, got)) in want.iter().zip(got) {
        if want_name != name || want.shape() != got.shape() {
            return Err(format!("{name} {:?}, want {want_name} {:?}", got.shape(), want.shape()));
        }
        let (Array::F32(want), Array::F32(got)) = (want, got) else {
            return Err(format!("{name}: not f32"));
        };
        for (i, (w, g)) in want.data().iter().zip(got.data()).enumerate() {
            let close = (w - g).abs() <= 1e-5 + 1e-5 * w.abs();
            if !close {
                return Err(format!("{name}[{i}]: {g}, want {w}"));
            }
        }
    }
    Ok(())
}

fn check(folder: &Path) -> Result<(), String> {
    let inputs = tensors(folder, "input");
    let model = OnnxModel::load_with_weights(folder.join("model.onnx"), &inputs);
    let model = model.map_err(|e| e.to_string())?;
    let wanted = tensors(folder, "output");
    compare(&wanted, &run(&model, &inputs)?)?;
    compare(&wanted, &run_on_cpu(&model, &inputs)?).map_err(|fault| format!("CPU path: {fault}"))
}

#[test]
fn exported_models_give_what_came_with_them() {
    let folders = folders();
    assert!(folders.len() >= 50, "{}", folders.len());
    let faults: Vec<String> = folders
        .iter()
        .filter_map(|folder| {
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            check(folder).err().map(|fault| format!("{name}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}
