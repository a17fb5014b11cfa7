//! The end of a training step: the norm of all gradients, and an optimizer's step over every parameter.

use super::super::builder::{Builder, axis, narrow};
use super::super::*;
use super::TrainBuffer;
use crate::kernel::train::Stage;
use crate::kernel::uniforms::{Norm, Optimize, Squares};

/// Which optimizer (`shaders/train/optimize.wgsl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
    /// RMSprop.
    RmsProp,
}

impl OptimizerKind {
    const fn code(self) -> u32 {
        match self {
            Self::Sgd => 0,
            Self::Adam => 1,
            Self::AdamW => 2,
            Self::RmsProp => 3,
        }
    }
}

/// Sums of squares that one gradient gives.
pub const PARTS_OF_A_NORM: u32 = 32;

/// A trainable array on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Which.
    pub id: WeightId,
    /// Its bytes, padding included.
    pub bytes: u64,
}

/// Numbers of a step (`shaders/train/optimize.wgsl`), in the order that `TrainerOptions::hyper` gives them.
pub const HYPER_WORDS: usize = 20;
/// Where the weight decays begin among them: of the embedding, input weights, recurrent weights, the output layer's
/// weight, biases.
pub const DECAYS_AT: usize = 14;

/// Returns the place of a parameter's weight decay. The peepholes' buffer holds other parameters of the rules ahead
/// of them, which must not decay: it counts to none.
const fn decay_at(id: WeightId) -> usize {
    let group = match id {
        WeightId::Embedding => 0,
        WeightId::InputWeight(_) => 1,
        WeightId::RecurWeight(_) | WeightId::Projection(_) => 2,
        WeightId::HeadWeight => 3,
        WeightId::InputBias(_) | WeightId::RecurBias(_) | WeightId::HeadBias => 4,
        // Not trained, or not to decay.
        _ => 5,
    };
    DECAYS_AT + group
}

/// Lists the trainable arrays of a network, as they lie on the device.
pub fn parameters(network: &NetworkSpec) -> Vec<Parameter> {
    let mut list = Vec::new();
    let mut add = |id, values: usize| list.push(Parameter { id, bytes: axis(values) * 4 });
    let mut width = padded(network.input.width());
    match network.input {
        InputSpec::Embedding { vocab, .. } => add(WeightId::Embedding, vocab * width),
        // Its rows are gathered: there is no padding between them.
        InputSpec::OneHot { vocab } => width = vocab,
        InputSpec::Dense { .. } => {}
    }
    for (index, spec) in network.layers.iter().enumerate() {
        let columns = spec.cell.gates() * padded(spec.hidden_size) * spec.direction.count();
        let state = padded(spec.state_size());
        add(WeightId::InputWeight(index), width * columns);
        add(WeightId::RecurWeight(index), state * columns);
        if spec.proj_size > 0 {
            let values = padded(spec.hidden_size) * state * spec.direction.count();
            add(WeightId::Projection(index), values);
        }
        if spec.options.peephole {
            // Other parameters of the rules lie ahead.
            let values = 16 + 3 * padded(spec.hidden_size);
            add(WeightId::CellParams(index), values * spec.direction.count());
        }
        if spec.bias {
            add(WeightId::InputBias(index), columns);
            add(WeightId::RecurBias(index), columns);
        }
        width = state * spec.direction.count();
    }
    if let Some(head) = network.head {
        let columns = padded(head.output_size);
        add(WeightId::HeadWeight, width * columns);
        if head.bias {
            add(WeightId::HeadBias, columns);
        }
    }
    list
}

impl Builder<'_> {
    pub(super) fn update(&mut self, kind: OptimizerKind) -> Result<()> {
        let list = parameters(self.network);
        let of = Slot::Train;
        let mut first = 0;
        for parameter in &list {
            let count = narrow(parameter.bytes / 16)?;
            let parts = ceil_div(count, 256).clamp(1, PARTS_OF_A_NORM);
            self.check_loops("norm", u64::from(ceil_div(count, parts * 256)) + 16)?;
            let block = Squares { count, first, parts };
            let slots = vec![of(TrainBuffer::Gradient(parameter.id)), of(TrainBuffer::Squares)];
            let call = self.call(Variant::of(Kernel::Train(Stage::SquareSums)), slots, &block)?;
            self.dispatch(call, Grid::Fixed([parts, 1, 1]))?;
            first += parts;
        }
        let slots = [TrainBuffer::Squares, TrainBuffer::Hyper, TrainBuffer::Progress].map(of);
        let variant = Variant::of(Kernel::Train(Stage::Norm));
        let call = self.call(variant, slots.to_vec(), &Norm { count: first })?;
        self.dispatch(call, Grid::Fixed([1, 1, 1]))?;
        for Parameter { id, bytes } in list {
            let count = bytes / 16;
            let blocks = count.div_ceil(64);
            let grid_x = blocks.min(u64::from(self.caps.max_workgroups)).max(1);
            let block = Optimize {
                count: narrow(count)?,
                decay: to_u32(decay_at(id))?,
                grid_x: narrow(grid_x)?,
            };
            let mut variant = Variant::of(Kernel::Train(Stage::Optimize));
            variant.overrides = vec![("KIND", kind.code())];
            let slots = vec![
                of(TrainBuffer::Gradient(id)),
                of(TrainBuffer::Hyper),
                of(TrainBuffer::Progress),
                Slot::Weight(id),
                of(TrainBuffer::First(id)),
                of(TrainBuffer::Second(id)),
            ];
            let call = self.call(variant, slots, &block)?;
            self.dispatch(call, Grid::Fixed([block.grid_x, narrow(blocks.div_ceil(grid_x))?, 1]))?;
        }
        Ok(())
    }
}
