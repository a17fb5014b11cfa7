//! The shape of the loop with weights in registers (`recur_stationary`).

use super::caps::DeviceCaps;
use super::{ceil_div, to_u32};
use crate::kernel::RowTile;
use crate::model::LayerSpec;

/// Sizes of a loop with weights in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StationaryShape {
    /// Lanes that share what they read of h; 1 without subgroups.
    pub lanes: u32,
    /// Groups of `lanes` inputs of one invocation.
    pub shares: u32,
    /// Invocations that split a column of inputs.
    pub slices: u32,
    /// Invocations along units.
    pub units: u32,
}

/// Weights of one invocation. A software adapter keeps them on its stack, but compiles every one of
/// their products; hardware has 128 to 255 registers, of which some must stay free.
const fn most_weights(caps: &DeviceCaps) -> u32 {
    if caps.is_software { 768 } else { 96 }
}

/// Shapes the loop for a layer, or says what it would need.
pub(super) fn shape(
    spec: &LayerSpec,
    batch: u32,
    caps: &DeviceCaps,
) -> Result<(RowTile, StationaryShape), String> {
    let words = |e: crate::Error| e.to_string();
    let gates = to_u32(spec.cell.gates()).map_err(words)?;
    let units4 = to_u32(spec.hidden_size.div_ceil(4)).map_err(words)?;
    let directions = to_u32(spec.direction.count()).map_err(words)?;
    let most = most_weights(caps);
    // Sharing pays where a read costs more than a shuffle: on a software adapter, not in workgroup memory
    // that serves all lanes at once.
    let lanes = caps.subgroup.filter(|_| caps.is_software).unwrap_or(1);
    let units = units4.next_multiple_of(lanes);
    let needed = u64::from(units4) * u64::from(16 * gates);
    let slices = if lanes > 1 {
        1
    } else {
        let slices = needed.div_ceil(u64::from(most)).next_power_of_two();
        u32::try_from(slices).unwrap_or(u32::MAX)
    };
    let shares = ceil_div(units4, lanes.saturating_mul(slices));
    if u64::from(shares * lanes) * u64::from(16 * gates) > u64::from(most) {
        let held = u64::from(shares * lanes) * u64::from(16 * gates);
        return Err(format!("at most {most} weights an invocation, got {held}"));
    }
    if u64::from(units) * u64::from(slices) > u64::from(caps.max_invocations.min(256)) {
        return Err(format!("at most 256 invocations, got {units} x {slices}"));
    }
    // Few rows: each one multiplies registers and code.
    let share = ceil_div(batch.saturating_mul(directions), caps.workgroups_at_once.max(1));
    let rows = match share.min(batch) {
        0 | 1 => RowTile::One,
        _ if !caps.is_software => RowTile::One,
        2 | 3 => RowTile::Two,
        _ => RowTile::Four,
    };
    let vecs =
        2 * rows.rows() * shares * lanes * slices + (slices - 1) * units * gates * rows.rows() + 1;
    if vecs * 16 > caps.workgroup_storage {
        return Err(format!(
            "{} bytes of workgroup memory, got {}",
            caps.workgroup_storage,
            vecs * 16
        ));
    }
    Ok((rows, StationaryShape { lanes, shares, slices, units }))
}

impl StationaryShape {
    /// Sizes in the text of a variant.
    pub(super) fn consts(&self) -> Vec<(&'static str, u32)> {
        vec![
            ("LANES", self.lanes),
            ("SHARES", self.shares),
            ("SLICES", self.slices),
            ("UNITS", self.units),
        ]
    }

    /// Loop iterations of one time step, as if no loop were unrolled.
    pub(super) fn step_loops(&self, rows: RowTile, gates: u32) -> u64 {
        // Sums of the slices, gates that training keeps.
        1 + u64::from(rows.rows() * (1 + gates * (1 + self.slices)))
    }
}
