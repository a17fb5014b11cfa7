//! Dropout of the recurrence: the forward step, and the states as W_hh saw them.

use super::super::builder::{Builder, narrow};
use super::super::layer::Chunk;
use super::super::*;
use super::TrainBuffer;
use crate::kernel::train::Stage;
use crate::kernel::uniforms::Recur;

impl Builder<'_> {
    /// Whether the plan's recurrences are masked.
    pub(in super::super) fn is_masked(&self) -> bool {
        self.plan.request.train.is_some_and(|train| train.recurrent_dropout)
    }

    /// The forward steps of a layer, each a dispatch.
    pub(in super::super) fn masked_steps(&mut self, chunk: Chunk<'_>) -> Result<()> {
        let Chunk { index, spec, recur, mut slots, .. } = chunk;
        let gates = to_u32(spec.cell.gates())?;
        self.check_loops("recurrent step", u64::from(recur.state4 * (1 + gates)) + 16)?;
        // Plain rules have no parameters: the hyper-parameters take their place.
        slots.pop();
        slots.push(Slot::Train(TrainBuffer::Hyper));
        let recur = Recur { layers: to_u32(index)?, ..recur };
        let mut variant = Variant::of(Kernel::Train(Stage::RecurMasked));
        variant.cell = Some(spec.cell);
        variant.rows = Some(RowTile::One);
        let call = self.call(variant, slots, &recur)?;
        let x_z = [ceil_div(recur.units4, 64), recur.directions];
        let calls = vec![(call, Grid::StepRows { x_z, per_group: 1 })];
        let (first, count) = (recur.first_step, recur.step_count);
        self.plan.ops.push(Op::Steps { calls, first, count, lag: 0 });
        Ok(())
    }

    /// The states before each step behind the mask.
    pub(super) fn mask_states(
        &mut self,
        index: usize,
        recur: Recur,
        before: usize,
    ) -> Result<usize> {
        let label = format!("masked states before steps of layer {index}");
        let bytes = self.plan.buffers[before].bytes;
        let kept = self.buffer(&label, &[bytes])?;
        let recur = Recur { layers: to_u32(index)?, ..recur };
        let slots = vec![Slot::Buffer(before), Slot::Train(TrainBuffer::Hyper), Slot::Buffer(kept)];
        let call = self.call(Variant::of(Kernel::Train(Stage::MaskStates)), slots, &recur)?;
        let rows = u64::from(self.steps) * u64::from(self.batch) * u64::from(recur.directions);
        let grid_y = rows.min(u64::from(self.caps.max_workgroups)).max(1);
        let groups = [ceil_div(recur.state4, 64), narrow(grid_y)?, narrow(rows.div_ceil(grid_y))?];
        self.dispatch(call, Grid::Fixed(groups))?;
        Ok(kept)
    }
}
