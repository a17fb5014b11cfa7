//! Sums over all rows of all steps: gradients of weights and biases, slice by slice, then the slices in order.

use super::super::builder::{Builder, narrow};
use super::super::*;
use super::TrainBuffer;
use crate::kernel::train::Stage;
use crate::kernel::uniforms::{Back, Sum};

/// Bytes of the sums of all slices.
const PARTS_BUDGET: u64 = 32 << 20;
/// Rows below which a slice is not worth its sum.
const LEAST_ROWS: u32 = 32;
/// Rows that a slice may have on drivers that end loops early.
const MOST_ROWS: u32 = 20_000;

impl Builder<'_> {
    /// `Σ_m a[row(m)]·d[m]`; with tokens, rows of `a` are what they choose.
    pub(super) fn weight_grad(
        &mut self,
        back: Back,
        (mode, rows): (u32, u32),
        (a, d, tokens): (Slot, Slot, Option<Slot>),
        weight: WeightId,
        parts: usize,
    ) -> Result<()> {
        let lengths = Slot::Buffer(self.plan.lengths);
        let long = self.takes_long_forms() && back.columns4.min(back.inner4) >= 8;
        let (stage, width) =
            if long { (Stage::WeightGradTile, 8) } else { (Stage::WeightGrad, 16) };
        let groups =
            ceil_div(back.columns4, width) * ceil_div(back.inner4, width) * back.directions;
        let count =
            u64::from(back.directions) * u64::from(4 * back.inner4) * u64::from(back.columns4);
        let mut variant = Variant::of(Kernel::Train(stage));
        variant.overrides = vec![("MODE", mode), ("GATHER", u32::from(tokens.is_some()))];
        let slots = vec![a, d, lengths, tokens.unwrap_or(lengths)];
        let grid = |slices: u32| {
            let [x, y] = [back.columns4, back.inner4].map(|size| ceil_div(size, width));
            [x, y, back.directions * slices]
        };
        let sum = (variant, slots, rows);
        self.sum_slices(back, sum, (groups, count), grid, (weight, parts))
    }

    /// The sum of two products `Σ_m a[m]·d[m]`, as slices of one sum.
    pub(super) fn two_weight_grads(
        &mut self,
        back: Back,
        (mode, rows): (u32, u32),
        products: [(Slot, Slot); 2],
        weight: WeightId,
        parts: usize,
    ) -> Result<()> {
        let lengths = Slot::Buffer(self.plan.lengths);
        let count =
            u64::from(back.directions) * u64::from(4 * back.inner4) * u64::from(back.columns4);
        let slices = if self.caps.loop_limit.is_some() { ceil_div(rows, MOST_ROWS) } else { 1 };
        let slice_rows = ceil_div(rows.max(1), slices.max(1));
        let slices = ceil_div(rows.max(1), slice_rows);
        let [x, y] = [back.columns4, back.inner4].map(|width| ceil_div(width, 16));
        for (first, (a, d)) in [0, slices].into_iter().zip(products) {
            let block = Back { slice_rows, slices, first, ..back };
            let mut variant = Variant::of(Kernel::Train(Stage::WeightGrad));
            variant.overrides = vec![("MODE", mode), ("GATHER", 0)];
            let slots = vec![a, d, lengths, lengths, Slot::Buffer(parts)];
            let call = self.call(variant, slots, &block)?;
            self.dispatch(call, Grid::Fixed([x, y, back.directions * slices]))?;
        }
        self.sum_parts(2 * slices, count, (weight, parts))
    }

    /// `Σ_m d[m]`.
    pub(super) fn column_sums(
        &mut self,
        back: Back,
        (mode, rows): (u32, u32),
        d: Slot,
        bias: WeightId,
        parts: usize,
    ) -> Result<()> {
        let groups = ceil_div(back.columns4, 64) * back.directions;
        let count = u64::from(back.directions) * u64::from(back.columns4);
        let mut variant = Variant::of(Kernel::Train(Stage::ColumnSums));
        variant.overrides = vec![("MODE", mode)];
        let slots = vec![d, Slot::Buffer(self.plan.lengths)];
        let grid = |slices: u32| [ceil_div(back.columns4, 64), slices, back.directions];
        self.sum_slices(back, (variant, slots, rows), (groups, count), grid, (bias, parts))
    }

    /// The gradient of peepholes, where the parameters of the cell's rules lie.
    pub(super) fn peephole_grad(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        (d, before): (Slot, usize),
        parts: usize,
    ) -> Result<()> {
        let units = padded(spec.hidden_size);
        let z = to_u32(spec.direction.count())?;
        let mut back = self.back_block(z, 0, units, 16 + 3 * units)?;
        back.state4 = to_u32(units / 4)?;
        let rows = self.rows_of_all_steps();
        let cells = self.plan.layers.get(index).map_or(0, |layer| layer.cells);
        let mut variant = Variant::of(Kernel::Train(Stage::PeepholeGrad));
        variant.overrides = vec![("MODE", 4)];
        let lengths = Slot::Buffer(self.plan.lengths);
        let slots = vec![d, Slot::Buffer(before), Slot::Buffer(cells), lengths];
        let groups = ceil_div(back.columns4, 64) * z;
        let count = u64::from(z) * u64::from(back.columns4);
        let grid = |slices: u32| [ceil_div(back.columns4, 64), slices, z];
        let id = WeightId::CellParams(index);
        self.sum_slices(back, (variant, slots, rows), (groups, count), grid, (id, parts))
    }

    /// As many slices as fill the device, then their sum; one slice writes the gradient itself.
    fn sum_slices(
        &mut self,
        back: Back,
        (variant, mut slots, rows): (Variant, Vec<Slot>, u32),
        (groups, count): (u32, u64),
        grid: impl Fn(u32) -> [u32; 3],
        (id, parts): (WeightId, usize),
    ) -> Result<()> {
        let gradient = Slot::Train(TrainBuffer::Gradient(id));
        let wanted = ceil_div(4 * self.caps.workgroups_at_once, groups.max(1));
        let by_memory = (PARTS_BUDGET.min(self.caps.max_binding) / (16 * count.max(1))).max(1);
        let by_rows = ceil_div(rows, LEAST_ROWS).max(1);
        let mut slices = wanted.clamp(1, by_rows).min(narrow(by_memory.min(u64::from(by_rows)))?);
        if self.caps.loop_limit.is_some() {
            slices = slices.max(ceil_div(rows, MOST_ROWS));
        }
        let slice_rows = ceil_div(rows.max(1), slices);
        let slices = ceil_div(rows.max(1), slice_rows);
        let back = Back { slice_rows, slices, ..back };
        slots.push(if slices == 1 { gradient } else { Slot::Buffer(parts) });
        let call = self.call(variant, slots, &back)?;
        self.dispatch(call, Grid::Fixed(grid(slices)))?;
        if slices == 1 {
            return Ok(());
        }
        self.sum_parts(slices, count, (id, parts))
    }

    /// The sum of `slices` sums of `count` vec4s each, in their order.
    fn sum_parts(&mut self, slices: u32, count: u64, (id, parts): (WeightId, usize)) -> Result<()> {
        let gradient = Slot::Train(TrainBuffer::Gradient(id));
        let needed = 16 * count * u64::from(slices);
        let most = self.caps.max_binding.min(self.caps.max_buffer);
        if needed > most {
            return Err(Error::limit(format!(
                "gradients: expected the sums of {slices} parts of a weight in one buffer of {most} bytes, got \
                 {needed} bytes (fewer hidden units, or fewer time steps a batch)"
            )));
        }
        let bytes = &mut self.plan.buffers[parts].bytes;
        *bytes = (*bytes).max(needed);
        let blocks = count.div_ceil(64);
        let grid_x = blocks.min(u64::from(self.caps.max_workgroups)).max(1);
        let block = Sum { count: narrow(count)?, slices, grid_x: narrow(grid_x)? };
        let slots = vec![Slot::Buffer(parts), gradient];
        let call = self.call(Variant::of(Kernel::Train(Stage::SumParts)), slots, &block)?;
        self.dispatch(call, Grid::Fixed([block.grid_x, narrow(blocks.div_ceil(grid_x))?, 1]))
    }
}
