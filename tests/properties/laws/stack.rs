//! A stack is its layers one after the other.

use wgpu_rnn::{Batch, Input, Model, States, Tensor};

use super::runner::{Answer, Runner, Verdict};
use crate::draw::Case;

/// A stack gives what its layers give one after the other.
pub(crate) fn chains(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let (rows, steps, layout) = (batch.batch_size(), batch.steps(), batch.layout());
    let whole = runner.run(&model, &batch, &case.options);
    let count = model.layers().len();
    let mut input = batch.clone();
    for (index, layer) in model.layers().iter().enumerate() {
        let first = match index {
            0 => model.input().clone(),
            _ => Input::Dense { size: layer.spec().input_size },
        };
        let head = model.head().filter(|_| index + 1 == count).cloned();
        let single = Model::new(first, vec![layer.clone()], head).expect("same shapes");
        if let Some(states) = batch.initial() {
            let (h, c) = (states.h[index].clone(), states.c[index].clone());
            input = input.with_initial(States { h: vec![h], c: vec![c] });
        }
        let got = runner.run(&single, &input, &case.options);
        let output = if index + 1 == count { whole.output.clone() } else { got.output.clone() };
        let (h, c) = (vec![whole.h[index].clone()], vec![whole.c[index].clone()]);
        let want = Answer { output, top: None, h, c };
        runner.compare_all(&format!("layer {index} alone"), &got, &want, wobble)?;
        if index + 1 < count {
            let values = narrow_all(&got.output);
            input = Batch::dense(values, rows, steps, layer.spec().output_size(), layout)
                .expect("a layer's output");
            if let Some(lengths) = batch.lengths() {
                input = input.with_lengths(lengths).expect("the same rows");
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "inputs are f32")]
fn narrow_all(tensor: &Tensor<f64>) -> Vec<f32> {
    tensor.data().iter().map(|v| *v as f32).collect()
}
