//! Backpropagation through time of one layer.

use super::super::builder::{Builder, axis, narrow};
use super::super::layer::{reverse_mask, set_rules};
use super::super::strategy::tile_for;
use super::super::*;
use super::{Carry, Shared, Tape};
use crate::cell::Cell;
use crate::kernel::train::Stage;
use crate::kernel::uniforms::Recur;

/// What the time loop leaves behind.
pub(super) struct Times {
    /// Gradients of W_hh's pre-activations.
    pub(super) gates_h: usize,
    /// h before each step, as W_hh saw it.
    pub(super) before: usize,
    /// Gradients of the initial states.
    pub(super) carry: Carry,
    /// Cell states before each step, for cells with one.
    pub(super) cells: Option<usize>,
    /// h before the projection, and gradients of h behind it, of all steps.
    pub(super) projected: Option<(usize, usize)>,
    /// r⊙h before each step, and gradients of what W_hn made of it: the GRU that resets before its product.
    pub(super) reset: Option<(usize, usize)>,
}

/// Tiles of rows of a workgroup whose lanes share what they load.
const MOST_GROUPS: u32 = 4;
/// Groups of four units up to which hardware, too, keeps a tile of rows in one workgroup: a turn then costs a
/// barrier and not a dispatch.
const RESIDENT_UNITS4: u32 = 32;

