//! The loop over the whole device (`recur_grid`): its shape, and its place in a plan.
//!
//! Workgroups wait for one another, which the API does not promise to work: the caller must have asked for
//! it, the device must have shown how many run side by side (`DeviceCaps::side_by_side`), and the first word
//! of [`Plan::gives_up`] says after a run whether they did.

use super::builder::{Builder, axis, narrow};
use super::layer::{Chunk, recurrent};
use super::split::{part_tiles, power_below};
use super::strategy::{LayerChoice, padded4, plain_pointwise, tile_for};
use super::*;
use crate::kernel::uniforms::{Clear, Recur};

/// Weights of an invocation: hardware has 128 to 255 registers, of which some must stay free.
const MOST_WEIGHTS: u32 = 96;
/// Words ahead of the states in the exchange, one of which says that a workgroup gave up.
const HEADER_WORDS: u64 = 4;
/// Looks at a missing word in one turn.
const LOOKS: u32 = 8;
/// Turns in one step; a look takes about a microsecond, so that giving up takes half a second.
const SPINS: u32 = 1 << 16;
/// Turns in one dispatch where the driver ends loops early.
const FEW_SPINS: u32 = 30_000;

/// Sizes of a loop over the whole device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridShape {
    /// Blocks of four inputs whose weights an invocation holds, a gate.
    pub shares: u32,
    /// Workgroups along units.
    pub blocks: u32,
    /// Workgroups that share the tiles of sequences.
    pub tile_groups: u32,
}

/// Shapes the loop for a layer, or says what it would need.
pub(super) fn layer(
    spec: &LayerSpec,
    batch: u32,
    caps: &DeviceCaps,
) -> std::result::Result<LayerChoice, String> {
    if caps.side_by_side == 0 {
        return Err("a device that has shown how many workgroups run side by side \
                    (EngineOptions::grid_persistent)"
            .into());
    }
    plain_pointwise(spec)?;
    if !spec.options.is_default() {
        return Err("a layer without options".into());
    }
    let words = |e: Error| e.to_string();
    let gates = to_u32(spec.cell.gates()).map_err(words)?;
    let units4 = padded4(spec.hidden_size).map_err(words)?;
    let directions = to_u32(spec.direction.count()).map_err(words)?;
    let lanes = power_below(u64::from(caps.max_invocations.min(256)));
    for x in [8, 4, 2, 1] {
        let slices = (lanes / x).min(units4.next_power_of_two());
        let shares = ceil_div(units4, slices);
        let blocks = ceil_div(units4, x);
        if shares * gates * 16 > MOST_WEIGHTS || blocks * directions > caps.side_by_side {
            continue;
        }
        for rows in [tile_for(batch), tile_for(batch.min(2)), RowTile::One] {
            let vecs = rows.rows() * (shares * slices + part_tiles([x, slices], gates, 1));
            // Sixteen bytes for the word that says that a workgroup gave up.
            if vecs * 16 + 16 > caps.workgroup_storage {
                continue;
            }
            let tile_groups = (caps.side_by_side / (blocks * directions))
                .clamp(1, ceil_div(batch.max(1), rows.rows()));
            let choice = LayerChoice::new(Strategy::GridPersistent, rows, 1, [x, slices]);
            let grid = Some(GridShape { shares, blocks, tile_groups });
            return Ok(LayerChoice { grid, ..choice });
        }
    }
    Err(format!(
        "the weights of {} units and {gates} gates in registers of {} workgroups",
        spec.hidden_size, caps.side_by_side
    ))
}

impl Builder<'_> {
    /// The buffer through which workgroups exchange states, where a layer needs one.
    pub(super) fn exchange_buffer(&mut self) -> Result<()> {
        let mut words = 0;
        for (spec, choice) in self.network.layers.iter().zip(&self.choices) {
            if choice.strategy == Strategy::GridPersistent {
                words = words.max(self.exchange_words(spec, self.chunk_steps(spec)?));
            }
        }
        if words > 0 {
            self.plan.gives_up = Some(self.buffer("exchange", &[words, 4])?);
        }
        Ok(())
    }

    fn exchange_words(&self, spec: &LayerSpec, steps: u32) -> u64 {
        let row = axis(padded(spec.state_size())) * axis(spec.direction.count());
        HEADER_WORDS + u64::from(steps) * u64::from(self.batch) * row
    }

    /// The time loop of a chunk: the exchange is cleared, then all steps are one dispatch, or a few where the
    /// driver ends loops early.
    pub(super) fn grid(&mut self, chunk: Chunk<'_>) -> Result<()> {
        let Chunk { spec, choice, recur, mut slots, .. } = chunk;
        let (Some(shape), Some(exchange)) = (choice.grid, self.plan.gives_up) else {
            return Err(Error::unsupported("strategy: expected the sizes of its grid, got none"));
        };
        let [x, slices] = choice.workgroup;
        let gate_count = to_u32(spec.cell.gates())?;
        let spins = if self.caps.loop_limit.is_some() { FEW_SPINS } else { SPINS };
        let mut variant = recurrent(Kernel::RecurGrid, spec, choice);
        variant.consts = vec![("SHARES", shape.shares), ("SLICES", slices), ("LOOKS", LOOKS)];
        let tiles = part_tiles([x, slices], gate_count, 1);
        let each_step = u32::from(self.caps.loop_limit.is_none());
        variant.overrides = vec![
            ("WG_X", x),
            ("WG_Y", slices),
            ("PART_TILES", tiles),
            ("SPINS", spins),
            ("EACH_STEP", each_step),
        ];
        // No options, no parameters.
        slots.pop();
        slots.push(Slot::Buffer(exchange));

        let rows = choice.rows.rows();
        let turns = ceil_div(self.batch, shape.tile_groups * rows);
        let gathered = ceil_div(rows * shape.shares * slices, x * slices);
        // Every loop counted as if none were unrolled.
        let turn = gathered + rows * (1 + gate_count) + slices.ilog2() * (1 + 2 * gate_count) + 1;
        let before = u64::from(spins) + u64::from(self.batch);
        let most = match self.caps.loop_limit {
            None => recur.step_count,
            Some(_) => {
                let per_step = u64::from(turns * turn + 1);
                self.check_loops("step of the loop over the device", before + per_step)?;
                narrow((self.loops_left() - before) / per_step)?.clamp(1, recur.step_count)
            }
        };
        let (end, mut first) = (recur.first_step + recur.step_count, recur.first_step);
        while first < end {
            let count = most.min(end - first);
            let words = self.exchange_words(spec, count);
            // A run starts with a clean header; later dispatches keep what earlier ones said.
            let is_first = !std::mem::replace(&mut self.has_cleared, true);
            let block = Clear { first: u32::from(!is_first), end: narrow(words.div_ceil(4))? };
            let clear = vec![Slot::Buffer(exchange)];
            let call = self.call(Variant::of(Kernel::Clear), clear, &block)?;
            self.dispatch(call, Grid::Fixed([ceil_div(block.end, 64).min(1024), 1, 1]))?;
            let block = Recur { first_step: first, step_count: count, ..recur };
            let call = self.call(variant.clone(), slots.clone(), &block)?;
            let groups = [shape.blocks, shape.tile_groups, recur.directions];
            self.dispatch(call, Grid::Fixed(groups))?;
            first += count;
        }
        Ok(())
    }
}
