//! Model files: what is written is read back bit by bit, what PyTorch writes is understood, and
//! what does not fit is named.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use wgpu_rnn::model::{ModelInfo, Unit, Vocabulary};
use wgpu_rnn::{
    Activation, Cell, Direction, ErrorKind, HeadSpec, HeadSteps, Init, InputSpec, LayerSpec,
    LoadOptions, Model,
};

/// A tensor of a hand-made file: values count up from the name's length, so that no two agree.
type Entry<'a> = (&'a str, Dtype, &'a [usize]);

/// Names and shapes of a file's tensors.
type Shapes<'a> = &'a [(&'a str, &'a [usize])];

fn file(entries: &[Entry<'_>], metadata: Option<&str>) -> Vec<u8> {
    let data: Vec<Vec<u8>> = entries
        .iter()
        .map(|(name, dtype, shape)| {
            let count: usize = shape.iter().product();
            (0..count)
                .flat_map(|i| {
                    let value = (name.len() + i) as f32 / 64.0;
                    match dtype {
                        Dtype::F32 => value.to_le_bytes().to_vec(),
                        Dtype::F64 => f64::from(value).to_le_bytes().to_vec(),
                        Dtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
                        Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
                        _ => vec![0; dtype.bitsize() / 8],
                    }
                })
                .collect()
        })
        .collect();
    let views = entries.iter().zip(&data).map(|((name, dtype, shape), bytes)| {
        (*name, TensorView::new(*dtype, shape.to_vec(), bytes).expect("a view"))
    });
    let entries = metadata.map(|text| HashMap::from([("wgpu_rnn".to_owned(), text.to_owned())]));
    safetensors::serialize(views, entries).expect("a file")
}

fn load(entries: &[(&str, &[usize])]) -> Result<Model, String> {
    load_with(entries, &LoadOptions::default())
}

fn load_with(entries: &[(&str, &[usize])], options: &LoadOptions) -> Result<Model, String> {
    let entries: Vec<Entry<'_>> = entries.iter().map(|(n, s)| (*n, Dtype::F32, *s)).collect();
    Model::from_safetensors(&file(&entries, None), options).map_err(|e| {
        assert_eq!(e.kind(), ErrorKind::Weights, "{e}");
        e.to_string()
    })
}

fn with_metadata(
    entries: &[(&str, &[usize])],
    metadata: &str,
) -> Result<Model, (ErrorKind, String)> {
    let entries: Vec<Entry<'_>> = entries.iter().map(|(n, s)| (*n, Dtype::F32, *s)).collect();
    Model::from_safetensors(&file(&entries, Some(metadata)), &LoadOptions::default())
        .map_err(|e| (e.kind(), e.to_string()))
}

fn head(name: &str) -> LoadOptions {
    LoadOptions { head: Some(name.into()), ..LoadOptions::default() }
}

/// The tensors of one PyTorch layer under a module prefix such as `rnn.`.
fn layer(prefix: &str, gates: usize, input: usize, hidden: usize) -> Vec<(String, Vec<usize>)> {
    let rows = gates * hidden;
    vec![
        (format!("{prefix}weight_ih_l0"), vec![rows, input]),
        (format!("{prefix}weight_hh_l0"), vec![rows, hidden]),
        (format!("{prefix}bias_ih_l0"), vec![rows]),
        (format!("{prefix}bias_hh_l0"), vec![rows]),
    ]
}

fn borrow(list: &[(String, Vec<usize>)]) -> Vec<(&str, &[usize])> {
    list.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect()
}

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
fn cell_and_sizes_follow_from_shapes() {
    for (gates, cell) in [(1, Cell::RnnTanh), (3, Cell::Gru), (4, Cell::Lstm)] {
        let model = load(&borrow(&layer("rnn.", gates, 7, 5))).expect("a model");
        let spec = model.layers()[0].spec();
        assert_eq!(*spec, LayerSpec::new(cell, 5).input(7));
        assert_eq!(model.input().spec(), InputSpec::Dense { size: 7 });
    }
}

#[test]
fn projection_bias_and_directions_follow_from_names() {
    let mut list = Vec::new();
    for (l, input) in [(0, 3), (1, 4)] {
        for suffix in ["", "_reverse"] {
            list.push((format!("rnn.weight_ih_l{l}{suffix}"), vec![20, input]));
            list.push((format!("rnn.weight_hh_l{l}{suffix}"), vec![20, 2]));
            list.push((format!("rnn.weight_hr_l{l}{suffix}"), vec![2, 5]));
        }
    }
    let model = load(&borrow(&list)).expect("a model");
    let want = LayerSpec::new(Cell::Lstm, 5).projection(2).bidirectional().bias(false);
    assert_eq!(*model.layers()[0].spec(), want.clone().input(3));
    assert_eq!(*model.layers()[1].spec(), want.input(4));
}

#[test]
fn the_cell_option_decides_what_shapes_leave_open() {
    let with = |gates, cell| {
        let options = LoadOptions { cell: Some(cell), ..LoadOptions::default() };
        load_with(&borrow(&layer("rnn.", gates, 2, 5)), &options)
    };
    for (gates, cell) in [(1, Cell::RnnRelu), (3, Cell::GruResetBefore), (4, Cell::Lstm)] {
        assert_eq!(with(gates, cell).expect("a model").layers()[0].spec().cell, cell);
    }
    assert_eq!(
        with(3, Cell::Lstm).expect_err("a contradiction"),
        "cell lstm: expected rnn.weight_hh_l0 with 4*H rows, got 3*H (this is GRU-shaped: gru or \
         gru-reset-before)"
    );
}

#[test]
fn modules_stack_in_natural_order() {
    let mut list = layer("lstm10.", 4, 6, 2);
    list.extend(layer("lstm9.", 3, 4, 6));
    list.extend(layer("lstm2.", 1, 5, 4));
    let model = load(&borrow(&list)).expect("a model");
    let cells: Vec<_> = model.layers().iter().map(|l| l.spec().cell).collect();
    assert_eq!(cells, [Cell::RnnTanh, Cell::Gru, Cell::Lstm]);
    assert!(model.tensors().iter().any(|t| t.name == "rnn.weight_ih_l2"));
    let again =
        Model::from_safetensors(&model.to_safetensors().expect("ok"), &LoadOptions::default());
    assert_eq!(again.expect("a model").layers(), model.layers());

    // Names that say nothing of the order: the sizes decide, where they can.
    let mut list = layer("encoder.", 4, 3, 7);
    list.extend(layer("decoder.", 4, 7, 5));
    let model = load(&borrow(&list)).expect("one order fits");
    assert_eq!(model.layers()[0].spec().input_size, 3);
    let mut list = layer("encoder.", 4, 7, 7);
    list.extend(layer("decoder.", 4, 7, 7));
    assert_eq!(
        load(&borrow(&list)).expect_err("two orders fit"),
        "weights: expected recurrent modules that follow each other, got decoder takes 7 and gives \
         7; encoder takes 7 and gives 7 (several orders fit: name them by number, or state the \
         layers in the metadata)"
    );

    let mut list = layer("a.", 4, 3, 2);
    list.extend(layer("b.", 4, 3, 2));
    assert_eq!(
        load(&borrow(&list)).expect_err("no chain"),
        "weights: expected recurrent modules that follow each other, got a takes 3 and gives 2; \
         b takes 3 and gives 2"
    );
}

#[test]
fn what_shapes_leave_open_is_said() {
    let guesses =
        |list: &[(String, Vec<usize>)]| load(&borrow(list)).expect("a model").info.guesses;
    assert_eq!(
        guesses(&layer("rnn.", 1, 3, 4)),
        [
            "rnn taken as rnn-tanh (rnn-relu has the same shapes: --cell rnn-relu)",
            "no output layer found, the output is the last layer's"
        ]
    );
    let mut list = layer("", 3, 3, 4);
    list.push(("final.weight".into(), vec![3, 4]));
    assert_eq!(
        guesses(&list),
        [
            "the layers taken as gru (gru-reset-before has the same shapes: --cell \
             gru-reset-before)",
            "final taken as the output layer"
        ]
    );
    let mut square = layer("gru.", 3, 4, 6);
    square.push(("attn.weight".into(), vec![6, 6]));
    square.push(("attn.bias".into(), vec![6]));
    assert!(
        load(&borrow(&square)).expect_err("refused").starts_with("attn.weight: expected an output")
    );
    let mut square = layer("gru.", 3, 4, 6);
    square.push(("input_proj.weight".into(), vec![4, 4]));
    let error = load(&borrow(&square)).expect_err("refused");
    assert!(error.starts_with("input_proj.weight: expected an embedding"), "{error}");
}

#[test]
fn embedding_and_head_follow_from_shapes() {
    // Distinct widths: the only candidates, whatever they are called.
    let mut list = layer("rnn.", 3, 4, 6);
    list.push(("lookup.weight".into(), vec![9, 4]));
    list.push(("last.weight".into(), vec![2, 6]));
    let model = load(&borrow(&list)).expect("a model");
    assert_eq!(model.input().spec(), InputSpec::Embedding { vocab: 9, size: 4 });
    assert_eq!(model.head().map(|h| h.spec()), Some(HeadSpec { bias: false, ..HeadSpec::new(2) }));
    assert_eq!(
        (model.info.embedding_name.as_str(), model.info.head_name.as_str()),
        ("lookup", "last")
    );

    // Equal widths: names decide.
    for (embedding, head) in [("word_embeddings", "x"), ("lookup", "fc"), ("Emb", "model.Decoder")]
    {
        let mut list = layer("rnn.", 3, 6, 6);
        list.push((format!("{embedding}.weight"), vec![9, 6]));
        list.push((format!("{head}.weight"), vec![9, 6]));
        let model = load(&borrow(&list)).expect("a model");
        assert_eq!(
            (model.info.embedding_name.as_str(), model.info.head_name.as_str()),
            (embedding, head)
        );
    }
}

#[test]
fn a_tensor_that_fits_two_places_is_an_error_that_says_so() {
    let mut list = layer("rnn.", 3, 6, 6);
    list.push(("x.weight".into(), vec![9, 6]));
    assert_eq!(
        load(&borrow(&list)).expect_err("ambiguous"),
        "x.weight: expected an embedding or an output layer, got [V or O, 6], which fits both (say \
         --head x or --head none)"
    );
    let as_head = load_with(&borrow(&list), &head("x")).expect("a head");
    assert_eq!(as_head.output_size(), 9);
    let as_embedding = load_with(&borrow(&list), &head("none")).expect("an embedding");
    assert_eq!(as_embedding.input().spec(), InputSpec::Embedding { vocab: 9, size: 6 });
}

#[test]
fn several_heads_need_a_choice() {
    let mut list = layer("rnn.", 3, 4, 6);
    for (name, out) in [("policy", 3), ("value", 1)] {
        list.push((format!("{name}.weight"), vec![out, 6]));
        list.push((format!("{name}.bias"), vec![out]));
    }
    assert_eq!(
        load(&borrow(&list)).expect_err("ambiguous"),
        "output layer: expected one module that fits, got policy, value (say --head NAME to take \
         one and leave the others out, or --head none)"
    );
    let options = LoadOptions {
        activation: Some(Activation::Tanh),
        steps: Some(HeadSteps::Last),
        ..head("value")
    };
    let model = load_with(&borrow(&list), &options).expect("a model");
    let want = HeadSpec::new(1).activation(Activation::Tanh).last_step();
    assert_eq!(model.head().map(|h| h.spec()), Some(want));
    assert!(load_with(&borrow(&list), &head("none")).expect("a model").head().is_none());
    assert_eq!(
        load_with(&borrow(&list), &head("valve")).expect_err("no such head"),
        "weights: 1 fault\n  valve.weight: expected [O, H] = [any, 6], got nothing (by its shape it \
         could be policy or value)"
    );
    // What is no output layer by its shape is never left out.
    list.push(("norm.weight".into(), vec![6]));
    assert_eq!(
        load_with(&borrow(&list), &head("none")).expect_err("surplus"),
        "weights: 1 fault\n  norm.weight: expected no such tensor, got [6]"
    );
}

#[test]
fn options_for_a_head_need_a_head() {
    let list = layer("rnn.", 3, 4, 6);
    let message = |options: &LoadOptions| load_with(&borrow(&list), options).expect_err("no head");
    let activation = LoadOptions { activation: Some(Activation::Relu), ..LoadOptions::default() };
    assert_eq!(
        message(&activation),
        "activation: expected a file with an output layer, got one without (the option acts on the \
         output layer)"
    );
    let steps = LoadOptions { steps: Some(HeadSteps::Last), ..LoadOptions::default() };
    assert!(message(&steps).starts_with("steps: expected a file with an output layer"));
}

#[test]
fn all_faults_are_listed_with_hints() {
    let list: [(&str, &[usize]); 9] = [
        ("rnn.weight_ih_l0", &[10, 1024]),
        ("rnn.weight_hh_l0", &[768, 256]),
        ("rnn.bias_ih_l0", &[1024]),
        ("rnn.weight_ih_l1", &[768, 255]),
        ("rnn.weight_hh_l1", &[768, 256]),
        ("rnn.bias_ih_l1", &[768]),
        ("rnn.bias_hh_l1", &[768]),
        ("norm.running_mean", &[256]),
        ("fc.weight", &[256, 5]),
    ];
    assert_eq!(
        load(&list).expect_err("faults"),
        "weights: 6 faults\n  \
         rnn.weight_ih_l0: expected [3*H, I] = [768, 1024], got [10, 1024]\n  \
         rnn.bias_ih_l0: expected [3*H] = [768], got [1024] (this is an LSTM-shaped tensor)\n  \
         rnn.bias_hh_l0: expected [3*H] = [768], got nothing\n  \
         rnn.weight_ih_l1: expected [3*H, H] = [768, 256], got [768, 255]\n  \
         fc.weight: expected no such tensor, got [256, 5]\n  \
         norm.running_mean: expected no such tensor, got [256]"
    );
}

#[test]
fn metadata_faults_carry_hints() {
    let metadata = r#"{"version":1,"input":{"kind":"dense","size":3},
        "layers":[{"cell":"lstm","hidden_size":256}],"head":{"tensor":"fc"}}"#;
    let list: [(&str, &[usize]); 6] = [
        ("rnn.weight_ih_l0", &[3, 1024]),
        ("rnn.weight_hh_l0", &[768, 256]),
        ("rnn.bias_ih_l0", &[256]),
        ("rnn.bias_hh_l0", &[1024]),
        ("fc.weight", &[256, 5]),
        ("fc.bias", &[5]),
    ];
    assert_eq!(
        with_metadata(&list, metadata).expect_err("faults"),
        (
            ErrorKind::Weights,
            "weights: 5 faults\n  \
             rnn.weight_ih_l0: expected [4*H, I] = [1024, 3], got [3, 1024] (this looks transposed; \
             PyTorch stores [out, in])\n  \
             rnn.weight_hh_l0: expected [4*H, H] = [1024, 256], got [768, 256] (this is a GRU-shaped \
             tensor)\n  \
             rnn.bias_ih_l0: expected [4*H] = [1024], got [256] (this is an RNN-shaped tensor)\n  \
             fc.weight: expected [O, H] = [any, 256], got [256, 5] (this looks transposed; PyTorch \
             stores [out, in])\n  \
             fc.bias: expected [O] = [256], got [5]"
                .to_owned()
        )
    );
}