impl Builder<'_> {
    /// From dy to the gradients of all pre-activations, which take the pre-activations' places.
    pub(super) fn back_through_time(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        tape: &Tape,
        dy: usize,
    ) -> Result<Times> {
        let recur = self.all_steps(index, spec)?;
        let before = self.before(index, recur, tape.y)?;
        let seen = if self.is_masked() { self.mask_states(index, recur, before)? } else { before };
        let gates_h = match tape.gates_h {
            Some(kept) => kept,
            None => self.hidden_gates(index, spec, seen)?,
        };
        if spec.cell == Cell::GruResetBefore {
            return self.reset_before_turns(
                index,
                recur,
                (tape.gates_x, gates_h),
                (before, seen, dy),
            );
        }
        let outputs = self.outputs(index, spec)?;
        let cells = if spec.cell.has_c() {
            Some(self.replay(index, spec, recur, (tape.gates_x, gates_h, outputs))?)
        } else {
            None
        };
        let states = cells.unwrap_or(before);
        let axes =
            [2, u64::from(recur.directions), u64::from(self.batch), u64::from(recur.units4), 16];
        let both = self.buffer(&format!("gradients of states of layer {index}"), &axes)?;
        let slots = vec![
            Slot::Weight(WeightId::RecurWeight(index)),
            Slot::Buffer(states),
            Slot::Buffer(dy),
            Slot::Buffer(self.plan.lengths),
            Slot::Weight(WeightId::CellParams(index)),
            Slot::Buffer(tape.gates_x),
            Slot::Buffer(gates_h),
            Slot::Buffer(both),
        ];
        let (mut carry, mut projected) = (Carry { both, h: None }, None);
        if spec.proj_size > 0 {
            let (dr, end) = self.projected_turns(index, spec, recur, slots, (dy, gates_h))?;
            carry.h = Some(end);
            projected = Some((outputs, dr));
        } else {
            self.turns(spec, recur, slots)?;
        }
        Ok(Times { gates_h, before: seen, carry, cells, projected, reset: None })
    }

    /// A layer's uniform block over all steps.
    fn all_steps(&self, index: usize, spec: &LayerSpec) -> Result<Recur> {
        Ok(Recur {
            batch: self.batch,
            directions: to_u32(spec.direction.count())?,
            reverse_mask: reverse_mask(spec),
            state4: to_u32(padded(spec.state_size()) / 4)?,
            units4: to_u32(padded(spec.hidden_size) / 4)?,
            state_size: to_u32(spec.state_size())?,
            units: to_u32(spec.hidden_size)?,
            step_count: self.steps,
            gate_steps: self.steps,
            layers: to_u32(index)?,
            ..Recur::default()
        })
    }

    /// h before the projection of all steps, or a buffer that nothing is written to.
    fn outputs(&mut self, index: usize, spec: &LayerSpec) -> Result<usize> {
        if spec.proj_size == 0 {
            return self.buffer(&format!("no outputs of layer {index}"), &[16]);
        }
        let rows = u64::from(self.steps) * u64::from(self.batch) * axis(spec.direction.count());
        let axes = [rows, axis(padded(spec.hidden_size)), 4];
        self.buffer(&format!("outputs before the projection of layer {index}"), &axes)
    }

    /// Turns of a layer with a projection, three dispatches each; returns the gradients of its output at all steps,
    /// and that of h_0.
    fn projected_turns(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        recur: Recur,
        mut slots: Vec<Slot>,
        (dy, gates_h): (usize, usize),
    ) -> Result<(usize, usize)> {
        let (z, batch) = (u64::from(recur.directions), u64::from(self.batch));
        let (units4, state4) = (u64::from(recur.units4), u64::from(recur.state4));
        let label = |what: &str| format!("{what} of layer {index}");
        let rows = z * batch * u64::from(self.steps);
        let dh = self.buffer(&label("gradient of h of a step"), &[z, batch, units4, 16])?;
        let dr = self.buffer(&label("gradients of h"), &[rows, state4, 16])?;
        let end = self.buffer(&label("gradient of h_0"), &[z, batch, state4, 16])?;
        slots[2] = Slot::Buffer(dh);
        let gates = to_u32(spec.cell.gates())?;
        self.check_loops("step of backpropagation", u64::from(gates * recur.units4) + 64)?;
        let one = Recur { step_count: 1, ..recur };
        let tiles = ceil_div(self.batch, 4 * 4);
        let mut calls = Vec::new();
        let lengths = Slot::Buffer(self.plan.lengths);
        let products = [
            (0, WeightId::RecurWeight(index), end, recur.state4),
            (1, WeightId::Projection(index), dh, recur.units4),
        ];
        for (mode, weight, target, width) in products {
            let mut variant = Variant::of(Kernel::Train(Stage::BackProduct));
            let masked = u32::from(self.is_masked());
            variant.overrides = vec![("MODE", mode), ("GATES", gates), ("MASKED", masked)];
            let [gates_h, dy, dr, target] = [gates_h, dy, dr, target].map(Slot::Buffer);
            let slots = vec![Slot::Weight(weight), gates_h, dy, lengths, dr, target];
            let call = self.call(variant, slots, &one)?;
            calls.push((call, Grid::Fixed([ceil_div(width, 16), tiles, recur.directions])));
        }
        let lanes = recur.units4.next_power_of_two().min(64);
        let rows = tile_for(self.batch);
        let variant = back_step(spec, rows, lanes, self.is_masked());
        let call = self.call(variant, slots, &one)?;
        let groups =
            [ceil_div(recur.units4, lanes), ceil_div(self.batch, rows.rows()), recur.directions];
        calls.push((call, Grid::Fixed(groups)));
        self.plan.ops.push(Op::Steps { calls, first: 0, count: recur.step_count + 1, lag: 1 });
        Ok((dr, end))
    }

    /// All turns: one dispatch each, or many in one dispatch.
    fn turns(&mut self, spec: &LayerSpec, recur: Recur, slots: Vec<Slot>) -> Result<()> {
        let is_resident = self.caps.is_software || recur.units4 <= RESIDENT_UNITS4;
        let share = ceil_div(
            self.batch.saturating_mul(recur.directions),
            self.caps.workgroups_at_once.max(1),
        );
        let rows = if is_resident { tile_for(self.batch.min(share)) } else { tile_for(self.batch) };
        let along = recur.units4.next_power_of_two().min(if is_resident { 32 } else { 64 });
        let gates = to_u32(spec.cell.gates())?;
        let mut variant = back_step(spec, rows, along, self.is_masked());
        let (mut groups, mut along) = (1, along);
        if let (Some(lanes), true) = (self.caps.subgroup, self.takes_long_forms()) {
            // More tiles of rows for every weight that is loaded, and dgh shared by the lanes.
            groups = (share / rows.rows()).clamp(1, MOST_GROUPS);
            along = along.max(lanes);
            variant = back_step(spec, rows, along, self.is_masked());
            variant.consts = vec![("LANES", lanes), ("GROUPS", groups)];
        }
        let tile_rows = groups * rows.rows();
        let per_unit = u64::from(gates * recur.units4 + tile_rows * (2 * gates + 7));
        let units = u64::from(ceil_div(recur.units4, along));
        let tiles = ceil_div(self.batch, tile_rows);
        let all = recur.step_count + 1;
        if !is_resident {
            self.check_loops("step of backpropagation", per_unit + 2)?;
            let call = self.call(variant, slots, &Recur { step_count: 1, ..recur })?;
            let x = ceil_div(recur.units4, along);
            let grid = Grid::Fixed([x, tiles, recur.directions]);
            let calls = vec![(call, grid)];
            self.plan.ops.push(Op::Steps { calls, first: 0, count: all, lag: 1 });
            return Ok(());
        }
        let per_turn = units * per_unit + 2;
        self.check_loops("step of backpropagation", per_turn)?;
        let most = narrow((self.loops_left() / per_turn).min(u64::from(all)))?.max(1);
        let mut first = 0;
        while first < all {
            let count = most.min(all - first);
            let block = Recur { first_step: first, step_count: count, ..recur };
            let call = self.call(variant.clone(), slots.clone(), &block)?;
            self.dispatch(call, Grid::Fixed([1, tiles, recur.directions]))?;
            first += count;
        }
        Ok(())
    }

    /// h before each step.
    fn before(&mut self, index: usize, recur: Recur, y: usize) -> Result<usize> {
        let rows = u64::from(self.steps) * u64::from(self.batch) * u64::from(recur.directions);
        let axes = [rows, u64::from(recur.state4), 16];
        let before = self.shared(Shared::States, "states before steps", &axes)?;
        let slots = vec![
            Slot::Buffer(y),
            Slot::Buffer(self.layer_of(index)?.h_0),
            Slot::Buffer(self.plan.lengths),
            Slot::Buffer(before),
        ];
        let call = self.call(Variant::of(Kernel::Train(Stage::Before)), slots, &recur)?;
        let grid_y = rows.min(u64::from(self.caps.max_workgroups)).max(1);
        let groups = [ceil_div(recur.state4, 64), narrow(grid_y)?, narrow(rows.div_ceil(grid_y))?];
        self.dispatch(call, Grid::Fixed(groups))?;
        Ok(before)
    }

    /// c before each step.
    fn replay(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        recur: Recur,
        (gates_x, gates_h, outputs): (usize, usize, usize),
    ) -> Result<usize> {
        self.check_loops("replay", u64::from(self.steps) * (1 + axis(spec.cell.gates())))?;
        let rows = u64::from(self.steps) * u64::from(self.batch) * u64::from(recur.directions);
        let axes = [rows, u64::from(recur.units4), 16];
        let before = self.shared(Shared::Cells, "cell states before steps", &axes)?;
        let missing = || Error::unsupported("training: expected a cell state, got none");
        let c_0 = self.layer_of(index)?.c_0.ok_or_else(missing)?;
        let mut variant = Variant::of(Kernel::Train(Stage::Replay));
        variant.cell = Some(spec.cell);
        variant.overrides = vec![("OUTPUTS", u32::from(spec.proj_size > 0))];
        set_rules(&mut variant, spec);
        let slots = vec![
            Slot::Buffer(gates_x),
            Slot::Buffer(gates_h),
            Slot::Buffer(c_0),
            Slot::Buffer(self.plan.lengths),
            Slot::Weight(WeightId::CellParams(index)),
            Slot::Buffer(before),
            Slot::Buffer(outputs),
        ];
        let call = self.call(variant, slots, &recur)?;
        let groups = [ceil_div(recur.units4, 16), ceil_div(self.batch, 4), recur.directions];
        self.dispatch(call, Grid::Fixed(groups))?;
        Ok(before)
    }

    fn layer_of(&self, index: usize) -> Result<&LayerBuffers> {
        let missing = || Error::unsupported("training: expected the layer's forward part first");
        self.plan.layers.get(index).ok_or_else(missing)
    }
}

/// The kernel of a turn.
fn back_step(spec: &LayerSpec, rows: RowTile, along: u32, masked: bool) -> Variant {
    let mut variant = Variant::of(Kernel::Train(Stage::BackStep));
    variant.cell = Some(spec.cell);
    variant.rows = Some(rows);
    variant.overrides = vec![
        ("WG_X", along),
        ("PEEPHOLE", u32::from(spec.options.peephole)),
        ("PROJECTED", u32::from(spec.proj_size > 0)),
        ("MASKED", u32::from(masked)),
    ];
    variant
}
