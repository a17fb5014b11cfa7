//! Both layouts of a batch hold the same numbers; the same run twice gives the same bits.

use wgpu_rnn::{Batch, Layout, Model, Tensor};

use super::runner::{Answer, Runner, Verdict};
use crate::draw::Case;

/// Both layouts hold the same numbers.
pub(crate) fn is_the_same_in_both_layouts(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let other = match batch.layout() {
        Layout::BatchFirst => Layout::TimeMajor,
        Layout::TimeMajor => Layout::BatchFirst,
    };
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let turned = turned(&batch, &model, other, |_, t| t);
    let got = runner.run(&model, &turned, &case.options);
    let mut want = runner.run(&model, &batch, &case.options);
    if !model.is_per_sequence() {
        want.output = relaid(&want.output, rows, steps, batch.layout(), other, |_, t| t);
    }
    runner.compare_all("layout", &got, &want, wobble)
}

/// Copies a batch into `layout`, row b's step t from step `from(b, t)`.
pub(crate) fn turned(
    batch: &Batch,
    model: &Model,
    layout: Layout,
    from: impl Fn(usize, usize) -> usize,
) -> Batch {
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let places = || {
        (0..rows * steps).map(|i| match layout {
            Layout::BatchFirst => (i / steps, i % steps),
            Layout::TimeMajor => (i % rows, i / rows),
        })
    };
    let source = |(b, t)| (b, from(b, t));
    let copy = if batch.is_tokens() {
        let tokens: Vec<u32> =
            places().map(source).map(|(b, t)| batch.token(b, t).expect("a token")).collect();
        Batch::tokens(tokens, rows, steps, layout)
    } else {
        let values: Vec<f32> =
            places().map(source).flat_map(|(b, t)| batch.features(b, t)).copied().collect();
        Batch::dense(values, rows, steps, model.input().spec().width(), layout)
    };
    let mut copy = copy.expect("the same numbers");
    if let Some(lengths) = batch.lengths() {
        copy = copy.with_lengths(lengths).expect("the same rows");
    }
    match batch.initial() {
        Some(initial) => copy.with_initial(initial.clone()),
        None => copy,
    }
}

/// Copies an output from one layout to another, row b's step t from step `from(b, t)`.
pub(crate) fn relaid(
    output: &Tensor<f64>,
    rows: usize,
    steps: usize,
    old: Layout,
    new: Layout,
    from: impl Fn(usize, usize) -> usize,
) -> Tensor<f64> {
    let width = output.shape()[2];
    let mut copy = Tensor::zeros(new.shape(steps, rows, width));
    for b in 0..rows {
        for t in 0..steps {
            let at = new.index(b, t, rows, steps) * width;
            let there = output.row(old.index(b, from(b, t), rows, steps));
            copy.data_mut()[at..at + width].copy_from_slice(there);
        }
    }
    copy
}

/// The same run twice gives the same bits.
pub(crate) fn repeats(runner: &Runner, case: &Case, _: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let bits = |answer: &Answer| -> Vec<u64> {
        let states = answer.h.iter().chain(answer.c.iter().flatten());
        let all = std::iter::once(&answer.output).chain(states);
        all.flat_map(|t| t.data()).map(|v| v.to_bits()).collect()
    };
    let first = runner.run(&model, &batch, &case.options);
    let second = runner.run(&model, &batch, &case.options);
    if bits(&first) == bits(&second) {
        return Ok(());
    }
    Err(format!("{}: the second run differs", runner.name))
}
