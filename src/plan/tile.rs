//! The shape of kernels that share inputs between the lanes of a subgroup (`recur_tile`, `gemm_tile`).

use super::caps::DeviceCaps;
use super::{ceil_div, to_u32};
use crate::error::Result;
use crate::kernel::RowTile;
use crate::model::LayerSpec;

/// Sizes of a tile kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileShape {
    /// Lanes of a subgroup.
    pub lanes: u32,
    /// Subgroups of a workgroup.
    pub subgroups: u32,
    /// Row tiles of a workgroup.
    pub groups: u32,
    /// Blocks of `lanes` column groups that a subgroup computes together.
    pub columns: u32,
    /// Such parts that a subgroup computes one after the other.
    pub passes: u32,
    /// Whether it reads weights and states from textures.
    pub from_textures: bool,
    /// Whether addresses go through a shuffle, which spares software adapters work (`shaders/lib/whole.wgsl`).
    pub shuffles_addresses: bool,
}

/// Rows of a workgroup.
const MOST_ROWS: u32 = 32;

/// Sums of one invocation, in vec4: a software adapter spills them to fast memory and gains by every
/// load that is spared; hardware has registers for this many before occupancy falls.
const fn most_sums(caps: &DeviceCaps) -> u32 {
    if caps.is_software { 32 } else { 16 }
}

/// Splits rows into row tiles.
pub(super) fn row_tiles(row_count: u32) -> (RowTile, u32) {
    match row_count {
        0 | 1 => (RowTile::One, 1),
        2 | 3 => (RowTile::Two, 1),
        n => (RowTile::Four, n / 4),
    }
}

/// The largest power of two that is at most `n`, and at least 1.
fn power_below(n: u32) -> u32 {
    1 << n.max(1).ilog2()
}

/// Shapes a tile of `rows` rows (or fewer) and `gates` gates of `units4` column groups; `spread` puts the
/// column groups on several workgroups, else one owns all.
pub(super) fn shape(
    caps: &DeviceCaps,
    lanes: u32,
    (rows, gates, units4): (u32, u32, u32),
    spread: bool,
) -> (RowTile, TileShape) {
    let sums = most_sums(caps);
    let row_count = power_below(
        (sums.max(16 * gates) / gates).min(MOST_ROWS).min(rows.max(1).next_power_of_two()),
    );
    let (rows, groups) = row_tiles(row_count);
    let blocks = ceil_div(units4, lanes);
    let columns = power_below((sums / (gates * row_count)).clamp(1, 4).min(blocks));
    let parts = ceil_div(blocks, columns);
    let most_subgroups = caps.max_invocations.min(256) / lanes;
    let (subgroups, passes) = if spread {
        (parts.min(most_subgroups).min(if caps.is_software { 1 } else { 4 }), 1)
    } else {
        // A software adapter runs the subgroups of a workgroup one after the other: one of them, as
        // in the other use, makes one pipeline of both.
        let most = if caps.is_software { 1 } else { 8 };
        let subgroups = parts.min(most_subgroups).clamp(1, most);
        (subgroups, ceil_div(parts, subgroups))
    };
    let subgroups = subgroups.max(1);
    let tile = TileShape {
        lanes,
        subgroups,
        groups,
        columns,
        passes,
        from_textures: false,
        shuffles_addresses: caps.is_software,
    };
    (rows, tile)
}

/// Lanes of the device's subgroups, or what a tile kernel needs.
pub(super) fn lanes(caps: &DeviceCaps) -> std::result::Result<u32, String> {
    caps.subgroup.ok_or_else(|| "shaders that may use subgroups, all of one size".into())
}

impl TileShape {
    /// Sizes in the text of a variant.
    pub(super) fn consts(&self) -> Vec<(&'static str, u32)> {
        vec![
            ("LANES", self.lanes),
            ("SUBGROUPS", self.subgroups),
            ("GROUPS", self.groups),
            ("COLUMNS", self.columns),
            ("WHOLE", u32::from(self.shuffles_addresses)),
        ]
    }

    /// Column groups of a workgroup.
    pub(super) const fn width4(&self) -> u32 {
        self.subgroups * self.columns * self.lanes * self.passes
    }

    /// Loop iterations of one time step, as if no loop were unrolled.
    pub(super) fn step_loops(&self, spec: &LayerSpec, rows: RowTile) -> Result<u64> {
        let wide = u64::from;
        let k4 = wide(to_u32(spec.state_size().div_ceil(4))?);
        let row_count = wide(self.groups * rows.rows());
        let staging = k4.div_ceil(wide(self.lanes)) * (1 + row_count);
        // Gates that training keeps are a loop of their own.
        let gates = wide(to_u32(spec.cell.gates())?);
        let update = row_count * (1 + wide(self.columns) * (1 + gates));
        Ok(1 + row_count + wide(self.passes) * (1 + k4 + staging + update))
    }
}
