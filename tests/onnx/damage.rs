//! Damaged and hostile bytes: a typed error, never a panic, a hang or a huge allocation.

use std::path::Path;

use prost::Message;
use wgpu_rnn::onnx::proto::{ModelProto, StringStringEntryProto, TensorProto};
use wgpu_rnn::onnx::{OnnxModel, read_tensor};
use wgpu_rnn::{Cell, ErrorKind, LayerSpec};

use super::graph::{Graph, H, int, network, noise};

fn graph() -> Graph {
    let model = network(&[LayerSpec::new(Cell::Lstm, H)]);
    let mut graph = Graph::default();
    graph.input("x", 1, "time batch 4").weights("", &model.layers()[0]).ints("axis", &[1]);
    graph.node("LSTM", "x W R B", "Y h c", &[int("hidden_size", 6)]);
    graph.node("Squeeze", "Y axis", "y", &[]).outputs("y h c");
    graph
}

fn kind(bytes: &[u8]) -> Option<ErrorKind> {
    OnnxModel::from_bytes(bytes, None).err().map(|e| e.kind())
}

#[test]
fn truncated_files_are_errors() {
    let bytes = graph().bytes(22);
    assert_eq!(kind(&bytes), None);
    for len in 0..bytes.len() {
        assert!(kind(&bytes[..len]).is_some(), "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn changed_bytes_never_panic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx");
    let mut state = 1u64;
    for case in ["keras_lstm_bidirectional", "gru_2l_bi_dynamo", "lstm_states_bi_static_ts"] {
        let bytes = std::fs::read(root.join(case).join("model.onnx")).expect("readable");
        for _ in 0..600 {
            let mut changed = bytes.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let place = (state >> 33) as usize % changed.len();
                changed[place] ^= (state >> 20) as u8;
            }
            let _ = kind(&changed);
        }
    }
}

#[test]
fn shapes_that_their_data_do_not_fill_are_errors() {
    for dims in [vec![1 << 40, 1 << 40], vec![-1], vec![1 << 62], vec![3, 1 << 60, 0, 8], vec![2]] {
        let tensor = TensorProto {
            dims,
            data_type: 1,
            raw_data: Some(vec![0; 4]),
            ..TensorProto::default()
        };
        let error = read_tensor(&tensor.encode_to_vec()).expect_err("no such array");
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
    }
    let strings = TensorProto { dims: vec![1], data_type: 8, ..TensorProto::default() };
    let error = read_tensor(&strings.encode_to_vec()).expect_err("no numbers");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn circles_and_missing_values_are_named() {
    let mut circle = graph();
    circle.proto.node[0].input[0] = "z".into();
    circle.node("Identity", "y", "z", &[]);
    let error = circle.read(22).expect_err("a circle");
    assert!(error.contains("expected a graph without circles"), "{error}");
    let mut missing = graph();
    missing.proto.node[0].input[0] = "z".into();
    let error = missing.read(22).expect_err("a missing value");
    assert_eq!(error, "graph: expected something that makes \"z\", got nothing");
    let mut twice = graph();
    twice.node("Identity", "x", "y", &[]);
    let error = twice.read(22).expect_err("twice");
    assert_eq!(error, "graph: expected each value to be made once, got \"y\" twice");
}

#[test]
fn long_chains_and_doubling_constants_are_bounded() {
    let mut chain = graph();
    chain.node("Identity", "x", "i0", &[]);
    for i in 0..50_000 {
        chain.node("Identity", &format!("i{i}"), &format!("i{}", i + 1), &[]);
    }
    chain.proto.node[0].input[0] = "i50000".into();
    chain.read(22).expect("a long model");
    let mut doubled = graph();
    doubled.floats("c0", &noise("c", &[1, 1, 6]));
    for i in 0..60 {
        let twice = format!("c{i} c{i}");
        doubled.node("Concat", &twice, &format!("c{}", i + 1), &[int("axis", 0)]);
    }
    doubled.proto.node[0].input.extend(["".into(), "c60".into()]);
    let error = doubled.read(22).expect_err("2^60 numbers");
    assert!(error.contains("constants: expected fewer numbers"), "{error}");
    let mut huge = graph();
    huge.ints("shape", &[1 << 30, 1 << 30, 6]).node("ConstantOfShape", "shape", "z", &[]);
    huge.proto.node[0].input.extend(["".into(), "z".into()]);
    assert!(huge.read(22).is_err());
}

/// A model whose W stands in `location`, read from `folder`.
fn external(folder: Option<&Path>, entries: &[(&str, &str)]) -> Result<OnnxModel, wgpu_rnn::Error> {
    let mut proto = ModelProto::decode(graph().bytes(22).as_slice()).expect("ours");
    let tensors = &mut proto.graph.as_mut().expect("a graph").initializer;
    let w = tensors.iter_mut().find(|tensor| tensor.name == "W").expect("W");
    w.float_data.clear();
    w.data_location = 1;
    w.external_data = entries
        .iter()
        .map(|(key, value)| StringStringEntryProto { key: (*key).into(), value: (*value).into() })
        .collect();
    OnnxModel::from_bytes(&proto.encode_to_vec(), folder)
}

#[test]
fn external_data_is_read_from_the_folder_and_from_nowhere_else() {
    let model = network(&[LayerSpec::new(Cell::Lstm, H)]);
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("model");
    std::fs::create_dir(&folder).expect("a folder");
    let proto = ModelProto::decode(graph().bytes(22).as_slice()).expect("ours");
    let w = &proto.graph.as_ref().expect("a graph").initializer[0];
    let mut data = vec![9u8; 16];
    w.float_data.iter().for_each(|value| data.extend(value.to_le_bytes()));
    std::fs::write(folder.join("w.bin"), &data).expect("written");
    std::fs::write(parent.path().join("out.bin"), &data).expect("written");
    let read = external(Some(&folder), &[("location", "w.bin"), ("offset", "16")]);
    assert_eq!(read.expect("a model").model(), &model);
    let length = (data.len() - 16).to_string();
    let entries = [("location", "./w.bin"), ("offset", "16"), ("length", length.as_str())];
    assert_eq!(external(Some(&folder), &entries).expect("a model").model(), &model);

    let kind = |folder: Option<&Path>, entries: &[(&str, &str)]| {
        external(folder, entries).expect_err("refused").kind()
    };
    assert_eq!(kind(None, &[("location", "w.bin")]), ErrorKind::Unsupported);
    let outside = parent.path().join("out.bin").display().to_string();
    for location in ["../out.bin", "a/../../out.bin", outside.as_str(), "", ".", "w.bin\0"] {
        assert_eq!(kind(Some(&folder), &[("location", location)]), ErrorKind::Format, "{location}");
    }
    assert_eq!(kind(Some(&folder), &[("location", "none.bin")]), ErrorKind::Io);
    for wrong in
        [("offset", "17"), ("offset", "-1"), ("offset", "18446744073709551615"), ("length", "8")]
    {
        assert_eq!(kind(Some(&folder), &[("location", "w.bin"), wrong]), ErrorKind::Format);
    }
    assert_eq!(kind(Some(&folder), &[]), ErrorKind::Format);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(parent.path().join("out.bin"), folder.join("link.bin"))
            .expect("a link");
        assert_eq!(kind(Some(&folder), &[("location", "link.bin")]), ErrorKind::Format);
    }
}
