//! The rows of the kernel table that training adds: losses, backpropagation, sums, optimizers.

use super::table::{COMBINE, MASK, RANDOM};
use super::{Access, KernelSpec, Rules};

use Access::{Read, ReadWrite, StepUniform, Uniform};

const ACTIVATION: &str = include_str!("../../shaders/lib/activation.wgsl");
const OUTER: &str = include_str!("../../shaders/lib/outer.wgsl");
const BACK: &str = include_str!("../../shaders/lib/back.wgsl");
const INDEX: &str = include_str!("../../shaders/lib/index.wgsl");
const RECUR: &str = include_str!("../../shaders/lib/recur.wgsl");

/// A kernel of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Loss of every output row, and its gradient.
    Loss,
    /// The sum of the rows' losses.
    SumLoss,
    /// h before each step.
    Before,
    /// c before each step.
    Replay,
    /// Backpropagation through time of a point-wise cell.
    BackStep,
    /// The gradient of a weight, slice by slice.
    WeightGrad,
    /// The same, inputs shared by eight lanes.
    WeightGradTile,
    /// The gradient of a bias, slice by slice.
    ColumnSums,
    /// The sum of slices.
    SumParts,
    /// The gradient of a product's input.
    InputGrad,
    /// The gradient of rows that tokens chose.
    TokenGrad,
    /// Sums of squares of a gradient.
    SquareSums,
    /// The norm of all gradients.
    Norm,
    /// A step of an optimizer.
    Optimize,
    /// Dropout between layers.
    Dropout,
    /// The loss of unaligned labels.
    Ctc,
    /// The gradient of peepholes, slice by slice.
    PeepholeGrad,
    /// A product with a transposed weight inside a step of backpropagation.
    BackProduct,
    /// r⊙h before each step.
    Reset,
    /// Reset-before GRU backwards, candidate and update gate.
    BackCandidate,
    /// Reset-before GRU backwards, reset gate.
    BackReset,
    /// States before each step behind that dropout.
    MaskStates,
}

impl Stage {
    /// Every kernel of training.
    pub const ALL: [Self; 22] = [
        Self::Loss,
        Self::SumLoss,
        Self::Before,
        Self::Replay,
        Self::BackStep,
        Self::WeightGrad,
        Self::WeightGradTile,
        Self::ColumnSums,
        Self::SumParts,
        Self::InputGrad,
        Self::TokenGrad,
        Self::SquareSums,
        Self::Norm,
        Self::Optimize,
        Self::Dropout,
        Self::Ctc,
        Self::PeepholeGrad,
        Self::BackProduct,
        Self::Reset,
        Self::BackCandidate,
        Self::BackReset,
        Self::MaskStates,
    ];

    /// Returns the row of the table.
    pub const fn spec(self) -> KernelSpec {
        match self {
            Self::Loss => LOSS,
            Self::SumLoss => SUM_LOSS,
            Self::Before => BEFORE,
            Self::Replay => REPLAY,
            Self::BackStep => BACK_STEP,
            Self::WeightGrad => WEIGHT_GRAD,
            Self::WeightGradTile => WEIGHT_GRAD_TILE,
            Self::ColumnSums => COLUMN_SUMS,
            Self::SumParts => SUM_PARTS,
            Self::InputGrad => INPUT_GRAD,
            Self::TokenGrad => TOKEN_GRAD,
            Self::SquareSums => SQUARE_SUMS,
            Self::Norm => NORM,
            Self::Optimize => OPTIMIZE,
            Self::Dropout => DROPOUT,
            Self::Ctc => CTC,
            Self::PeepholeGrad => PEEPHOLE_GRAD,
            Self::BackProduct => BACK_PRODUCT,
            Self::Reset => RESET,
            Self::BackCandidate => BACK_RESET_BEFORE,
            Self::MaskStates => MASK_STATES,
            Self::BackReset => KernelSpec { entry: "reset", ..BACK_RESET_BEFORE },
        }
    }
}

const PLAIN: KernelSpec = KernelSpec {
    name: "",
    entry: "main",
    wgsl: "",
    libs: &[],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    matrices: false,
    stores: false,
    rules: Rules::None,
    bindings: &[],
    overrides: &[],
    consts: &[],
};

const LOSS: KernelSpec = KernelSpec {
    name: "train/loss",
    wgsl: include_str!("../../shaders/train/loss.wgsl"),
    libs: &[ACTIVATION, COMBINE],
    bindings: &[
        ("shape", Uniform),
        ("values", Read),
        ("targets", Read),
        ("lengths", Read),
        ("scales", Read),
        ("d", ReadWrite),
        ("losses", ReadWrite),
    ],
    overrides: &["KIND", "ACTIVATION", "WEIGHTED"],
    ..PLAIN
};

