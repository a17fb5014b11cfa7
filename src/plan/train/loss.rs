//! The loss of a training step: its kernels, and what they read.

use super::super::builder::{Builder, Rows, axis, narrow};
use super::super::*;
use super::{Top, TrainBuffer, TrainPlan, TrainRequest};
use crate::kernel::train::Stage;
use crate::kernel::uniforms::{LossShape, SumLoss};

/// Which loss (`shaders/train/loss.wgsl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossKind {
    /// Softmax cross-entropy from logits.
    CrossEntropy,
    /// Binary cross-entropy with logits.
    BinaryCrossEntropy,
    /// Squared error.
    Mse,
    /// Absolute error.
    L1,
    /// Huber's.
    Huber,
    /// Of unaligned labels.
    Ctc,
    /// A gradient of the caller's.
    OutputGradient,
}

impl LossKind {
    const fn code(self) -> u32 {
        match self {
            Self::CrossEntropy => 0,
            Self::BinaryCrossEntropy => 1,
            Self::Mse => 2,
            Self::L1 => 3,
            Self::Huber => 4,
            // A kernel of its own.
            Self::Ctc => 0,
            Self::OutputGradient => 5,
        }
    }
}

/// What the loss reads.
struct Logits {
    values: Slot,
    /// Outputs of a row.
    columns: usize,
    /// Whether rows are sequences.
    per_sequence: bool,
    /// The mode of `lib/back` and the rows that the output layer read.
    head: Option<(u32, Slot)>,
}

/// Words of [`TrainPlan::scales`] before the weights of classes.
pub(crate) const SCALES: u64 = 4;

