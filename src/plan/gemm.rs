//! Matrix products of a [`Plan`]: which kernel computes one, and its grid.
//!
//! | kernel | where |
//! |---|---|
//! | `gemm_matrix` | where cooperative matrices are allowed, in f16, for such products |
//! | `gemm_block` | hardware, for products that fill half of a block of 128 rows and 64 columns |
//! | `gemm_tile` | software adapters with subgroups, beside drivers that compile as long; from textures where the product is wide enough to be worth a copy of its inputs |
//! | `gemm` | everything else: few rows or columns, and software adapters otherwise |

use super::builder::Builder;
use super::*;
use crate::kernel::uniforms::Gemm;

/// Rows of a block of `gemm_block`.
const BLOCK_ROWS: u32 = 128;
/// Column groups of a block of `gemm_block`.
const BLOCK_WIDTH4: u32 = 16;

/// What a product does with rows, as `lib/gemm.wgsl` names it.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    pub(super) mode: u32,
    pub(super) gathers: bool,
}

/// A kernel for a product: its rows and column groups a workgroup.
struct Shape {
    variant: Variant,
    per_group: u32,
    width4: u32,
}

impl Builder<'_> {
    /// Adds a product for `z` directions; `beside` is the driver whose layer it feeds.
    pub(super) fn gemm(
        &mut self,
        block: Gemm,
        mut slots: Vec<Slot>,
        mode: Mode,
        z: u32,
        beside: Strategy,
    ) -> Result<()> {
        self.check_loops("matrix product", u64::from(block.inner4) * 6 + 256)?;
        let per_sequence = matches!(mode.mode, 2 | 3);
        let rows =
            if per_sequence { self.batch } else { block.step_count.saturating_mul(self.batch) };
        let mut shape = self.gemm_shape(&block, rows, beside);
        if shape.variant.kernel == Kernel::GemmTile
            && let Some(inputs) = self.texture_inputs(&block, (slots[0], mode), z)?
            && let Slot::Weight(weight) = slots[1]
        {
            shape.variant.kernel = Kernel::GemmTileTextures;
            slots[..2].copy_from_slice(&[inputs, Slot::WeightTexture(weight)]);
        }
        shape.variant.overrides.extend([("MODE", mode.mode), ("GATHER", u32::from(mode.gathers))]);
        let call = self.call(shape.variant, slots, &block)?;
        let (x_z, per_group) = ([ceil_div(block.columns4, shape.width4), z], shape.per_group);
        let grid = if per_sequence {
            Grid::Fixed([x_z[0], ceil_div(self.batch, per_group).max(1), z])
        } else {
            Grid::ChunkRows { x_z, first: block.first_step, count: block.step_count, per_group }
        };
        self.dispatch(call, grid)
    }

    fn gemm_shape(&self, block: &Gemm, rows: u32, beside: Strategy) -> Shape {
        let fills = 2 * rows >= BLOCK_ROWS && 2 * block.columns4 >= BLOCK_WIDTH4;
        let precision = self.plan.request.precision;
        if let (Some(threads), true) = (matrix::multiplies(precision, self.caps), fills) {
            let mut variant = Variant::of(Kernel::GemmMatrix);
            variant.consts = vec![("THREADS", threads)];
            return Shape { variant, per_group: matrix::BLOCK, width4: matrix::BLOCK / 4 };
        }
        if !self.caps.is_software && fills {
            let variant = Variant::of(Kernel::GemmBlock);
            return Shape { variant, per_group: BLOCK_ROWS, width4: BLOCK_WIDTH4 };
        }
        // The tile form compiles for a second on a software adapter: beside a driver that does so too.
        let long_form = self.caps.is_software && !beside.compiles_fast();
        if let (Some(lanes), true) = (self.caps.subgroup, long_form) {
            let (row_tile, tile) = tile::shape(self.caps, lanes, (rows, 1, block.columns4), true);
            let mut variant = Variant::of(Kernel::GemmTile);
            variant.rows = Some(row_tile);
            variant.consts = tile.consts();
            let per_group = tile.groups * row_tile.rows();
            return Shape { variant, per_group, width4: tile.width4() };
        }
        let (row_tile, [wg_x, wg_y]) = (RowTile::Four, [8, 8]);
        let mut variant = Variant::of(Kernel::Gemm);
        variant.rows = Some(row_tile);
        variant.overrides = vec![("WG_X", wg_x), ("WG_Y", wg_y)];
        Shape { variant, per_group: wg_y * row_tile.rows(), width4: 2 * wg_x }
    }
}
