//! What is not understood: one error names every node with its reason.

use wgpu_rnn::onnx::OnnxModel;
use wgpu_rnn::onnx::proto::{ModelProto, OperatorSetIdProto, SparseTensorProto};
use wgpu_rnn::{Cell, ErrorKind, LayerSpec};

use super::graph::{Graph, H, float, int, ints, network, noise, texts};

fn lstm() -> Graph {
    let model = network(&[LayerSpec::new(Cell::Lstm, H), LayerSpec::new(Cell::Lstm, H)]);
    let mut graph = Graph::default();
    graph.input("x", 1, "time batch 4");
    graph.weights("0", &model.layers()[0]).weights("1", &model.layers()[1]).ints("axis1", &[1]);
    graph.node("LSTM", "x W0 R0 B0", "Y0 h0", &[]).node("Squeeze", "Y0 axis1", "y0", &[]);
    graph.node("LSTM", "y0 W1 R1 B1", "Y1 h1", &[]).node("Squeeze", "Y1 axis1", "y1", &[]);
    graph.floats("w", &noise("w", &[H, 2])).floats("b", &noise("b", &[2]));
    graph
}

#[track_caller]
fn refused(graph: &Graph, parts: &[&str]) {
    let error = OnnxModel::from_bytes(&graph.bytes(22), None).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn every_node_is_listed_with_its_reason() {
    let mut graph = lstm();
    graph.node("Einsum", "y1 w", "e", &[]);
    graph.node("Dropout", "y1 - yes", "d", &[]).scalar("yes", 1);
    graph.node("ReduceMean", "e", "m", &[]).node("Relu", "y1", "r", &[]);
    graph.outputs("m d r");
    let parts = [
        "graph: 4 faults",
        "\"n4\" (Einsum): expected recurrent layers",
        "\"n5\" (Dropout): training_mode: expected false",
        "\"n6\" (ReduceMean)",
        "\"n7\" (Relu): expected a linear layer in front, got Y of a layer",
    ];
    refused(&graph, &parts);
}

#[test]
fn outputs_that_no_run_gives_are_named() {
    let mut graph = lstm();
    graph.node("MatMul", "y1 w", "p", &[]).outputs("y0 p y1 x w");
    let parts = [
        "graph: 4 faults",
        "output \"y0\": expected Y of the last layer, got Y of \"n0\" (LSTM)",
        "output \"y1\": expected Y of the last layer or the output layer, got both",
        "output \"x\": expected a result of the network, got its input",
        "output \"w\": expected a result of the network, got a constant",
    ];
    refused(&graph, &parts);
}

#[test]
fn a_second_output_layer_is_refused() {
    let mut graph = lstm();
    graph.node("MatMul", "y1 w", "p", &[]).node("Add", "p b", "s", &[]).outputs("p s");
    refused(&graph, &["output \"s\": expected one output layer, got a second: \"n4\" (MatMul)"]);
    let mut graph = lstm();
    graph.node("Squeeze", "h0 axis0", "h", &[]).ints("axis0", &[0]);
    graph.node("MatMul", "h w", "p", &[]).outputs("p y1");
    refused(&graph, &["an output layer behind the last layer, got one behind \"n0\" (LSTM)"]);
}

#[test]
fn layers_must_follow_each_other() {
    let model = network(&[LayerSpec::new(Cell::Lstm, H)]);
    let mut graph = Graph::default();
    graph.input("x", 1, "time batch 4").weights("", &model.layers()[0]);
    graph.node("LSTM", "x W R B", "Y0 h0", &[]).node("LSTM", "x W R B", "Y1 h1", &[]);
    graph.outputs("h0 h1");
    refused(&graph, &["\"n1\" (LSTM): expected each recurrent layer to read the one before alone"]);
    // Encoder and decoder: an initial state that is another layer's result.
    let mut graph = lstm();
    graph.proto.node[2].input.extend(["".into(), "h0".into()]);
    graph.outputs("y1");
    refused(&graph, &["\"n2\" (LSTM): initial_h: expected a graph input or a constant, got Y_h"]);
    // The second layer over sequences instead of steps.
    let mut graph = lstm();
    graph.proto.node[2].input[0] = "y0t".into();
    graph.node("Transpose", "y0", "y0t", &[ints("perm", &[1, 0, 2])]).outputs("y1");
    refused(&graph, &["\"n2\" (LSTM): expected the time axis and lengths of the layer before"]);
}

#[test]
fn weights_must_be_constant() {
    let mut graph = lstm();
    graph.proto.initializer.retain(|tensor| tensor.name != "R1");
    graph.input("R1", 1, "1 24 6").outputs("y1");
    refused(
        &graph,
        &["\"n2\" (LSTM): R: expected real numbers that are constant, got a graph input"],
    );
}

#[test]
fn attributes_nobody_reads_are_refused() {
    let mut graph = lstm();
    graph.proto.node[0].attribute.push(int("output_sequence", 1));
    graph.outputs("y1");
    refused(&graph, &["attribute output_sequence: expected none of that name"]);
    let mut graph = lstm();
    graph.proto.node[0].attribute.push(texts("activations", &["Sigmoid", "Tanh", "Gelu"]));
    graph.outputs("y1");
    refused(
        &graph,
        &["activations: expected functions of ONNX's recurrent operators, got \"Gelu\""],
    );
    let mut graph = lstm();
    graph.node("Gemm", "h w", "p", &[int("transA", 1), float("alpha", 1.0)]);
    graph.node("Squeeze", "h1 axis0", "h", &[]).ints("axis0", &[0]).outputs("p");
    refused(&graph, &["transA: expected 0, got 1"]);
}

#[test]
fn control_flow_and_other_domains_are_refused_by_name() {
    let mut graph = lstm();
    graph.node("If", "flag", "z", &[]).scalar("flag", 1);
    graph.node("LSTM", "y1 z z", "q", &[]).outputs("z q");
    graph.proto.node[5].domain = "com.example".into();
    let parts = ["\"n4\" (If): expected an operator without a graph inside", "(com.example.LSTM)"];
    refused(&graph, &parts);
}

#[test]
fn operator_sets_and_sparse_weights_are_checked() {
    let mut graph = lstm();
    graph.outputs("y1");
    for opset in [6, 29] {
        let error = graph.read(opset).expect_err("refused");
        assert_eq!(error, format!("opset_import: expected 7 to 28, got {opset}"));
    }
    let proto = ModelProto {
        graph: Some(graph.proto.clone()),
        opset_import: vec![OperatorSetIdProto { domain: "ai.onnx.ml".into(), version: 3 }],
        ..ModelProto::default()
    };
    let bytes = prost::Message::encode_to_vec(&proto);
    let error = OnnxModel::from_bytes(&bytes, None).expect_err("refused");
    assert!(error.to_string().contains("expected ONNX's operator set"), "{error}");
    graph.proto.sparse_initializer.push(SparseTensorProto::default());
    refused(&graph, &["expected dense initializers"]);
}

#[test]
fn lengths_must_be_those_of_the_layer_before() {
    let mut graph = lstm();
    graph.input("lens", 6, "batch").outputs("y1");
    graph.proto.node[0].input.push("lens".into());
    refused(&graph, &["\"n2\" (LSTM): expected the time axis and lengths of the layer before"]);
}
