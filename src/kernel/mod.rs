//! The kernel table: every shader with its libraries, bindings and overrides.
//!
//! Pure data: no wgpu. [`Kernel::spec`] is what bind-group layouts are built from and what the tests
//! compare with the WGSL; [`Variant`] names one pipeline; [`Variant::source`] joins driver, cell and
//! libraries in that order, so that line numbers in compiler messages are the driver's own.

pub mod calibrate;
mod expand;
pub mod uniforms;

use crate::cell::Cell;

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
    /// Input projection or output layer, inputs shared by subgroups.
    GemmTile,
    /// Input projection or output layer through workgroup memory.
    GemmBlock,
    /// The whole time loop of a point-wise cell, weights in registers.
    RecurStationary,
    /// One time step of a point-wise cell, inputs split over invocations.
    RecurSplit,
    /// One diagonal of a stack of equal layers.
    RecurWave,
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
    /// Tight rows to padded rows and back.
    CopyRows,
    /// The loop-limit canary.
    LoopCanary,
    /// A measurement of [`crate::Engine::calibrate`].
    Calibrate(calibrate::Probe),
}

const ACTIVATION: &str = include_str!("../../shaders/lib/activation.wgsl");
const HIDDEN: &str = include_str!("../../shaders/lib/hidden.wgsl");
const FUNCTION: &str = include_str!("../../shaders/lib/function.wgsl");
const CUSTOM: &str = include_str!("../../shaders/lib/custom.wgsl");
const NORM: &str = include_str!("../../shaders/lib/norm.wgsl");
const HEAD_ROWS: &str = include_str!("../../shaders/lib/head.wgsl");
const GEMM_ROWS: &str = include_str!("../../shaders/lib/gemm.wgsl");
const TILE_PRODUCT: &str = include_str!("../../shaders/lib/tile_product.wgsl");
const TOGETHER: &str = include_str!("../../shaders/lib/together.wgsl");
const ADVANCE: &str = include_str!("../../shaders/lib/advance.wgsl");
const SLICES: &str = include_str!("../../shaders/lib/slices.wgsl");
const ALONE: &str = include_str!("../../shaders/lib/alone.wgsl");
const OWN: &str = include_str!("../../shaders/lib/own.wgsl");
const INDEX: &str = include_str!("../../shaders/lib/index.wgsl");
const RECUR: &str = include_str!("../../shaders/lib/recur.wgsl");
const RESET_BEFORE: &str = include_str!("../../shaders/recur_reset_before.wgsl");

use Access::{Read, ReadWrite, StepUniform, Uniform};

const RESET_BEFORE_SPEC: KernelSpec = KernelSpec {
    name: "recur_reset_before",
    entry: "gates",
    wgsl: RESET_BEFORE,
    libs: &[ACTIVATION, HIDDEN, INDEX, RECUR],
    takes_cell: false,
    takes_rows: true,
    shuffles: false,
    stores: true,
    rules: Rules::Either,
    bindings: RECUR_STEP_BINDINGS,
    overrides: &["WG_X", "WG_Y"],
    consts: &[],
};

const RECUR_STEP_BINDINGS: &[(&str, Access)] = &[
    ("recur", Uniform),
    ("step", StepUniform),
    ("gates_x", Read),
    ("weight_hh", Read),
    ("bias_hh", Read),
    ("h_0", Read),
    ("lengths", Read),
    ("y", ReadWrite),
    ("cells", ReadWrite),
    ("params", Read),
];

impl Kernel {
    /// Every kernel, for tests that walk the table.
    pub const ALL: [Self; 29] = [
        Self::Gemm,
        Self::OneHot,
        Self::RecurStep,
        Self::RecurProject,
        Self::ResetBeforeGates,
        Self::ResetBeforeCandidate,
        Self::RecurResident,
        Self::RecurTile,
        Self::GemmTile,
        Self::GemmBlock,
        Self::RecurStationary,
        Self::RecurSplit,
        Self::RecurWave,
        Self::NormRows,
        Self::NormProduct,
        Self::NormUpdate,
        Self::FinalStates,
        Self::Activate,
        Self::Head,
        Self::Top,
        Self::CopyRows,
        Self::LoopCanary,
        Self::Calibrate(calibrate::Probe::Matrices),
        Self::Calibrate(calibrate::Probe::Vectors),
        Self::Calibrate(calibrate::Probe::FewVectors),
        Self::Calibrate(calibrate::Probe::Fill),
        Self::Calibrate(calibrate::Probe::Read),
        Self::Calibrate(calibrate::Probe::Dispatch),
        Self::Calibrate(calibrate::Probe::Barrier),
    ];

