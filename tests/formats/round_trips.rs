//! What is written is read back bit by bit: weights, texts, names, element types.

use safetensors::tensor::Dtype;
use wgpu_rnn::model::{ModelInfo, Unit, Vocabulary};
use wgpu_rnn::{
    Activation, Cell, Direction, ErrorKind, HeadSpec, Init, InputSpec, LayerSpec, LoadOptions,
    Model,
};

use crate::files::{borrow, file, layer, load};

fn assert_round_trip(model: &Model) {
    let bytes = model.to_safetensors().expect("bytes");
    assert_eq!(bytes, model.to_safetensors().expect("bytes"), "two writes differ");
    let mut back = Model::from_safetensors(&bytes, &LoadOptions::default()).expect("a model");
    assert_eq!(bytes, back.to_safetensors().expect("bytes"));
    let bits = |model: &Model| -> Vec<(String, Vec<usize>, Vec<u32>)> {
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect();
        model.tensors().into_iter().map(|t| (t.name, t.shape, bits(t.values))).collect()
    };
    assert_eq!(bits(&back), bits(model));
    for (a, b) in back.layers().iter().zip(model.layers()) {
        assert_eq!(a.spec(), b.spec());
    }
    assert_eq!(back.input().spec(), model.input().spec());
    assert_eq!(back.head().map(|h| h.spec()), model.head().map(|h| h.spec()));
    // Names that were left to their defaults are spelt out after a load.
    assert_eq!(back.info.recurrent_name, "rnn");
    back.info.recurrent_name = String::new();
    back.info.head_name = String::new();
    back.info.embedding_name = String::new();
    assert_eq!(back.info, model.info);
}

#[test]
fn round_trip_is_bit_equal_for_every_network() {
    let inputs = [
        InputSpec::Dense { size: 3 },
        InputSpec::OneHot { vocab: 4 },
        InputSpec::Embedding { vocab: 5, size: 2 },
    ];
    let heads = [
        None,
        Some(HeadSpec::new(2)),
        Some(HeadSpec { bias: false, ..HeadSpec::new(1).activation(Activation::LogSoftmax) }),
        Some(HeadSpec::new(3).last_step()),
    ];
    for (n, cell) in Cell::ALL.into_iter().enumerate() {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
            for bias in [true, false] {
                for (i, input) in inputs.iter().enumerate() {
                    let proj = if cell == Cell::Lstm && i == 1 { 2 } else { 0 };
                    let spec =
                        LayerSpec::new(cell, 3).direction(direction).bias(bias).projection(proj);
                    let mut builder = Model::builder(*input).layers(2, &spec);
                    if let Some(head) = heads[(n + i) % heads.len()] {
                        builder = builder.head(head);
                    }
                    assert_round_trip(&builder.build(Init::PyTorch, 5).expect("a model"));
                }
            }
        }
    }
}

#[test]
fn round_trip_keeps_the_texts_and_layers_of_different_cells() {
    let mut model = Model::builder(InputSpec::OneHot { vocab: 2 })
        .layer(LayerSpec::new(Cell::Lstm, 3).projection(1).bidirectional())
        .layer(LayerSpec::new(Cell::Gru, 2).bias(false))
        .layer(LayerSpec::new(Cell::RnnRelu, 4).direction(Direction::Reverse))
        .build(Init::Keras, 9)
        .expect("a model");
    model.info = ModelInfo {
        vocabulary: Some(Vocabulary::new(Unit::Char, vec!["a".into(), "é\n".into()]).expect("ok")),
        columns: vec!["x, y".into()],
        outputs: vec!["\"q\"".into()],
        forecast: true,
        description: "what it is".into(),
        command: "rnn train".into(),
        ..ModelInfo::default()
    };
    assert_round_trip(&model);
}

