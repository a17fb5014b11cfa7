//! Drivers with a dispatch, or a few, for each time step.

use super::builder::{Builder, axis};
use super::layer::{Chunk, set_rules};
use super::*;
use crate::cell::Cell;
use crate::kernel::uniforms::Recur;

/// What the kernels of a step have in common.
struct Step<'a> {
    spec: &'a LayerSpec,
    choice: &'a LayerChoice,
    recur: Recur,
    slots: Vec<Slot>,
    keeps_gates: bool,
    is_masked: bool,
}

impl Step<'_> {
    /// Workgroups over `width4` groups of values.
    fn grid(&self, width4: u32) -> Grid {
        let x = ceil_div(width4, self.choice.workgroup[0]);
        Grid::StepRows { x_z: [x, self.recur.directions], per_group: self.choice.tile_rows() }
    }

    fn variant(&self, kernel: Kernel, cell: Option<Cell>) -> Variant {
        let [x, y] = self.choice.workgroup;
        let mut variant = Variant::of(kernel);
        variant.cell = cell;
        variant.rows = Some(self.choice.rows);
        variant.overrides = vec![("WG_X", x), ("WG_Y", y)];
        set_rules(&mut variant, self.spec);
        let masks = kernel.spec().overrides.contains(&"MASKED");
        if masks && self.is_masked {
            variant.overrides.push(("MASKED", 1));
        }
        variant.keeps_gates = self.keeps_gates && kernel.can_keep_gates();
        variant
    }
}

impl Builder<'_> {
    /// A step by any driver that has a dispatch for it; `cells` and `y` are the layer's.
    pub(super) fn per_step(&mut self, chunk: Chunk<'_>, (cells, y): (usize, usize)) -> Result<()> {
        let Chunk { index, spec, choice, recur, slots, keeps_gates } = chunk;
        let inner = u64::from(recur.state4.max(recur.units4));
        // A mask takes ten rounds for every group of inputs.
        let rounds = if self.is_masked() { 10 } else { 0 };
        self.check_loops("recurrent step", inner * (1 + rounds + axis(spec.cell.gates())))?;
        let is_masked = self.is_masked();
        let step = Step { spec, choice, recur, slots, keeps_gates, is_masked };
        let mut calls = if spec.options.layer_norm.is_some() {
            self.normalised(&step)?
        } else if spec.cell == Cell::GruResetBefore {
            self.reset_before(&step)?
        } else {
            self.pointwise(&step)?
        };
        if spec.proj_size > 0 {
            let slots = vec![
                Slot::Weight(WeightId::Projection(index)),
                Slot::Buffer(self.plan.lengths),
                Slot::Buffer(cells),
                Slot::Buffer(y),
            ];
            let call = self.call(step.variant(Kernel::RecurProject, None), slots, &recur)?;
            calls.push((call, step.grid(recur.state4)));
        }
        let (first, count) = (recur.first_step, recur.step_count);
        self.plan.ops.push(Op::Steps { calls, first, count, lag: 0 });
        Ok(())
    }

    fn normalised(&mut self, step: &Step<'_>) -> Result<Vec<(usize, Grid)>> {
        let Step { spec, recur, slots, .. } = step;
        let loops = u64::from(recur.units4) * (3 + 2 * axis(spec.cell.gates())) / 32 + 64;
        self.check_loops("layer normalisation", loops)?;
        let cell = Some(spec.cell);
        let product = step.variant(Kernel::NormProduct, cell);
        let product = self.call(product, slots.clone(), recur)?;
        let update = self.call(step.variant(Kernel::NormUpdate, cell), slots.clone(), recur)?;
        let rows = Grid::StepRows { x_z: [1, recur.directions], per_group: 1 };
        Ok(vec![(product, step.grid(recur.units4)), (update, rows)])
    }

    fn reset_before(&mut self, step: &Step<'_>) -> Result<Vec<(usize, Grid)>> {
        let mut calls = Vec::new();
        for kernel in [Kernel::ResetBeforeGates, Kernel::ResetBeforeCandidate] {
            let call = self.call(step.variant(kernel, None), step.slots.clone(), &step.recur)?;
            calls.push((call, step.grid(step.recur.units4)));
        }
        Ok(calls)
    }

    fn pointwise(&mut self, step: &Step<'_>) -> Result<Vec<(usize, Grid)>> {
        let Step { spec, choice, recur, slots, .. } = step;
        let cell = Some(spec.cell);
        let mut grid = step.grid(recur.units4);
        let variant = match choice.strategy {
            Strategy::StepMatrix => {
                let mut variant = Variant::of(Kernel::RecurMatrix);
                variant.cell = cell;
                variant.consts = vec![("THREADS", choice.workgroup[0])];
                set_rules(&mut variant, spec);
                let width = ceil_div(4 * recur.units4, matrix::BLOCK);
                let x_z = [width, recur.directions];
                grid = Grid::StepRows { x_z, per_group: matrix::ROWS };
                variant
            }
            Strategy::StepSplit => {
                let mut variant = step.variant(Kernel::RecurSplit, cell);
                let lanes = split::lanes(choice.workgroup, self.caps);
                let gates = to_u32(spec.cell.gates())?;
                let tiles = split::part_tiles(choice.workgroup, gates, lanes);
                variant.overrides.push(("PART_TILES", tiles));
                variant.consts = vec![("LANES", lanes)];
                variant
            }
            _ => {
                let mut variant = step.variant(Kernel::RecurStep, cell);
                variant.overrides.push(("PROJECTED", u32::from(spec.proj_size > 0)));
                variant
            }
        };
        Ok(vec![(self.call(variant, slots.clone(), recur)?, grid)])
    }
}