    /// Returns the row of the table.
    pub const fn spec(self) -> KernelSpec {
        match self {
            Self::Gemm => GEMM,
            Self::OneHot => ONE_HOT,
            Self::RecurStep => RECUR_STEP,
            Self::RecurProject => RECUR_PROJECT,
            Self::ResetBeforeGates => RESET_BEFORE_SPEC,
            Self::ResetBeforeCandidate => KernelSpec { entry: "candidate", ..RESET_BEFORE_SPEC },
            Self::RecurResident => RECUR_RESIDENT,
            Self::RecurTile => RECUR_TILE,
            Self::GemmTile => GEMM_TILE,
            Self::GemmBlock => GEMM_BLOCK,
            Self::RecurStationary => RECUR_STATIONARY,
            Self::RecurSplit => RECUR_SPLIT,
            Self::RecurWave => RECUR_WAVE,
            Self::NormRows => NORM_ROWS,
            Self::NormProduct => RECUR_NORM,
            Self::NormUpdate => KernelSpec { entry: "update", ..RECUR_NORM },
            Self::FinalStates => FINAL_STATES,
            Self::Activate => ACTIVATE,
            Self::Head => HEAD,
            Self::Top => TOP,
            Self::CopyRows => COPY_ROWS,
            Self::LoopCanary => LOOP_CANARY,
            Self::Calibrate(probe) => probe.spec(),
        }
    }
}

const GEMM: KernelSpec = KernelSpec {
    name: "gemm",
    entry: "main",
    wgsl: include_str!("../../shaders/gemm.wgsl"),
    libs: &[INDEX, GEMM_ROWS],
    takes_cell: false,
    takes_rows: true,
    shuffles: false,
    stores: true,
    rules: Rules::None,
    bindings: &[
        ("gemm", Uniform),
        ("a", Read),
        ("weight", Read),
        ("bias", Read),
        ("lengths", Read),
        ("tokens", Read),
        ("c", ReadWrite),
    ],
    overrides: &["WG_X", "WG_Y", "MODE", "GATHER"],
    consts: &[],
};

const ONE_HOT: KernelSpec = KernelSpec {
    name: "one_hot",
    entry: "main",
    wgsl: include_str!("../../shaders/one_hot.wgsl"),
    libs: &[INDEX],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    stores: true,
    rules: Rules::None,
    bindings: &[
        ("gemm", Uniform),
        ("weight", Read),
        ("bias", Read),
        ("lengths", Read),
        ("tokens", Read),
        ("c", ReadWrite),
    ],
    overrides: &["WG_X", "WG_Y"],
    consts: &[],
};

const RECUR_STEP: KernelSpec = KernelSpec {
    name: "recur_step",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_step.wgsl"),
    libs: &[ACTIVATION, HIDDEN, INDEX, RECUR],
    takes_cell: true,
    takes_rows: true,
    shuffles: false,
    stores: true,
    rules: Rules::Either,
    bindings: RECUR_STEP_BINDINGS,
    overrides: &["WG_X", "WG_Y", "PROJECTED"],
    consts: &[],
};

const RECUR_PROJECT: KernelSpec = KernelSpec {
    name: "recur_project",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_project.wgsl"),
    libs: &[INDEX, RECUR],
    takes_cell: false,
    takes_rows: true,
    shuffles: false,
    stores: true,
    rules: Rules::None,
    bindings: &[
        ("recur", Uniform),
        ("step", StepUniform),
        ("weight_hr", Read),
        ("lengths", Read),
        ("cells", Read),
        ("y", ReadWrite),
    ],
    overrides: &["WG_X", "WG_Y"],
    consts: &[],
};

