//! The kernel table: every shader with its libraries, bindings and overrides.
//!
//! Pure data: no wgpu. [`Kernel::spec`] is what bind-group layouts are built from and what the tests
//! compare with the WGSL; [`Variant`] names one pipeline; [`Variant::source`] joins driver, cell and
//! libraries in that order, so that line numbers in compiler messages are the driver's own.

pub mod calibrate;
mod expand;
mod precision;
mod table;
pub mod train;
pub mod uniforms;
mod variant;

pub use precision::Precision;
pub use variant::{CUSTOM_OVERRIDES, RowTile, Variant, cell_wgsl};

/// How a shader sees a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A uniform block.
    Uniform,
    /// A uniform block with a dynamic offset: the index of the time step.
    StepUniform,
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer that is read and written.
    ReadWrite,
    /// A storage texture of vec4f that is read as an array (`lib/texel`).
    ReadTexture,
    /// One that is written.
    WriteTexture,
    /// One that is read and written.
    ReadWriteTexture,
}

/// Which rules of a cell a kernel applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// None: it computes no cell.
    None,
    /// `lib/own`, or `lib/custom` for a cell with options.
    Either,
    /// `lib/custom`.
    Custom,
}

/// One kernel of the table.
#[derive(Clone, Copy, Debug)]
pub struct KernelSpec {
    /// The shader's file name without ending.
    pub name: &'static str,
    /// The entry point.
    pub entry: &'static str,
    /// The driver's text.
    pub wgsl: &'static str,
    /// The libraries it calls, without rows and cell.
    pub libs: &'static [&'static str],
    /// Whether a cell file belongs to it.
    pub takes_cell: bool,
    /// Whether a rows library belongs to it.
    pub takes_rows: bool,
    /// Whether it exchanges values between the lanes of a subgroup, which needs the device's
    /// `SUBGROUP` feature; a kernel that can do without has LANES = 1 then.
    pub shuffles: bool,
    /// Whether it multiplies with cooperative matrices, or what stands in for them.
    pub matrices: bool,
    /// Whether it reads weights, or states of its own: `lib/precision32` or `16` belongs to it.
    pub stores: bool,
    /// Which rules of the cell belong to it.
    pub rules: Rules,
    /// Bindings of group 0 in order.
    pub bindings: &'static [(&'static str, Access)],
    /// Override names.
    pub overrides: &'static [&'static str],
    /// Sizes that are written into the text, with the smallest useful values: array lengths and the
    /// counts of text loops.
    pub consts: &'static [(&'static str, u32)],
}

/// Every kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Input projection or output layer.
    Gemm,
    /// Input projection of one-hot tokens.
    OneHot,
    /// One time step of a point-wise cell.
    RecurStep,
    /// LSTM projection after a step.
    RecurProject,
    /// Reset-before GRU, gates r and z.
    ResetBeforeGates,
    /// Reset-before GRU, candidate and new state.
    ResetBeforeCandidate,
    /// The whole time loop of a point-wise cell.
    RecurResident,
    /// Time steps of a point-wise cell, inputs shared by subgroups.
    RecurTile,
    /// The same with weights and states in textures.
    RecurTileTextures,
    /// Input projection or output layer, inputs shared by subgroups.
    GemmTile,
    /// The same with inputs and weights in textures.
    GemmTileTextures,
    /// Input projection or output layer through workgroup memory.
    GemmBlock,
    /// The whole time loop of a point-wise cell, weights in registers.
    RecurStationary,
    /// One time step of a point-wise cell, inputs split over invocations.
    RecurSplit,
    /// One diagonal of a stack of equal layers.
    RecurWave,
    /// The whole time loop of a point-wise cell over the whole device.
    RecurGrid,
    /// One time step of a point-wise cell with cooperative matrices.
    RecurMatrix,
    /// Input projection or output layer with cooperative matrices.
    GemmMatrix,
    /// Layer normalisation of the input side.
    NormRows,
    /// Layer-normalised cell, the hidden product.
    NormProduct,
    /// Layer-normalised cell, statistics and new state.
    NormUpdate,
    /// h_n out of y.
    FinalStates,
    /// The function g of the output layer.
    Activate,
    /// The output layer with its function g.
    Head,
    /// The largest values of the output layer's rows.
    Top,
    /// A token drawn from a row of scores.
    Sample,
    /// Tight rows to padded rows and back.
    CopyRows,
    /// The same, four values at once.
    CopyGroups,
    /// Zeros in a buffer.
    Clear,
    /// A buffer into a texture.
    FillTexture,
    /// The loop-limit canary.
    LoopCanary,
    /// The canary of workgroups side by side.
    GridCanary,
    /// A measurement of [`crate::Engine::calibrate`].
    Calibrate(calibrate::Probe),
    /// A kernel of training.
    Train(train::Stage),
}

