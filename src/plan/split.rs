//! The shape of kernels that split the inputs of a unit over invocations (`recur_split`, `recur_wave`).

use super::caps::DeviceCaps;
use super::strategy::{LayerChoice, Strategy, padded4, tile_for};
use super::to_u32;
use crate::kernel::RowTile;
use crate::model::LayerSpec;

/// Groups of four units of a workgroup, at most: neighbouring invocations then read 128 bytes in a row.
pub(super) const UNITS4: u32 = 8;

/// The largest power of two that is at most `n`, and at least 1.
pub(super) fn power_below(n: u64) -> u32 {
    1 << n.clamp(1, 1 << 20).ilog2()
}

/// Lanes of the subgroups that add the slices of a workgroup up, or 1 where workgroup memory does.
pub(super) fn lanes([x, slices]: [u32; 2], caps: &DeviceCaps) -> u32 {
    let fits =
        |lanes: &u32| lanes.is_multiple_of(x) && *lanes > x && (x * slices).is_multiple_of(*lanes);
    caps.subgroup.filter(fits).unwrap_or(1)
}

/// Groups of units that a workgroup has beside four slices in every subgroup.
fn subgroup_units(caps: &DeviceCaps) -> u32 {
    caps.subgroup.map_or(UNITS4, |lanes| (lanes / 4).clamp(1, UNITS4))
}

/// Shapes the split step for a layer, or says what it would need.
pub(super) fn layer(
    spec: &LayerSpec,
    batch: u32,
    caps: &DeviceCaps,
) -> Result<LayerChoice, String> {
    let units4 = subgroup_units(caps);
    let (rows, workgroup) = shape(spec, batch, caps, units4).map_err(|e| e.to_string())?;
    if workgroup[1] < 2 {
        return Err(format!("inputs to split, got {} units", spec.hidden_size));
    }
    Ok(LayerChoice::new(Strategy::StepSplit, rows, 1, workgroup))
}

/// Rows of an invocation, and the workgroup: groups of units times slices.
pub(super) fn shape(
    spec: &LayerSpec,
    batch: u32,
    caps: &DeviceCaps,
    most_units4: u32,
) -> crate::Result<(RowTile, [u32; 2])> {
    let rows = tile_for(batch);
    let units4 = padded4(spec.hidden_size)?;
    let x = units4.next_power_of_two().min(most_units4);
    let by_inputs = u64::from(padded4(spec.state_size())?);
    let by_invocations = u64::from(caps.max_invocations.min(256) / x);
    // Half the slices hand row tiles of every gate over.
    let part = x * to_u32(spec.cell.gates())? * rows.rows() * 16;
    let by_storage = 2 * u64::from(caps.workgroup_storage) / u64::from(part.max(1));
    let slices = power_below(by_inputs.min(by_invocations).min(by_storage));
    Ok((rows, [x, slices]))
}

/// Row tiles that half the slices of a workgroup hand over, or its subgroups of more than one lane.
pub(super) fn part_tiles([x, slices]: [u32; 2], gates: u32, lanes: u32) -> u32 {
    let handing = if lanes > 1 { x * slices / lanes } else { slices / 2 };
    (x * handing * gates).max(1)
}
