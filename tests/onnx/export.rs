//! Models written as ONNX and read back: the same weights bit by bit, the same results, the same
//! texts.

use wgpu_rnn::cell::CellFunction;
use wgpu_rnn::model::{Unit, Vocabulary};
use wgpu_rnn::onnx::OnnxModel;
use wgpu_rnn::{
    Activation, Cell, Direction, ErrorKind, HeadSpec, HeadSteps, Init, InputSpec, LayerSpec,
    LoadOptions, Model,
};

use super::graph::{expect, meant, network, real, x};

fn bits(model: &Model) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    model.tensors().into_iter().map(|t| (t.name, t.shape, bits(t.values))).collect()
}

fn back(model: &Model) -> OnnxModel {
    OnnxModel::from_bytes(&model.to_onnx().expect("written"), None).expect("read back")
}

#[track_caller]
fn round_trip(model: &Model) {
    let read = back(model);
    assert_eq!(bits(read.model()), bits(model));
    assert_eq!(read.model().info, model.info);
    let specs = |model: &Model| {
        let layers: Vec<LayerSpec> = model.layers().iter().map(|l| l.spec().clone()).collect();
        (model.input().spec(), layers, model.head().map(wgpu_rnn::Head::spec))
    };
    assert_eq!(specs(read.model()), specs(model));
}

fn drawn(input: InputSpec, layers: &[LayerSpec], head: Option<HeadSpec>) -> Model {
    let mut builder = Model::builder(input);
    for spec in layers {
        builder = builder.layer(spec.clone());
    }
    if let Some(head) = head {
        builder = builder.head(head);
    }
    let mut model = builder.build(Init::PyTorch, 5).expect("a network");
    model.info.recurrent_name = "rnn".into();
    if head.is_some() {
        model.info.head_name = "fc".into();
    }
    if matches!(input, InputSpec::Embedding { .. }) {
        model.info.embedding_name = "embedding".into();
    }
    model
}

#[test]
fn every_cell_and_direction_comes_back() {
    for cell in Cell::ALL {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for bias in [true, false] {
                let spec = LayerSpec::new(cell, 3).direction(direction).bias(bias);
                let next = LayerSpec::new(cell, 1).direction(direction).bias(bias);
                round_trip(&drawn(InputSpec::Dense { size: 2 }, &[spec, next], None));
            }
        }
    }
}

#[test]
fn options_come_back() {
    let mut spec = LayerSpec::new(Cell::Lstm, 3).bidirectional();
    spec.options.clip = Some(0.75);
    spec.options.input_forget = true;
    spec.options.peephole = true;
    let elu = CellFunction::Elu { alpha: 0.3 };
    let hard = CellFunction::HardSigmoid { alpha: 0.1, beta: 0.7 };
    let scaled = CellFunction::ScaledTanh { alpha: 0.4, beta: 0.6 };
    spec.options.functions = vec![
        vec![hard, elu, CellFunction::Softsign],
        vec![CellFunction::Sigmoid, scaled, CellFunction::Affine { alpha: 0.5, beta: 0.25 }],
    ];
    round_trip(&drawn(InputSpec::Dense { size: 2 }, &[spec], None));
    for function in CellFunction::ALL.into_iter().skip(3) {
        let spec = LayerSpec::new(Cell::RnnTanh, 3).functions(&[function]);
        round_trip(&drawn(InputSpec::Dense { size: 2 }, &[spec], None));
    }
}

#[test]
fn inputs_and_heads_come_back() {
    let layers = [LayerSpec::new(Cell::Gru, 3).bidirectional(), LayerSpec::new(Cell::Lstm, 4)];
    let inputs = [
        InputSpec::Dense { size: 2 },
        InputSpec::Embedding { vocab: 7, size: 2 },
        InputSpec::OneHot { vocab: 7 },
    ];
    for input in inputs {
        for steps in HeadSteps::ALL {
            for activation in Activation::ALL {
                for bias in [true, false] {
                    let head = HeadSpec { output_size: 5, activation, steps, bias };
                    round_trip(&drawn(input, &layers, Some(head)));
                }
            }
        }
    }
    let one = HeadSpec::new(1);
    round_trip(&drawn(InputSpec::Dense { size: 1 }, &[LayerSpec::new(Cell::Lstm, 1)], Some(one)));
}