impl Kernel {
    /// Every kernel, for tests that walk the table.
    pub const ALL: [Self; 62] = [
        Self::Gemm,
        Self::OneHot,
        Self::RecurStep,
        Self::RecurProject,
        Self::ResetBeforeGates,
        Self::ResetBeforeCandidate,
        Self::RecurResident,
        Self::RecurTile,
        Self::RecurTileTextures,
        Self::GemmTile,
        Self::GemmTileTextures,
        Self::GemmBlock,
        Self::RecurStationary,
        Self::RecurSplit,
        Self::RecurWave,
        Self::RecurGrid,
        Self::RecurMatrix,
        Self::GemmMatrix,
        Self::NormRows,
        Self::NormProduct,
        Self::NormUpdate,
        Self::FinalStates,
        Self::Activate,
        Self::Head,
        Self::Top,
        Self::Sample,
        Self::CopyRows,
        Self::CopyGroups,
        Self::Clear,
        Self::FillTexture,
        Self::LoopCanary,
        Self::GridCanary,
        Self::Calibrate(calibrate::Probe::Matrices),
        Self::Calibrate(calibrate::Probe::Vectors),
        Self::Calibrate(calibrate::Probe::FewVectors),
        Self::Calibrate(calibrate::Probe::Fill),
        Self::Calibrate(calibrate::Probe::Read),
        Self::Calibrate(calibrate::Probe::ReadTexture),
        Self::Calibrate(calibrate::Probe::Dispatch),
        Self::Calibrate(calibrate::Probe::Barrier),
        Self::Train(train::Stage::Loss),
        Self::Train(train::Stage::SumLoss),
        Self::Train(train::Stage::Before),
        Self::Train(train::Stage::Replay),
        Self::Train(train::Stage::BackStep),
        Self::Train(train::Stage::WeightGrad),
        Self::Train(train::Stage::WeightGradTile),
        Self::Train(train::Stage::ColumnSums),
        Self::Train(train::Stage::SumParts),
        Self::Train(train::Stage::InputGrad),
        Self::Train(train::Stage::TokenGrad),
        Self::Train(train::Stage::SquareSums),
        Self::Train(train::Stage::Norm),
        Self::Train(train::Stage::Optimize),
        Self::Train(train::Stage::Dropout),
        Self::Train(train::Stage::Ctc),
        Self::Train(train::Stage::PeepholeGrad),
        Self::Train(train::Stage::BackProduct),
        Self::Train(train::Stage::Reset),
        Self::Train(train::Stage::BackCandidate),
        Self::Train(train::Stage::BackReset),
        Self::Train(train::Stage::MaskStates),
    ];

    /// Tells whether it can keep W_hh's pre-activations for backpropagation, with plain rules.
    pub const fn can_keep_gates(self) -> bool {
        matches!(
            self,
            Self::RecurStep
                | Self::RecurResident
                | Self::RecurTile
                | Self::RecurTileTextures
                | Self::RecurStationary
                | Self::RecurSplit
        )
    }

    /// Returns the row of the table.
    pub const fn spec(self) -> KernelSpec {
        match self {
            Self::Gemm => table::GEMM,
            Self::OneHot => table::ONE_HOT,
            Self::RecurStep => table::RECUR_STEP,
            Self::RecurProject => table::RECUR_PROJECT,
            Self::ResetBeforeGates => table::RESET_BEFORE_SPEC,
            Self::ResetBeforeCandidate => {
                KernelSpec { entry: "candidate", ..table::RESET_BEFORE_SPEC }
            }
            Self::RecurResident => table::RECUR_RESIDENT,
            Self::RecurTile => table::RECUR_TILE,
            Self::RecurTileTextures => table::RECUR_TILE_TEXTURES,
            Self::GemmTile => table::GEMM_TILE,
            Self::GemmTileTextures => table::GEMM_TILE_TEXTURES,
            Self::GemmBlock => table::GEMM_BLOCK,
            Self::RecurStationary => table::RECUR_STATIONARY,
            Self::RecurSplit => table::RECUR_SPLIT,
            Self::RecurWave => table::RECUR_WAVE,
            Self::RecurGrid => table::RECUR_GRID,
            Self::RecurMatrix => table::RECUR_MATRIX,
            Self::GemmMatrix => table::GEMM_MATRIX,
            Self::NormRows => table::NORM_ROWS,
            Self::NormProduct => table::RECUR_NORM,
            Self::NormUpdate => KernelSpec { entry: "update", ..table::RECUR_NORM },
            Self::FinalStates => table::FINAL_STATES,
            Self::Activate => table::ACTIVATE,
            Self::Head => table::HEAD,
            Self::Top => table::TOP,
            Self::Sample => table::SAMPLE,
            Self::CopyRows => table::COPY_ROWS,
            Self::CopyGroups => table::COPY_GROUPS,
            Self::Clear => table::CLEAR,
            Self::FillTexture => table::FILL_TEXTURE,
            Self::LoopCanary => table::LOOP_CANARY,
            Self::GridCanary => table::GRID_CANARY,
            Self::Calibrate(probe) => probe.spec(),
            Self::Train(stage) => stage.spec(),
        }
    }
}
