//! Backward propagation through time in f64, as naive loops.
//!
//! The forward pass keeps every step ([`Step`]); the backward pass goes over them in the other order
//! and adds up, for each step of each row in each direction:
//!
//! ```text
//! dh = dL/dy_t + carried          dc = carried                      (y_t: what this layer puts out)
//! dW_hr += dh ⊗ o                 dh := W_hrᵀ·dh                    (LSTM projection; o before it)
//! dgx, dgh, dh', dc' = back(gx, gh, h_{t-1}, c_{t-1}, dh, dc)      (src/cell)
//! dW_ih += dgx ⊗ x_t              db_ih += dgx       dx_t += W_ihᵀ·dgx
//! dW_hh += dgh ⊗ h_{t-1}          db_hh += dgh       carried = dh' + W_hhᵀ·dgh, dc'
//! ```
//! In the GRU that resets before the product, n's rows of W_hh see r⊙h_{t-1} in place of h_{t-1}. What
//! is carried past the first step is the derivative with respect to `h_0` and `c_0`; dx is dL/dy of the
//! layer below, the embedding row's derivative, or the input's.

use std::collections::BTreeMap;

use super::loss::{Rows, evaluate};
use super::{Direction, State, Step, activate, affine, initial_state, put, read};
use crate::batch::{Batch, Layout, output_shape};
use crate::cell::{self, Cell};
use crate::error::{Error, Result};
use crate::model::{Activation, DirectionWeights, Head, HeadSteps, Input, Layer, LayerSpec, Model};
use crate::tensor::Tensor;
use crate::train::{Loss, Targets, check_trainable, valid_rows};

/// A loss and its derivatives.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The loss.
    pub loss: f64,
    /// With respect to the weights, by the names of [`Model::tensors`], in their shapes.
    pub parameters: BTreeMap<String, Tensor<f64>>,
    /// With respect to the states before the first step, whether given or zero: per layer `[D, B, R]`.
    pub h_0: Vec<Tensor<f64>>,
    /// The same for c: per layer `[D, B, H]`; `None` for cells without a cell state.
    pub c_0: Vec<Option<Tensor<f64>>>,
    /// With respect to dense inputs, batch-first `[B, T, I]` whatever the layout of the batch, zero
    /// beyond lengths; `None` for tokens.
    pub input: Option<Tensor<f64>>,
}

/// Computes the loss of `batch` through `model` and its derivatives, in f64.
///
/// A batch without a valid step has loss 0 and zero gradients. CTC with a sequence too short for its
/// labels has an infinite loss and NaN gradients.
///
/// # Errors
/// `Shape` when the batch does not fit the model; as [`Targets::check`]; `Unsupported`, naming it, for
/// an option of a layer whose derivative is not known: functions other than the cell's own, `clip`,
/// `cell_clip`, `input_forget`, `layer_norm`.
pub fn gradients(
    model: &Model,
    batch: &Batch,
    targets: &Targets,
    loss: &Loss,
) -> Result<Gradients> {
    batch.check_fits(model)?;
    check_trainable(model)?;
    targets.check(loss, model, batch)?;
    let forward = Forward::new(model, batch);
    let (value, slopes) = evaluate(model, batch, targets, loss, &forward.logits(model));
    backward(model, batch, &forward, value, slopes)
}

/// As [`gradients`] for L = Σ `output_gradient` ⊙ output, where `output_gradient` is a caller's dL/dy: it
/// has the shape and the layout of [`super::ReferenceOutput::output`] and is not read beyond lengths.
/// Every function of the output layer is differentiated.
///
/// # Errors
/// `Shape` when the batch does not fit the model, or `output_gradient` not the output; `Unsupported` as
/// [`gradients`].
pub fn gradients_with(
    model: &Model,
    batch: &Batch,
    output_gradient: &Tensor<f64>,
) -> Result<Gradients> {
    batch.check_fits(model)?;
    check_trainable(model)?;
    let shape = output_shape(model, batch, model.output_size());
    if output_gradient.shape() != shape {
        return Err(Error::shape(format!(
            "output gradient: expected {shape:?} as the output, got {:?}",
            output_gradient.shape()
        )));
    }
    let forward = Forward::new(model, batch);
    let mut rows = forward.logits(model);
    let function = model.head().map_or(Activation::None, |head| head.activation);
    let mut value = 0.0;
    for (b, t, index) in valid_rows(model, batch) {
        let (place, index) = match (model.is_per_sequence(), batch.layout()) {
            (true, _) => (0, index),
            (false, Layout::BatchFirst) => (t, index),
            (false, Layout::TimeMajor) => (t, t * batch.batch_size() + b),
        };
        let (row, dy) = (&mut rows[b][place], output_gradient.row(index));
        let mut y = row.clone();
        activate(function, &mut y);
        value += dot(&y, dy);
        activation(function, row, &y, dy);
    }
    backward(model, batch, &forward, value, rows)
}

