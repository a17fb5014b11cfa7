//! Drivers that run many time steps in one dispatch, and how many steps that may be.

use super::builder::{Builder, axis, narrow};
use super::layer::{Chunk, recurrent, set_rules};
use super::*;
use crate::kernel::uniforms::Recur;

/// Loop iterations of one dispatch on drivers that end loops early, with a margin.
const LOOP_MARGIN: u32 = 5_000;
/// Work of one resident workgroup in one dispatch on hardware: half a second at 20 GFLOP/s a core.
const RESIDENT_FLOPS: u64 = 10_000_000_000;

impl Builder<'_> {
    /// Loop iterations that a dispatch may run, margin left out.
    pub(super) fn loops_left(&self) -> u64 {
        self.caps.loop_limit.map_or(u64::MAX, |limit| u64::from(limit.saturating_sub(LOOP_MARGIN)))
    }

    pub(super) fn check_loops(&self, what: &str, iterations: u64) -> Result<()> {
        match self.caps.loop_limit {
            Some(limit) if iterations + u64::from(LOOP_MARGIN) > u64::from(limit) => {
                Err(Error::limit(format!(
                    "{what}: expected at most {} loop iterations, which is what this driver runs, \
                     got {iterations}",
                    limit.saturating_sub(LOOP_MARGIN)
                )))
            }
            _ => Ok(()),
        }
    }

    /// The loop with states in workgroup memory.
    pub(super) fn resident(&mut self, chunk: Chunk<'_>) -> Result<()> {
        let Chunk { spec, choice, recur, slots, keeps_gates, .. } = chunk;
        let most = self.resident_steps(spec, choice, &recur)?;
        let mut variant = recurrent(Kernel::RecurResident, spec, choice);
        let [x, wg_y] = choice.workgroup;
        let state_vecs = 2 * choice.tile_rows() * recur.state4;
        variant.overrides = vec![("WG_X", x), ("WG_Y", wg_y), ("STATE_VECS", state_vecs)];
        set_rules(&mut variant, spec);
        variant.keeps_gates = keeps_gates;
        self.loop_dispatches(&variant, &slots, recur, (most, choice.tile_rows()))
    }

    /// The tile driver, step by step or resident.
    pub(super) fn tile(&mut self, chunk: Chunk<'_>) -> Result<()> {
        let Chunk { spec, choice, recur, mut slots, keeps_gates, .. } = chunk;
        let Some(tile) = choice.tile else {
            return Err(Error::unsupported("strategy: expected the sizes of its tile, got none"));
        };
        let one_step = choice.strategy == Strategy::StepTile;
        let step_loops = tile.step_loops(spec, choice.rows)? + u64::from(choice.tile_rows());
        self.check_loops("tile step", step_loops)?;
        let mut kernel = Kernel::RecurTile;
        if let (Slot::Weight(weight), true) = (slots[1], tile.from_textures) {
            kernel = Kernel::RecurTileTextures;
            slots[1] = Slot::WeightTexture(weight);
            slots[3] = self.texture_states(&recur, slots[3])?;
        }
        let mut variant = recurrent(kernel, spec, choice);
        variant.consts = tile.consts();
        set_rules(&mut variant, spec);
        variant.keeps_gates = keeps_gates;
        let (z, per_group) = (recur.directions, choice.tile_rows());
        if one_step {
            // Every dispatch runs one step from the uniform's on.
            let call = self.call(variant, slots, &Recur { step_count: 1, ..recur })?;
            let y = ceil_div(recur.units4, tile.width4());
            let grid = Grid::StepTiles { y_z: [y, z], per_group };
            let (first, count) = (recur.first_step, recur.step_count);
            self.plan.ops.push(Op::Steps { calls: vec![(call, grid)], first, count, lag: 0 });
            return Ok(());
        }
        let most = self.steps_within(step_loops, spec, choice, recur.step_count)?;
        self.loop_dispatches(&variant, &slots, recur, (most, per_group))
    }

    /// The loop with weights in registers.
    pub(super) fn stationary(&mut self, chunk: Chunk<'_>) -> Result<()> {
        let Chunk { spec, choice, recur, slots, keeps_gates, .. } = chunk;
        let Some(shape) = choice.stationary else {
            return Err(Error::unsupported("strategy: expected the sizes of its loop, got none"));
        };
        let mut variant = recurrent(Kernel::RecurStationary, spec, choice);
        variant.consts = shape.consts();
        set_rules(&mut variant, spec);
        variant.keeps_gates = keeps_gates;
        let step_loops = shape.step_loops(choice.rows, to_u32(spec.cell.gates())?);
        let most = self.steps_within(step_loops, spec, choice, recur.step_count)?;
        self.loop_dispatches(&variant, &slots, recur, (most, choice.tile_rows()))
    }

    /// One dispatch for every `most` steps of a chunk.
    fn loop_dispatches(
        &mut self,
        variant: &Variant,
        slots: &[Slot],
        recur: Recur,
        (most, per_group): (u32, u32),
    ) -> Result<()> {
        let (end, mut first) = (recur.first_step + recur.step_count, recur.first_step);
        while first < end {
            let count = most.min(end - first);
            let block = Recur { first_step: first, step_count: count, ..recur };
            let call = self.call(variant.clone(), slots.to_vec(), &block)?;
            self.dispatch(call, Grid::Tiles { first, per_group, z: recur.directions })?;
            first += count;
        }
        Ok(())
    }

    /// Steps that one resident dispatch may run: the driver's loop limit, and the watchdog.
    fn resident_steps(&self, spec: &LayerSpec, choice: &LayerChoice, recur: &Recur) -> Result<u32> {
        let gates = axis(spec.cell.gates());
        let sweeps = u64::from(ceil_div(recur.units4, choice.workgroup[0]));
        let rows = u64::from(choice.rows.rows());
        // Every loop counted as if none were unrolled; training keeps gates in one more.
        let per_step = sweeps
            * (1 + u64::from(recur.state4) * (1 + gates) + rows * (1 + 2 * gates))
            + rows
            + 1;
        self.steps_within(per_step, spec, choice, recur.step_count)
    }

    /// Steps that one dispatch of a resident loop may run, when a step takes `per_step` iterations.
    fn steps_within(
        &self,
        per_step: u64,
        spec: &LayerSpec,
        choice: &LayerChoice,
        step_count: u32,
    ) -> Result<u32> {
        let gates = axis(spec.cell.gates());
        let by_loops = match self.caps.loop_limit {
            None => u64::MAX,
            Some(_) => {
                self.check_loops("resident step", per_step)?;
                self.loops_left() / per_step
            }
        };
        let tile_flops = 2
            * gates
            * axis(spec.hidden_size)
            * axis(spec.hidden_size)
            * u64::from(choice.tile_rows());
        let by_work =
            if self.caps.is_software { u64::MAX } else { RESIDENT_FLOPS / tile_flops.max(1) };
        narrow(by_loops.min(by_work).clamp(1, u64::from(step_count)))
    }
}
