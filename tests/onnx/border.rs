//! Arrays at the graph's border: what does not fit is named, all in one error.

use wgpu_rnn::onnx::{Dim, OnnxModel};
use wgpu_rnn::{Cell, ErrorKind, LayerSpec, Tensor};

use super::graph::{B, Graph, H, I, T, int, network, noise, real, whole, x};

fn model() -> OnnxModel {
    let model = network(&[LayerSpec::new(Cell::Lstm, H)]);
    let mut graph = Graph::default();
    graph.input("x", 1, "time batch 4").input("lens", 6, "batch").input("h", 1, "1 batch 6");
    graph.weights("", &model.layers()[0]);
    graph.node("LSTM", "x W R B lens h", "Y", &[int("hidden_size", 6)]).outputs("Y");
    graph.read(22).expect("a model")
}

fn fault(arrays: &[(String, wgpu_rnn::onnx::Array)]) -> String {
    let error = model().batch(arrays).expect_err("does not fit");
    assert_eq!(error.kind(), ErrorKind::Shape, "{error}");
    error.to_string()
}

#[test]
fn ports_say_what_is_wanted() {
    let model = model();
    let names: Vec<&str> = model.inputs().iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["x", "lens", "h"]);
    let named = |name: &str| Dim::Named(name.into());
    assert_eq!(model.inputs()[0].shape, [named("time"), named("batch"), Dim::Known(4)]);
    assert_eq!(model.outputs()[0].name, "Y");
    assert_eq!(model.outputs().len(), 1);
}

#[test]
fn every_array_that_does_not_fit_is_named() {
    let error = fault(&[
        whole("lens", &[B, 1], &[1, 2, 3]),
        real("y", x()),
        real("h", noise("h", &[1, 2, H])),
        real("h", noise("h", &[1, 2, H])),
    ]);
    let want = "inputs: 4 faults\n  y: expected one of x, lens, h, got this name\n  h: expected \
                one array, got two\n  x: expected [time, batch, 4], got nothing\n  lens: expected \
                [batch], got [3, 1]";
    assert_eq!(error, want);
    let error = fault(&[
        real("x", x()),
        real("lens", Tensor::zeros([B])),
        real("h", noise("h", &[1, 2, H])),
    ]);
    let want = "inputs: 2 faults\n  lens: expected whole numbers, got real ones\n  h: expected \
                batch = 3 as in x, got 2";
    assert_eq!(error, want);
}

#[test]
fn lengths_beyond_the_steps_name_the_row() {
    for len in [-1, 6, i64::MAX] {
        let lens = whole("lens", &[B], &[5, len, 0]);
        let error = fault(&[real("x", x()), lens, real("h", noise("h", &[1, B, H]))]);
        assert_eq!(error, format!("lens: expected 0 to T = 5, got {len} in row 1"));
    }
}

#[test]
fn tokens_outside_the_table_name_the_place() {
    let dense = network(&[LayerSpec::new(Cell::RnnTanh, H)]);
    let mut graph = Graph::default();
    graph.input("tokens", 6, "time batch").weights("", &dense.layers()[0]);
    graph.floats("table", &noise("table", &[7, I])).node("Gather", "table tokens", "x", &[]);
    graph.node("RNN", "x W R B", "Y", &[]).outputs("Y");
    let model = graph.read(22).expect("a model");
    for id in [7, -8, i64::MIN, i64::MAX] {
        let mut ids = vec![0; T * B];
        ids[3 * B + 2] = id;
        let error = model.batch(&[whole("tokens", &[T, B], &ids)]).expect_err("no such token");
        let want = format!("tokens: expected ids below 7, got {id} in row 2, step 3");
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn results_of_another_batch_are_refused() {
    let model = model();
    let inputs =
        [real("x", x()), whole("lens", &[B], &[5, 5, 5]), real("h", noise("h", &[1, B, H]))];
    let batch = model.batch(&inputs).expect("a batch");
    let nothing = wgpu_rnn::Output::default();
    let error = model.results(&batch, &nothing).expect_err("no results");
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().starts_with("Y: expected the results of a run"), "{error}");
}
