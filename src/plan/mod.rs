//! From a network and a batch shape to a list of dispatches: pure data, no wgpu.
//!
//! Takes the model's descriptions, a shape and the device's limits; gives buffers with their sizes,
//! kernel calls with their bindings and uniforms, and the order of dispatches. Everything a run does
//! on the GPU is decided, and every size checked, here; `gpu/` only carries it out.
//!
//! Shapes on the device: x `[T, B, I]`, gates_x `[D, chunk·B, G, H]`, y `[T, B, D, R]`, with I, H and
//! R padded to a multiple of four. Rows are sorted by falling length by the caller where lengths
//! differ, so that the grid of a step shrinks as rows end.

mod builder;
mod caps;
mod cost;
mod floor;
mod gemm;
mod grid;
mod head;
mod layer;
mod loops;
mod matrix;
mod output;
mod predict;
mod split;
mod stationary;
mod step;
mod strategy;
mod texture;
mod tile;
mod train;
mod wave;

pub use caps::{DeviceCaps, HARDWARE_FLOPS_PER_SUBMIT, HARDWARE_WORKGROUPS};
pub use cost::{Constants, ConstantsSource};
pub use floor::{Floor, Work};
pub use grid::GridShape;
pub use head::HeadChoice;
pub use stationary::StationaryShape;
pub use strategy::{LayerChoice, Rival, Strategy, WORTH_COMPILING};
pub use texture::{TEXTURE_LINE, TexturePlan};
pub use tile::TileShape;
pub use train::{
    Carry, DECAYS_AT, HYPER_WORDS, LossKind, OptimizerKind, PARTS_OF_A_NORM, Parameter,
    TrainBuffer, TrainPlan, TrainRequest, parameters,
};
pub(crate) use wave::{PART_ALIGN, joins, stacks};

use crate::batch::Layout;
use crate::error::{Error, Result};
use crate::kernel::uniforms::Block;
use crate::kernel::{Kernel, Precision, RowTile, Rules, Variant};
use crate::model::{Activation, HeadSpec, HeadSteps, InputSpec, LayerSpec, Model};

/// A network without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    /// What enters.
    pub input: InputSpec,
    /// The recurrent layers.
    pub layers: Vec<LayerSpec>,
    /// The output layer.
    pub head: Option<HeadSpec>,
}

impl From<&Model> for NetworkSpec {
    fn from(model: &Model) -> Self {
        Self {
            input: model.input().spec(),
            layers: model.layers().iter().map(|layer| layer.spec().clone()).collect(),
            head: model.head().map(crate::model::Head::spec),
        }
    }
}

/// The shape and wishes that a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanRequest {
    /// B.
    pub batch: usize,
    /// T: the most time steps that a run of this plan may have.
    pub steps: usize,
    /// Which driver.
    pub strategy: Strategy,
    /// How weights and states are stored.
    pub precision: Precision,
    /// Layouts of the caller's own buffers (input, output); `None` when the engine uploads and reads
    /// back.
    pub external: Option<(Layout, Layout)>,
    /// How many of the largest values of every output row are wanted in place of the row.
    pub top: Option<usize>,
    /// A training step in place of a run.
    pub train: Option<TrainRequest>,
    /// Whether weights stay as they are, so that kernels may read a copy of them in a texture.
    pub has_fixed_weights: bool,
}

/// A weight array on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightId {
    /// W_ih of a layer, `[D, I, G, H]`.
    InputWeight(usize),
    /// b_ih of a layer, `[D, G, H]`.
    InputBias(usize),
    /// W_hh of a layer, `[D, R, G, H]`.
    RecurWeight(usize),
    /// b_hh of a layer, `[D, G, H]`.
    RecurBias(usize),
    /// W_hr of a layer, `[D, H, R]`.
    Projection(usize),
    /// Parameters of a layer's rules, `[D, P]` (`shaders/lib/custom.wgsl`).
    CellParams(usize),
    /// ε, scale and shift of a layer's input side, `[D, 1 + 2·G·H/4]` of vec4f.
    InputNorm(usize),
    /// W_ih of a stack's layers but its first, joined; the index is the first layer's.
    StackInput(usize),
    /// W_hh of a stack's layers, joined.
    StackRecur(usize),
    /// b_hh of a stack's layers, then b_ih of all but the first, joined.
    StackBias(usize),
    /// The embedding table, `[V, E]`.
    Embedding,
    /// W of the output layer, `[D·R, O]`.
    HeadWeight,
    /// b of the output layer, `[O]`.
    HeadBias,
}

