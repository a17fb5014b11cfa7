//! Training steps of a [`Plan`]: forward with what backward needs, loss, backpropagation through time, update.
//!
//! The forward part is that of inference, on any driver, with the input gates of all steps kept, and what W_hh gave at
//! each; or that is computed again without waiting for time, one product of all steps, since every h is known. The
//! cell states follow from the pre-activations alone (`train/replay`). Then the gradients go back through time
//! (`time`), and sums over all rows of all steps give those of the weights (`sums`).
//!
//! Arrays on the device, beside those of inference: gates_x, gates_h `[D, T·B, G, H]` in recurrence order, first
//! pre-activations, then their gradients; before `[D, T·B, R]`; dy `[T, B, D, R]`.

mod dropout;
mod loss;
mod masked;
mod reset_before;
mod sums;
mod time;
mod update;

pub use loss::LossKind;
pub(super) use masked::choice as masked_choice;
pub use update::{DECAYS_AT, HYPER_WORDS, OptimizerKind, PARTS_OF_A_NORM, Parameter, parameters};

use self::time::Times;
use super::builder::{Builder, Rows, axis};
use super::gemm::Mode;
use super::layer::{reverse_mask, step_flops};
use super::*;
use crate::cell::CellOptions;
use crate::kernel::train::Stage;
use crate::kernel::uniforms::{Back, Gemm};

/// What a training step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrainRequest {
    /// The loss.
    pub loss: LossKind,
    /// Whether classes have weights.
    pub weighted: bool,
    /// The optimizer; without one the step ends with the gradients.
    pub optimizer: Option<OptimizerKind>,
    /// Whether gradients are wanted, and not the loss alone.
    pub gradients: bool,
    /// Whether the gradient with respect to dense inputs is wanted.
    pub input_gradient: bool,
    /// Whether values are dropped between layers.
    pub dropout: bool,
    /// Whether states are dropped on their way to the next step, the same at all steps.
    pub recurrent_dropout: bool,
    /// Whether W_hh's pre-activations are computed again for backpropagation, in place of kept.
    pub recompute: bool,
}

/// A buffer of training that outlives plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrainBuffer {
    /// The gradient of a weight.
    Gradient(WeightId),
    /// The first moment of an optimizer.
    First(WeightId),
    /// The second moment.
    Second(WeightId),
    /// Hyper-parameters of the step (`shaders/train/optimize.wgsl`).
    Hyper,
    /// Sum of losses, last loss, coefficient and norm of the gradients, whether updates are stopped.
    Progress,
    /// Sums of squares of all gradients.
    Squares,
}

/// What a training step uploads and leaves behind, beside a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainPlan {
    /// Targets, tight: class ids `[rows]` or values `[rows, O]`.
    pub targets: usize,
    /// One over the denominator, smoothing, delta, 0, weights of classes.
    pub scales: usize,
    /// Where each token stands: V + 1 starts, then places t·B + b by token.
    pub places: Option<usize>,
    /// Gradients of the initial states of each layer.
    pub carries: Vec<Carry>,
    /// Gradient with respect to dense inputs `[T, B, I]`.
    pub input_gradient: Option<usize>,
    /// Losses of the rows.
    pub losses: usize,
}

/// Where the gradients of a layer's initial states lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carry {
    /// `[2, D, B, H]`: of h, then of c.
    pub both: usize,
    /// Of h `[D, B, R]`, in place of the first half, where there is a projection.
    pub h: Option<usize>,
}

/// What the forward part of a layer leaves for its backward part.
struct Tape {
    /// What entered.
    input: Rows,
    gates_x: usize,
    y: usize,
    /// W_hh's pre-activations, where the forward part kept them.
    gates_h: Option<usize>,
}

/// Buffers of backpropagation that layers use one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shared {
    /// W_hh's pre-activations, computed again.
    Gates,
    /// h before each step.
    States,
    /// c before each step.
    Cells,
}