impl Builder<'_> {
    /// The output layer's product, the loss of its rows, and the gradient of the logits.
    pub(super) fn loss(&mut self, request: TrainRequest, rows: Rows) -> Result<(Top, TrainPlan)> {
        let activation = self.network.head.map_or(Activation::None, |head| head.activation);
        let Logits { values, columns, per_sequence, head } = self.logits(rows)?;
        let (width, stride, row_width) = match head {
            Some(_) => (columns, padded(columns), padded(columns)),
            None => (columns / rows.blocks.max(1), rows.block, rows.width),
        };
        let count = if per_sequence { 1 } else { u64::from(self.steps) } * u64::from(self.batch);
        let targets = self.targets(request.loss, (count, columns))?;
        let scales = self.buffer("scales of the loss", &[SCALES + axis(columns), 4])?;
        let d = self.buffer("gradient of the output", &[count, axis(row_width), 4])?;
        let marked = request.loss == LossKind::CrossEntropy;
        // Losses, then marks (`shaders/train/loss.wgsl`).
        let losses = self.buffer("losses", &[count, 2, 4])?;
        let grid_x = count.min(u64::from(self.caps.max_workgroups)).max(1);
        let shape = LossShape {
            rows: narrow(count)?,
            batch: self.batch,
            columns: to_u32(columns)?,
            width: to_u32(width)?,
            stride: to_u32(stride)?,
            row_stride4: to_u32(row_width / 4)?,
            per_sequence: u32::from(per_sequence),
            grid_x: narrow(grid_x)?,
        };
        let slots = vec![
            values,
            Slot::Buffer(targets),
            Slot::Buffer(self.plan.lengths),
            Slot::Buffer(scales),
            Slot::Buffer(d),
            Slot::Buffer(losses),
        ];
        if request.loss == LossKind::Ctc {
            self.ctc(shape, slots)?;
        } else {
            let mut variant = Variant::of(Kernel::Train(Stage::Loss));
            variant.overrides = vec![
                ("KIND", request.loss.code()),
                ("ACTIVATION", activation_code(activation)),
                ("WEIGHTED", u32::from(request.weighted)),
            ];
            self.check_loops("loss", u64::from(shape.columns) * 2 + 256)?;
            let call = self.call(variant, slots, &shape)?;
            let groups = [shape.grid_x, narrow(count.div_ceil(grid_x))?, 1];
            self.dispatch(call, Grid::Fixed(groups))?;
        }
        let block = SumLoss { rows: shape.rows, marked: u32::from(marked) };
        let slots = vec![Slot::Buffer(losses), Slot::Train(TrainBuffer::Progress)];
        let call = self.call(Variant::of(Kernel::Train(Stage::SumLoss)), slots, &block)?;
        self.dispatch(call, Grid::Fixed([1, 1, 1]))?;
        let train = TrainPlan {
            targets,
            scales,
            places: None,
            carries: Vec::new(),
            input_gradient: None,
            losses,
        };
        Ok((Top { d, head }, train))
    }

    /// What the outputs of `count` rows are compared with.
    fn targets(&mut self, loss: LossKind, (count, columns): (u64, usize)) -> Result<usize> {
        let words = match loss {
            // Starts of B sequences and their end; a sequence has at most T + 1 labels that matter.
            LossKind::Ctc => u64::from(self.batch) * (u64::from(self.steps) + 2) + 1,
            LossKind::CrossEntropy => count,
            _ => count * axis(columns),
        };
        self.buffer("targets", &[words, 4])
    }

    /// The loss of unaligned labels, a workgroup a sequence.
    fn ctc(&mut self, shape: LossShape, mut slots: Vec<Slot>) -> Result<()> {
        // Blanks around T + 1 labels.
        let places = 2 * u64::from(self.steps) + 3;
        let axes = [u64::from(self.batch), u64::from(self.steps) + 2, places, 4];
        let work = self.buffer("logarithms of alpha and beta", &axes)?;
        slots.push(Slot::Buffer(work));
        let columns = u64::from(shape.columns);
        let by_places = 10 * (places / 64 + 1) + (columns / 256 + 1) * places;
        let per_step = 64 + by_places + 6 * (columns / 64 + 1);
        self.check_loops("ctc", u64::from(self.steps) * per_step)?;
        let shape = LossShape { stride: narrow(places)?, ..shape };
        let call = self.call(Variant::of(Kernel::Train(Stage::Ctc)), slots, &shape)?;
        self.dispatch(call, Grid::Fixed([self.batch, 1, 1]))
    }

    /// The output layer's product, where there is one.
    fn logits(&mut self, rows: Rows) -> Result<Logits> {
        let Some(head) = self.network.head else {
            let columns = self.network.layers.last().map_or(0, LayerSpec::output_size);
            self.plan.output = OutputPlan {
                blocks: rows.blocks,
                width: columns / rows.blocks.max(1),
                block_stride: rows.block,
                ..self.plan.output
            };
            if let Slot::Buffer(y) = rows.slot {
                self.plan.output.buffer = y;
            }
            return Ok(Logits { values: rows.slot, columns, per_sequence: false, head: None });
        };
        let mode = match head.steps {
            HeadSteps::Every => 1,
            HeadSteps::Last => 2,
            HeadSteps::Final => 3,
        };
        let read = match (rows.slot, mode) {
            (Slot::Buffer(y), 3) => Slot::Buffer(self.final_rows(y, rows)?),
            (slot, _) => slot,
        };
        // The loss applies the function itself.
        let plain = HeadSpec { activation: Activation::None, ..head };
        let output = self.head(plain, read, rows.width)?;
        self.plan.output = output;
        Ok(Logits {
            values: Slot::Buffer(output.buffer),
            columns: head.output_size,
            per_sequence: head.steps.is_per_sequence(),
            head: Some((mode, read)),
        })
    }
}

/// The function g of the losses of values, as `shaders/train/loss.wgsl` names it.
const fn activation_code(activation: Activation) -> u32 {
    match activation {
        Activation::Sigmoid => 3,
        Activation::Tanh => 4,
        Activation::Relu => 5,
        Activation::None | Activation::Softmax | Activation::LogSoftmax => 0,
    }
}
