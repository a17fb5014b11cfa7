//! Sigmoid, tanh, ReLU, softmax and the eleven functions of ONNX on every device over the whole f32
//! range: accurate and finite.

mod support;

use wgpu_rnn::cell::{Cell, CellFunction, CellOptions};
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
    model_with(cell, CellOptions::default(), scale, activation)
}

fn model_with(cell: Cell, options: CellOptions, scale: f32, activation: Activation) -> Model {
    let weights = DirectionWeights {
        weight_ih: one(1.0),
        weight_hh: one(0.0),
        ..DirectionWeights::default()
    };
    let spec = LayerSpec::new(cell, 1).input(1).bias(false);
    let layer = Layer::new(spec.options(options), vec![weights]).expect("fits");
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
    check_within(what, model, inputs, want, |_, want| RELATIVE * want.abs());
}

/// Runs `inputs` on every device; `allowed(x, want)` is the error beside what flushing to zero costs.
fn check_within(
    what: &str,
    model: &Model,
    inputs: &[f32],
    want: impl Fn(f64) -> f64,
    allowed: impl Fn(f64, f64) -> f64,
) {
    for (name, engine) in support::engines() {
        let batch =
            Batch::dense(inputs, inputs.len(), 1, 1, Layout::BatchFirst).expect("a valid batch");
        let output = engine.load(model).expect("loads").run_blocking(&batch).expect("runs");
        for (x, got) in inputs.iter().zip(output.output.data()) {
            let want = want(f64::from(*x));
            let diff = (f64::from(*got) - want).abs();
            assert!(
                diff <= allowed(f64::from(*x), want) + SMALLEST,
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

/// The functions by their formulas in the ONNX specification, in f64.
fn by_formula(function: CellFunction, x: f64) -> f64 {
    let [alpha, beta] = function.parameters().map(|p| f64::from(p.unwrap_or(f32::NAN)));
    match function {
        CellFunction::Relu => x.max(0.0),
        CellFunction::Tanh => x.tanh(),
        CellFunction::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        CellFunction::Affine { .. } => alpha * x + beta,
        CellFunction::LeakyRelu { .. } => {
            if x >= 0.0 {
                x
            } else {
                alpha * x
            }
        }
        CellFunction::ThresholdedRelu { .. } => {
            if x > alpha {
                x
            } else {
                0.0
            }
        }
        CellFunction::ScaledTanh { .. } => alpha * (beta * x).tanh(),
        CellFunction::HardSigmoid { .. } => (alpha * x + beta).clamp(0.0, 1.0),
        CellFunction::Elu { .. } => {
            if x >= 0.0 {
                x
            } else {
                alpha * x.exp_m1()
            }
        }
        CellFunction::Softsign => x / (1.0 + x.abs()),
        CellFunction::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

fn of_function(function: CellFunction) -> Model {
    let functions = vec![vec![function]];
    let options = CellOptions { functions, ..CellOptions::default() };
    model_with(Cell::RnnTanh, options, 1.0, Activation::None)
}

#[test]
fn every_cell_function_is_accurate_and_finite_over_the_whole_range() {
    for function in CellFunction::ALL {
        let [alpha, beta] = function.parameters().map(|p| f64::from(p.unwrap_or(0.0)));
        let allowed = |x: f64, want: f64| match function {
            // α·x + β may cancel: the error is relative to its terms.
            CellFunction::Affine { .. } | CellFunction::HardSigmoid { .. } => {
                RELATIVE * want.abs().max((alpha * x).abs().min(1.0) + beta.abs())
            }
            // eˣ itself is the result, and WGSL's exp may err by 3 + 2·|x| units.
            CellFunction::Sigmoid | CellFunction::Softplus if x < -16.0 => 3e-5 * want.abs(),
            _ => RELATIVE * want.abs(),
        };
        let name = function.to_string();
        check_within(&name, &of_function(function), &sweep(), |x| by_formula(function, x), allowed);
    }
}

#[test]
fn nan_and_infinity_show_through_every_cell_function() {
    let inputs = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for (name, engine) in support::engines() {
        for clip in [None, Some(3.0f32)] {
            for function in CellFunction::ALL {
                let functions = vec![vec![function]];
                let options = CellOptions { functions, clip, ..CellOptions::default() };
                let model = model_with(Cell::RnnTanh, options, 1.0, Activation::None);
                let batch = Batch::dense(inputs, 3, 1, 1, Layout::BatchFirst).expect("a batch");
                let output =
                    engine.load(&model).expect("loads").run_blocking(&batch).expect("runs");
                let got = output.output.data();
                assert!(got[0].is_nan(), "{name}: {function}(NaN) = {}", got[0]);
                for (x, got) in inputs.iter().zip(got).skip(1) {
                    let x = clip.map_or(f64::from(*x), |c| f64::from(c.copysign(*x)));
                    let want = match function {
                        // ±infinity over infinity; the limit is the sign.
                        CellFunction::Softsign if x.is_infinite() => x.signum(),
                        _ => by_formula(function, x),
                    };
                    let got = f64::from(*got);
                    let close = (got - want).abs() <= RELATIVE * want.abs() + SMALLEST;
                    let same = got.is_infinite() && want.is_infinite() && got * want > 0.0;
                    assert!(close || same, "{name}: {function}({x}) = {got}, expected {want}");
                }
            }
        }
    }
}
