//! Backpropagation through time of the GRU that resets before its product.

use super::super::builder::{Builder, axis, narrow};
use super::super::*;
use super::Carry;
use super::time::Times;
use crate::kernel::train::Stage;
use crate::kernel::uniforms::{Gemm, Recur};

impl Builder<'_> {
    /// From dy to the gradients of all pre-activations; `gates_h` holds W_hh·h of all steps, `seen` each h before a step
    /// as W_hh saw it.
    pub(super) fn reset_before_turns(
        &mut self,
        index: usize,
        recur: Recur,
        (gates_x, gates_h): (usize, usize),
        (before, seen, dy): (usize, usize, usize),
    ) -> Result<Times> {
        let label = |what: &str| format!("{what} of layer {index}");
        let (z, batch) = (u64::from(recur.directions), u64::from(self.batch));
        let units = [u64::from(recur.units4), 16];
        let rows = z * batch * u64::from(self.steps);
        let reset = self.buffer(&label("states behind reset"), &[rows, units[0], units[1]])?;
        let gates_n = self.buffer(&label("gates_n"), &[rows, 3, units[0], units[1]])?;
        let carry =
            self.buffer(&label("gradients of states"), &[2, z, batch, units[0], units[1]])?;
        let lengths = Slot::Buffer(self.plan.lengths);
        let slots = [gates_x, gates_h, before].map(Slot::Buffer).into_iter();
        let slots = slots.chain([lengths, Slot::Buffer(reset)]).collect();
        let masked = |stage| {
            let mut variant = Variant::of(Kernel::Train(stage));
            variant.overrides = vec![("MASKED", u32::from(self.is_masked()))];
            variant
        };
        let [reset_rows, candidate, reset_gate] =
            [Stage::Reset, Stage::BackCandidate, Stage::BackReset].map(masked);
        let call = self.call(reset_rows, slots, &recur)?;
        let grid_y = rows.min(u64::from(self.caps.max_workgroups)).max(1);
        let groups = [ceil_div(recur.units4, 64), narrow(grid_y)?, narrow(rows.div_ceil(grid_y))?];
        self.dispatch(call, Grid::Fixed(groups))?;
        self.candidate_products(index, recur, (reset, gates_n))?;

        self.check_loops("step of backpropagation", axis(3) * units[0] + 64)?;
        let slots = vec![
            Slot::Weight(WeightId::RecurWeight(index)),
            Slot::Buffer(before),
            Slot::Buffer(dy),
            lengths,
            Slot::Buffer(gates_x),
            Slot::Buffer(gates_h),
            Slot::Buffer(gates_n),
            Slot::Buffer(carry),
        ];
        let one = Recur { step_count: 1, ..recur };
        let tiles = ceil_div(self.batch, 4 * 4);
        let grid = Grid::Fixed([ceil_div(recur.units4, 16), tiles, recur.directions]);
        let mut calls = Vec::new();
        for variant in [candidate, reset_gate] {
            calls.push((self.call(variant, slots.clone(), &one)?, grid));
        }
        self.plan.ops.push(Op::Steps { calls, first: 0, count: recur.step_count + 1, lag: 1 });
        let carry = Carry { both: carry, h: None };
        let reset = Some((reset, gates_n));
        Ok(Times { gates_h, before: seen, carry, cells: None, projected: None, reset })
    }

    /// `W_hh·(r⊙h) + b_hh` of all steps, of which n's part is read.
    fn candidate_products(
        &mut self,
        index: usize,
        recur: Recur,
        (reset, gates_n): (usize, usize),
    ) -> Result<()> {
        let lengths = Slot::Buffer(self.plan.lengths);
        let block = Gemm {
            batch: self.batch,
            first_step: 0,
            step_count: self.steps,
            reverse_mask: recur.reverse_mask,
            inner4: recur.units4,
            columns4: 3 * recur.units4,
            ..Gemm::default()
        };
        let slots = vec![
            Slot::Buffer(reset),
            Slot::Weight(WeightId::RecurWeight(index)),
            Slot::Weight(WeightId::RecurBias(index)),
            lengths,
            lengths,
            Slot::Buffer(gates_n),
        ];
        let mode = gemm::Mode { mode: 4, gathers: false };
        self.gemm(block, slots, mode, recur.directions, self.choices[index].beside())
    }
}