/// What a binding points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A buffer of the plan.
    Buffer(usize),
    /// Bytes of a buffer of the plan; where they start is a multiple of 256.
    Part {
        /// The buffer.
        buffer: usize,
        /// Where they start.
        at: u64,
        /// How many.
        bytes: u64,
    },
    /// A weight array.
    Weight(WeightId),
    /// A weight array's copy in a texture.
    WeightTexture(WeightId),
    /// A texture of the plan.
    Texture(usize),
    /// A buffer of training that outlives plans.
    Train(TrainBuffer),
    /// The caller's input buffer.
    ExternalInput,
    /// The caller's output buffer.
    ExternalOutput,
}

/// A buffer of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferPlan {
    /// For labels and messages.
    pub label: String,
    /// Its size.
    pub bytes: u64,
    /// Whether its padding must be zero from the start, because nothing writes it.
    pub keeps_zero_padding: bool,
}

/// One kernel with its bindings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The pipeline.
    pub variant: Variant,
    /// Storage bindings in the order of the kernel's table row, uniforms left out.
    pub slots: Vec<Slot>,
    /// Where its uniform block starts in [`Plan::uniforms`].
    pub uniform: u32,
    /// The block's size.
    pub uniform_bytes: u32,
}

/// How many workgroups; rows may shrink with the lengths of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Always the same.
    Fixed([u32; 3]),
    /// y covers the rows (s, b) of steps `first..first + count` that any sequence still has.
    ChunkRows {
        /// Workgroups along x and z.
        x_z: [u32; 2],
        /// First step.
        first: u32,
        /// Steps.
        count: u32,
        /// Rows of a workgroup.
        per_group: u32,
    },
    /// y covers the sequences still running at the step.
    StepRows {
        /// Workgroups along x and z.
        x_z: [u32; 2],
        /// Rows of a workgroup.
        per_group: u32,
    },
    /// x covers tiles of sequences still running at the step.
    StepTiles {
        /// Workgroups along y and z.
        y_z: [u32; 2],
        /// Rows of a workgroup.
        per_group: u32,
    },
    /// y covers the sequences still running at the oldest step of a diagonal, z its layers.
    WaveRows {
        /// Workgroups along x.
        x: u32,
        /// Layers.
        layers: u32,
        /// Rows of a workgroup.
        per_group: u32,
    },
    /// x covers tiles of sequences still running at step `first`.
    Tiles {
        /// First step.
        first: u32,
        /// Rows of a workgroup.
        per_group: u32,
        /// Workgroups along z.
        z: u32,
    },
}

/// One entry of a plan's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// One dispatch.
    Dispatch {
        /// Index into [`Plan::calls`].
        call: usize,
        /// Workgroups.
        grid: Grid,
        /// Whether it serves final states only.
        for_states: bool,
    },
    /// For every step: one dispatch of each call in turn.
    Steps {
        /// Calls with their grids.
        calls: Vec<(usize, Grid)>,
        /// First step.
        first: u32,
        /// Steps.
        count: u32,
        /// Steps that follow a run's last: a wavefront's layers behind its first.
        lag: u32,
    },
    /// Here a long run may be cut into submits.
    MaySubmit {
        /// First step of the work: none is done when every sequence is shorter.
        first: u32,
        /// Work since the last such place, in floating-point operations.
        flops: u64,
    },
}

/// Buffers of one layer that runs write to or read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBuffers {
    /// Initial h, `[D, B, R]`.
    pub h_0: usize,
    /// Initial c, `[D, B, H]`, for cells with one.
    pub c_0: Option<usize>,
    /// Working c, and scratch, `[≤2, D, B, H]`.
    pub cells: usize,
    /// Where in `cells` the layer's c starts, in bytes.
    pub cells_at: u64,
    /// Final h, `[D, B, R]`.
    pub h_n: usize,
}

/// A copy of a whole buffer, before any dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartCopy {
    /// From.
    pub source: usize,
    /// To.
    pub target: usize,
    /// Where in the target, in bytes.
    pub target_at: u64,
}

/// Bytes that are read of [`Plan::gives_up`]; time stamps behind them stay aligned.
pub(crate) const GIVEN_UP_BYTES: u64 = 16;

