//! One pipeline of a kernel: its cell, row tile, rules and sizes, and the WGSL that they make together.

use super::table::{OWN, SLICES};
use super::train::Stage;
use super::{Access, Kernel, Precision, Rules, expand};
use crate::cell::Cell;

const FUNCTION: &str = include_str!("../../shaders/lib/function.wgsl");
const CUSTOM: &str = include_str!("../../shaders/lib/custom.wgsl");
const TILE_PRODUCT: &str = include_str!("../../shaders/lib/tile_product.wgsl");
const TOGETHER: &str = include_str!("../../shaders/lib/together.wgsl");
const MATRIX_ENABLE: &str = include_str!("../../shaders/lib/matrix_enable.wgsl");
const MATRIX: &str = include_str!("../../shaders/lib/matrix.wgsl");
const MATRIX_EMULATED: &str = include_str!("../../shaders/lib/matrix_emulated.wgsl");
const SLICES_SUBGROUP: &str = include_str!("../../shaders/lib/slices_subgroup.wgsl");
const LANES: &str = include_str!("../../shaders/lib/lanes.wgsl");
const LANES_SUBGROUP: &str = include_str!("../../shaders/lib/lanes_subgroup.wgsl");
const TAPE: &str = include_str!("../../shaders/lib/tape.wgsl");
const NO_TAPE: &str = include_str!("../../shaders/lib/no_tape.wgsl");
/// What a driver declares for the parameters of a cell's options, and what stands there where gates are kept.
const PARAMS: &str = "var<storage, read> params: array<vec4f>;";
const GATES_H: &str = "var<storage, read_write> gates_h: array<vec4f>;";
const ALONE: &str = include_str!("../../shaders/lib/alone.wgsl");

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

/// Returns the WGSL of a cell's step backwards, or `None` where it has a driver of its own.
const fn cell_back_wgsl(cell: Cell) -> Option<&'static str> {
    match cell {
        Cell::RnnTanh => Some(include_str!("../../shaders/cell_back/rnn_tanh.wgsl")),
        Cell::RnnRelu => Some(include_str!("../../shaders/cell_back/rnn_relu.wgsl")),
        Cell::Lstm => Some(include_str!("../../shaders/cell_back/lstm.wgsl")),
        Cell::Gru => Some(include_str!("../../shaders/cell_back/gru.wgsl")),
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
    /// Whether it keeps W_hh's pre-activations for backpropagation, in place of the parameters of a cell's options.
    pub keeps_gates: bool,
    /// Values of overrides.
    pub overrides: Vec<(&'static str, u32)>,
    /// Values of the sizes in the text.
    pub consts: Vec<(&'static str, u32)>,
}

impl Variant {
    /// Names a kernel without cell, rows and overrides.
    pub fn of(kernel: Kernel) -> Self {
        let spec = kernel.spec();
        let consts = spec.consts.to_vec();
        Self {
            kernel,
            cell: None,
            rows: None,
            custom: false,
            // Matrices are multiplied in f16 alone.
            precision: if spec.matrices { Precision::F16 } else { Precision::F32 },
            keeps_gates: false,
            overrides: Vec::new(),
            consts,
        }
    }

    /// Returns the value of an override, where it is set.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.overrides.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// Lists the bindings of group 0 in order.
    pub fn bindings(&self) -> Vec<(&'static str, Access)> {
        let kept = |(name, access): &(&'static str, Access)| match *name {
            "params" if self.keeps_gates => ("gates_h", Access::ReadWrite),
            name => (name, *access),
        };
        self.kernel.spec().bindings.iter().map(kept).collect()
    }

    /// Tells whether it exchanges values between the lanes of a subgroup.
    pub fn shuffles(&self) -> bool {
        self.kernel.spec().shuffles || self.size("LANES").is_some_and(|lanes| lanes > 1)
    }

    /// Tells whether it multiplies with the device's cooperative matrices: its subgroups have lanes.
    pub fn has_matrices(&self) -> bool {
        self.kernel.spec().matrices && self.size("THREADS").is_some_and(|threads| threads > 4)
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
        // Directives come before anything else.
        let mut parts = if self.has_matrices() { vec![MATRIX_ENABLE] } else { Vec::new() };
        parts.push(spec.wgsl);
        parts.extend(self.cell.and_then(cell_wgsl));
        if self.kernel == Kernel::Train(Stage::BackStep) {
            parts.extend(self.cell.and_then(cell_back_wgsl));
        }
        parts.extend(self.rows.map(RowTile::wgsl));
        if self.shuffles() {
            parts.extend(self.rows.map(RowTile::shuffle_wgsl));
        }
        if matches!(self.kernel, Kernel::RecurStationary | Kernel::Train(Stage::BackStep)) {
            parts.push(if self.shuffles() { TOGETHER } else { ALONE });
        }
        if self.kernel == Kernel::RecurSplit {
            parts.extend(if self.shuffles() {
                [LANES_SUBGROUP, SLICES_SUBGROUP]
            } else {
                [LANES, SLICES]
            });
        }
        if self.kernel.can_keep_gates() {
            parts.push(if self.keeps_gates { TAPE } else { NO_TAPE });
        }
        if spec.stores {
            parts.push(self.precision.wgsl());
        }
        if spec.matrices {
            parts.push(if self.has_matrices() { MATRIX } else { MATRIX_EMULATED });
        }
        match (spec.rules, self.custom) {
            (Rules::Either, false) => parts.push(OWN),
            (Rules::Either | Rules::Custom, _) => parts.extend([CUSTOM, FUNCTION]),
            (Rules::None, _) => {}
        }
        parts.extend(spec.libs);
        let mut text = parts.join("\n");
        if self.keeps_gates {
            text = text.replacen(PARAMS, GATES_H, 1);
        }
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

    const fn reads_textures(&self) -> bool {
        matches!(self.kernel, Kernel::RecurTileTextures | Kernel::GemmTileTextures)
    }

    /// Returns a size that text loops may name.
    fn size(&self, name: &str) -> Option<u32> {
        match name {
            "GATES" => Some(self.cell.map_or(1, |cell| u32::try_from(cell.gates()).unwrap_or(0))),
            "ROWS" => self.rows.map(RowTile::rows),
            // Tiles of sixteen columns in a block of 64.
            "TILES" => Some(4),
            // Lines for loads from textures, which a software adapter compiles to little, and for all others.
            "TEXTURES" => Some(u32::from(self.reads_textures())),
            "BUFFERS" => Some(u32::from(!self.reads_textures())),
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
        if self.reads_textures() {
            f.write_str(" textures")?;
        }
        if let Some(rows) = self.rows {
            write!(f, " rows={}", rows.rows())?;
        }
        if self.precision == Precision::F16 {
            f.write_str(" f16")?;
        }
        if self.keeps_gates {
            f.write_str(" keeps gates")?;
        }
        for (name, value) in self.overrides.iter().chain(&self.consts) {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}
