//! Every attribute and input of RNN, GRU and LSTM, each with values that change the result.

use wgpu_rnn::cell::{CellFunction, CellOptions};
use wgpu_rnn::onnx::proto::AttributeProto;
use wgpu_rnn::{Cell, Direction, LayerSpec, Model, States, Tensor};

use super::graph::{
    B, Graph, H, I, Meant, T, expect, float, floats, int, meant, network, noise, real, swapped,
    text, texts, whole, x,
};

/// The node of a one-layer network with x `[T, B, I]` and all its outputs.
fn graph(model: &Model, attributes: &[AttributeProto], inputs: &str) -> Graph {
    let mut graph = Graph::default();
    let layer = &model.layers()[0];
    let outputs = if layer.spec().cell.has_c() { "Y Y_h Y_c" } else { "Y Y_h" };
    graph.input("x", 1, "time batch 4").weights("", layer);
    graph.node(operator(layer.spec().cell), inputs, outputs, attributes).outputs(outputs);
    graph
}

fn operator(cell: Cell) -> &'static str {
    match cell {
        Cell::Lstm => "LSTM",
        Cell::Gru | Cell::GruResetBefore => "GRU",
        _ => "RNN",
    }
}

/// Y as ONNX has it: `[T, D, B, H]`.
fn y4(meant: &Meant, directions: usize) -> Tensor<f64> {
    let data = meant.y.data();
    Tensor::from_fn([T, directions, B, H], |i| {
        let (t, d, b, u) = (i / (directions * B * H), i / (B * H) % directions, i / H % B, i % H);
        data[((t * B + b) * directions + d) * H + u]
    })
}

#[track_caller]
fn check(spec: LayerSpec, attributes: &[AttributeProto], inputs: &str) {
    let model = network(&[spec]);
    let spec = model.layers()[0].spec();
    let directions = spec.direction.count();
    let mut attributes = attributes.to_vec();
    attributes.push(int("hidden_size", H as i64));
    if spec.direction != Direction::Forward {
        attributes.push(text("direction", spec.direction.name()));
    }
    let graph = graph(&model, &attributes, inputs);
    let meant = meant(&model, |batch| batch);
    let y = y4(&meant, directions);
    let mut wanted: Vec<(&str, &[usize], &[f64])> =
        vec![("Y", y.shape(), y.data()), ("Y_h", meant.h[0].shape(), meant.h[0].data())];
    if let Some(c) = &meant.c[0] {
        wanted.push(("Y_c", c.shape(), c.data()));
    }
    for opset in [7, 14, 22, 28] {
        expect(&graph.read(opset).expect("a model"), &[real("x", x())], &wanted);
    }
}

/// Checks, and that the options change the result.
#[track_caller]
fn check_options(spec: LayerSpec, attributes: &[AttributeProto], inputs: &str) {
    let with = network(std::slice::from_ref(&spec));
    let mut directions = with.layers()[0].directions().to_vec();
    directions.iter_mut().for_each(|weights| weights.peephole = None);
    let plain = LayerSpec { options: CellOptions::default(), input_size: I, ..spec.clone() };
    let layer = wgpu_rnn::Layer::new(plain, directions).expect("a layer");
    let plain = Model::new(with.input().clone(), vec![layer], None).expect("a network");
    let (a, b) = (meant(&with, |batch| batch).y, meant(&plain, |batch| batch).y);
    let most = a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(most > 1e-3, "the options change nothing: {most}");
    check(spec, attributes, inputs);
}

#[test]
fn plain_cells_are_read() {
    check(LayerSpec::new(Cell::RnnTanh, H), &[], "x W R B");
    check(LayerSpec::new(Cell::Lstm, H), &[], "x W R B");
    check(LayerSpec::new(Cell::GruResetBefore, H), &[], "x W R B");
    check(LayerSpec::new(Cell::Gru, H), &[int("linear_before_reset", 1)], "x W R B");
    check(LayerSpec::new(Cell::RnnRelu, H), &[texts("activations", &["Relu"])], "x W R B");
}

#[test]
fn biases_may_be_absent() {
    for cell in [Cell::RnnTanh, Cell::Lstm, Cell::GruResetBefore] {
        check(LayerSpec::new(cell, H).bias(false), &[], "x W R");
        check(LayerSpec::new(cell, H).bias(false), &[], "x W R - - -");
    }
}

#[test]
fn directions_are_read() {
    for cell in [Cell::RnnTanh, Cell::Lstm, Cell::GruResetBefore] {
        for direction in [Direction::Reverse, Direction::Bidirectional] {
            check(LayerSpec::new(cell, H).direction(direction), &[], "x W R B");
        }
    }
}