const SUM_LOSS: KernelSpec = KernelSpec {
    name: "train/sum_loss",
    wgsl: include_str!("../../shaders/train/sum_loss.wgsl"),
    libs: &[COMBINE],
    bindings: &[("sum_loss", Uniform), ("losses", Read), ("progress", ReadWrite)],
    ..PLAIN
};

const BEFORE: KernelSpec = KernelSpec {
    name: "train/before",
    wgsl: include_str!("../../shaders/train/before.wgsl"),
    libs: &[INDEX, RECUR],
    bindings: &[
        ("recur", Uniform),
        ("y", Read),
        ("h_0", Read),
        ("lengths", Read),
        ("before", ReadWrite),
    ],
    ..PLAIN
};

const REPLAY: KernelSpec = KernelSpec {
    name: "train/replay",
    wgsl: include_str!("../../shaders/train/replay.wgsl"),
    libs: &[ACTIVATION, INDEX, RECUR],
    takes_cell: true,
    rules: Rules::Either,
    bindings: &[
        ("recur", Uniform),
        ("gates_x", Read),
        ("gates_h", Read),
        ("c_0", Read),
        ("lengths", Read),
        ("params", Read),
        ("before", ReadWrite),
        ("outputs", ReadWrite),
    ],
    overrides: &["OUTPUTS"],
    ..PLAIN
};

const BACK_STEP: KernelSpec = KernelSpec {
    name: "train/back_step",
    wgsl: include_str!("../../shaders/train/back_step.wgsl"),
    libs: &[ACTIVATION, INDEX, MASK, RANDOM, RECUR, super::table::OWN],
    takes_cell: true,
    takes_rows: true,
    bindings: &[
        ("recur", Uniform),
        ("step", StepUniform),
        ("weight_hh", Read),
        ("before", Read),
        ("dy", Read),
        ("lengths", Read),
        ("params", Read),
        ("gates_x", ReadWrite),
        ("gates_h", ReadWrite),
        ("carry", ReadWrite),
    ],
    overrides: &["WG_X", "PEEPHOLE", "PROJECTED", "MASKED"],
    consts: &[("LANES", 1), ("GROUPS", 1)],
    ..PLAIN
};

const WEIGHT_GRAD: KernelSpec = KernelSpec {
    name: "train/weight_grad",
    wgsl: include_str!("../../shaders/train/weight_grad.wgsl"),
    libs: &[BACK, INDEX, OUTER],
    bindings: &[
        ("back", Uniform),
        ("a", Read),
        ("d", Read),
        ("lengths", Read),
        ("tokens", Read),
        ("parts", ReadWrite),
    ],
    overrides: &["MODE", "GATHER"],
    ..PLAIN
};

const WEIGHT_GRAD_TILE: KernelSpec = KernelSpec {
    name: "train/weight_grad_tile",
    wgsl: include_str!("../../shaders/train/weight_grad_tile.wgsl"),
    shuffles: true,
    consts: &[("LANES", 8)],
    ..WEIGHT_GRAD
};

const COLUMN_SUMS: KernelSpec = KernelSpec {
    name: "train/column_sums",
    wgsl: include_str!("../../shaders/train/column_sums.wgsl"),
    libs: &[BACK, INDEX],
    bindings: &[("back", Uniform), ("d", Read), ("lengths", Read), ("parts", ReadWrite)],
    overrides: &["MODE"],
    ..WEIGHT_GRAD
};

const SUM_PARTS: KernelSpec = KernelSpec {
    name: "train/sum_parts",
    wgsl: include_str!("../../shaders/train/sum_parts.wgsl"),
    bindings: &[("sum", Uniform), ("parts", Read), ("total", ReadWrite)],
    ..PLAIN
};

const INPUT_GRAD: KernelSpec = KernelSpec {
    name: "train/input_grad",
    wgsl: include_str!("../../shaders/train/input_grad.wgsl"),
    libs: &[BACK, INDEX],
    bindings: &[
        ("back", Uniform),
        ("d", Read),
        ("weight", Read),
        ("lengths", Read),
        ("dx", ReadWrite),
    ],
    overrides: &["MODE"],
    ..WEIGHT_GRAD
};

const TOKEN_GRAD: KernelSpec = KernelSpec {
    name: "train/token_grad",
    wgsl: include_str!("../../shaders/train/token_grad.wgsl"),
    libs: &[BACK, INDEX],
    bindings: &[
        ("back", Uniform),
        ("d", Read),
        ("lengths", Read),
        ("places", Read),
        ("total", ReadWrite),
    ],
    overrides: &["MODE"],
    ..WEIGHT_GRAD
};

