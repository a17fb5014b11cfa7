//! The bundled models on the bundled data, against what PyTorch computes with them in f64.

mod support;

use safetensors::{Dtype, SafeTensors};
use wgpu_rnn::{Batch, Layout, Model};

fn root(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// The numbers of a tensor, whatever its type, as f64.
fn numbers(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).expect("in the file");
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        Dtype::F32 => {
            bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
        }
        Dtype::I64 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from(i32::try_from(i64::from_le_bytes(*b)).expect("small")))
            .collect(),
        other => panic!("{name}: {other:?}"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the file's inputs are f32")]
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let diff = (f64::from(*got) - want).abs();
        // Written so that NaN fails.
        assert!(
            diff <= tolerance + tolerance * want.abs(),
            "{what}: {index}: {got} against {want}"
        );
    }
}

#[test]
fn sunspot_forecaster_matches_pytorch_and_forecasts_by_feeding_itself() {
    let model = Model::load(root("models/sunspots.safetensors")).expect("loads");
    assert!(model.info.forecast);
    assert_eq!(model.info.columns, ["sunspots"]);
    let bytes = std::fs::read(root("models/expected/sunspots.safetensors")).expect("readable");
    let file = SafeTensors::deserialize(&bytes).expect("valid");
    let input = narrow(&numbers(&file, "input"));
    for (name, engine) in support::engines() {
        let loaded = engine.load(&model).expect("loads");
        let batch = Batch::dense(&input[..], 1, input.len(), 1, Layout::BatchFirst).expect("valid");
        let result = loaded.run_blocking(&batch).expect("runs");
        // Sunspot numbers run to 200, so 1e-5 relative is what matters.
        assert_close(&name, result.output.data(), &numbers(&file, "output"), 1e-5);
        assert_close(&name, result.states.h[0].data(), &numbers(&file, "h_n"), 1e-5);
        let c = result.states.c[0].as_ref().expect("lstm");
        assert_close(&name, c.data(), &numbers(&file, "c_n"), 1e-5);

        let (mut next, mut states) = (*result.output.data().last().expect("some"), result.states);
        let mut forecast = vec![next];
        for _ in 1..22 {
            let step = Batch::dense([next], 1, 1, 1, Layout::BatchFirst).expect("valid");
            let result = loaded.run_blocking(&step.with_initial(states)).expect("runs");
            (next, states) = (result.output.data()[0], result.states);
            forecast.push(next);
        }
        // Errors feed back: the tolerance is wider, far below what a plot shows.
        assert_close(&format!("{name}: forecast"), &forecast, &numbers(&file, "forecast"), 1e-3);
    }
}

#[test]
fn language_model_matches_pytorch_on_the_traced_text() {
    let model = Model::load(root("models/chars.safetensors")).expect("loads");
    let bytes = std::fs::read(root("models/expected/chars.safetensors")).expect("readable");
    let file = SafeTensors::deserialize(&bytes).expect("valid");
    let tokens =
        model.info.vocabulary.as_ref().expect("has one").encode("I love AI").expect("known");
    let want: Vec<f64> = tokens.iter().map(|t| f64::from(*t)).collect();
    assert_eq!(numbers(&file, "tokens"), want);
    for (name, engine) in support::engines() {
        let loaded = engine.load(&model).expect("loads");
        let batch = Batch::tokens(&tokens[..], 1, tokens.len(), Layout::BatchFirst).expect("valid");
        let result = loaded.run_blocking(&batch).expect("runs");
        assert_close(&name, result.output.data(), &numbers(&file, "output"), 1e-5);
        assert_close(&name, result.states.h[0].data(), &numbers(&file, "h_n"), 1e-5);
        for row in result.output.data().chunks(model.output_size()) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{name}: not a distribution");
        }
    }
}