#[test]
fn an_exported_graph_gives_what_the_model_gives() {
    let model = network(&[
        LayerSpec::new(Cell::Lstm, 6).bidirectional(),
        LayerSpec::new(Cell::GruResetBefore, 6),
        LayerSpec::new(Cell::Lstm, 6).direction(Direction::Reverse),
    ]);
    let read = back(&model);
    let meant = meant(&model, |batch| batch);
    let h: Vec<f64> = meant.h.iter().flat_map(|h| h.data()).copied().collect();
    let c: Vec<f64> = meant.c.iter().flatten().flat_map(|c| c.data()).copied().collect();
    let wanted: [(&str, &[usize], &[f64]); 3] =
        [("output", &[5, 3, 6], meant.y.data()), ("h_n", &[4, 3, 6], &h), ("c_n", &[3, 3, 6], &c)];
    expect(&read, &[real("x", x())], &wanted);
    let names: Vec<&str> = read.inputs().iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["x"]);
}

#[test]
fn layers_of_different_widths_have_states_of_their_own() {
    let model = network(&[LayerSpec::new(Cell::Lstm, 6), LayerSpec::new(Cell::Lstm, 4)]);
    let read = back(&model);
    let names: Vec<&str> = read.outputs().iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["output", "h_n_l0", "h_n_l1", "c_n_l0", "c_n_l1"]);
}

#[test]
fn texts_travel_in_the_metadata() {
    let layers = [LayerSpec::new(Cell::Lstm, 3)];
    let input = InputSpec::Embedding { vocab: 3, size: 2 };
    let mut model = drawn(input, &layers, Some(HeadSpec::new(3)));
    let tokens = vec!["a".into(), "ß".into(), "\n".into()];
    model.info.vocabulary = Some(Vocabulary::new(Unit::Char, tokens).expect("a vocabulary"));
    model.info.outputs = vec!["next".into()];
    model.info.forecast = true;
    model.info.description = "three letters".into();
    model.info.command = "by hand".into();
    model.info.recurrent_name = "encoder.lstm".into();
    model.info.head_name = "decoder".into();
    model.info.embedding_name = "letters".into();
    round_trip(&model);
}

#[test]
fn files_convert_both_ways_bit_by_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for name in ["sunspots", "chars"] {
        let original = Model::load(root.join(name).with_extension("safetensors")).expect("loaded");
        let onnx = folder.path().join(name).with_extension("onnx");
        original.save(&onnx).expect("saved");
        let read = Model::load(&onnx).expect("loaded");
        assert_eq!(bits(&read), bits(&original), "{name}");
        assert_eq!(
            read.to_safetensors().expect("bytes"),
            original.to_safetensors().expect("bytes")
        );
    }
    let onnx = folder.path().join("chars.onnx");
    let options = LoadOptions { cell: Some(Cell::Gru), ..LoadOptions::default() };
    let error = Model::load_with(&onnx, &options).expect_err("the graph says it");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn what_onnx_cannot_say_is_listed() {
    let mut bounded = LayerSpec::new(Cell::Lstm, 3);
    bounded.options.cell_clip = Some([-1.0, 1.0]);
    bounded.options.layer_norm = Some(1e-5);
    let layers = [LayerSpec::new(Cell::Lstm, 3).projection(2), bounded];
    let error = drawn(InputSpec::Dense { size: 2 }, &layers, None).to_onnx().expect_err("no words");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let want = "ONNX has no words for parts of this model:\n  layer 0: expected no projection, got \
                one\n  layer 1: expected no layer normalisation, got one\n  layer 1: expected no \
                bound of the cell state, got one";
    assert_eq!(error.to_string(), want);
}