/// Puts the derivative with respect to the logits z in place of them, for y = g(z) and dy = dL/dy:
///
/// ```text
/// sigmoid   dz = dy·y(1 − y)     softmax       dz = y ⊙ (dy − Σ y·dy)
/// tanh      dz = dy·(1 − y²)     log-softmax   dz = dy − eʸ·Σ dy
/// relu      dz = dy for z > 0, else 0
/// ```
pub(super) fn activation(activation: Activation, z: &mut [f64], y: &[f64], dy: &[f64]) {
    let (sum, weighted) = (dy.iter().sum::<f64>(), dot(y, dy));
    for (z, (y, dy)) in z.iter_mut().zip(y.iter().zip(dy)) {
        *z = match activation {
            Activation::None => *dy,
            Activation::Sigmoid => dy * y * (1.0 - y),
            Activation::Tanh => dy * (1.0 - y * y),
            // Written so that a NaN, which compares false, lets dy through.
            Activation::Relu if *z <= 0.0 => 0.0,
            Activation::Relu => *dy,
            Activation::Softmax => y * (dy - weighted),
            Activation::LogSoftmax => dy - y.exp() * sum,
        };
    }
}

/// Returns the logits of every valid output row; without an output layer the recurrent output.
pub(super) fn logits(model: &Model, batch: &Batch) -> Rows {
    Forward::new(model, batch).logits(model)
}

/// The steps of one row in reading order, each with its t.
type Walk = Vec<(usize, Step<f64>)>;

/// What a layer saw and made.
struct LayerTrace {
    /// `[B][len][I]`.
    inputs: Rows,
    /// `[D][B]`.
    steps: Vec<Vec<Walk>>,
}

/// A forward pass with everything that the backward pass reads.
struct Forward {
    layers: Vec<LayerTrace>,
    /// What enters the output layer: `[B][len][width]`, or one row a sequence that has a step.
    features: Rows,
}

impl Forward {
    fn new(model: &Model, batch: &Batch) -> Self {
        let rows = batch.batch_size();
        let mut inputs: Rows = (0..rows).map(|b| read(model, batch, b)).collect();
        let mut layers = Vec::new();
        for (index, layer) in model.layers().iter().enumerate() {
            let spec = layer.spec();
            let mut outputs: Rows = inputs.iter().map(|s| vec![Vec::new(); s.len()]).collect();
            let mut steps = Vec::new();
            for (d, weights) in layer.directions().iter().enumerate() {
                let direction = Direction::new(spec, weights, d);
                let walk = |b: usize| {
                    let mut steps = Vec::new();
                    let initial = initial_state(spec, batch, index, d, b);
                    direction.walk(&inputs[b], initial, |t, step| {
                        outputs[b][t].extend_from_slice(&step.after.h);
                        steps.push((t, step));
                    });
                    steps
                };
                steps.push((0..rows).map(walk).collect());
            }
            layers.push(LayerTrace { inputs, steps });
            inputs = outputs;
        }
        Self { layers, features: select(model, inputs) }
    }

    fn logits(&self, model: &Model) -> Rows {
        let Some(head) = model.head() else { return self.features.clone() };
        let of_row = |row: &Vec<f64>| affine(&head.weight, head.bias.as_ref(), row);
        self.features.iter().map(|rows| rows.iter().map(of_row).collect()).collect()
    }
}

/// Picks what the output layer reads of the last layer's outputs.
fn select(model: &Model, outputs: Rows) -> Rows {
    if !model.is_per_sequence() {
        return outputs;
    }
    let of_sequence = |rows: Vec<Vec<f64>>| {
        let mut row = rows.last()?.clone();
        for (place, t) in parts_read(model, rows.len()) {
            row[place.clone()].copy_from_slice(&rows[t][place]);
        }
        Some(row)
    };
    outputs.into_iter().map(|rows| of_sequence(rows).into_iter().collect()).collect()
}