#[test]
fn module_names_are_kept_on_saving() {
    for prefix in ["model.encoder.rnn.", "lstm.", ""] {
        let mut list = layer(prefix, 4, 2, 3);
        list.push(("net.decoder.weight".into(), vec![5, 3]));
        list.push(("net.decoder.bias".into(), vec![5]));
        list.push(("net.tok_emb.weight".into(), vec![7, 2]));
        let mut model = load(&borrow(&list)).expect(prefix);
        let guesses = std::mem::take(&mut model.info.guesses);
        let want = ["net.tok_emb taken as the embedding", "net.decoder taken as the output layer"];
        assert_eq!(guesses, want);
        let mut names: Vec<_> = model.tensors().into_iter().map(|t| t.name).collect();
        let mut want: Vec<_> = list.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        want.sort();
        assert_eq!(names, want);
        let bytes = model.to_safetensors().expect("bytes");
        let again = Model::from_safetensors(&bytes, &LoadOptions::default()).expect("a model");
        assert_eq!(again, model, "prefix {prefix:?}");
    }
}

#[test]
fn nan_weights_stay_nan() {
    let mut bytes =
        file(&[("weight_ih_l0", Dtype::F32, &[1, 1]), ("weight_hh_l0", Dtype::F32, &[1, 1])], None);
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let model = Model::from_safetensors(&bytes, &LoadOptions::default()).expect("a model");
    assert!(model.tensors().iter().any(|t| t.values[0].is_nan()));
}

#[test]
fn every_float_type_is_read() {
    for dtype in [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16] {
        let entries =
            [("rnn.weight_ih_l0", dtype, &[4, 2][..]), ("rnn.weight_hh_l0", dtype, &[4, 1])];
        let model =
            Model::from_safetensors(&file(&entries, None), &LoadOptions::default()).expect("ok");
        let want: Vec<f32> = (0..8).map(|i| (16 + i) as f32 / 64.0).collect();
        assert_eq!(model.layers()[0].directions()[0].weight_ih.data(), want, "{dtype:?}");
    }
}

#[test]
fn other_types_are_named() {
    let entries = [
        ("rnn.weight_ih_l0", Dtype::I64, &[4, 2][..]),
        ("rnn.weight_hh_l0", Dtype::F8_E4M3, &[4, 1]),
    ];
    let error = Model::from_safetensors(&file(&entries, None), &LoadOptions::default())
        .expect_err("types that are not read");
    assert_eq!(
        error.to_string(),
        "weights: 2 faults\n  \
         rnn.weight_ih_l0: expected F32, F16, BF16 or F64, got I64\n  \
         rnn.weight_hh_l0: expected F32, F16, BF16 or F64, got F8_E4M3"
    );
}

#[test]
fn save_replaces_whole_files_and_refuses_other_endings() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.safetensors");
    let model = |seed| {
        Model::builder(InputSpec::Dense { size: 2 })
            .layer(LayerSpec::new(Cell::Gru, 3))
            .build(Init::PyTorch, seed)
            .expect("a model")
    };
    model(1).save(&path).expect("saved");
    model(2).save(&path).expect("saved");
    let back = Model::load(&path).expect("loaded");
    assert_eq!(back.layers(), model(2).layers());
    let count = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(count, 1, "temporary files stay behind");

    for (name, got) in [("m.bin", ".bin"), ("m", "no ending")] {
        let path = folder.path().join(name);
        let want = format!(
            "{}: expected a file name that ends in .safetensors or .onnx, got {got}",
            path.display()
        );
        assert_eq!(model(1).save(&path).expect_err("an ending").to_string(), want);
        assert_eq!(Model::load(&path).expect_err("an ending").kind(), ErrorKind::Format);
    }
    let nowhere = folder.path().join("no/such/m.safetensors");
    assert_eq!(model(1).save(&nowhere).expect_err("no folder").kind(), ErrorKind::Io);
    std::fs::write(&path, b"not a model").expect("written");
    let error = Model::load(&path).expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Format);
    assert!(error.to_string().starts_with(&format!("{}: ", path.display())));
}
