//! Time cut in two, and time read the other way.

use wgpu_rnn::{
    Batch, Direction, Head, HeadSteps, Layer, Layout, Model, RunOptions, States, Tensor,
};

use super::layouts::{relaid, turned};
use super::rows::pick;
use super::runner::{Answer, Runner, Verdict};
use crate::draw::Case;

/// The first `cut` steps and then the rest, with states carried, give what one run gives. Holds for
/// networks that only read forward; others pass.
pub(crate) fn may_be_cut_in_time(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let forward = |layer: &Layer| layer.spec().direction == Direction::Forward;
    // With zeros after no step there is nothing to carry.
    let options = RunOptions { zero_length: wgpu_rnn::ZeroLength::CarryInitial, ..case.options };
    if !model.layers().iter().all(forward) {
        return Ok(());
    }
    let batch = case.batch(&model);
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let cut = usize::try_from(case.sequences.seed).expect("small") % (steps + 1);
    let whole = runner.run(&model, &batch, &options);
    let first = runner.run(&model, &piece(&batch, &model, 0, cut), &options);
    let rest = piece(&batch, &model, cut, steps).with_initial(narrowed(&first));
    let second = runner.run(&model, &rest, &options);
    runner.compare_states("cut in time", &second, &whole, wobble)?;
    for b in 0..rows {
        if model.is_per_sequence() {
            // Whichever part has the row's last step has its output.
            let part = if batch.length(b) <= cut { &first } else { &second };
            let (got, want) = (pick(&part.output, [b], 1), pick(&whole.output, [b], 1));
            runner.compare(&format!("cut in time: row {b}"), &got, &want, wobble)?;
            continue;
        }
        for t in 0..steps {
            let here = if t < cut {
                pick(&first.output, [batch.layout().index(b, t, rows, cut)], 1)
            } else {
                pick(&second.output, [batch.layout().index(b, t - cut, rows, steps - cut)], 1)
            };
            let want = pick(&whole.output, [batch.layout().index(b, t, rows, steps)], 1);
            runner.compare(&format!("cut in time: row {b}, step {t}"), &here, &want, wobble)?;
        }
    }
    Ok(())
}

/// Copies the steps `from..to`, with the batch's initial states.
fn piece(batch: &Batch, model: &Model, from: usize, to: usize) -> Batch {
    let (rows, steps, layout) = (batch.batch_size(), to - from, batch.layout());
    let places = || {
        (0..rows * steps).map(|i| match layout {
            Layout::BatchFirst => (i / steps, from + i % steps),
            Layout::TimeMajor => (i % rows, from + i / rows),
        })
    };
    let copy = if batch.is_tokens() {
        let tokens: Vec<u32> = places().map(|(b, t)| batch.token(b, t).expect("a token")).collect();
        Batch::tokens(tokens, rows, steps, layout)
    } else {
        let values: Vec<f32> = places().flat_map(|(b, t)| batch.features(b, t)).copied().collect();
        Batch::dense(values, rows, steps, model.input().spec().width(), layout)
    };
    let lengths: Vec<usize> = (0..rows).map(|b| batch.length(b).clamp(from, to) - from).collect();
    let copy = copy.and_then(|copy| copy.with_lengths(lengths)).expect("a part of a valid batch");
    match batch.initial() {
        Some(initial) => copy.with_initial(initial.clone()),
        None => copy,
    }
}

fn narrowed(answer: &Answer) -> States {
    #[expect(clippy::cast_possible_truncation, reason = "states between runs are f32")]
    let narrow = |tensor: &Tensor<f64>| {
        let values = tensor.data().iter().map(|v| *v as f32).collect();
        Tensor::new(tensor.shape(), values).expect("same shape")
    };
    States {
        h: answer.h.iter().map(narrow).collect(),
        c: answer.c.iter().map(|c| c.as_ref().map(narrow)).collect(),
    }
}

/// A network that reads the other way gives on flipped sequences the flipped results.
pub(crate) fn mirrors(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = every_step(case.model());
    let batch = case.batch(&model);
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let flip = |b: usize, t: usize| {
        let len = batch.length(b);
        if t < len { len - 1 - t } else { t }
    };
    let (mirrored, flipped) = (mirrored(&model), turned(&batch, &model, batch.layout(), flip));
    let flipped = match batch.initial() {
        Some(initial) => flipped.with_initial(States {
            h: initial.h.iter().map(swapped_directions).collect(),
            c: initial.c.iter().map(|c| c.as_ref().map(swapped_directions)).collect(),
        }),
        None => flipped,
    };
    let straight = runner.run(&model, &batch, &case.options);
    let mut got = runner.run(&mirrored, &flipped, &case.options);
    if !model.is_per_sequence() {
        got.output = relaid(&got.output, rows, steps, batch.layout(), batch.layout(), flip);
        let last = model.layers().last().expect("a layer").spec();
        if model.head().is_none() && last.direction == Direction::Bidirectional {
            let width = last.state_size();
            got.output.data_mut().chunks_mut(2 * width).enumerate().for_each(|(row, y)| {
                let t = if batch.layout() == Layout::BatchFirst { row % steps } else { row / rows };
                let b = if batch.layout() == Layout::BatchFirst { row / steps } else { row % rows };
                if t < batch.length(b) {
                    y.rotate_left(width);
                }
            });
        }
    }
    got.h.iter_mut().for_each(|h| *h = swapped_directions(h));
    got.c.iter_mut().flatten().for_each(|c| *c = swapped_directions(c));
    runner.compare_all("mirror", &got, &straight, wobble)
}

/// The last step of a flipped sequence is its first: that output layer has no mirror.
fn every_step(model: Model) -> Model {
    let Some(head) = model.head().cloned().filter(|head| head.steps == HeadSteps::Last) else {
        return model;
    };
    model.with_head(Some(Head { steps: HeadSteps::Every, ..head })).expect("same shapes")
}

fn swapped_directions<T: Copy>(tensor: &Tensor<T>) -> Tensor<T> {
    // One direction has no other half.
    let half = tensor.len() / tensor.shape()[0];
    let mut data = tensor.data().to_vec();
    if half < data.len() {
        data.rotate_left(half);
    }
    Tensor::new(tensor.shape(), data).expect("same shape")
}

/// Turns every layer around; what reads a bidirectional layer reads its halves the other way round.
fn mirrored(model: &Model) -> Model {
    let rotate = |tensor: &mut Tensor, before: Option<&Layer>| {
        let Some(spec) = before.map(Layer::spec) else { return };
        if spec.direction == Direction::Bidirectional {
            let width = spec.output_size();
            tensor.data_mut().chunks_mut(width).for_each(|row| row.rotate_left(width / 2));
        }
    };
    let mut layers: Vec<Layer> = Vec::new();
    for (index, layer) in model.layers().iter().enumerate() {
        let before = index.checked_sub(1).map(|index| &model.layers()[index]);
        let mut spec = layer.spec().clone();
        spec.direction = match spec.direction {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
            Direction::Bidirectional => Direction::Bidirectional,
        };
        spec.options.functions.reverse();
        let mut directions = layer.directions().to_vec();
        directions.reverse();
        directions.iter_mut().for_each(|weights| rotate(&mut weights.weight_ih, before));
        layers.push(Layer::new(spec, directions).expect("same shapes"));
    }
    let mut head = model.head().cloned();
    if let Some(head) = &mut head {
        rotate(&mut head.weight, model.layers().last());
    }
    Model::new(model.input().clone(), layers, head).expect("same shapes")
}
