//! What stands between the layers and behind them: views of every kind, stacks, linear layers.

use wgpu_rnn::{Activation, Cell, Head, HeadSteps, Input, LayerSpec, Model, Tensor};

use super::graph::{
    B, Graph, H, I, T, expect, float, int, ints, meant, network, noise, real, swapped, text, whole,
    x,
};

const O: usize = 2;

fn fc() -> (Tensor, Tensor) {
    (noise("fc_w", &[O, H]), noise("fc_b", &[O]))
}

fn with_head(model: Model, activation: Activation, steps: HeadSteps) -> Model {
    let width = model.recurrent_width();
    let weight = noise("fc_w", &[O, width]);
    let head = Head { weight, bias: Some(noise("fc_b", &[O])), activation, steps };
    model.with_head(Some(head)).expect("a head")
}

/// x `[T, B, I]` through one LSTM to `Y [T, 1, B, H]`, and a matrix `fc_wt [H, O]`.
fn lstm() -> (Model, Graph) {
    let model = network(&[LayerSpec::new(Cell::Lstm, H)]);
    let mut graph = Graph::default();
    graph.input("x", 1, "time batch 4").weights("", &model.layers()[0]);
    graph.node("LSTM", "x W R B", "Y Y_h Y_c", &[int("hidden_size", 6)]);
    graph.node("Squeeze", "Y axis1", "y", &[]).ints("axis1", &[1]).ints("axis0", &[0]);
    graph.floats("fc_wt", &swapped(&fc().0)).floats("fc_b", &fc().1);
    (model, graph)
}

#[track_caller]
fn expect_head(graph: &Graph, opset: i64, activation: Activation, steps: HeadSteps) {
    let model = with_head(lstm().0, activation, steps);
    let read = graph.read(opset).expect("a model");
    assert_eq!(read.model().head().expect("a head").steps, steps);
    assert_eq!(read.model().head().expect("a head").activation, activation);
    let y = meant(&model, |batch| batch).y;
    let shape = read.outputs()[0].name.clone();
    expect(&read, &[real("x", x())], &[(&shape, y.shape(), y.data())]);
}

#[test]
fn a_linear_layer_is_the_head() {
    for (operator, activation) in [
        ("Identity", Activation::None),
        ("Relu", Activation::Relu),
        ("Sigmoid", Activation::Sigmoid),
        ("Tanh", Activation::Tanh),
        ("Softmax", Activation::Softmax),
        ("LogSoftmax", Activation::LogSoftmax),
    ] {
        let (_, mut graph) = lstm();
        graph.node("MatMul", "y fc_wt", "p", &[]).node("Add", "fc_b p", "s", &[]);
        graph.node(operator, "s", "out", &[]).outputs("out");
        expect_head(&graph, 22, activation, HeadSteps::Every);
    }
}

#[test]
fn softmax_has_the_axes_of_its_operator_set() {
    let build = |axis: &[i64]| {
        let (_, mut graph) = lstm();
        graph.proto.node.pop();
        graph.node("Squeeze", "Y", "y", &[ints("axes", &[1])]);
        graph.node("MatMul", "y fc_wt", "p", &[]).node("Add", "p fc_b", "s", &[]);
        let axis: Vec<_> = axis.iter().map(|axis| int("axis", *axis)).collect();
        graph.node("Softmax", "s", "out", &axis).outputs("out");
        graph
    };
    // Before operator set 13 axis 1 is all axes from 1 on: a softmax over sequences and features.
    expect_head(&build(&[2]), 11, Activation::Softmax, HeadSteps::Every);
    let error = build(&[]).read(11).expect_err("other axes");
    assert!(error.contains("(Softmax): axis: expected the features alone"), "{error}");
    let error = build(&[1]).read(11).expect_err("other axes");
    assert!(error.contains("expected the features alone"), "{error}");
}

#[test]
fn the_last_step_is_found_before_and_behind_the_head() {
    let (_, base) = lstm();
    let mut graph = base.clone();
    graph.scalar("last", -1).node("Gather", "y last", "z", &[int("axis", 0)]);
    graph.node("MatMul", "z fc_wt", "p", &[]).node("Add", "p fc_b", "out", &[]).outputs("out");
    expect_head(&graph, 22, Activation::None, HeadSteps::Last);
    let mut graph = base.clone();
    graph.ints("start", &[-1]).ints("end", &[i64::MAX]);
    graph.node("MatMul", "y fc_wt", "p", &[]).node("Add", "p fc_b", "s", &[]);
    graph.node("Slice", "s start end axis0", "z", &[]);
    graph.node("Squeeze", "z axis0", "out", &[]).outputs("out");
    expect_head(&graph, 22, Activation::None, HeadSteps::Last);
}