#[test]
fn files_without_recurrent_tensors_are_refused() {
    assert_eq!(
        load(&[("fc.weight", &[2, 3]), ("fc.bias", &[2])]).expect_err("nothing recurrent"),
        "weights: expected recurrent tensors such as rnn.weight_ih_l0, got fc.bias, fc.weight"
    );
    assert_eq!(
        load(&[]).expect_err("nothing"),
        "weights: expected recurrent tensors such as rnn.weight_ih_l0, got no tensors"
    );
    assert_eq!(
        load(&[("c.weight_ih", &[4, 1]), ("c.weight_hh", &[4, 1])]).expect_err("a cell"),
        "weights: expected recurrent tensors such as rnn.weight_ih_l0, got c.weight_hh, c.weight_ih \
         (this looks like a cell module such as nn.LSTMCell: append _l0 to its tensors' names)"
    );
}

#[test]
fn matrices_of_no_cell_are_refused() {
    let cases: [(Shapes<'_>, &str); 6] = [
        (
            &[("rnn.weight_ih_l0", &[10, 3]), ("rnn.weight_hh_l0", &[10, 5])],
            "weights: 1 fault\n  rnn.weight_hh_l0: expected [G*H, H] with G = 1, 3 or 4, got [10, 5]",
        ),
        (
            &[("rnn.weight_ih_l0", &[10, 3])],
            "weights: 1 fault\n  rnn.weight_hh_l0: expected [G*H, H] with G = 1, 3 or 4, got nothing",
        ),
        (
            &[("rnn.weight_ih_l0", &[0, 3]), ("rnn.weight_hh_l0", &[0, 0])],
            "weights: 1 fault\n  rnn.weight_hh_l0: expected [G*H, H] with G = 1, 3 or 4, got [0, 0]",
        ),
        (
            &[("weight_hh_l0", &[15, 2]), ("weight_hr_l0", &[2, 5])],
            "weights: 1 fault\n  weight_hh_l0: expected [4*H, P] with weight_hr [P, H], got [15, 2] \
             with weight_hr [2, 5]",
        ),
        (
            &[
                ("r.weight_ih_l0", &[4, 1]),
                ("r.weight_hh_l0", &[4, 1]),
                ("r.weight_ih_l2", &[4, 1]),
            ],
            "weights: 1 fault\n  r.weight_ih_l*: expected layers numbered 0 to 1, got 0, 2",
        ),
        (
            &[("r.weight_ih_l0_reverse", &[4, 1]), ("r.weight_hh_l0_reverse", &[4, 1])],
            "weights: 2 faults\n  r.weight_ih_l0: expected [4*H, I] = [4, 1], got nothing\n  \
             r.weight_hh_l0: expected [4*H, H] = [4, 1], got nothing",
        ),
    ];
    for (list, want) in cases {
        assert_eq!(load(list).expect_err("no cell"), want);
    }
}

#[test]
fn two_embeddings_are_an_error() {
    let mut list = layer("rnn.", 3, 4, 6);
    list.push(("emb_a.weight".into(), vec![9, 4]));
    list.push(("emb_b.weight".into(), vec![9, 4]));
    assert_eq!(
        load(&borrow(&list)).expect_err("two"),
        "embedding: expected one module X with X.weight [V, 4], got emb_a, emb_b"
    );
}

const ONE_UNIT: [(&str, &[usize]); 2] =
    [("rnn.weight_ih_l0", &[4, 3]), ("rnn.weight_hh_l0", &[4, 1])];
const INPUT: &str = r#""input":{"kind":"dense","size":3}"#;
const LAYERS: &str = r#""layers":[{"cell":"lstm","hidden_size":1,"bias":false}]"#;

/// Asserts the kind and message of a file of one LSTM unit with each metadata text.
fn assert_refused(cases: &[(String, &str)]) {
    for (text, want) in cases {
        let (kind, message) = with_metadata(&ONE_UNIT, text).expect_err(want);
        assert_eq!(format!("{kind}: {message}"), *want);
    }
}

#[test]
fn metadata_keys_are_checked() {
    let text = format!(r#"{{"version":1,{INPUT},{LAYERS}}}"#);
    assert!(with_metadata(&ONE_UNIT, &text).is_ok());
    let cases = [
        (
            format!(r#"{{"version":2,{INPUT},{LAYERS},"new":1}}"#),
            "unsupported: metadata wgpu_rnn version: expected 1, got 2 (the file was written by \
             another release)",
        ),
        (
            format!("{{{INPUT},{LAYERS}}}"),
            "format: metadata wgpu_rnn version: expected 1, got nothing",
        ),
        (
            format!(r#"{{"version":1,{INPUT},{LAYERS},"haed":{{}}}}"#),
            "format: metadata wgpu_rnn: unknown field `haed`, expected one of `version`, `input`, \
             `recurrent`, `layers`, `head`, `vocabulary`, `columns`, `outputs`, `forecast`, \
             `description`, `command`",
        ),
        (
            format!(r#"{{"version":1,"input":{{"kind":"dense","size":3,"e":1}},{LAYERS}}}"#),
            "format: metadata wgpu_rnn: unknown field `e`, expected `size`",
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn metadata_values_are_checked() {
    let cases = [
        (
            format!(r#"{{"version":1,"input":{{"kind":"dense","size":0}},{LAYERS}}}"#),
            "format: metadata wgpu_rnn input.size: expected 1 to 16777216, got 0",
        ),
        (
            format!(r#"{{"version":1,{INPUT},"layers":[{{"cell":"lstn","hidden_size":1}}]}}"#),
            "format: metadata wgpu_rnn layers[0].cell: expected one of rnn-tanh, rnn-relu, lstm, \
             gru, gru-reset-before, got \"lstn\"",
        ),
        (
            format!(
                r#"{{"version":1,{INPUT},"layers":[{{"cell":"gru","hidden_size":18446744073709551615}}]}}"#
            ),
            "format: metadata wgpu_rnn layers[0].hidden_size: expected 1 to 16777216, got \
             18446744073709551615",
        ),
        (
            format!(r#"{{"version":1,{INPUT},{LAYERS},"head":{{"activation":"gelu"}}}}"#),
            "format: metadata wgpu_rnn head.activation: expected one of none, softmax, log-softmax, \
             sigmoid, tanh, relu, got \"gelu\"",
        ),
        (
            format!(
                r#"{{"version":1,{INPUT},{LAYERS},"vocabulary":{{"unit":"char","tokens":["a","a"]}}}}"#
            ),
            "format: vocabulary: expected each token once, got \"a\" twice",
        ),
        (
            format!(r#"{{"version":1,{INPUT},"layers":[]}}"#),
            "weights: weights: 2 faults\n  rnn.weight_hh_l0: expected no such tensor, got [4, 1]\n  \
             rnn.weight_ih_l0: expected no such tensor, got [4, 3]",
        ),
        ("[".to_owned(), "format: metadata wgpu_rnn: EOF while parsing a list at line 1 column 1"),
    ];
    assert_refused(&cases);
}

#[test]
fn options_win_over_metadata() {
    let model = Model::builder(InputSpec::Dense { size: 2 })
        .layer(LayerSpec::new(Cell::Gru, 3))
        .head(HeadSpec::new(2).activation(Activation::Softmax))
        .build(Init::PyTorch, 1)
        .expect("a model");
    let bytes = model.to_safetensors().expect("bytes");
    let with = |options: &LoadOptions| Model::from_safetensors(&bytes, options).expect("a model");
    assert!(with(&head("none")).head().is_none());
    let options = LoadOptions {
        cell: Some(Cell::GruResetBefore),
        activation: Some(Activation::None),
        steps: Some(HeadSteps::Last),
        ..LoadOptions::default()
    };
    let other = with(&options);
    assert_eq!(other.layers()[0].spec().cell, Cell::GruResetBefore);
    assert_eq!(other.head().map(|h| h.spec()), Some(HeadSpec::new(2).last_step()));
}

#[test]
fn one_name_for_two_tensors_is_refused() {
    let mut model = Model::builder(InputSpec::Embedding { vocab: 3, size: 2 })
        .layer(LayerSpec::new(Cell::Gru, 3))
        .head(HeadSpec::new(2))
        .build(Init::PyTorch, 1)
        .expect("a model");
    model.info.embedding_name = "fc".into();
    let error = model.to_safetensors().expect_err("one name");
    assert_eq!(
        error.to_string(),
        "fc.weight: expected each tensor name once, got it twice (two modules share a name)"
    );
}

#[test]
fn damaged_files_never_panic() {
    let model = Model::builder(InputSpec::Embedding { vocab: 2, size: 1 })
        .layer(LayerSpec::new(Cell::Lstm, 2).projection(1).bidirectional())
        .head(HeadSpec::new(1))
        .build(Init::PyTorch, 1)
        .expect("a model");
    let whole = model.to_safetensors().expect("bytes");
    let read = |bytes: &[u8]| Model::from_safetensors(bytes, &LoadOptions::default());
    for end in 0..whole.len() {
        assert_eq!(read(&whole[..end]).expect_err("a part").kind(), ErrorKind::Format);
    }
    // Every bit of the header once, with metadata and without.
    let views = safetensors::SafeTensors::deserialize(&whole).expect("a file");
    let bare = safetensors::serialize(views.iter(), None).expect("a file");
    for file in [whole, bare] {
        let header = 8 + usize::from(file[0]) + 256 * usize::from(file[1]);
        for byte in 0..header {
            for bit in 0..8 {
                let mut bytes = file.clone();
                bytes[byte] ^= 1 << bit;
                if let Ok(model) = read(&bytes) {
                    model.to_safetensors().expect("what loads can be written");
                }
            }
        }
    }
}

#[test]
fn sizes_beyond_a_machine_word_are_refused() {
    for shape in [
        "[4611686018427387904,4]",
        "[18446744073709551615,18446744073709551615]",
        "[0,18446744073709551615]",
    ] {
        let header = format!(
            r#"{{"rnn.weight_hh_l0":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}"#
        );
        let mut bytes = u64::try_from(header.len()).expect("short").to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        assert!(Model::from_safetensors(&bytes, &LoadOptions::default()).is_err(), "{shape}");
    }
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
