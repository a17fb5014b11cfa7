//! Kernels with cooperative matrices (`recur_matrix`, `gemm_matrix`): where they run, and the step's shape.

use super::caps::DeviceCaps;
use super::strategy::{LayerChoice, plain_pointwise};
use super::{Strategy, to_u32};
use crate::kernel::{Precision, RowTile};
use crate::model::LayerSpec;

/// Rows of a tile of `recur_matrix`.
pub(super) const ROWS: u32 = 16;
/// Rows and columns of a block of `gemm_matrix`; units of a workgroup of `recur_matrix`.
pub(super) const BLOCK: u32 = 64;

/// Shapes the step for a layer, or says what it would need.
pub(super) fn layer(
    spec: &LayerSpec,
    precision: Precision,
    caps: &DeviceCaps,
) -> Result<LayerChoice, String> {
    let Some(threads) = caps.matrix_threads else {
        return Err(
            "cooperative matrices of 16 x 16 f16 (EngineOptions::cooperative_matrix)".into()
        );
    };
    if precision != Precision::F16 {
        return Err("precision f16".into());
    }
    plain_pointwise(spec)?;
    let gates = to_u32(spec.cell.gates()).map_err(|e| e.to_string())?;
    // Tiles of inputs and weights; sums in f32.
    let bytes = 16 * (ROWS + gates * BLOCK) * half_bytes(threads) + gates * ROWS * BLOCK * 4;
    if bytes > caps.workgroup_storage {
        return Err(format!(
            "{bytes} bytes of workgroup memory, the device has {}",
            caps.workgroup_storage
        ));
    }
    // A tile of sixteen rows as four of four, for those that count rows.
    Ok(LayerChoice::new(Strategy::StepMatrix, RowTile::Four, ROWS / 4, [threads, 1]))
}

/// Tells whether `gemm_matrix` runs on a device.
pub(super) fn multiplies(precision: Precision, caps: &DeviceCaps) -> Option<u32> {
    let threads = caps.matrix_threads.filter(|_| precision == Precision::F16)?;
    // Tiles of inputs and weights, sums in f32, two words a row.
    let bytes = 2 * 16 * BLOCK * half_bytes(threads) + BLOCK * BLOCK * 4 + BLOCK * 8;
    (bytes <= caps.workgroup_storage).then_some(threads)
}

/// Bytes of a value of a tile: what stands in for matrices holds f32.
const fn half_bytes(threads: u32) -> u32 {
    if threads > 4 { 2 } else { 4 }
}