#[test]
fn gemm_on_final_states_has_all_its_attributes() {
    let model = with_head(lstm().0, Activation::None, HeadSteps::Final);
    let y = meant(&model, |batch| batch).y;
    let (w, b) = fc();
    let half = Tensor::from_fn(w.shape(), |i| w.data()[i] / 2.0);
    let quarter = Tensor::from_fn([1, O], |i| b.data()[i] * 4.0);
    for (weight, trans_b) in [(half.clone(), 1), (swapped(&half), 0)] {
        let (_, mut graph) = lstm();
        graph.floats("w", &weight).floats("b", &quarter);
        graph.node("Squeeze", "Y_h axis0", "h", &[]);
        let attributes = [float("alpha", 2.0), float("beta", 0.25), int("transB", trans_b)];
        graph.node("Gemm", "h w b", "out", &attributes).outputs("out");
        let read = graph.read(22).expect("a model");
        assert_eq!(read.model().head().expect("a head").steps, HeadSteps::Final);
        expect(&read, &[real("x", x())], &[("out", &[B, O], y.data())]);
    }
}

#[test]
fn merged_axes_and_arithmetic_with_constants_are_linear() {
    let model = with_head(lstm().0, Activation::None, HeadSteps::Every);
    let y = meant(&model, |batch| batch).y;
    let (_, mut graph) = lstm();
    graph.ints("flat", &[-1, 6]).floats("two", &Tensor::new([], vec![2.0]).expect("one"));
    graph.node("Reshape", "y flat", "rows", &[]).node("MatMul", "rows fc_wt", "p", &[]);
    graph.node("Add", "p fc_b", "s", &[]).node("Mul", "s two", "m", &[]);
    graph.node("Sub", "two m", "d", &[]);
    graph
        .node("Shape", "y", "shape", &[])
        .ints("out_size", &[2])
        .ints("zero", &[0])
        .ints("two_i", &[2]);
    graph.node("Slice", "shape zero two_i", "lead", &[]);
    graph.node("Concat", "lead out_size", "back", &[int("axis", 0)]);
    graph.node("Reshape", "d back", "out", &[]).outputs("out");
    let want: Vec<f64> = y.data().iter().map(|value| 2.0 - 2.0 * value).collect();
    expect(&graph.read(22).expect("a model"), &[real("x", x())], &[("out", &[T, B, O], &want)]);
}

#[test]
fn scaling_the_input_is_folded_into_the_first_layer() {
    let (model, mut graph) = lstm();
    let (mean, scale) = (noise("mean", &[I]), noise("scale", &[1, 1, I]));
    graph.proto.input[0].name = "raw".into();
    graph.floats("mean", &mean).floats("scale", &scale);
    graph
        .node("Sub", "raw mean", "centred", &[])
        .node("Div", "centred scale", "x", &[])
        .outputs("y");
    let y = meant(&model, |batch| batch).y;
    let raw =
        Tensor::from_fn([T, B, I], |i| x().data()[i] * scale.data()[i % I] + mean.data()[i % I]);
    let read = graph.read(22).expect("a model");
    let outputs = super::fixtures::run(&read, &[real("raw", raw)]).expect("a run");
    let wgpu_rnn::onnx::Array::F32(got) = &outputs[0].1 else { panic!("not real") };
    for (got, want) in got.data().iter().zip(y.data()) {
        assert!((f64::from(*got) - want).abs() < 1e-4, "{got} {want}");
    }
}