/// Lists which part of the row of a per-sequence output layer is read at which t, for `len` > 0: the
/// last valid step, or where each direction of the last layer ends.
fn parts_read(model: &Model, len: usize) -> Vec<(std::ops::Range<usize>, usize)> {
    let Some(spec) = model.layers().last().map(Layer::spec) else { return Vec::new() };
    let width = spec.state_size();
    let is_final = model.head().is_some_and(|head| head.steps == HeadSteps::Final);
    (0..spec.direction.count())
        .map(|d| {
            let is_at_start = is_final && spec.direction.is_reverse(d);
            (d * width..(d + 1) * width, if is_at_start { 0 } else { len - 1 })
        })
        .collect()
}

/// The transpose of [`select`]: derivatives of what was read, at the steps it was read from.
fn spread(model: &Model, batch: &Batch, slopes: Rows) -> Rows {
    if !model.is_per_sequence() {
        return slopes;
    }
    let width = model.recurrent_width();
    let of_sequence = |(b, rows): (usize, Vec<Vec<f64>>)| {
        let len = batch.length(b);
        let mut outputs = vec![vec![0.0; width]; len];
        for row in rows {
            for (place, t) in parts_read(model, len) {
                outputs[t][place.clone()].copy_from_slice(&row[place]);
            }
        }
        outputs
    };
    slopes.into_iter().enumerate().map(of_sequence).collect()
}

/// Goes from the derivatives of the logits back to everything that entered.
fn backward(
    model: &Model,
    batch: &Batch,
    forward: &Forward,
    loss: f64,
    slopes: Rows,
) -> Result<Gradients> {
    let (slopes, head) = match model.head() {
        Some(head) => head_backward(head, &forward.features, &slopes),
        None => (slopes, Vec::new()),
    };
    let mut slopes = spread(model, batch, slopes);
    // From the last layer to the first: the values of each layer's parameters in order.
    let mut layers = Vec::new();
    let (mut h_0, mut c_0) = (Vec::new(), Vec::new());
    for (layer, trace) in model.layers().iter().zip(&forward.layers).rev() {
        let done = layer_backward(layer, trace, &slopes);
        slopes = done.inputs;
        layers.push(done.parameters);
        h_0.push(done.h_0);
        c_0.push(layer.spec().cell.has_c().then_some(done.c_0));
    }
    h_0.reverse();
    c_0.reverse();
    let (table, input) = input_backward(model, batch, &slopes);
    let values = table.into_iter().chain(layers.into_iter().rev().flatten()).chain(head);
    let parameters = model
        .tensors()
        .into_iter()
        .zip(values)
        .map(|(tensor, values)| Ok((tensor.name, Tensor::new(tensor.shape, values)?)))
        .collect::<Result<_>>()?;
    Ok(Gradients { loss, parameters, h_0, c_0, input })
}

/// Returns the derivatives of what entered the output layer, and of its weight and bias.
fn head_backward(head: &Head, features: &Rows, slopes: &Rows) -> (Rows, Vec<Vec<f64>>) {
    let mut weight = vec![0.0; head.weight.len()];
    let mut bias = vec![0.0; head.output_size()];
    for (row, slope) in features.iter().flatten().zip(slopes.iter().flatten()) {
        add_outer(&mut weight, slope, row);
        add(&mut bias, slope);
    }
    let back = |slope: &Vec<f64>| transposed(&head.weight, slope);
    let inputs = slopes.iter().map(|rows| rows.iter().map(back).collect()).collect();
    let mut parameters = vec![weight];
    parameters.extend(head.bias.is_some().then_some(bias));
    (inputs, parameters)
}

/// Returns the derivatives of the embedding table, where there is one, and of dense inputs.
fn input_backward(
    model: &Model,
    batch: &Batch,
    slopes: &Rows,
) -> (Option<Vec<f64>>, Option<Tensor<f64>>) {
    let steps = || (0..batch.batch_size()).flat_map(|b| (0..batch.length(b)).map(move |t| (b, t)));
    match model.input() {
        Input::Dense { size } => {
            let mut input = Tensor::zeros([batch.batch_size(), batch.steps(), *size]);
            steps().for_each(|(b, t)| put(&mut input, b * batch.steps() + t, &slopes[b][t]));
            (None, Some(input))
        }
        Input::Embedding { table } => {
            let mut sums = vec![0.0; table.len()];
            for (b, t) in steps() {
                let width = slopes[b][t].len();
                let token = batch.token(b, t).and_then(|id| usize::try_from(id).ok());
                let start = token.unwrap_or(0) * width;
                add(&mut sums[start..start + width], &slopes[b][t]);
            }
            (Some(sums), None)
        }
        Input::OneHot { .. } => (None, None),
    }
}