/// Everything a run does on the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it was made for.
    pub request: PlanRequest,
    /// Its buffers.
    pub buffers: Vec<BufferPlan>,
    /// Its textures.
    pub textures: Vec<TexturePlan>,
    /// Its kernel calls.
    pub calls: Vec<Call>,
    /// Uniform blocks, aligned.
    pub uniforms: Vec<u8>,
    /// Initial states to their working copies, ahead of the order.
    pub starts: Vec<StartCopy>,
    /// The order.
    pub ops: Vec<Op>,
    /// Input features `[T, B, I]`, or `None` for tokens and for a caller's own buffer.
    pub input: Option<usize>,
    /// Tokens `[T, B]`.
    pub tokens: Option<usize>,
    /// Lengths `[B]`.
    pub lengths: usize,
    /// Per layer.
    pub layers: Vec<LayerBuffers>,
    /// The padded result: `[T, B, blocks, block]` or `[B, …]`; for largest values `[.., 2, k]`, places
    /// as u32 before values.
    pub output: OutputPlan,
    /// The buffer whose first word is not zero after a run in which workgroups of
    /// [`Strategy::GridPersistent`] waited for others in vain: its results are to be thrown away.
    pub gives_up: Option<usize>,
    /// What a training step has beside a run.
    pub train: Option<TrainPlan>,
    /// How each layer runs.
    pub choices: Vec<LayerChoice>,
    /// How the output layer runs, where there is one.
    pub head: Option<HeadChoice>,
}

/// Where the padded result lies and how a row of it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputPlan {
    /// The buffer.
    pub buffer: usize,
    /// Blocks of a row: D of the last layer, or 1.
    pub blocks: usize,
    /// Values of a block.
    pub width: usize,
    /// Values from block to block.
    pub block_stride: usize,
    /// One row per sequence instead of one per time step.
    pub last_only: bool,
}

/// How long the sequences of a run are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunShape {
    /// Per step, one past the last row that is longer than the step; never rising.
    active: Vec<u32>,
    batch: u32,
}

impl RunShape {
    /// Derives the shape from lengths in row order.
    pub fn new(lengths: &[u32]) -> Self {
        let steps = lengths.iter().copied().max().unwrap_or(0);
        let mut active = vec![0u32; usize::try_from(steps).unwrap_or(usize::MAX)];
        let mut filled = 0usize;
        // From the last row back: each row covers the steps that no later row covers.
        for (row, len) in lengths.iter().enumerate().rev() {
            let len = usize::try_from(*len).unwrap_or(usize::MAX);
            if len > filled {
                active[filled..len].fill(u32::try_from(row + 1).unwrap_or(u32::MAX));
                filled = len;
            }
        }
        Self { active, batch: u32::try_from(lengths.len()).unwrap_or(u32::MAX) }
    }

    /// Returns the longest length.
    pub fn max_len(&self) -> u32 {
        u32::try_from(self.active.len()).unwrap_or(u32::MAX)
    }

    /// Returns one past the last row still running at step `s`.
    pub fn active(&self, s: u32) -> u32 {
        usize::try_from(s).ok().and_then(|s| self.active.get(s)).copied().unwrap_or(0)
    }

    /// Returns the end of a run of steps `first..first + count`, `lag` beyond the longest length.
    pub fn end(&self, first: u32, count: u32, lag: u32) -> u32 {
        (first + count).min(self.max_len().saturating_add(lag))
    }

    /// Returns the workgroups of a grid, or `None` when nothing is left to do.
    pub fn workgroups(&self, grid: Grid, step: u32) -> Option<[u32; 3]> {
        let groups = match grid {
            Grid::Fixed(groups) => groups,
            Grid::ChunkRows { x_z: [x, z], first, count, per_group } => {
                let steps = count.min(self.max_len().saturating_sub(first));
                [x, ceil_div(steps * self.batch, per_group), z]
            }
            Grid::StepRows { x_z: [x, z], per_group } => {
                [x, ceil_div(self.active(step), per_group), z]
            }
            Grid::StepTiles { y_z: [y, z], per_group } => {
                [ceil_div(self.active(step), per_group), y, z]
            }
            Grid::WaveRows { x, layers, per_group } => {
                let oldest = self.active(step.saturating_sub(layers.saturating_sub(1)));
                [x, ceil_div(oldest, per_group), layers.min(step + 1)]
            }
            Grid::Tiles { first, per_group, z } => [ceil_div(self.active(first), per_group), 1, z],
        };
        groups.iter().all(|n| *n > 0).then_some(groups)
    }
}