const RECUR_RESIDENT: KernelSpec = KernelSpec {
    name: "recur_resident",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_resident.wgsl"),
    libs: &[ACTIVATION, HIDDEN, INDEX, RECUR],
    takes_cell: true,
    takes_rows: true,
    shuffles: false,
    stores: true,
    rules: Rules::Either,
    bindings: &[
        ("recur", Uniform),
        ("gates_x", Read),
        ("weight_hh", Read),
        ("bias_hh", Read),
        ("h_0", Read),
        ("lengths", Read),
        ("y", ReadWrite),
        ("cells", ReadWrite),
        ("params", Read),
    ],
    overrides: &["WG_X", "WG_Y", "STATE_VECS"],
    consts: &[],
};

const RECUR_TILE: KernelSpec = KernelSpec {
    name: "recur_tile",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_tile.wgsl"),
    libs: &[ACTIVATION, ADVANCE, INDEX, RECUR],
    takes_cell: true,
    takes_rows: true,
    shuffles: true,
    stores: true,
    rules: Rules::Either,
    bindings: RECUR_STEP_BINDINGS,
    overrides: &[],
    consts: TILE_CONSTS,
};

const GEMM_TILE: KernelSpec = KernelSpec {
    name: "gemm_tile",
    entry: "main",
    wgsl: include_str!("../../shaders/gemm_tile.wgsl"),
    shuffles: true,
    overrides: &["MODE", "GATHER"],
    consts: TILE_CONSTS,
    ..GEMM
};

const GEMM_BLOCK: KernelSpec = KernelSpec {
    name: "gemm_block",
    wgsl: include_str!("../../shaders/gemm_block.wgsl"),
    takes_rows: false,
    overrides: &["MODE", "GATHER"],
    ..GEMM
};

const RECUR_STATIONARY: KernelSpec = KernelSpec {
    name: "recur_stationary",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_stationary.wgsl"),
    overrides: &[],
    consts: &[("LANES", 1), ("SHARES", 1), ("SLICES", 2), ("UNITS", 4)],
    ..RECUR_RESIDENT
};

const RECUR_SPLIT: KernelSpec = KernelSpec {
    name: "recur_split",
    wgsl: include_str!("../../shaders/recur_split.wgsl"),
    libs: &[ACTIVATION, ADVANCE, HIDDEN, INDEX, RECUR, SLICES],
    overrides: &["WG_X", "WG_Y", "PART_TILES"],
    ..RECUR_STEP
};

const RECUR_WAVE: KernelSpec = KernelSpec {
    name: "recur_wave",
    wgsl: include_str!("../../shaders/recur_wave.wgsl"),
    libs: &[ACTIVATION, ADVANCE, INDEX, OWN, RECUR, SLICES],
    rules: Rules::None,
    bindings: &[
        ("recur", Uniform),
        ("step", StepUniform),
        ("gates_x", Read),
        ("weight_ih", Read),
        ("weight_hh", Read),
        ("biases", Read),
        ("h_0", Read),
        ("lengths", Read),
        ("y", ReadWrite),
        ("cells", ReadWrite),
    ],
    ..RECUR_SPLIT
};

const TILE_CONSTS: &[(&str, u32)] =
    &[("LANES", 4), ("SUBGROUPS", 1), ("GROUPS", 1), ("COLUMNS", 1)];

const NORM_ROWS: KernelSpec = KernelSpec {
    name: "norm_rows",
    entry: "main",
    wgsl: include_str!("../../shaders/norm_rows.wgsl"),
    libs: &[NORM],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    stores: false,
    rules: Rules::None,
    bindings: &[("norm", Uniform), ("scales", Read), ("lengths", Read), ("gates_x", ReadWrite)],
    overrides: &[],
    consts: &[],
};

const RECUR_NORM: KernelSpec = KernelSpec {
    name: "recur_norm",
    entry: "product",
    wgsl: include_str!("../../shaders/recur_norm.wgsl"),
    libs: &[ACTIVATION, HIDDEN, INDEX, NORM, RECUR],
    takes_cell: true,
    takes_rows: true,
    shuffles: false,
    stores: true,
    rules: Rules::Custom,
    bindings: RECUR_STEP_BINDINGS,
    overrides: &["WG_X", "WG_Y"],
    consts: &[],
};

const FINAL_STATES: KernelSpec = KernelSpec {
    name: "final_states",
    entry: "main",
    wgsl: include_str!("../../shaders/final_states.wgsl"),
    libs: &[INDEX, RECUR],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    stores: false,
    rules: Rules::None,
    bindings: &[
        ("recur", Uniform),
        ("y", Read),
        ("h_0", Read),
        ("lengths", Read),
        ("h_n", ReadWrite),
    ],
    overrides: &[],
    consts: &[],
};

