//! Dropout of the recurrence: how its layers run forward, and the states as W_hh saw them.
//!
//! The numbers that masks are drawn from change with every step of training: they stand behind the lengths, which every
//! kernel of a step binds (`shaders/lib/mask.wgsl`).

use super::super::builder::{Builder, narrow};
use super::super::*;
use crate::kernel::train::Stage;
use crate::kernel::uniforms::Recur;

/// The driver of a layer whose states are dropped as a step reads them, each step a dispatch, one row an invocation, in
/// place of what the planner chose.
pub(in super::super) fn choice(spec: &LayerSpec, free: &LayerChoice) -> Result<LayerChoice> {
    let x = to_u32(padded(spec.hidden_size) / 4)?.next_power_of_two().min(64);
    let choice = LayerChoice::new(Strategy::StepPerDispatch, RowTile::One, 1, [x, 1]);
    let reason =
        "one dispatch per time step, which drops states as it reads them (recurrent dropout)";
    Ok(LayerChoice { beside: Some(free.strategy), reason: reason.into(), ..choice })
}

impl Builder<'_> {
    /// Whether the plan's recurrences are masked.
    pub(in super::super) fn is_masked(&self) -> bool {
        self.plan.request.train.is_some_and(|train| train.recurrent_dropout)
    }

    /// Words behind the lengths.
    pub(in super::super) fn words_behind_lengths(&self) -> u64 {
        if self.is_masked() { HYPER_WORDS as u64 } else { 0 }
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
        let slots = [before, self.plan.lengths, kept].map(Slot::Buffer).to_vec();
        let mut variant = Variant::of(Kernel::Train(Stage::MaskStates));
        variant.overrides = vec![("MASKED", 1)];
        let call = self.call(variant, slots, &recur)?;
        let rows = u64::from(self.steps) * u64::from(self.batch) * u64::from(recur.directions);
        let grid_y = rows.min(u64::from(self.caps.max_workgroups)).max(1);
        let groups = [ceil_div(recur.state4, 64), narrow(grid_y)?, narrow(rows.div_ceil(grid_y))?];
        self.dispatch(call, Grid::Fixed(groups))?;
        Ok(kept)
    }
}