/// Two bidirectional GRUs, the first batch-first at the border.
fn stack() -> (Model, Graph) {
    let spec = LayerSpec::new(Cell::Gru, H).bidirectional();
    let model = network(&[spec.clone(), spec]);
    let mut graph = Graph::default();
    graph.input("x", 1, "batch time 4");
    graph.weights("0", &model.layers()[0]).weights("1", &model.layers()[1]);
    let attributes =
        [int("hidden_size", 6), int("linear_before_reset", 1), text("direction", "bidirectional")];
    graph.node("Transpose", "x", "xt", &[ints("perm", &[1, 0, 2])]);
    graph.node("GRU", "xt W0 R0 B0", "Y0 h0", &attributes);
    // One direction after the other, then side by side.
    graph.ints("one", &[1]).ints("axis1", &[1]);
    graph.node("Split", "Y0 halves", "f0 b0", &[int("axis", 1)]).ints("halves", &[1, 1]);
    graph.node("Squeeze", "f0 axis1", "f", &[]).node("Squeeze", "b0 axis1", "b", &[]);
    graph.node("Concat", "f b", "y0", &[int("axis", -1)]);
    graph.node("GRU", "y0 W1 R1 B1", "Y1 h1", &attributes);
    (model, graph)
}

#[test]
fn stacks_are_chained_through_halves_and_stacked_states() {
    let (model, mut graph) = stack();
    let meant = meant(&model, |batch| batch);
    graph.node("Transpose", "Y1", "t1", &[ints("perm", &[2, 0, 1, 3])]);
    graph.ints("merge", &[0, 0, -1]).node("Reshape", "t1 merge", "y", &[]);
    graph.node("Concat", "h0 h1", "h_n", &[int("axis", 0)]);
    graph.ints("by_layer", &[2, 2, -1, 6]).node("Reshape", "h_n by_layer", "h4", &[]);
    graph.scalar("last", -1).node("Gather", "h4 last", "top", &[]);
    graph.outputs("y h_n top");
    let y = swapped(&meant.y);
    let h_n = [meant.h[0].data(), meant.h[1].data()].concat();
    let wanted: [(&str, &[usize], &[f64]); 3] = [
        ("y", &[B, T, 2 * H], y.data()),
        ("h_n", &[4, B, H], &h_n),
        ("top", &[2, B, H], meant.h[1].data()),
    ];
    expect(&graph.read(22).expect("a model"), &[real("x", swapped(&x()))], &wanted);
}

#[test]
fn both_ends_of_y_are_the_final_states() {
    let (model, mut graph) = stack();
    let model = with_head(model, Activation::None, HeadSteps::Final);
    graph.node("Transpose", "Y1", "t1", &[ints("perm", &[2, 0, 1, 3])]);
    graph.ints("merge", &[0, 0, -1]).node("Reshape", "t1 merge", "y", &[]);
    graph
        .scalar("first", 0)
        .scalar("last", -1)
        .ints("zero", &[0])
        .ints("six", &[6])
        .ints("twelve", &[12]);
    graph.node("Gather", "y last", "end", &[int("axis", 1)]);
    graph.node("Slice", "end zero six one", "forward", &[]);
    graph.node("Slice", "y six twelve two", "back", &[]).ints("two", &[2]);
    graph.node("Gather", "back first", "reverse", &[int("axis", 1)]);
    graph.node("Concat", "reverse forward", "both", &[int("axis", 1)]);
    // The halves in the other order: the columns move with them.
    let weight = noise("fc_w", &[O, 2 * H]);
    let moved =
        Tensor::from_fn([2 * H, O], |i| weight.data()[(i % O) * 2 * H + (i / O + H) % (2 * H)]);
    graph.floats("w", &moved).floats("fc_b", &noise("fc_b", &[O]));
    graph.node("MatMul", "both w", "p", &[]).node("Add", "p fc_b", "out", &[]).outputs("out");
    let read = graph.read(22).expect("a model");
    assert_eq!(read.model().head(), model.head());
    let y = meant(&model, |batch| batch).y;
    expect(&read, &[real("x", swapped(&x()))], &[("out", &[B, O], y.data())]);
}

