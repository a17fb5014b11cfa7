//! The oracle: forward propagation through time as naive loops.
//!
//! Generic over f32 and f64, every option, no cleverness; the engine and the CPU path are checked
//! against it and it is never optimised. The equations stand beside the loops:
//!
//! ```text
//! gx = W_ih·x_t + b_ih          gh = W_hh·h_{t-1} + b_hh          (PyTorch nn.RNN, nn.LSTM, nn.GRU)
//! gx, gh := LN(gx), LN(gh) before their biases                     (layer normalisation, src/cell/options)
//! h_t, c_t = step(gx, gh, h_{t-1}, c_{t-1})                       (src/cell)
//! h_t := W_hr·h_t                                                 (LSTM projection; Sak et al. 2014)
//! y_t = g(W_y·h_t + b_y)                                          (output layer)
//! ```
//! The reverse direction of a row with `len` valid steps starts at t = len − 1 and ends at t = 0;
//! padding is never read.
//!
//! `loss` and `backward` are the oracle of training: losses, and their derivatives with respect to
//! everything that enters, in f64.

mod backward;
mod loss;
mod sample;

pub use backward::{Gradients, gradients, gradients_with};
pub use loss::loss;
pub use sample::sample;

use crate::batch::{
    Batch, Layout, RunOptions, Top, ZeroLength, check_top, empty_top, output_shape,
};
use crate::cell::{self, Cell, Custom, Real};
use crate::error::Result;
use crate::model::{
    Activation, DirectionWeights, Head, HeadSteps, Input, LayerNorm, LayerSpec, Model,
};
use crate::tensor::Tensor;

/// What the oracle gives: [`crate::Output`] in the precision of the computation.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceOutput<F> {
    /// As [`crate::Output::output`].
    pub output: Tensor<F>,
    /// As [`crate::Output::top`].
    pub top: Option<Top<F>>,
    /// Per layer `[D, B, R]`.
    pub h: Vec<Tensor<F>>,
    /// Per layer `[D, B, H]`; `None` for cells without a cell state.
    pub c: Vec<Option<Tensor<F>>>,
}

/// Runs `batch` through `model` in the precision of `F`.
///
/// # Errors
/// `Shape` when the batch does not fit the model; `Shape` or `Unsupported` for largest values that
/// the output does not have.
pub fn run<F: Real>(
    model: &Model,
    batch: &Batch,
    options: &RunOptions,
) -> Result<ReferenceOutput<F>> {
    batch.check_fits(model)?;
    check_top(model, options)?;
    let rows = batch.batch_size();
    // One list of rows [len][features] per sequence: no padding exists in here.
    let mut sequences: Vec<Vec<Vec<F>>> = (0..rows).map(|b| read(model, batch, b)).collect();
    let (mut h_n, mut c_n) = (Vec::new(), Vec::new());
    for (index, layer) in model.layers().iter().enumerate() {
        let spec = layer.spec();
        let directions = spec.direction.count();
        let mut h_last = Tensor::zeros([directions, rows, spec.state_size()]);
        let mut c_last = Tensor::zeros([directions, rows, spec.hidden_size]);
        for (b, sequence) in sequences.iter_mut().enumerate() {
            let mut outputs = vec![Vec::new(); sequence.len()];
            for (d, weights) in layer.directions().iter().enumerate() {
                let direction = Direction::new(spec, weights, d);
                let state = initial_state(spec, batch, index, d, b);
                // (forward, reverse) on the feature axis: forward filled its part before.
                let mut state = direction.walk(sequence, state, |t, step| {
                    outputs[t].extend_from_slice(&step.after.h);
                });
                if sequence.is_empty() && options.zero_length == ZeroLength::Zeros {
                    state = State::zeros(spec);
                }
                put(&mut h_last, d * rows + b, &state.h);
                put(&mut c_last, d * rows + b, &state.c);
            }
            *sequence = outputs;
        }
        h_n.push(h_last);
        c_n.push(spec.cell.has_c().then_some(c_last));
    }
    if model.head().is_some_and(|head| head.steps == HeadSteps::Final) {
        keep_final_states(&mut sequences, h_n.last());
    }
    let (output, top) = finish(model, batch, options, &sequences);
    Ok(ReferenceOutput { output, top, h: h_n, c: c_n })
}

/// Puts h_n of the last layer, directions side by side, where the output layer reads: at the last
/// valid step. Rows without a step stay without.
fn keep_final_states<F: Real>(sequences: &mut [Vec<Vec<F>>], h_n: Option<&Tensor<F>>) {
    let Some(h_n) = h_n else { return };
    let rows = sequences.len();
    for (b, sequence) in sequences.iter_mut().enumerate() {
        if let Some(last) = sequence.last_mut() {
            let directions = (0..h_n.shape()[0]).map(|d| h_n.row(d * rows + b));
            *last = directions.flatten().copied().collect();
        }
    }
}