#[test]
fn functions_take_their_parameters_in_order() {
    use CellFunction::{Affine, Elu, HardSigmoid, LeakyRelu, Softplus, Softsign, Tanh};
    let list = [HardSigmoid { alpha: 0.3, beta: 0.4 }, Softsign, Elu { alpha: 0.7 }];
    let attributes = [
        texts("activations", &["HardSigmoid", "Softsign", "Elu"]),
        floats("activation_alpha", &[0.3, 0.7]),
        floats("activation_beta", &[0.4]),
    ];
    check_options(LayerSpec::new(Cell::Lstm, H).functions(&list), &attributes, "x W R B");
    // The lists run on from the forward direction to the reverse one.
    let mut spec = LayerSpec::new(Cell::GruResetBefore, H).bidirectional();
    spec.options.functions = vec![
        vec![HardSigmoid { alpha: 0.3, beta: 0.4 }, Tanh],
        vec![Softplus, Affine { alpha: 0.6, beta: -0.1 }],
    ];
    let attributes = [
        texts("activations", &["hardSIGMOID", "tanh", "SoftPlus", "affine"]),
        floats("activation_alpha", &[0.3, 0.6]),
        floats("activation_beta", &[0.4, -0.1]),
    ];
    check_options(spec, &attributes, "x W R B");
    let list = [LeakyRelu { alpha: 0.2 }];
    let attributes = [texts("activations", &["LEAKYRELU"]), floats("activation_alpha", &[0.2])];
    check_options(LayerSpec::new(Cell::RnnTanh, H).functions(&list), &attributes, "x W R B");
}

#[test]
fn functions_have_the_defaults_of_onnx() {
    use CellFunction::{
        Affine, Elu, HardSigmoid, LeakyRelu, ScaledTanh, Sigmoid, Softplus, Softsign,
        ThresholdedRelu,
    };
    let cases: [(&str, CellFunction); 8] = [
        ("Affine", Affine { alpha: 1.0, beta: 0.0 }),
        ("LeakyRelu", LeakyRelu { alpha: 0.01 }),
        ("ThresholdedRelu", ThresholdedRelu { alpha: 1.0 }),
        ("HardSigmoid", HardSigmoid { alpha: 0.2, beta: 0.5 }),
        ("Elu", Elu { alpha: 1.0 }),
        ("Sigmoid", Sigmoid),
        ("Softsign", Softsign),
        ("Softplus", Softplus),
    ];
    for (name, function) in cases {
        let spec = LayerSpec::new(Cell::RnnTanh, H).functions(&[function]);
        check_options(spec, &[texts("activations", &[name])], "x W R B");
    }
    let spec = LayerSpec::new(Cell::RnnTanh, H).functions(&[ScaledTanh { alpha: 0.5, beta: 2.0 }]);
    let scaled = texts("activations", &["ScaledTanh"]);
    let parameters = [floats("activation_alpha", &[0.5]), floats("activation_beta", &[2.0])];
    check_options(spec, &[&[scaled.clone()], &parameters[..]].concat(), "x W R B");
    let model = network(&[LayerSpec::new(Cell::RnnTanh, H)]);
    let error = graph(&model, &[scaled], "x W R B").read(22).expect_err("no default");
    assert!(error.contains("expected alpha and beta for ScaledTanh"), "{error}");
}

#[test]
fn a_cells_own_functions_are_no_option() {
    let model = network(&[LayerSpec::new(Cell::Lstm, H)]);
    let attributes = [texts("activations", &["sigmoid", "tanh", "tanh"])];
    let read = graph(&model, &attributes, "x W R B").read(22).expect("a model");
    assert!(read.model().layers()[0].spec().options.is_default());
    assert_eq!(read.model(), &model);
}

#[test]
fn clip_forget_and_peepholes_are_read() {
    for cell in [Cell::RnnTanh, Cell::Lstm, Cell::GruResetBefore] {
        let mut spec = LayerSpec::new(cell, H);
        spec.options.clip = Some(0.4);
        check_options(spec, &[float("clip", 0.4)], "x W R B");
    }
    let mut spec = LayerSpec::new(Cell::Lstm, H);
    spec.options.input_forget = true;
    check_options(spec, &[int("input_forget", 1)], "x W R B");
    let mut spec = LayerSpec::new(Cell::Lstm, H).bidirectional();
    spec.options.peephole = true;
    check_options(spec, &[], "x W R B - - - P");
}