const ACTIVATE: KernelSpec = KernelSpec {
    name: "activate",
    entry: "main",
    wgsl: include_str!("../../shaders/activate.wgsl"),
    libs: &[ACTIVATION],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    stores: false,
    rules: Rules::None,
    bindings: &[("shape", Uniform), ("values", ReadWrite)],
    overrides: &["KIND"],
    consts: &[],
};

const HEAD: KernelSpec = KernelSpec {
    name: "head",
    wgsl: include_str!("../../shaders/head.wgsl"),
    libs: &[ACTIVATION, INDEX, GEMM_ROWS, HEAD_ROWS],
    overrides: &["WG_X", "WG_Y", "MODE", "KIND", "ONE_PASS", "PARTS"],
    ..GEMM
};

const TOP: KernelSpec = KernelSpec {
    name: "top",
    wgsl: include_str!("../../shaders/top.wgsl"),
    bindings: &[
        ("gemm", Uniform),
        ("a", Read),
        ("weight", Read),
        ("bias", Read),
        ("lengths", Read),
        ("tokens", Read),
        ("top", ReadWrite),
    ],
    overrides: &["WG_X", "WG_Y", "MODE", "KIND", "STORED"],
    consts: &[("COUNT", 1), ("PARTS", 256), ("ITEMS", 256)],
    ..HEAD
};

const COPY_ROWS: KernelSpec = KernelSpec {
    name: "copy_rows",
    entry: "main",
    wgsl: include_str!("../../shaders/copy_rows.wgsl"),
    libs: &[],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    stores: false,
    rules: Rules::None,
    bindings: &[("rows", Uniform), ("source", Read), ("lengths", Read), ("target_rows", ReadWrite)],
    overrides: &[],
    consts: &[],
};

const LOOP_CANARY: KernelSpec = KernelSpec {
    name: "loop_canary",
    entry: "main",
    wgsl: include_str!("../../shaders/loop_canary.wgsl"),
    libs: &[],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    stores: false,
    rules: Rules::None,
    bindings: &[("canary", Uniform), ("reached", ReadWrite)],
    overrides: &[],
    consts: &[],
};

/// Returns the WGSL of a cell, or `None` for a cell that has a driver of its own.
pub const fn cell_wgsl(cell: Cell) -> Option<&'static str> {
    match cell {
        Cell::RnnTanh => Some(include_str!("../../shaders/cell/rnn_tanh.wgsl")),
        Cell::RnnRelu => Some(include_str!("../../shaders/cell/rnn_relu.wgsl")),
        Cell::Lstm => Some(include_str!("../../shaders/cell/lstm.wgsl")),
        Cell::Gru => Some(include_str!("../../shaders/cell/gru.wgsl")),
        Cell::GruResetBefore => None,
    }
}

/// How many rows of a batch one invocation owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowTile {
    /// One row.
    One,
    /// Two rows.
    Two,
    /// Four rows.
    Four,
}

impl RowTile {
    /// Every tile.
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Four];

    /// Returns the number of rows.
    pub const fn rows(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    const fn wgsl(self) -> &'static str {
        match self {
            Self::One => include_str!("../../shaders/lib/rows1.wgsl"),
            Self::Two => include_str!("../../shaders/lib/rows2.wgsl"),
            Self::Four => include_str!("../../shaders/lib/rows4.wgsl"),
        }
    }

    const fn shuffle_wgsl(self) -> &'static str {
        match self {
            Self::One => include_str!("../../shaders/lib/shuffle1.wgsl"),
            Self::Two => include_str!("../../shaders/lib/shuffle2.wgsl"),
            Self::Four => include_str!("../../shaders/lib/shuffle4.wgsl"),
        }
    }
}

/// How weights and hidden states are stored. Sums, gates and cell states are f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// f16 of IEEE 754, two to a word: half the bytes of weights, and hidden states rounded to 11
    /// significant bits after every step. Weights beyond 65504 are refused.
    F16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 2] = [Self::F32, Self::F16];

    /// Returns the name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Returns the precision of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// Returns the bytes of a value.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    const fn wgsl(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../../shaders/lib/precision32.wgsl"),
            Self::F16 => include_str!("../../shaders/lib/precision16.wgsl"),
        }
    }
}