fn read<F: Real>(model: &Model, batch: &Batch, b: usize) -> Vec<Vec<F>> {
    let widen = |values: &[f32]| values.iter().map(|v| F::from_f32(*v)).collect::<Vec<F>>();
    let token = |t| batch.token(b, t).map_or(0, |id| usize::try_from(id).unwrap_or(usize::MAX));
    (0..batch.length(b))
        .map(|t| match model.input() {
            Input::Dense { .. } => widen(batch.features(b, t)),
            Input::Embedding { table } => widen(table.row(token(t))),
            Input::OneHot { vocab } => {
                let mut row = vec![F::default(); *vocab];
                row[token(t)] = F::ONE;
                row
            }
        })
        .collect()
}

/// The state of one row in one direction of one layer.
#[derive(Clone)]
struct State<F> {
    /// h, width R.
    h: Vec<F>,
    /// c, width H; carried along as zeros by cells without one.
    c: Vec<F>,
}

impl<F: Real> State<F> {
    fn zeros(spec: &LayerSpec) -> Self {
        Self { h: vec![F::default(); spec.state_size()], c: vec![F::default(); spec.hidden_size] }
    }
}

fn initial_state<F: Real>(
    spec: &LayerSpec,
    batch: &Batch,
    layer: usize,
    d: usize,
    b: usize,
) -> State<F> {
    let mut state = State::zeros(spec);
    if let Some(initial) = batch.initial() {
        let row = d * batch.batch_size() + b;
        let widen = |tensor: &Tensor| tensor.row(row).iter().map(|v| F::from_f32(*v)).collect();
        state.h = widen(&initial.h[layer]);
        if let Some(c) = &initial.c[layer] {
            state.c = widen(c);
        }
    }
    state
}

/// What one step of one row in one direction saw and made.
struct Step<F> {
    /// The state before the step.
    before: State<F>,
    /// Input side of the pre-activations, `[G·H]`.
    gx: Vec<F>,
    /// Hidden side of the pre-activations, `[G·H]`; the GRU that resets before the product has its
    /// second product in the last part.
    gh: Vec<F>,
    /// h of width H, before the projection.
    hidden: Vec<F>,
    /// The state after the step.
    after: State<F>,
}

/// One direction of one layer.
struct Direction<'a, F> {
    spec: &'a LayerSpec,
    weights: &'a DirectionWeights,
    rules: Custom<F>,
    is_reverse: bool,
}

impl<'a, F: Real> Direction<'a, F> {
    fn new(spec: &'a LayerSpec, weights: &'a DirectionWeights, d: usize) -> Self {
        let is_reverse = spec.direction.is_reverse(d);
        Self { spec, weights, rules: Custom::new(spec.cell, &spec.options, d), is_reverse }
    }

    /// Goes over the rows of `sequence` in reading order and gives every step with its t to `each`;
    /// returns the state after the last one.
    fn walk(
        &self,
        sequence: &[Vec<F>],
        initial: State<F>,
        mut each: impl FnMut(usize, Step<F>),
    ) -> State<F> {
        let (mut state, len) = (initial, sequence.len());
        for s in 0..len {
            let t = if self.is_reverse { len - 1 - s } else { s };
            let step = self.step(&sequence[t], state);
            state = step.after.clone();
            each(t, step);
        }
        state
    }

    fn step(&self, x: &[F], before: State<F>) -> Step<F> {
        let (spec, weights) = (self.spec, self.weights);
        let (gx, gh) = self.products(x, &before.h);
        let gh =
            if spec.cell == Cell::GruResetBefore { self.candidate(&gx, gh, &before) } else { gh };
        let mut after = self.cells(&gx, &gh, &before);
        if let (Some(norm), Cell::Lstm) = (&weights.layer_norm, spec.cell) {
            self.normalised_outputs(norm, &gx, &gh, &before, &mut after);
        }
        let hidden = after.h.clone();
        if let Some(projection) = &weights.weight_hr {
            after.h = affine(projection, None, &hidden);
        }
        Step { before, gx, gh, hidden, after }
    }

