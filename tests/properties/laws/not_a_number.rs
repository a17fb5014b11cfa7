//! NaN shows in every value that depends on it, and in no other.

use wgpu_rnn::{Batch, HeadSteps, Layout, Model, States, Tensor};

use super::runner::{Runner, Verdict};
use crate::draw::Case;

/// Where NaN must be: `true` in the place of every value that depends on it.
struct Spread {
    output: Vec<bool>,
    h: Vec<Vec<bool>>,
    c: Vec<Option<Vec<bool>>>,
}

/// NaN in one row's valid input, or in its initial h, shows in every value of that row that depends
/// on it, in no other value, and in no other row.
pub(crate) fn shows_nan_where_it_belongs(runner: &Runner, case: &Case, _: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let rows = batch.batch_size();
    let Some(row) = usize::try_from(case.sequences.seed).expect("small").checked_rem(rows) else {
        return Ok(());
    };
    let Some((poisoned, source)) = poison(case, &model, &batch, row) else { return Ok(()) };
    let got = runner.run(&model, &poisoned, &case.options);
    let want = spread(&model, &poisoned, row, source);
    let check = |what: &str, got: &Tensor<f64>, want: &[bool]| {
        for (index, (value, want)) in got.data().iter().zip(want).enumerate() {
            if value.is_nan() != *want {
                let name = &runner.name;
                let want = if *want { "NaN" } else { "a number" };
                return Err(format!("{name}: {what}: value {index}: expected {want}, got {value}"));
            }
        }
        Ok(())
    };
    check("output", &got.output, &want.output)?;
    for (index, (got, want)) in got.h.iter().zip(&want.h).enumerate() {
        check(&format!("h_n of layer {index}"), got, want)?;
    }
    for (index, (got, want)) in got.c.iter().zip(&want.c).enumerate() {
        if let (Some(got), Some(want)) = (got, want) {
            check(&format!("c_n of layer {index}"), got, want)?;
        }
    }
    Ok(())
}

/// Where the NaN was put.
#[derive(Clone, Copy)]
enum Source {
    /// Into the input of a step.
    Step(usize),
    /// Into all of the initial h of a layer's direction.
    State(usize, usize),
}

fn poison(case: &Case, model: &Model, batch: &Batch, row: usize) -> Option<(Batch, Source)> {
    let (rows, steps, seed) = (batch.batch_size(), batch.steps(), case.sequences.seed);
    let draw = |below: usize| usize::try_from(seed / 7).expect("small") % below;
    let length = batch.length(row);
    if !batch.is_tokens() && length > 0 && seed % 3 > 0 {
        let (t, width) = (draw(length), model.input().spec().width());
        let mut values: Vec<f32> = Vec::new();
        for place in 0..rows * steps {
            let (b, t) = match batch.layout() {
                Layout::BatchFirst => (place / steps, place % steps),
                Layout::TimeMajor => (place % rows, place / rows),
            };
            values.extend_from_slice(batch.features(b, t));
        }
        values[batch.layout().index(row, t, rows, steps) * width + draw(width)] = f32::NAN;
        let mut copy = Batch::dense(values, rows, steps, width, batch.layout()).expect("as before");
        if let Some(lengths) = batch.lengths() {
            copy = copy.with_lengths(lengths).expect("as before");
        }
        let copy = match batch.initial() {
            Some(initial) => copy.with_initial(initial.clone()),
            None => copy,
        };
        return Some((copy, Source::Step(t)));
    }
    if length == 0 {
        return None;
    }
    let mut states = batch.initial().cloned().unwrap_or_else(|| States::zeros(model, rows));
    let layer = draw(model.layers().len());
    let d = draw(model.layers()[layer].spec().direction.count());
    let width = states.h[layer].shape()[2];
    states.h[layer].data_mut()[(d * rows + row) * width..][..width].fill(f32::NAN);
    Some((batch.clone().with_initial(states), Source::State(layer, d)))
}

/// Follows the NaN: a forward direction is NaN from its first NaN input on, a reverse one up to its
/// last, and every value of the output layer that reads one is NaN.
fn spread(model: &Model, batch: &Batch, row: usize, source: Source) -> Spread {
    let (rows, length) = (batch.batch_size(), batch.length(row));
    let mut input = vec![false; length];
    if let Source::Step(t) = source {
        input[t] = true;
    }
    let (mut h_n, mut c_n) = (Vec::new(), Vec::new());
    // Per step, per direction.
    let mut steps: Vec<Vec<bool>> = Vec::new();
    for (index, layer) in model.layers().iter().enumerate() {
        let spec = layer.spec();
        let count = spec.direction.count();
        steps = vec![vec![false; count]; length];
        let mut h = vec![false; count * rows * spec.state_size()];
        let mut c = vec![false; count * rows * spec.hidden_size];
        for d in 0..count {
            let mut order: Vec<usize> = (0..length).collect();
            if spec.direction.is_reverse(d) {
                order.reverse();
            }
            let mut is_nan = matches!(source, Source::State(l, e) if (l, e) == (index, d));
            for t in order {
                is_nan |= input[t];
                steps[t][d] = is_nan;
            }
            for (states, width) in [(&mut h, spec.state_size()), (&mut c, spec.hidden_size)] {
                states[(d * rows + row) * width..][..width].fill(is_nan);
            }
        }
        h_n.push(h);
        c_n.push(spec.cell.has_c().then_some(c));
        input = steps.iter().map(|directions| directions.contains(&true)).collect();
    }
    Spread { output: output_spread(model, batch, row, &steps, &h_n), h: h_n, c: c_n }
}

fn output_spread(
    model: &Model,
    batch: &Batch,
    row: usize,
    steps: &[Vec<bool>],
    h_n: &[Vec<bool>],
) -> Vec<bool> {
    let (rows, width, length) = (batch.batch_size(), model.output_size(), batch.length(row));
    let last = model.layers().last().expect("a layer").spec();
    let reads = |t: usize| -> Vec<bool> {
        match model.head() {
            Some(_) => vec![steps[t].contains(&true); width],
            None => steps[t].iter().flat_map(|is_nan| vec![*is_nan; last.state_size()]).collect(),
        }
    };
    match model.head().map(|head| head.steps) {
        Some(HeadSteps::Last | HeadSteps::Final) => {
            let mut output = vec![false; rows * width];
            let final_is_nan = h_n.last().expect("a layer").contains(&true);
            let is_final = model.head().is_some_and(|head| head.steps == HeadSteps::Final);
            let values = if is_final { vec![final_is_nan; width] } else { reads(length - 1) };
            output[row * width..][..width].copy_from_slice(&values);
            output
        }
        _ => {
            let mut output = vec![false; rows * batch.steps() * width];
            for t in 0..length {
                let at = batch.layout().index(row, t, rows, batch.steps()) * width;
                output[at..at + width].copy_from_slice(&reads(t));
            }
            output
        }
    }
}