#[test]
fn a_head_with_lengths_gives_in_the_padding_what_onnx_has_there() {
    let (model, mut graph) = lstm();
    graph.proto.node[0].input.push("lens".into());
    graph.input("lens", 7, "batch").node("MatMul", "y fc_wt", "p", &[]);
    graph.node("Add", "p fc_b", "s", &[]).node("Sigmoid", "s", "out", &[]).outputs("out");
    let model = with_head(model, Activation::Sigmoid, HeadSteps::Every);
    let lens = [2usize, 0, 5];
    let mut y = meant(&model, |batch| batch.with_lengths(lens).expect("lengths")).y;
    let padding: Vec<f64> =
        fc().1.data().iter().map(|b| 1.0 / (1.0 + f64::from(-b).exp())).collect();
    for t in 0..T {
        for (b, len) in lens.into_iter().enumerate().filter(|(_, len)| t >= *len) {
            assert!(len < T);
            y.data_mut()[(t * B + b) * O..][..O].copy_from_slice(&padding);
        }
    }
    let inputs = [real("x", x()), whole("lens", &[B], &[2, 0, 5])];
    expect(&graph.read(22).expect("a model"), &inputs, &[("out", &[T, B, O], y.data())]);
}

#[test]
fn tokens_are_embedded_and_one_hot() {
    let spec = LayerSpec::new(Cell::RnnTanh, H);
    let dense = network(&[spec]);
    let ids: Vec<i64> = (0..T * B).map(|i| (i as i64 * 5 + 1) % 4).collect();
    for one_hot in [false, true] {
        let mut graph = Graph::default();
        graph.input("tokens", 7, "batch time").weights("", &dense.layers()[0]);
        let table = noise("table", &[4, I]);
        if one_hot {
            graph
                .scalar("depth", 4)
                .floats("values", &Tensor::new([2], vec![0.0, 1.0]).expect("2"));
            graph.node("OneHot", "tokens depth values", "x", &[]);
        } else {
            graph.floats("table", &table).node("Gather", "table tokens", "x", &[]);
        }
        graph.node("Transpose", "x", "xt", &[ints("perm", &[1, 0, 2])]);
        graph.node("RNN", "xt W R B", "Y", &[int("hidden_size", 6)]).outputs("Y");
        let input = match one_hot {
            true => Input::OneHot { vocab: 4 },
            false => Input::Embedding { table },
        };
        let model = Model::new(input, dense.layers().to_vec(), None).expect("a network");
        let read = graph.read(22).expect("a model");
        assert_eq!(read.model(), &model);
        let signed: Vec<i64> = ids.iter().map(|id| if *id == 3 { -1 } else { *id }).collect();
        let plain: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let batch = wgpu_rnn::Batch::tokens(plain, B, T, wgpu_rnn::Layout::BatchFirst);
        let options = wgpu_rnn::RunOptions::default();
        let want = wgpu_rnn::reference::run::<f64>(&model, &batch.expect("a batch"), &options);
        let y = swapped(&want.expect("a run").output);
        // −1 is the last row of a table.
        let inputs = [whole("tokens", &[B, T], &signed)];
        expect(&read, &inputs, &[("Y", &[T, 1, B, H], y.data())]);
    }
}

#[test]
fn a_slice_backwards_turns_the_direction_round() {
    let (_, mut graph) = lstm();
    graph.proto.node[0].input[0] = "xr".into();
    graph.ints("start", &[-1]).ints("end", &[i64::MIN]).ints("step", &[-1]);
    graph.node("Slice", "x start end axis0 step", "xr", &[]).outputs("y Y_h");
    let forward = lstm().0;
    let spec =
        LayerSpec { direction: wgpu_rnn::Direction::Reverse, ..forward.layers()[0].spec().clone() };
    let layer = wgpu_rnn::Layer::new(spec, forward.layers()[0].directions().to_vec());
    let model = Model::new(forward.input().clone(), vec![layer.expect("a layer")], None);
    let meant = meant(&model.expect("a network"), |batch| batch);
    let y = Tensor::from_fn([T, B * H], |i| {
        meant.y.data()[(T - 1 - i / (B * H)) * B * H + i % (B * H)]
    });
    let wanted: [(&str, &[usize], &[f64]); 2] =
        [("y", &[T, B, H], y.data()), ("Y_h", &[1, B, H], meant.h[0].data())];
    expect(&graph.read(22).expect("a model"), &[real("x", x())], &wanted);
}

#[test]
fn nodes_that_no_output_needs_are_passed_over() {
    let (model, mut graph) = lstm();
    graph.node("Einsum", "y y", "unused", &[]).outputs("y");
    let y = meant(&model, |batch| batch).y;
    expect(&graph.read(22).expect("a model"), &[real("x", x())], &[("y", y.shape(), y.data())]);
}