    /// `W_ih·x + b_ih` and `W_hh·h + b_hh`, each product normalised before its bias is added.
    fn products(&self, x: &[F], h: &[F]) -> (Vec<F>, Vec<F>) {
        let weights = self.weights;
        let (b_ih, b_hh) = (weights.bias_ih.as_ref(), weights.bias_hh.as_ref());
        let Some((norm, epsilon)) = weights.layer_norm.as_ref().zip(self.spec.options.layer_norm)
        else {
            return (affine(&weights.weight_ih, b_ih, x), affine(&weights.weight_hh, b_hh, h));
        };
        let side = |weight, bias: Option<&Tensor>, v, scale: &Tensor, shift: &Tensor| {
            let mut values = layer_norm(&affine(weight, None, v), scale, shift, epsilon);
            for (value, bias) in values.iter_mut().zip(bias.map_or(&[][..], |b| b.data())) {
                *value += F::from_f32(*bias);
            }
            values
        };
        (
            side(&weights.weight_ih, b_ih, x, &norm.ih_weight, &norm.ih_bias),
            side(&weights.weight_hh, b_hh, h, &norm.hh_weight, &norm.hh_bias),
        )
    }

    /// Replaces n's hidden product by the one with r⊙h in place of h.
    fn candidate(&self, gx: &[F], mut gh: Vec<F>, before: &State<F>) -> Vec<F> {
        let hidden = self.spec.hidden_size;
        let reset: Vec<F> = (0..hidden)
            .map(|u| cell::reset_gate(&self.rules, gx[u], gh[u]) * before.h[u])
            .collect();
        let product = affine(&self.weights.weight_hh, self.weights.bias_hh.as_ref(), &reset);
        gh[2 * hidden..].copy_from_slice(&product[2 * hidden..]);
        gh
    }

    fn cells(&self, gx: &[F], gh: &[F], before: &State<F>) -> State<F> {
        let (spec, hidden) = (self.spec, self.spec.hidden_size);
        let mut after = State { h: vec![F::default(); hidden], c: vec![F::default(); hidden] };
        for u in 0..hidden {
            // With projection the old h has width P and no point-wise cell reads it (LSTM only).
            let mut states = [before.h.get(u).copied().unwrap_or_default(), before.c[u]];
            cell::step(
                spec.cell,
                &self.rules(u),
                &self.gate(gx, u),
                &self.gate(gh, u),
                &mut states,
            );
            after.h[u] = states[0];
            after.c[u] = if spec.cell.has_c() { states[1] } else { F::default() };
        }
        after
    }

    /// `h = o·h(LN(c))` in place of `h = o·h(c)`.
    fn normalised_outputs(
        &self,
        norm: &LayerNorm,
        gx: &[F],
        gh: &[F],
        before: &State<F>,
        after: &mut State<F>,
    ) {
        let epsilon = self.spec.options.layer_norm.unwrap_or_default();
        let (Some(scale), Some(shift)) = (&norm.c_weight, &norm.c_bias) else { return };
        let c = layer_norm(&after.c, scale, shift, epsilon);
        for (u, c) in c.into_iter().enumerate() {
            let (gx, gh, rules) = (self.gate(gx, u), self.gate(gh, u), self.rules(u));
            let (o, _) = cell::lstm::gates(&rules, &gx, &gh, before.c[u]);
            after.h[u] = cell::lstm::output(&rules, o, c);
        }
    }

    fn gate(&self, all: &[F], u: usize) -> Vec<F> {
        (0..self.spec.cell.gates()).map(|g| all[g * self.spec.hidden_size + u]).collect()
    }

    fn rules(&self, u: usize) -> Custom<F> {
        let hidden = self.spec.hidden_size;
        let peephole = self.weights.peephole.as_ref();
        let weights =
            peephole.map(|p| [0, 1, 2].map(|gate| F::from_f32(p.data()[gate * hidden + u])));
        Custom { peephole: weights, ..self.rules }
    }
}

/// `(v − mean) / √(var + ε) ⊙ scale + shift`, the variance over n.
fn layer_norm<F: Real>(v: &[F], scale: &Tensor, shift: &Tensor, epsilon: f32) -> Vec<F> {
    let mut count = F::default();
    v.iter().for_each(|_| count += F::ONE);
    let mean_of = |values: &mut dyn Iterator<Item = F>| {
        let mut sum = F::default();
        values.for_each(|value| sum += value);
        sum / count
    };
    let mean = mean_of(&mut v.iter().copied());
    let variance = mean_of(&mut v.iter().map(|x| (*x - mean) * (*x - mean)));
    let deviation = (variance + F::from_f32(epsilon)).sqrt();
    v.iter()
        .zip(scale.data().iter().zip(shift.data()))
        .map(|(x, (scale, shift))| {
            (*x - mean) / deviation * F::from_f32(*scale) + F::from_f32(*shift)
        })
        .collect()
}