/// Overrides of `lib/custom`: the functions of both directions, and which options are on.
pub const CUSTOM_OVERRIDES: [&str; 2] = ["FUNCTIONS", "OPTIONS"];

/// One pipeline: a kernel, its cell, row tile and rules where it takes them, its override values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The kernel.
    pub kernel: Kernel,
    /// The cell, for kernels that take one.
    pub cell: Option<Cell>,
    /// The row tile, for kernels that take one.
    pub rows: Option<RowTile>,
    /// Whether the cell has options: `lib/custom` in place of `lib/own`.
    pub custom: bool,
    /// How weights and states are stored, for kernels that read them; else f32.
    pub precision: Precision,
    /// Values of overrides.
    pub overrides: Vec<(&'static str, u32)>,
    /// Values of the sizes in the text.
    pub consts: Vec<(&'static str, u32)>,
}

impl Variant {
    /// Names a kernel without cell, rows and overrides.
    pub fn of(kernel: Kernel) -> Self {
        let consts = kernel.spec().consts.to_vec();
        Self {
            kernel,
            cell: None,
            rows: None,
            custom: false,
            precision: Precision::F32,
            overrides: Vec::new(),
            consts,
        }
    }

    /// Returns the value of an override, where it is set.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.overrides.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// Tells whether it exchanges values between the lanes of a subgroup.
    pub fn shuffles(&self) -> bool {
        self.kernel.spec().shuffles || self.size("LANES").is_some_and(|lanes| lanes > 1)
    }

    /// Lists the names of every override that the source declares.
    pub fn override_names(&self) -> Vec<&'static str> {
        let spec = self.kernel.spec();
        let mut names = spec.overrides.to_vec();
        if spec.rules == Rules::Custom || (spec.rules == Rules::Either && self.custom) {
            names.extend(CUSTOM_OVERRIDES);
        }
        names
    }

    /// Joins the WGSL: driver first, then cell, rows, rules and libraries.
    pub fn source(&self) -> String {
        let spec = self.kernel.spec();
        let mut parts = vec![spec.wgsl];
        parts.extend(self.cell.and_then(cell_wgsl));
        parts.extend(self.rows.map(RowTile::wgsl));
        if self.shuffles() {
            parts.extend(self.rows.map(RowTile::shuffle_wgsl));
        }
        if self.kernel == Kernel::RecurStationary {
            parts.push(if self.shuffles() { TOGETHER } else { ALONE });
        }
        if spec.stores {
            parts.push(self.precision.wgsl());
        }
        match (spec.rules, self.custom) {
            (Rules::Either, false) => parts.push(OWN),
            (Rules::Either | Rules::Custom, _) => parts.extend([CUSTOM, FUNCTION]),
            (Rules::None, _) => {}
        }
        parts.extend(spec.libs);
        let text = parts.join("\n");
        if self.consts.is_empty() {
            return text;
        }
        let text = text.replace("//@ use tile_product", TILE_PRODUCT);
        let mut text = expand::expand(&text, &|name| self.size(name));
        for (name, value) in &self.consts {
            text.push_str(&format!("const {name}: u32 = {value}u;\n"));
        }
        text
    }

    /// Returns a size that text loops may name.
    fn size(&self, name: &str) -> Option<u32> {
        match name {
            "GATES" => Some(self.cell.map_or(1, |cell| u32::try_from(cell.gates()).unwrap_or(0))),
            "ROWS" => self.rows.map(RowTile::rows),
            _ => self.consts.iter().find(|(n, _)| *n == name).map(|(_, value)| *value),
        }
    }
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spec = self.kernel.spec();
        f.write_str(spec.name)?;
        if spec.entry != "main" {
            write!(f, ".{}", spec.entry)?;
        }
        if let Some(cell) = self.cell {
            write!(f, " {cell}")?;
        }
        if let Some(rows) = self.rows {
            write!(f, " rows={}", rows.rows())?;
        }
        if self.precision == Precision::F16 {
            f.write_str(" f16")?;
        }
        for (name, value) in self.overrides.iter().chain(&self.consts) {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}
