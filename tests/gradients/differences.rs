//! Against finite differences.

use wgpu_rnn::reference::{self};
use wgpu_rnn::train::Loss;
use wgpu_rnn::{
    Activation, Cell, ErrorKind, HeadSteps, InputSpec, LayerSpec, Layout, RunOptions, Tensor,
};

use crate::cases::*;

#[test]
fn gradients_are_those_of_finite_differences() {
    let (mut tensors, mut flat) = (0, 0);
    for case in cases() {
        let want = case.differences(Case::value);
        assert_eq!(fault(&case.gradients(), &want, 1e-6), None, "{}", case.name);
        tensors += want.parameters.len();
        let is_flat = |t: &&Tensor<f64>| t.data().iter().all(|v| v.abs() < 1e-6);
        flat += want.parameters.values().filter(is_flat).count();
    }
    // ReLU cells whose units are all off have zeros to compare with; the rest must not.
    assert!(tensors > 1000 && flat * 10 < tensors, "{flat} of {tensors} gradients are zero");
}

#[test]
fn gradients_of_options_are_those_of_finite_differences() {
    for case in special_cases() {
        let fault = fault(&case.gradients(), &case.differences(Case::value), 1e-6);
        assert_eq!(fault, None, "{}", case.name);
    }
}

/// A caller's dL/dy through every function of the output layer, in both layouts.
#[test]
fn gradients_from_an_output_gradient_are_those_of_finite_differences() {
    for (place, activation) in Activation::ALL.into_iter().enumerate() {
        for (at, steps) in HeadSteps::ALL.into_iter().enumerate() {
            let seed = 3 * place + at;
            let layer = LayerSpec::new(Cell::Gru, 2).bidirectional();
            let input = InputSpec::Dense { size: 2 };
            let head = Some((activation, steps));
            let model = model(input, &[layer], head, u64::try_from(seed).expect("small"));
            let mut case = Case::new(format!("{activation:?}, {steps:?}"), &model, Loss::Mse, seed);
            case.layout = [Layout::BatchFirst, Layout::TimeMajor][place % 2];
            let run = |case: &Case| {
                reference::run::<f64>(&case.model, &case.batch(), &RunOptions::default())
                    .expect("runs")
                    .output
            };
            let shape = run(&case).shape().to_vec();
            let weights = Tensor::from_fn(shape.clone(), |i| f64::from(number(seed + 5, i)));
            let got = reference::gradients_with(&case.model, &case.batch(), &weights);
            let got = got.expect("gradients");
            let want = case.differences(|case| {
                run(case).data().iter().zip(weights.data()).map(|(y, w)| y * w).sum()
            });
            assert_eq!(fault(&got, &want, 1e-6), None, "{}", case.name);
            let short = Tensor::zeros(&shape[1..]);
            let error = reference::gradients_with(&case.model, &case.batch(), &short);
            assert_eq!(error.expect_err("misshapen").kind(), ErrorKind::Shape);
        }
    }
}