#[test]
fn layout_one_is_batch_first() {
    let model = network(&[LayerSpec::new(Cell::Lstm, H).bidirectional()]);
    let mut graph = Graph::default();
    graph.input("x", 1, "batch time 4").weights("", &model.layers()[0]);
    graph.input("h", 1, "batch 2 6").input("c", 1, "batch 2 6");
    let attributes = [int("hidden_size", 6), text("direction", "bidirectional"), int("layout", 1)];
    graph.node("LSTM", "x W R B - h c", "Y Y_h Y_c", &attributes).outputs("Y Y_h Y_c");
    let (h, c) = (noise("h", &[2, B, H]), noise("c", &[2, B, H]));
    let states = States { h: vec![h.clone()], c: vec![Some(c.clone())] };
    let meant = meant(&model, |batch| batch.with_initial(states.clone()));
    // [T, D, B, H] -> [B, T, D, H].
    let y = y4(&meant, 2);
    let y = Tensor::from_fn([B, T, 2, H], |i| {
        let (b, t, d, u) = (i / (T * 2 * H), i / (2 * H) % T, i / H % 2, i % H);
        y.data()[((t * 2 + d) * B + b) * H + u]
    });
    let (h_n, c_n) = (swapped(&meant.h[0]), swapped(meant.c[0].as_ref().expect("c")));
    let inputs = [real("x", swapped(&x())), real("h", swapped(&h)), real("c", swapped(&c))];
    let wanted: [(&str, &[usize], &[f64]); 3] = [
        ("Y", y.shape(), y.data()),
        ("Y_h", h_n.shape(), h_n.data()),
        ("Y_c", c_n.shape(), c_n.data()),
    ];
    expect(&graph.read(14).expect("a model"), &inputs, &wanted);
}

#[test]
fn lengths_end_sequences_and_empty_ones_are_zero() {
    let model = network(&[LayerSpec::new(Cell::GruResetBefore, H).bidirectional()]);
    let attributes = [int("hidden_size", 6), text("direction", "bidirectional")];
    let lens = [5, 0, 2];
    let h = noise("h", &[2, B, H]);
    let states = States { h: vec![h.clone()], c: vec![None] };
    let meant = meant(&model, |batch| {
        batch.with_lengths([5usize, 0, 2]).expect("lengths").with_initial(states.clone())
    });
    let y = y4(&meant, 2);
    assert!(meant.h[0].row(1).iter().all(|value| *value == 0.0));
    let wanted: [(&str, &[usize], &[f64]); 2] =
        [("Y", y.shape(), y.data()), ("Y_h", meant.h[0].shape(), meant.h[0].data())];
    let mut given = graph(&model, &attributes, "x W R B lens h");
    given.input("lens", 6, "batch").input("h", 1, "2 batch 6");
    let inputs = [real("x", x()), whole("lens", &[B], &lens), real("h", h.clone())];
    expect(&given.read(22).expect("a model"), &inputs, &wanted);
    let mut known = graph(&model, &attributes, "x W R B lens h");
    known.ints("lens", &lens).input("h", 1, "2 batch 6");
    expect(&known.read(22).expect("a model"), &[real("x", x()), real("h", h)], &wanted);
}

#[test]
fn initial_states_may_be_constants() {
    let model = network(&[LayerSpec::new(Cell::Lstm, H)]);
    for rows in [1, B] {
        let mut graph = graph(&model, &[int("hidden_size", 6)], "x W R B - h c");
        let (h, c) = (noise("h", &[1, rows, H]), noise("c", &[1, rows, H]));
        graph.floats("h", &h).floats("c", &c);
        let wide = |state: &Tensor| Tensor::from_fn([1, B, H], |i| state.data()[i % state.len()]);
        let states = States { h: vec![wide(&h)], c: vec![Some(wide(&c))] };
        let meant = meant(&model, |batch| batch.with_initial(states.clone()));
        let y = y4(&meant, 1);
        let c_n = meant.c[0].as_ref().expect("c");
        let wanted: [(&str, &[usize], &[f64]); 3] = [
            ("Y", y.shape(), y.data()),
            ("Y_h", meant.h[0].shape(), meant.h[0].data()),
            ("Y_c", c_n.shape(), c_n.data()),
        ];
        expect(&graph.read(22).expect("a model"), &[real("x", x())], &wanted);
    }
}

#[test]
fn a_missing_hidden_size_follows_from_the_weights() {
    let model = network(&[LayerSpec::new(Cell::Lstm, H)]);
    assert_eq!(graph(&model, &[], "x W R B").read(22).expect("a model").model(), &model);
    let error =
        graph(&model, &[int("hidden_size", 5)], "x W R B").read(22).expect_err("5 is not 6");
    assert!(error.contains("W: expected [D, G*H, I] = [1, 20, 4], got [1, 24, 4]"), "{error}");
}