/// Computes `W·x + b` for W `[rows, in]`.
fn affine<F: Real>(weight: &Tensor, bias: Option<&Tensor>, x: &[F]) -> Vec<F> {
    (0..weight.shape()[0])
        .map(|row| {
            let mut sum = bias.map_or_else(F::default, |bias| F::from_f32(bias.data()[row]));
            for (w, v) in weight.row(row).iter().zip(x) {
                sum += F::from_f32(*w) * *v;
            }
            sum
        })
        .collect()
}

fn finish<F: Real>(
    model: &Model,
    batch: &Batch,
    options: &RunOptions,
    sequences: &[Vec<Vec<F>>],
) -> (Tensor<F>, Option<Top<F>>) {
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let pad = F::from_f32(options.pad_value);
    let last_only = model.is_per_sequence();
    let mut top = options.top.map(|k| empty_top(model, batch, k, pad));
    let shape = match top {
        Some(_) => vec![0],
        None => output_shape(model, batch, model.output_size()),
    };
    let mut output = Tensor::from_fn(shape, |_| pad);
    for (b, sequence) in sequences.iter().enumerate() {
        for (t, h) in sequence.iter().enumerate() {
            if last_only && t + 1 != sequence.len() {
                continue;
            }
            let index = match (last_only, batch.layout()) {
                (true, _) => b,
                (false, Layout::BatchFirst) => b * steps + t,
                (false, Layout::TimeMajor) => t * rows + b,
            };
            match (model.head(), &mut top) {
                (Some(head), Some(top)) => put_top(head, h, index, top),
                (Some(head), None) => put(&mut output, index, &apply_head(head, h)),
                (None, _) => put(&mut output, index, h),
            }
        }
    }
    (output, top)
}

fn put_top<F: Real>(head: &Head, h: &[F], index: usize, into: &mut Top<F>) {
    let k = into.values.shape().last().copied().unwrap_or(1);
    let logits = affine(&head.weight, head.bias.as_ref(), h);
    let (indices, values) = top(head.activation, &logits, k);
    put(&mut into.indices, index, &indices);
    put(&mut into.values, index, &values);
}

/// Picks the `k` largest logits of a row, equal ones by their place, and applies g to them: their
/// places and values, as [`Top`] has them. `k` is at most the row's length.
pub fn top<F: Real>(activation: Activation, logits: &[F], k: usize) -> (Vec<u32>, Vec<F>) {
    if let Some(nan) = logits.iter().find(|v| v.to_f64().is_nan()) {
        return (vec![Top::NO_INDEX; k], vec![*nan; k]);
    }
    // The largest so far, in order; what comes later goes behind its equals.
    let mut best: Vec<usize> = Vec::with_capacity(k + 1);
    for (index, value) in logits.iter().enumerate() {
        let place = best.partition_point(|&other| logits[other] >= *value);
        if place < k {
            best.insert(place, index);
            best.truncate(k);
        }
    }
    let mut row = logits.to_vec();
    activate(activation, &mut row);
    let values = best.iter().map(|&index| row[index]).collect();
    let narrow = |index: &usize| u32::try_from(*index).unwrap_or(Top::NO_INDEX);
    (best.iter().map(narrow).collect(), values)
}

fn apply_head<F: Real>(head: &Head, h: &[F]) -> Vec<F> {
    let mut y = affine(&head.weight, head.bias.as_ref(), h);
    activate(head.activation, &mut y);
    y
}

/// Applies the function g of the output layer to one row.
pub fn activate<F: Real>(activation: Activation, row: &mut [F]) {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => row.iter_mut().for_each(|v| *v = v.sigmoid()),
        Activation::Tanh => row.iter_mut().for_each(|v| *v = v.tanh()),
        Activation::Relu => row.iter_mut().for_each(|v| *v = v.relu()),
        Activation::Softmax | Activation::LogSoftmax => {
            // Subtracting the largest value changes nothing and keeps exp finite.
            let max = row.iter().copied().fold(row[0], |m, v| if v > m { v } else { m });
            let mut sum = F::default();
            row.iter().for_each(|v| sum += (*v - max).exp());
            for v in row.iter_mut() {
                *v = if activation == Activation::Softmax {
                    (*v - max).exp() / sum
                } else {
                    *v - max - sum.ln()
                };
            }
        }
    }
}

fn put<T: Copy>(tensor: &mut Tensor<T>, row: usize, values: &[T]) {
    let width = values.len();
    tensor.data_mut()[row * width..(row + 1) * width].copy_from_slice(values);
}