/// The output layer's gradient and where it came from.
struct Top {
    /// Gradient of the logits, or of the last layer's output where there is no output layer.
    d: usize,
    /// The mode of `lib/back`, and the rows that the output layer read; `None` without one.
    head: Option<(u32, Slot)>,
}

impl Builder<'_> {
    /// The whole of a training step.
    pub(super) fn train(&mut self, request: TrainRequest) -> Result<()> {
        self.check_trainable()?;
        let input = self.input()?;
        let network = self.network;
        let mut rows = input;
        let mut tapes = Vec::new();
        for (index, spec) in network.layers.iter().enumerate() {
            let width = padded(spec.state_size()) * spec.direction.count();
            let (batch, steps) = (u64::from(self.batch), u64::from(self.steps));
            let gates_x =
                self.buffer(&format!("gates_x of layer {index}"), &self.gates_axes(spec))?;
            let y = self.buffer(&format!("y of layer {index}"), &[steps, batch, axis(width), 4])?;
            let gates_h = if request.gradients && self.keeps_gates(index, spec) {
                let label = format!("gates_h of layer {index}, kept");
                Some(self.buffer(&label, &self.gates_axes(spec))?)
            } else {
                None
            };
            let tape = Tape { input: rows, gates_x, y, gates_h };
            rows = self.layer(index, spec, rows, gates_x, y, gates_h)?;
            tapes.push(tape);
            if request.dropout && index + 1 < network.layers.len() {
                let kept = self.rows_buffer(&format!("y of layer {index}, kept"), width)?;
                self.drop_values(index, y, kept)?;
                rows.slot = Slot::Buffer(kept);
            }
        }
        let parts = self.buffer("parts of sums", &[16])?;
        let (top, mut train) = self.loss(request, rows)?;
        if !request.gradients {
            self.plan.train = Some(train);
            return Ok(());
        }
        let mut dy = self.back_head(&top, rows, parts)?;
        for (index, tape) in tapes.iter().enumerate().rev() {
            dy = self.back_layer(index, tape, dy, (request, parts), &mut train)?;
            // Twice the forward part, and the products that may be computed again.
            let flops = step_flops(&network.layers[index], self.batch);
            let flops = 3 * flops.saturating_mul(u64::from(self.steps));
            self.plan.ops.push(Op::MaySubmit { first: 0, flops });
            if request.dropout && index > 0 {
                let width = tape.input.width;
                let kept =
                    self.rows_buffer(&format!("gradient of y of layer {}", index - 1), width)?;
                self.drop_values(index - 1, dy, kept)?;
                dy = kept;
            }
        }
        if let Some(kind) = request.optimizer {
            self.update(kind)?;
        }
        self.plan.train = Some(train);
        Ok(())
    }

    /// Whether the forward part of a layer keeps W_hh's pre-activations.
    fn keeps_gates(&self, index: usize, spec: &LayerSpec) -> bool {
        // Those whose kernels can (`Kernel::can_keep_gates`).
        let can_keep = matches!(
            self.choices[index].strategy,
            Strategy::StepPerDispatch
                | Strategy::Resident
                | Strategy::StepTile
                | Strategy::ResidentTile
                | Strategy::Stationary
                | Strategy::StepSplit
        );
        let recomputes = self.plan.request.train.is_some_and(|train| train.recompute);
        // With options a cell needs their parameters where the kept values would go.
        let is_plain = spec.options.is_default() && spec.cell.spec().pointwise;
        !recomputes && is_plain && can_keep
    }

    /// A buffer that layers use one after the other, as large as the largest needs it.
    fn shared(&mut self, what: Shared, label: &str, axes: &[u64]) -> Result<usize> {
        let Some(id) = self.shared.get(&what).copied() else {
            let id = self.buffer(label, axes)?;
            self.shared.insert(what, id);
            return Ok(id);
        };
        let own = self.buffer(label, axes)?;
        // It was made for its checks alone.
        let bytes = self.plan.buffers.pop().map_or(0, |buffer| buffer.bytes);
        debug_assert_eq!(own, self.plan.buffers.len());
        let buffer = &mut self.plan.buffers[id];
        buffer.bytes = buffer.bytes.max(bytes);
        Ok(id)
    }

    /// The axes of an array over all gates of a layer, in values.
    fn gates_axes(&self, spec: &LayerSpec) -> Vec<u64> {
        let columns = axis(spec.cell.gates() * padded(spec.hidden_size));
        let rows = u64::from(self.steps) * u64::from(self.batch);
        vec![axis(spec.direction.count()), rows, columns, 4]
    }

    fn check_trainable(&self) -> Result<()> {
        if self.plan.request.precision != Precision::F32 {
            return Err(Error::unsupported("training: expected precision f32, got f16"));
        }
        for (index, spec) in self.network.layers.iter().enumerate() {
            let refuse = |what: &str| {
                Err(Error::unsupported(format!("training: layer {index}: expected {what}")))
            };
            let trained = CellOptions { peephole: spec.options.peephole, ..Default::default() };
            if spec.options != trained {
                return refuse("a cell without other options than peepholes");
            }
        }
        let rows = u64::from(self.batch) * u64::from(self.steps);
        // Rows of a product go along y, eight a workgroup.
        if rows.div_ceil(8) > u64::from(self.caps.max_workgroups) {
            return Err(Error::limit(format!(
                "training: expected at most {} rows of all steps, got {} x {} (use smaller batches or \
                 shorter sequences)",
                8 * u64::from(self.caps.max_workgroups),
                self.batch,
                self.steps
            )));
        }
        Ok(())
    }

    /// Backwards through the output layer: gradients of its weights, and of what it read, as `[T, B, width]`.
    fn back_head(&mut self, top: &Top, rows: Rows, parts: usize) -> Result<usize> {
        let (Some((mode, read)), Some(head)) = (top.head, self.network.head) else {
            return Ok(top.d);
        };
        let mut back = self.back_block(1, 0, rows.width, padded(head.output_size))?;
        back.state4 = to_u32(rows.block / 4)?;
        if let Some(spec) = self.network.layers.last() {
            back.reverse_mask = reverse_mask(spec);
        }
        let count = if mode == 1 { self.rows_of_all_steps() } else { self.batch };
        let d = Slot::Buffer(top.d);
        self.weight_grad(back, (mode, count), (read, d, None), WeightId::HeadWeight, parts)?;
        if head.bias {
            self.column_sums(back, (mode, count), d, WeightId::HeadBias, parts)?;
        }
        let dy = self.rows_buffer("gradient below the output layer", rows.width)?;
        self.input_grad(back, mode, (d, WeightId::HeadWeight), dy)?;
        Ok(dy)
    }

    /// Backwards through a layer; returns the gradient of its input, or of its output where nobody asks.
    fn back_layer(
        &mut self,
        index: usize,
        tape: &Tape,
        dy: usize,
        (request, parts): (TrainRequest, usize),
        train: &mut TrainPlan,
    ) -> Result<usize> {
        let network = self.network;
        let spec = &network.layers[index];
        let times = self.back_through_time(index, spec, tape, dy)?;
        train.carries.insert(0, times.carry);
        self.recurrent_gradients(index, tape, &times, parts)?;
        self.input_gradients(index, tape, dy, (request, parts), train)
    }

    /// Gradients of what a layer's steps read: W_hh, biases, projection, peepholes.
    fn recurrent_gradients(
        &mut self,
        index: usize,
        tape: &Tape,
        times: &Times,
        parts: usize,
    ) -> Result<()> {
        let network = self.network;
        let spec = &network.layers[index];
        let directions = to_u32(spec.direction.count())?;
        let columns = spec.cell.gates() * padded(spec.hidden_size);
        let (d_x, d_h) = (Slot::Buffer(tape.gates_x), Slot::Buffer(times.gates_h));
        let count = self.rows_of_all_steps();
        let mask = reverse_mask(spec);
        let state = padded(spec.state_size());
        let hidden = self.back_block(directions, mask, state, columns)?;
        let before = Slot::Buffer(times.before);
        let recur = WeightId::RecurWeight(index);
        match times.reset {
            Some((reset, gates_n)) => {
                let products = [(before, d_h), (Slot::Buffer(reset), Slot::Buffer(gates_n))];
                self.two_weight_grads(hidden, (4, count), products, recur, parts)?;
            }
            None => self.weight_grad(hidden, (4, count), (before, d_h, None), recur, parts)?,
        }
        if let Some((outputs, dr)) = times.projected {
            let units = padded(spec.hidden_size);
            let block = self.back_block(directions, mask, units, state)?;
            let (outputs, dr) = (Slot::Buffer(outputs), Slot::Buffer(dr));
            let id = WeightId::Projection(index);
            self.weight_grad(block, (4, count), (outputs, dr, None), id, parts)?;
        }
        if let (true, Some(cells)) = (spec.options.peephole, times.cells) {
            self.peephole_grad(index, spec, (d_x, cells), parts)?;
        }
        if spec.bias {
            self.column_sums(hidden, (4, count), d_x, WeightId::InputBias(index), parts)?;
            // Reset before: n's gradient stands apart, but all are those of the input side.
            let d_b = if times.reset.is_some() { d_x } else { d_h };
            self.column_sums(hidden, (4, count), d_b, WeightId::RecurBias(index), parts)?;
        }
        Ok(())
    }

    /// Gradients of W_ih and of what it read; returns that of the layer's input, or of its output where nobody asks.
    fn input_gradients(
        &mut self,
        index: usize,
        tape: &Tape,
        dy: usize,
        (request, parts): (TrainRequest, usize),
        train: &mut TrainPlan,
    ) -> Result<usize> {
        let network = self.network;
        let spec = &network.layers[index];
        let directions = to_u32(spec.direction.count())?;
        let columns = spec.cell.gates() * padded(spec.hidden_size);
        let (d_x, count) = (Slot::Buffer(tape.gates_x), self.rows_of_all_steps());
        let mask = reverse_mask(spec);
        let below = self.back_block(directions, mask, tape.input.width, columns)?;
        let weight = WeightId::InputWeight(index);
        let first = if index == 0 { Some(network.input) } else { None };
        match first {
            Some(InputSpec::OneHot { vocab }) => {
                self.token_grad(below, 0, (d_x, weight), vocab, train)?;
                return Ok(dy);
            }
            Some(InputSpec::Embedding { vocab, .. }) => {
                let table = Slot::Weight(WeightId::Embedding);
                let gathered = (table, d_x, Some(tape.input.slot));
                self.weight_grad(below, (0, count), gathered, weight, parts)?;
                let dx = self.rows_buffer("gradient of embedded tokens", tape.input.width)?;
                self.input_grad(below, 0, (d_x, weight), dx)?;
                let table = self.back_block(1, 0, 4, tape.input.width)?;
                let id = WeightId::Embedding;
                self.token_grad(table, 1, (Slot::Buffer(dx), id), vocab, train)?;
                return Ok(dx);
            }
            _ => {}
        }
        self.weight_grad(below, (0, count), (tape.input.slot, d_x, None), weight, parts)?;
        if first.is_some() && !request.input_gradient {
            return Ok(dy);
        }
        let dx = self.rows_buffer(&format!("gradient below layer {index}"), tape.input.width)?;
        self.input_grad(below, 0, (d_x, weight), dx)?;
        if first.is_some() {
            train.input_gradient = Some(dx);
        }
        Ok(dx)
    }

    /// Whether kernels take the forms that a software adapter compiles for a second: beside forward drivers that do
    /// so too.
    fn takes_long_forms(&self) -> bool {
        self.caps.is_software
            && self.caps.subgroup.is_some_and(|lanes| lanes % 8 == 0)
            && self.choices.iter().any(|choice| !choice.beside().compiles_fast())
    }

    fn rows_of_all_steps(&self) -> u32 {
        // `check_trainable` bounds it.
        self.steps.saturating_mul(self.batch)
    }

    fn rows_buffer(&mut self, label: &str, width: usize) -> Result<usize> {
        self.buffer(label, &[u64::from(self.steps), u64::from(self.batch), axis(width), 4])
    }

    fn back_block(&self, z: u32, mask: u32, inner: usize, columns: usize) -> Result<Back> {
        Ok(Back {
            batch: self.batch,
            steps: self.steps,
            directions: z,
            reverse_mask: mask,
            inner4: to_u32(inner / 4)?,
            columns4: to_u32(columns / 4)?,
            slices: 1,
            ..Back::default()
        })
    }

    /// The gradient of what a product read.
    fn input_grad(
        &mut self,
        back: Back,
        mode: u32,
        (d, weight): (Slot, WeightId),
        dx: usize,
    ) -> Result<()> {
        let loops = u64::from(back.directions) * u64::from(back.columns4 + 24);
        self.check_loops("gradient of an input", loops)?;
        let mut variant = Variant::of(Kernel::Train(Stage::InputGrad));
        variant.overrides = vec![("MODE", mode)];
        let lengths = Slot::Buffer(self.plan.lengths);
        let slots = vec![d, Slot::Weight(weight), lengths, Slot::Buffer(dx)];
        let call = self.call(variant, slots, &back)?;
        let tiles = ceil_div(self.rows_of_all_steps(), 4 * 8);
        self.dispatch(call, Grid::Fixed([ceil_div(back.inner4, 8), tiles, 1]))
    }

    /// The gradient of rows that tokens chose.
    fn token_grad(
        &mut self,
        back: Back,
        mode: u32,
        (d, weight): (Slot, WeightId),
        vocab: usize,
        train: &mut TrainPlan,
    ) -> Result<()> {
        let rows = u64::from(self.rows_of_all_steps());
        let places = match train.places {
            Some(places) => places,
            None => self.buffer("places of tokens", &[axis(vocab) + 1 + rows, 4])?,
        };
        train.places = Some(places);
        // All places may be one token's.
        self.check_loops("gradient of tokens", rows)?;
        let back = Back { first: to_u32(vocab)?, ..back };
        let mut variant = Variant::of(Kernel::Train(Stage::TokenGrad));
        variant.overrides = vec![("MODE", mode)];
        let slots = vec![
            d,
            Slot::Buffer(self.plan.lengths),
            Slot::Buffer(places),
            Slot::Train(TrainBuffer::Gradient(weight)),
        ];
        let call = self.call(variant, slots, &back)?;
        let groups = [ceil_div(back.columns4, 8), ceil_div(back.first, 8), back.directions];
        self.dispatch(call, Grid::Fixed(groups))
    }

    /// `W_hh·h_{t-1} + b_hh` of all steps.
    fn hidden_gates(&mut self, index: usize, spec: &LayerSpec, before: usize) -> Result<usize> {
        let axes = self.gates_axes(spec);
        let gates_h = self.shared(Shared::Gates, "gates_h of one layer after the other", &axes)?;
        let lengths = Slot::Buffer(self.plan.lengths);
        let block = Gemm {
            batch: self.batch,
            first_step: 0,
            step_count: self.steps,
            reverse_mask: reverse_mask(spec),
            inner4: to_u32(padded(spec.state_size()) / 4)?,
            columns4: to_u32(spec.cell.gates() * padded(spec.hidden_size) / 4)?,
            ..Gemm::default()
        };
        let slots = vec![
            Slot::Buffer(before),
            Slot::Weight(WeightId::RecurWeight(index)),
            Slot::Weight(WeightId::RecurBias(index)),
            lengths,
            lengths,
            Slot::Buffer(gates_h),
        ];
        let z = to_u32(spec.direction.count())?;
        let beside = self.choices[index].beside();
        self.gemm(block, slots, Mode { mode: 4, gathers: false }, z, beside)?;
        Ok(gates_h)
    }
}