const SQUARE_SUMS: KernelSpec = KernelSpec {
    name: "train/square_sums",
    wgsl: include_str!("../../shaders/train/square_sums.wgsl"),
    bindings: &[("squares", Uniform), ("gradient", Read), ("parts", ReadWrite)],
    ..PLAIN
};

const NORM: KernelSpec = KernelSpec {
    name: "train/norm",
    wgsl: include_str!("../../shaders/train/norm.wgsl"),
    bindings: &[("norm", Uniform), ("parts", Read), ("hyper", Read), ("progress", ReadWrite)],
    ..PLAIN
};

const PEEPHOLE_GRAD: KernelSpec = KernelSpec {
    name: "train/peephole_grad",
    wgsl: include_str!("../../shaders/train/peephole_grad.wgsl"),
    libs: &[BACK, INDEX],
    bindings: &[
        ("back", Uniform),
        ("d", Read),
        ("before", Read),
        ("cells", Read),
        ("lengths", Read),
        ("parts", ReadWrite),
    ],
    overrides: &["MODE"],
    ..WEIGHT_GRAD
};

const BACK_PRODUCT: KernelSpec = KernelSpec {
    name: "train/back_product",
    wgsl: include_str!("../../shaders/train/back_product.wgsl"),
    libs: &[INDEX, MASK, RANDOM, RECUR],
    bindings: &[
        ("recur", Uniform),
        ("step", StepUniform),
        ("weight", Read),
        ("gates_h", Read),
        ("dy", Read),
        ("lengths", Read),
        ("dr", ReadWrite),
        ("end_state", ReadWrite),
    ],
    overrides: &["MODE", "GATES", "MASKED"],
    ..PLAIN
};

const MASK_STATES: KernelSpec = KernelSpec {
    name: "train/mask_states",
    wgsl: include_str!("../../shaders/train/mask_states.wgsl"),
    libs: &[INDEX, MASK, RANDOM, RECUR],
    bindings: &[("recur", Uniform), ("before", Read), ("lengths", Read), ("kept", ReadWrite)],
    overrides: &["MASKED"],
    ..PLAIN
};

const RESET: KernelSpec = KernelSpec {
    name: "train/reset",
    wgsl: include_str!("../../shaders/train/reset.wgsl"),
    libs: &[ACTIVATION, INDEX, MASK, RANDOM, RECUR],
    bindings: &[
        ("recur", Uniform),
        ("gates_x", Read),
        ("gates_h", Read),
        ("before", Read),
        ("lengths", Read),
        ("reset", ReadWrite),
    ],
    overrides: &["MASKED"],
    ..PLAIN
};

const BACK_RESET_BEFORE: KernelSpec = KernelSpec {
    name: "train/back_reset_before",
    entry: "candidate",
    wgsl: include_str!("../../shaders/train/back_reset_before.wgsl"),
    libs: &[ACTIVATION, INDEX, MASK, RANDOM, RECUR],
    bindings: &[
        ("recur", Uniform),
        ("step", StepUniform),
        ("weight_hh", Read),
        ("before", Read),
        ("dy", Read),
        ("lengths", Read),
        ("gates_x", ReadWrite),
        ("gates_h", ReadWrite),
        ("gates_n", ReadWrite),
        ("carry", ReadWrite),
    ],
    overrides: &["MASKED"],
    ..PLAIN
};

const CTC: KernelSpec = KernelSpec {
    name: "train/ctc",
    wgsl: include_str!("../../shaders/train/ctc.wgsl"),
    bindings: &[
        ("shape", Uniform),
        ("values", Read),
        ("targets", Read),
        ("lengths", Read),
        ("scales", Read),
        ("d", ReadWrite),
        ("losses", ReadWrite),
        ("work", ReadWrite),
    ],
    overrides: &[],
    ..LOSS
};

const DROPOUT: KernelSpec = KernelSpec {
    name: "train/dropout",
    wgsl: include_str!("../../shaders/train/dropout.wgsl"),
    libs: &[RANDOM],
    bindings: &[("dropout", Uniform), ("hyper", Read), ("source", Read), ("kept", ReadWrite)],
    ..PLAIN
};

const OPTIMIZE: KernelSpec = KernelSpec {
    name: "train/optimize",
    wgsl: include_str!("../../shaders/train/optimize.wgsl"),
    bindings: &[
        ("optimize", Uniform),
        ("gradient", Read),
        ("hyper", Read),
        ("progress", Read),
        ("parameter", ReadWrite),
        ("first", ReadWrite),
        ("second", ReadWrite),
    ],
    overrides: &["KIND"],
    ..PLAIN
};