/// The derivatives of one layer.
struct LayerBack {
    /// `[B][len][I]`.
    inputs: Rows,
    /// The values of each parameter, in the order of [`Model::tensors`].
    parameters: Vec<Vec<f64>>,
    /// `[D, B, R]`.
    h_0: Tensor<f64>,
    /// `[D, B, H]`.
    c_0: Tensor<f64>,
}

/// `slopes` are the derivatives of what the layer put out, `[B][len][D·R]`.
fn layer_backward(layer: &Layer, trace: &LayerTrace, slopes: &Rows) -> LayerBack {
    let spec = layer.spec();
    let (rows, width) = (slopes.len(), spec.state_size());
    let directions = spec.direction.count();
    let zeros = |sequence: &Vec<Vec<f64>>| vec![vec![0.0; spec.input_size]; sequence.len()];
    let mut done = LayerBack {
        inputs: trace.inputs.iter().map(zeros).collect(),
        parameters: Vec::new(),
        h_0: Tensor::zeros([directions, rows, width]),
        c_0: Tensor::zeros([directions, rows, spec.hidden_size]),
    };
    for (d, weights) in layer.directions().iter().enumerate() {
        let mut sums = Sums::new(spec, weights);
        for (b, slopes) in slopes.iter().enumerate() {
            // The derivative of the state after the step at hand.
            let mut carried = State::zeros(spec);
            for (t, step) in trace.steps[d][b].iter().rev() {
                add(&mut carried.h, &slopes[*t][d * width..(d + 1) * width]);
                let x = &trace.inputs[b][*t];
                carried = sums.step(x, step, &carried, &mut done.inputs[b][*t]);
            }
            put(&mut done.h_0, d * rows + b, &carried.h);
            put(&mut done.c_0, d * rows + b, &carried.c);
        }
        done.parameters.extend(sums.into_parameters());
    }
    done
}

/// The derivatives of one direction's weights, summed over steps and rows.
struct Sums<'a> {
    spec: &'a LayerSpec,
    weights: &'a DirectionWeights,
    weight_ih: Vec<f64>,
    weight_hh: Vec<f64>,
    bias_ih: Vec<f64>,
    bias_hh: Vec<f64>,
    weight_hr: Vec<f64>,
    peephole: Vec<f64>,
}

impl<'a> Sums<'a> {
    fn new(spec: &'a LayerSpec, weights: &'a DirectionWeights) -> Self {
        let rows = spec.gate_rows();
        Self {
            spec,
            weights,
            weight_ih: vec![0.0; weights.weight_ih.len()],
            weight_hh: vec![0.0; weights.weight_hh.len()],
            bias_ih: vec![0.0; rows],
            bias_hh: vec![0.0; rows],
            weight_hr: vec![0.0; spec.proj_size * spec.hidden_size],
            peephole: vec![0.0; 3 * spec.hidden_size],
        }
    }

    /// Goes one step back: takes the derivative of the state after it, returns that of the state before
    /// it, and adds the input's to `dx`.
    fn step(
        &mut self,
        x: &[f64],
        step: &Step<f64>,
        after: &State<f64>,
        dx: &mut [f64],
    ) -> State<f64> {
        let dh = match &self.weights.weight_hr {
            Some(projection) => {
                add_outer(&mut self.weight_hr, &after.h, &step.hidden);
                transposed(projection, &after.h)
            }
            None => after.h.clone(),
        };
        let (dgx, dgh, mut before) = self.cells(step, &dh, &after.c);
        let (dgx, dgh) = if self.spec.cell == Cell::GruResetBefore {
            self.reset_before(step, dgx, dgh, &mut before)
        } else {
            add_outer(&mut self.weight_hh, &dgh, &step.before.h);
            add(&mut before.h, &transposed(&self.weights.weight_hh, &dgh));
            (dgx, dgh)
        };
        add_outer(&mut self.weight_ih, &dgx, x);
        add(&mut self.bias_ih, &dgx);
        add(&mut self.bias_hh, &dgh);
        add(dx, &transposed(&self.weights.weight_ih, &dgx));
        before
    }

