//! The rows of the kernel table: every shader with its libraries, bindings and overrides.

use super::{Access, KernelSpec, Rules};

use Access::{Read, ReadTexture, ReadWrite, ReadWriteTexture, StepUniform, Uniform, WriteTexture};

const ACTIVATION: &str = include_str!("../../shaders/lib/activation.wgsl");
pub(super) const COMBINE: &str = include_str!("../../shaders/lib/combine.wgsl");
pub(super) const MASK: &str = include_str!("../../shaders/lib/mask.wgsl");
const HIDDEN: &str = include_str!("../../shaders/lib/hidden.wgsl");
const NORM: &str = include_str!("../../shaders/lib/norm.wgsl");
const HEAD_ROWS: &str = include_str!("../../shaders/lib/head.wgsl");
const GEMM_ROWS: &str = include_str!("../../shaders/lib/gemm.wgsl");
const ADVANCE: &str = include_str!("../../shaders/lib/advance.wgsl");
pub(super) const SLICES: &str = include_str!("../../shaders/lib/slices.wgsl");
pub(super) const OWN: &str = include_str!("../../shaders/lib/own.wgsl");
pub(super) const TEXEL: &str = include_str!("../../shaders/lib/texel.wgsl");
const WHOLE: &str = include_str!("../../shaders/lib/whole.wgsl");
const REPEATED: &str = include_str!("../../shaders/lib/repeated.wgsl");
const WEIGHT_BUFFER: &str = include_str!("../../shaders/lib/weight_buffer.wgsl");
const WEIGHT_TEXTURE: &str = include_str!("../../shaders/lib/weight_texture.wgsl");
const STATE_BUFFER: &str = include_str!("../../shaders/lib/state_buffer.wgsl");
const STATE_TEXTURE: &str = include_str!("../../shaders/lib/state_texture.wgsl");
const GEMM_BUFFERS: &str = include_str!("../../shaders/lib/gemm_buffers.wgsl");
const GEMM_TEXTURES: &str = include_str!("../../shaders/lib/gemm_textures.wgsl");
const ORDER: &str = include_str!("../../shaders/lib/order.wgsl");
pub(super) const RANDOM: &str = include_str!("../../shaders/lib/random.wgsl");
const INDEX: &str = include_str!("../../shaders/lib/index.wgsl");
const RECUR: &str = include_str!("../../shaders/lib/recur.wgsl");
const RESET_BEFORE: &str = include_str!("../../shaders/recur_reset_before.wgsl");

pub(super) const RESET_BEFORE_SPEC: KernelSpec = KernelSpec {
    name: "recur_reset_before",
    entry: "gates",
    wgsl: RESET_BEFORE,
    libs: &[ACTIVATION, HIDDEN, INDEX, MASK, RANDOM, RECUR],
    takes_cell: false,
    takes_rows: true,
    shuffles: false,
    matrices: false,
    stores: true,
    rules: Rules::Either,
    bindings: RECUR_STEP_BINDINGS,
    overrides: &["WG_X", "WG_Y", "MASKED"],
    consts: &[],
};