impl Plan {
    /// Plans a network for a shape on a device.
    ///
    /// # Errors
    /// `Limit` when a buffer, a grid or a loop exceeds the device (names it, with the sizes);
    /// `Unsupported` when the strategy asked for does not take a layer.
    pub fn new(network: &NetworkSpec, request: PlanRequest, caps: &DeviceCaps) -> Result<Self> {
        builder::Builder::new(network, request, caps)?.build()
    }

    /// Returns the bytes of all buffers and textures, and of the way onto the device and back where the input and output are
    /// not a caller's buffers.
    pub fn bytes(&self) -> u64 {
        let textures = self.textures.iter().map(TexturePlan::bytes);
        let own: u64 = self.buffers.iter().map(|buffer| buffer.bytes).chain(textures).sum();
        match self.request.external {
            Some(_) => own,
            None => own + self.upload_bytes() + self.readback_bytes(),
        }
    }

    /// Lists the buffers that a run may upload to: lengths, input or tokens, initial states.
    pub(crate) fn uploads(&self) -> impl Iterator<Item = usize> {
        let states = self.layers.iter().flat_map(|l| [Some(l.h_0), l.c_0]);
        let train = self.train.iter().flat_map(|t| [Some(t.targets), Some(t.scales), t.places]);
        std::iter::once(self.lengths)
            .chain(self.input)
            .chain(self.tokens)
            .chain(states.flatten())
            .chain(train.flatten())
    }

    /// Returns the bytes of the buffer that an upload is written to.
    pub(crate) fn upload_bytes(&self) -> u64 {
        self.uploads().map(|id| self.buffers[id].bytes.next_multiple_of(16)).sum()
    }

    /// Returns the bytes of the buffer that results are read back through, the word of
    /// [`Plan::gives_up`] and two time stamps included.
    pub(crate) fn readback_bytes(&self) -> u64 {
        let size = |id: usize| self.buffers[id].bytes;
        let states = self.layers.iter().map(|l| size(l.h_n) + l.c_0.map_or(0, size));
        states.sum::<u64>() + size(self.output.buffer) + GIVEN_UP_BYTES + 16
    }

    /// Counts the dispatches of a run whose sequences all have `steps` steps.
    pub fn dispatches(&self, shape: &RunShape) -> usize {
        let mut count = 0;
        for op in &self.ops {
            match op {
                Op::Dispatch { grid, .. } => {
                    count += usize::from(shape.workgroups(*grid, 0).is_some())
                }
                Op::Steps { calls, first, count: steps, lag } => {
                    let end = shape.end(*first, *steps, *lag);
                    count += calls.len() * usize::try_from(end.saturating_sub(*first)).unwrap_or(0);
                }
                Op::MaySubmit { .. } => {}
            }
        }
        count
    }

    /// Returns the places where a run is cut into submits, so that none holds more than `limit`
    /// operations (or one chunk, where that alone is more).
    pub fn submit_cuts(&self, shape: &RunShape, limit: u64) -> Vec<usize> {
        let mut cuts = Vec::new();
        let (mut sum, mut last) = (0u64, None);
        for (index, op) in self.ops.iter().enumerate() {
            let Op::MaySubmit { first, flops } = op else { continue };
            if *first >= shape.max_len() {
                continue;
            }
            if let (Some(place), true) = (last, sum.saturating_add(*flops) > limit) {
                cuts.push(place);
                sum = 0;
            }
            sum = sum.saturating_add(*flops);
            last = Some(index);
        }
        cuts
    }
}

pub(crate) fn ceil_div(a: u32, b: u32) -> u32 {
    a.div_ceil(b)
}

pub(crate) fn to_u32(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::limit(format!("size: expected below 2^32, got {size}")))
}

/// Rounds a size up to a multiple of four: the padding of every last axis on the device.
pub(crate) const fn padded(size: usize) -> usize {
    size.next_multiple_of(4)
}

/// Rounds T up so that runs of similar length share a plan: at most an eighth more steps of memory,
/// and no more computation, since lengths cut it.
pub fn steps_capacity(steps: usize) -> usize {
    let grain = (steps.next_power_of_two() / 16).max(1);
    steps.next_multiple_of(grain)
}