    /// The point-wise part of every unit: dgx `[G·H]`, dgh `[G·H]`, and what reaches the state before
    /// without a product.
    fn cells(
        &mut self,
        step: &Step<f64>,
        dh: &[f64],
        dc: &[f64],
    ) -> (Vec<f64>, Vec<f64>, State<f64>) {
        let (cell, hidden) = (self.spec.cell, self.spec.hidden_size);
        let (mut dgx, mut dgh) =
            (vec![0.0; cell.gates() * hidden], vec![0.0; cell.gates() * hidden]);
        let mut before = State::zeros(self.spec);
        for u in 0..hidden {
            let gate = |all: &[f64]| -> Vec<f64> {
                (0..cell.gates()).map(|g| all[g * hidden + u]).collect()
            };
            let weights = self.weights.peephole.as_ref();
            let weights = weights.map(|p| [0, 1, 2].map(|k| f64::from(p.data()[k * hidden + u])));
            // With projection h has width P and no point-wise cell reads it (LSTM only).
            let states = [step.before.h.get(u).copied().unwrap_or_default(), step.before.c[u]];
            let (gx, gh) = (gate(&step.gx), gate(&step.gh));
            let d = cell::back(cell, weights.unwrap_or_default(), &gx, &gh, states, [dh[u], dc[u]]);
            for g in 0..cell.gates() {
                dgx[g * hidden + u] = d.gx[g];
                dgh[g * hidden + u] = d.gh[g];
            }
            for (gate, slope) in d.peephole.into_iter().enumerate() {
                self.peephole[gate * hidden + u] += slope;
            }
            if let Some(h) = before.h.get_mut(u) {
                *h = d.h;
            }
            before.c[u] = d.c;
        }
        (dgx, dgh, before)
    }

    /// The products of the GRU that resets before them, and with them the reset gate: r and z see
    /// h_{t-1}, n sees q = r⊙h_{t-1}. Returns dgx and dgh with the reset gate's part.
    fn reset_before(
        &mut self,
        step: &Step<f64>,
        mut dgx: Vec<f64>,
        mut dgh: Vec<f64>,
        before: &mut State<f64>,
    ) -> (Vec<f64>, Vec<f64>) {
        let (hidden, h) = (self.spec.hidden_size, &step.before.h);
        let mut of_n = dgh.clone();
        of_n[..2 * hidden].fill(0.0);
        let dq = transposed(&self.weights.weight_hh, &of_n);
        let mut q = Vec::with_capacity(hidden);
        for u in 0..hidden {
            let (gx, gh) = (step.gx[u], step.gh[u]);
            q.push(cell::reset_gate(&cell::Own, gx, gh) * h[u]);
            let (da, dh) = cell::reset_back(gx, gh, h[u], dq[u]);
            dgx[u] = da;
            dgh[u] = da;
            before.h[u] += dh;
        }
        let mut of_gates = dgh.clone();
        of_gates[2 * hidden..].fill(0.0);
        add_outer(&mut self.weight_hh, &of_gates, h);
        add_outer(&mut self.weight_hh, &of_n, &q);
        add(&mut before.h, &transposed(&self.weights.weight_hh, &of_gates));
        (dgx, dgh)
    }

    /// The values of the parameters that exist, in the order of `DirectionWeights::parts`.
    fn into_parameters(self) -> Vec<Vec<f64>> {
        let weights = self.weights;
        let mut list = vec![self.weight_ih, self.weight_hh];
        list.extend(weights.bias_ih.is_some().then_some(self.bias_ih));
        list.extend(weights.bias_hh.is_some().then_some(self.bias_hh));
        list.extend(weights.weight_hr.is_some().then_some(self.weight_hr));
        list.extend(weights.peephole.is_some().then_some(self.peephole));
        list
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Adds `rows ⊗ columns` to a row-major matrix `[rows, columns]`.
fn add_outer(matrix: &mut [f64], rows: &[f64], columns: &[f64]) {
    for (into, r) in matrix.chunks_exact_mut(columns.len()).zip(rows) {
        into.iter_mut().zip(columns).for_each(|(into, c)| *into += r * c);
    }
}

/// Computes `Wᵀ·v` for W `[rows, columns]` and v `[rows]`.
fn transposed(weight: &Tensor, v: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; weight.shape()[1]];
    for (row, v) in v.iter().enumerate() {
        for (sum, w) in sums.iter_mut().zip(weight.row(row)) {
            *sum += f64::from(*w) * v;
        }
    }
    sums
}