pub(super) const RECUR_STEP_BINDINGS: &[(&str, Access)] = &[
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

pub(super) const GEMM: KernelSpec = KernelSpec {
    name: "gemm",
    entry: "main",
    wgsl: include_str!("../../shaders/gemm.wgsl"),
    libs: &[INDEX, GEMM_ROWS],
    takes_cell: false,
    takes_rows: true,
    shuffles: false,
    matrices: false,
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

pub(super) const ONE_HOT: KernelSpec = KernelSpec {
    name: "one_hot",
    entry: "main",
    wgsl: include_str!("../../shaders/one_hot.wgsl"),
    libs: &[INDEX],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    matrices: false,
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

pub(super) const RECUR_STEP: KernelSpec = KernelSpec {
    name: "recur_step",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_step.wgsl"),
    libs: &[ACTIVATION, HIDDEN, INDEX, MASK, RANDOM, RECUR],
    takes_cell: true,
    takes_rows: true,
    shuffles: false,
    matrices: false,
    stores: true,
    rules: Rules::Either,
    bindings: RECUR_STEP_BINDINGS,
    overrides: &["WG_X", "WG_Y", "PROJECTED", "MASKED"],
    consts: &[],
};

pub(super) const RECUR_PROJECT: KernelSpec = KernelSpec {
    name: "recur_project",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_project.wgsl"),
    libs: &[INDEX, RECUR],
    takes_cell: false,
    takes_rows: true,
    shuffles: false,
    matrices: false,
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

pub(super) const RECUR_RESIDENT: KernelSpec = KernelSpec {
    name: "recur_resident",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_resident.wgsl"),
    libs: &[ACTIVATION, HIDDEN, INDEX, RECUR],
    takes_cell: true,
    takes_rows: true,
    shuffles: false,
    matrices: false,
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

pub(super) const RECUR_TILE: KernelSpec = KernelSpec {
    name: "recur_tile",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_tile.wgsl"),
    libs: &[ACTIVATION, ADVANCE, INDEX, RECUR, WEIGHT_BUFFER, STATE_BUFFER, WHOLE, REPEATED],
    takes_cell: true,
    takes_rows: true,
    shuffles: true,
    matrices: false,
    stores: true,
    rules: Rules::Either,
    bindings: RECUR_STEP_BINDINGS,
    overrides: &[],
    consts: TILE_CONSTS,
};

pub(super) const RECUR_TILE_TEXTURES: KernelSpec = KernelSpec {
    libs: &[
        ACTIVATION,
        ADVANCE,
        INDEX,
        RECUR,
        TEXEL,
        WEIGHT_TEXTURE,
        STATE_TEXTURE,
        WHOLE,
        REPEATED,
    ],
    bindings: &[
        ("recur", Uniform),
        ("step", StepUniform),
        ("gates_x", Read),
        ("weight_hh", ReadTexture),
        ("bias_hh", Read),
        ("states", ReadWriteTexture),
        ("lengths", Read),
        ("y", ReadWrite),
        ("cells", ReadWrite),
        ("params", Read),
    ],
    ..RECUR_TILE
};

pub(super) const GEMM_TILE: KernelSpec = KernelSpec {
    name: "gemm_tile",
    entry: "main",
    wgsl: include_str!("../../shaders/gemm_tile.wgsl"),
    libs: &[INDEX, GEMM_ROWS, GEMM_BUFFERS, WHOLE, REPEATED],
    shuffles: true,
    overrides: &["MODE", "GATHER"],
    consts: TILE_CONSTS,
    ..GEMM
};

pub(super) const GEMM_TILE_TEXTURES: KernelSpec = KernelSpec {
    libs: &[INDEX, GEMM_ROWS, TEXEL, GEMM_TEXTURES, WHOLE, REPEATED],
    bindings: &[
        ("gemm", Uniform),
        ("a", ReadTexture),
        ("weight", ReadTexture),
        ("bias", Read),
        ("lengths", Read),
        ("tokens", Read),
        ("c", ReadWrite),
    ],
    // What it reads is f32.
    stores: false,
    ..GEMM_TILE
};

pub(super) const GEMM_BLOCK: KernelSpec = KernelSpec {
    name: "gemm_block",
    wgsl: include_str!("../../shaders/gemm_block.wgsl"),
    takes_rows: false,
    overrides: &["MODE", "GATHER"],
    ..GEMM
};

pub(super) const RECUR_STATIONARY: KernelSpec = KernelSpec {
    name: "recur_stationary",
    entry: "main",
    wgsl: include_str!("../../shaders/recur_stationary.wgsl"),
    overrides: &[],
    consts: &[("LANES", 1), ("SHARES", 1), ("SLICES", 2), ("UNITS", 4)],
    ..RECUR_RESIDENT
};

pub(super) const RECUR_SPLIT: KernelSpec = KernelSpec {
    name: "recur_split",
    wgsl: include_str!("../../shaders/recur_split.wgsl"),
    libs: &[ACTIVATION, ADVANCE, HIDDEN, INDEX, RECUR],
    overrides: &["WG_X", "WG_Y", "PART_TILES"],
    consts: &[("LANES", 1)],
    ..RECUR_STEP
};

pub(super) const RECUR_WAVE: KernelSpec = KernelSpec {
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
    consts: &[],
    ..RECUR_SPLIT
};

pub(super) const RECUR_GRID: KernelSpec = KernelSpec {
    name: "recur_grid",
    wgsl: include_str!("../../shaders/recur_grid.wgsl"),
    libs: &[ACTIVATION, ADVANCE, HIDDEN, INDEX, OWN, RECUR, SLICES],
    rules: Rules::None,
    bindings: &[
        ("recur", Uniform),
        ("gates_x", Read),
        ("weight_hh", Read),
        ("bias_hh", Read),
        ("h_0", Read),
        ("lengths", Read),
        ("y", ReadWrite),
        ("cells", ReadWrite),
        ("exchange", ReadWrite),
    ],
    overrides: &["WG_X", "WG_Y", "PART_TILES", "SPINS", "EACH_STEP"],
    consts: &[("SHARES", 2), ("SLICES", 8), ("LOOKS", 8)],
    ..RECUR_STEP
};

/// Invocations of a workgroup: those of four subgroups.
const MATRIX_CONSTS: &[(&str, u32)] = &[("THREADS", 4)];

pub(super) const RECUR_MATRIX: KernelSpec = KernelSpec {
    name: "recur_matrix",
    wgsl: include_str!("../../shaders/recur_matrix.wgsl"),
    libs: &[ACTIVATION, ADVANCE, INDEX, RECUR],
    takes_rows: false,
    matrices: true,
    overrides: &[],
    consts: MATRIX_CONSTS,
    ..RECUR_STEP
};

pub(super) const GEMM_MATRIX: KernelSpec = KernelSpec {
    name: "gemm_matrix",
    wgsl: include_str!("../../shaders/gemm_matrix.wgsl"),
    takes_rows: false,
    matrices: true,
    overrides: &["MODE", "GATHER"],
    consts: MATRIX_CONSTS,
    ..GEMM
};

const TILE_CONSTS: &[(&str, u32)] =
    &[("LANES", 4), ("SUBGROUPS", 1), ("GROUPS", 1), ("COLUMNS", 1), ("WHOLE", 1)];

pub(super) const NORM_ROWS: KernelSpec = KernelSpec {
    name: "norm_rows",
    entry: "main",
    wgsl: include_str!("../../shaders/norm_rows.wgsl"),
    libs: &[NORM],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    matrices: false,
    stores: false,
    rules: Rules::None,
    bindings: &[("norm", Uniform), ("scales", Read), ("lengths", Read), ("gates_x", ReadWrite)],
    overrides: &[],
    consts: &[],
};

pub(super) const RECUR_NORM: KernelSpec = KernelSpec {
    name: "recur_norm",
    entry: "product",
    wgsl: include_str!("../../shaders/recur_norm.wgsl"),
    libs: &[ACTIVATION, HIDDEN, INDEX, NORM, RECUR],
    takes_cell: true,
    takes_rows: true,
    shuffles: false,
    matrices: false,
    stores: true,
    rules: Rules::Custom,
    bindings: RECUR_STEP_BINDINGS,
    overrides: &["WG_X", "WG_Y"],
    consts: &[],
};

pub(super) const FINAL_STATES: KernelSpec = KernelSpec {
    name: "final_states",
    entry: "main",
    wgsl: include_str!("../../shaders/final_states.wgsl"),
    libs: &[INDEX, RECUR],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    matrices: false,
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

pub(super) const ACTIVATE: KernelSpec = KernelSpec {
    name: "activate",
    entry: "main",
    wgsl: include_str!("../../shaders/activate.wgsl"),
    libs: &[ACTIVATION, COMBINE],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    matrices: false,
    stores: false,
    rules: Rules::None,
    bindings: &[("shape", Uniform), ("values", ReadWrite)],
    overrides: &["KIND"],
    consts: &[],
};

pub(super) const HEAD: KernelSpec = KernelSpec {
    name: "head",
    wgsl: include_str!("../../shaders/head.wgsl"),
    libs: &[ACTIVATION, INDEX, GEMM_ROWS, HEAD_ROWS],
    overrides: &["WG_X", "WG_Y", "MODE", "KIND", "ONE_PASS", "PARTS"],
    ..GEMM
};

pub(super) const TOP: KernelSpec = KernelSpec {
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
    libs: &[ACTIVATION, INDEX, GEMM_ROWS, HEAD_ROWS, ORDER],
    overrides: &["WG_X", "WG_Y", "MODE", "KIND", "STORED"],
    consts: &[("COUNT", 1), ("PARTS", 256), ("ITEMS", 256)],
    ..HEAD
};

pub(super) const COPY_ROWS: KernelSpec = KernelSpec {
    name: "copy_rows",
    entry: "main",
    wgsl: include_str!("../../shaders/copy_rows.wgsl"),
    libs: &[include_str!("../../shaders/lib/value1.wgsl")],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    matrices: false,
    stores: false,
    rules: Rules::None,
    bindings: &[("rows", Uniform), ("source", Read), ("lengths", Read), ("target_rows", ReadWrite)],
    overrides: &[],
    consts: &[],
};

pub(super) const COPY_GROUPS: KernelSpec =
    KernelSpec { libs: &[include_str!("../../shaders/lib/value4.wgsl")], ..COPY_ROWS };

pub(super) const LOOP_CANARY: KernelSpec = KernelSpec {
    name: "loop_canary",
    entry: "main",
    wgsl: include_str!("../../shaders/loop_canary.wgsl"),
    libs: &[],
    takes_cell: false,
    takes_rows: false,
    shuffles: false,
    matrices: false,
    stores: false,
    rules: Rules::None,
    bindings: &[("canary", Uniform), ("reached", ReadWrite)],
    overrides: &[],
    consts: &[],
};

pub(super) const CLEAR: KernelSpec = KernelSpec {
    name: "clear",
    wgsl: include_str!("../../shaders/clear.wgsl"),
    bindings: &[("clear", Uniform), ("words", ReadWrite)],
    ..LOOP_CANARY
};

pub(super) const FILL_TEXTURE: KernelSpec = KernelSpec {
    name: "fill_texture",
    wgsl: include_str!("../../shaders/fill_texture.wgsl"),
    libs: &[TEXEL],
    bindings: &[("fill", Uniform), ("source", Read), ("target_texels", WriteTexture)],
    ..LOOP_CANARY
};

pub(super) const SAMPLE: KernelSpec = KernelSpec {
    name: "sample",
    wgsl: include_str!("../../shaders/sample.wgsl"),
    libs: &[ACTIVATION, ORDER, RANDOM],
    bindings: &[("sample", Uniform), ("values", Read), ("token", ReadWrite), ("drawn", ReadWrite)],
    consts: &[("LANES", 16)],
    ..LOOP_CANARY
};

pub(super) const GRID_CANARY: KernelSpec = KernelSpec {
    name: "grid_canary",
    wgsl: include_str!("../../shaders/grid_canary.wgsl"),
    bindings: &[("grid", Uniform), ("counts", ReadWrite)],
    consts: &[("HELD", 160)],
    ..LOOP_CANARY
};
