//! Sigmoid, tanh, ReLU and softmax on every device over the whole f32 range: accurate and finite.

mod support;

use wgpu_rnn::cell::Cell;
use wgpu_rnn::model::DirectionWeights;
use wgpu_rnn::{
    Activation, Batch, Head, HeadSteps, Input, Layer, LayerSpec, Layout, Model, Tensor,
};

/// Relative error that tanh and sigmoid keep on every device: WGSL allows exp an error of 3 + 2·|x|
/// units in the last place, and the argument of exp is at most about 17 where it matters.
const RELATIVE: f64 = 5e-6;
/// Results below the smallest normal number may be flushed to zero.
const SMALLEST: f64 = 1.2e-38;

fn one(value: f32) -> Tensor {
    Tensor::new([1, 1], vec![value]).expect("one value")
}

/// x → cell(x) → g(scale · h): one unit with weight 1, no recurrence, no bias.
fn model(cell: Cell, scale: f32, activation: Activation) -> Model {
    let weights = DirectionWeights {
        weight_ih: one(1.0),
        weight_hh: one(0.0),
        ..DirectionWeights::default()
    };
    let spec = LayerSpec::new(cell, 1).input(1).bias(false);
    let layer = Layer::new(spec, vec![weights]).expect("fits");
    let head = Head { weight: one(scale), bias: None, activation, steps: HeadSteps::Every };
    Model::new(Input::Dense { size: 1 }, vec![layer], Some(head)).expect("fits")
}

/// Finite values of every size and sign.
fn sweep() -> Vec<f32> {
    (0..=u32::MAX / 200_003)
        .map(|i| f32::from_bits(i * 200_003))
        .chain((-400..400).map(|i: i16| f32::from(i) / 16.0))
        .filter(|x| x.is_finite() && (x.is_normal() || x.to_bits() == 0))
        .collect()
}

fn check(what: &str, model: &Model, inputs: &[f32], want: impl Fn(f64) -> f64) {
    for (name, engine) in support::engines() {
        let batch =
            Batch::dense(inputs, inputs.len(), 1, 1, Layout::BatchFirst).expect("a valid batch");
        let output = engine.load(model).expect("loads").run_blocking(&batch).expect("runs");
        for (x, got) in inputs.iter().zip(output.output.data()) {
            let want = want(f64::from(*x));
            let diff = (f64::from(*got) - want).abs();
            assert!(
                diff <= RELATIVE * want.abs() + SMALLEST,
                "{name}: {what}({x:e}) = {got:e}, expected {want:e}"
            );
        }
    }
}

#[test]
fn tanh_is_accurate_and_finite_over_the_whole_range() {
    check("tanh", &model(Cell::RnnTanh, 1.0, Activation::None), &sweep(), f64::tanh);
}

#[test]
fn sigmoid_is_accurate_and_finite_over_the_whole_range() {
    let inputs: Vec<f32> = sweep().into_iter().filter(|x| *x >= 0.0).collect();
    let sigmoid = |x: f64| {
        let e = (-x.abs()).exp();
        if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
    };
    // exp's allowance grows with its argument; beyond 16 the error is absolute, in 1 − σ.
    check("sigmoid", &model(Cell::RnnRelu, 1.0, Activation::Sigmoid), &inputs, sigmoid);
    let small: Vec<f32> = inputs.into_iter().filter(|x| *x < 16.0).collect();
    check("sigmoid of minus", &model(Cell::RnnRelu, -1.0, Activation::Sigmoid), &small, |x| {
        sigmoid(-x)
    });
}

#[test]
fn relu_is_exact() {
    check("relu", &model(Cell::RnnRelu, 1.0, Activation::None), &sweep(), |x| x.max(0.0));
}

#[test]
fn softmax_of_one_is_one_for_every_finite_input() {
    check("softmax", &model(Cell::RnnRelu, 1.0, Activation::Softmax), &sweep(), |_| 1.0);
    check("log-softmax", &model(Cell::RnnRelu, 1.0, Activation::LogSoftmax), &sweep(), |_| 0.0);
}
