//! The recurrent layers of a [`Plan`]: input projection and time loop, chunk by chunk.

use super::builder::{Builder, Rows, axis, narrow};
use super::gemm::Mode;
use super::*;
use crate::cell::Cell;
use crate::kernel::uniforms::{Gemm, NormRows, Recur};

/// Bytes of gates_x held at once: enough steps for full products, small enough to stay near the
/// caches and well under every binding limit.
const GATES_BUDGET: u64 = 64 << 20;
/// Bytes of the per-step uniform buffer.
const STEP_UNIFORM_BUDGET: u64 = 4 << 20;
/// Loop iterations of one dispatch on drivers that end loops early, with a margin.
const LOOP_MARGIN: u32 = 5_000;
/// Work of one resident workgroup in one dispatch on hardware: half a second at 20 GFLOP/s a core.
const RESIDENT_FLOPS: u64 = 10_000_000_000;

impl Builder<'_> {
    /// Bytes of gates_x that one time step of a layer needs.
    fn gates_step_bytes(&self, spec: &LayerSpec) -> u64 {
        let columns = axis(spec.cell.gates() * padded(spec.hidden_size));
        columns * 4 * u64::from(self.batch) * axis(spec.direction.count())
    }

    pub(super) fn chunk_steps(&self, spec: &LayerSpec) -> Result<u32> {
        let step_bytes = self.gates_step_bytes(spec).max(1);
        let budget = GATES_BUDGET.min(self.caps.max_binding).max(step_bytes);
        let by_memory = budget / step_bytes;
        // Rows of a product go along y, eight or more a workgroup.
        let by_grid = u64::from(self.caps.max_workgroups) * 8 / u64::from(self.batch.max(1));
        // The per-step uniform has one block for each step of a chunk.
        let by_uniform = STEP_UNIFORM_BUDGET.min(self.caps.max_buffer)
            / u64::from(self.caps.uniform_align.max(16));
        let flops = step_flops(spec, self.batch).max(1);
        let by_work = (self.caps.flops_per_submit / flops).max(1);
        let most = by_memory.min(by_grid).min(by_uniform).min(by_work);
        narrow(most.clamp(1, u64::from(self.steps.max(1))))
    }

    pub(super) fn gates_buffer(&mut self) -> Result<usize> {
        let mut bytes = 0;
        for spec in &self.network.layers {
            bytes = bytes.max(self.gates_step_bytes(spec) * u64::from(self.chunk_steps(spec)?));
        }
        self.buffer("gates_x", &[bytes])
    }

    /// Two homes for layer outputs, used in turn.
    pub(super) fn y_buffers(&mut self) -> Result<[usize; 2]> {
        let mut widths = [0usize; 2];
        for (index, spec) in self.network.layers.iter().enumerate() {
            if self.choices[index].strategy == Strategy::Wavefront {
                continue;
            }
            let width = padded(spec.state_size()) * spec.direction.count();
            widths[index % 2] = widths[index % 2].max(width);
        }
        let (batch, steps) = (u64::from(self.batch), u64::from(self.steps));
        let first = self.buffer("y (even layers)", &[steps, batch, axis(widths[0]), 4])?;
        if widths[1] == 0 {
            return Ok([first, first]);
        }
        let second = self.buffer("y (odd layers)", &[steps, batch, axis(widths[1]), 4])?;
        Ok([first, second])
    }

    pub(super) fn layer(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        rows: Rows,
        gates: usize,
        y: usize,
    ) -> Result<Rows> {
        let choice = self.choices[index].clone();
        let (units, state) = (padded(spec.hidden_size), padded(spec.state_size()));
        let buffers = self.layer_buffers(index, spec)?;
        let is_normalised = spec.options.layer_norm.is_some();
        let mut first = 0;
        let chunk = self.chunk_steps(spec)?;
        while first < self.steps {
            let count = chunk.min(self.steps - first);
            self.project_input(index, spec, rows, gates, (first, count), choice.strategy)?;
            if is_normalised {
                self.norm_rows(index, spec, gates, (first, count))?;
            }
            let recur = Recur {
                batch: self.batch,
                directions: to_u32(spec.direction.count())?,
                reverse_mask: reverse_mask(spec),
                state4: to_u32(state / 4)?,
                units4: to_u32(units / 4)?,
                state_size: to_u32(spec.state_size())?,
                units: to_u32(spec.hidden_size)?,
                first_step: first,
                step_count: count,
                gate_first: first,
                gate_steps: count,
                ..Recur::default()
            };
            match choice.strategy {
                Strategy::StepTile | Strategy::ResidentTile => {
                    self.tile(index, spec, &choice, recur, (gates, y), &buffers)?
                }
                Strategy::Resident => {
                    self.resident(index, spec, &choice, recur, (gates, y), &buffers)?
                }
                Strategy::Stationary => {
                    self.stationary(index, spec, &choice, recur, (gates, y), &buffers)?
                }
                Strategy::GridPersistent => {
                    self.grid(index, spec, &choice, recur, (gates, y), &buffers)?
                }
                _ => self.per_step(index, spec, &choice, recur, (gates, y), &buffers)?,
            }
            let flops = step_flops(spec, self.batch).saturating_mul(u64::from(count));
            self.plan.ops.push(Op::MaySubmit { first, flops });
            first += count;
        }
        self.final_states(spec, y, &buffers)?;
        self.plan.layers.push(buffers);
        let blocks = spec.direction.count();
        Ok(Rows { slot: Slot::Buffer(y), width: state * blocks, blocks, block: state })
    }

    /// States and working memory of a layer.
    fn layer_buffers(&mut self, index: usize, spec: &LayerSpec) -> Result<LayerBuffers> {
        let directions = axis(spec.direction.count());
        let batch = u64::from(self.batch);
        let (units, state) = (padded(spec.hidden_size), padded(spec.state_size()));
        let label = |what: &str| format!("{what} of layer {index}");
        let state_axes = [directions, batch, axis(state), 4];
        let cell_axes = [directions, batch, axis(units), 4];
        let needs_scratch = spec.proj_size > 0 || spec.cell == Cell::GruResetBefore;
        let is_normalised = spec.options.layer_norm.is_some();
        let cells = match (needs_scratch, spec.cell.has_c()) {
            _ if is_normalised => {
                let parts = axis(1 + spec.cell.gates());
                self.buffer(&label("cells"), &[parts, directions, batch, axis(units), 4])?
            }
            (false, false) => self.buffer(&label("cells"), &[16])?,
            (false, true) => self.buffer(&label("cells"), &cell_axes)?,
            (true, _) => self.buffer(&label("cells"), &[2, directions, batch, axis(units), 4])?,
        };
        let h_0 = self.buffer(&label("h_0"), &state_axes)?;
        let c_0 = if spec.cell.has_c() {
            let c_0 = self.buffer(&label("c_0"), &cell_axes)?;
            self.start(c_0, (cells, 0));
            Some(c_0)
        } else {
            None
        };
        Ok(LayerBuffers {
            h_0,
            c_0,
            cells,
            cells_at: 0,
            h_n: self.buffer(&label("h_n"), &state_axes)?,
        })
    }

    pub(super) fn project_input(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        rows: Rows,
        gates: usize,
        (first, count): (u32, u32),
        beside: Strategy,
    ) -> Result<()> {
        let columns4 = to_u32(spec.cell.gates() * padded(spec.hidden_size) / 4)?;
        let vocab = if index == 0 { self.network.input.vocab().unwrap_or(0) } else { 0 };
        let block = Gemm {
            batch: self.batch,
            first_step: first,
            step_count: count,
            reverse_mask: reverse_mask(spec),
            inner4: to_u32(rows.width / 4)?,
            columns4,
            vocab: to_u32(vocab)?,
            zero: 0,
            columns: 0,
        };
        let (lengths, c) = (Slot::Buffer(self.plan.lengths), Slot::Buffer(gates));
        let weight = Slot::Weight(WeightId::InputWeight(index));
        let bias = Slot::Weight(WeightId::InputBias(index));
        let z = to_u32(spec.direction.count())?;
        if index == 0 && matches!(self.network.input, InputSpec::OneHot { .. }) {
            let mut variant = Variant::of(Kernel::OneHot);
            variant.overrides = vec![("WG_X", 8), ("WG_Y", 8)];
            let call = self.call(variant, vec![weight, bias, lengths, rows.slot, c], &block)?;
            let x_z = [ceil_div(columns4, 8), z];
            return self.dispatch(call, Grid::ChunkRows { x_z, first, count, per_group: 8 });
        }
        let is_gather = index == 0 && vocab > 0;
        let (a, tokens) = if is_gather {
            (Slot::Weight(WeightId::Embedding), rows.slot)
        } else {
            (rows.slot, lengths)
        };
        let slots = vec![a, weight, bias, lengths, tokens, c];
        self.gemm(block, slots, Mode { mode: 0, gathers: is_gather }, z, beside)
    }

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

    fn per_step(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        choice: &LayerChoice,
        recur: Recur,
        (gates, y): (usize, usize),
        buffers: &LayerBuffers,
    ) -> Result<()> {
        let inner = u64::from(recur.state4.max(recur.units4));
        self.check_loops("recurrent step", inner * (1 + axis(spec.cell.gates())))?;
        let slots = self.recur_slots(index, (gates, y), buffers);
        let [x, wg_y] = choice.workgroup;
        let z = recur.directions;
        let grid = |width4: u32| Grid::StepRows {
            x_z: [ceil_div(width4, x), z],
            per_group: choice.tile_rows(),
        };
        let variant = |kernel: Kernel, cell: Option<Cell>| {
            let mut variant = Variant::of(kernel);
            variant.cell = cell;
            variant.rows = Some(choice.rows);
            variant.overrides = vec![("WG_X", x), ("WG_Y", wg_y)];
            set_rules(&mut variant, spec);
            variant
        };
        let mut calls = Vec::new();
        if spec.options.layer_norm.is_some() {
            let cell = Some(spec.cell);
            let loops = u64::from(recur.units4) * (3 + 2 * axis(spec.cell.gates())) / 32 + 64;
            self.check_loops("layer normalisation", loops)?;
            let call = self.call(variant(Kernel::NormProduct, cell), slots.clone(), &recur)?;
            calls.push((call, grid(recur.units4)));
            let call = self.call(variant(Kernel::NormUpdate, cell), slots, &recur)?;
            calls.push((call, Grid::StepRows { x_z: [1, z], per_group: 1 }));
        } else if spec.cell == Cell::GruResetBefore {
            for kernel in [Kernel::ResetBeforeGates, Kernel::ResetBeforeCandidate] {
                let call = self.call(variant(kernel, None), slots.clone(), &recur)?;
                calls.push((call, grid(recur.units4)));
            }
        } else if choice.strategy == Strategy::StepSplit {
            let mut step = variant(Kernel::RecurSplit, Some(spec.cell));
            let tiles = split::part_tiles(choice.workgroup, to_u32(spec.cell.gates())?);
            step.overrides.push(("PART_TILES", tiles));
            let call = self.call(step, slots, &recur)?;
            calls.push((call, grid(recur.units4)));
        } else {
            let mut step = variant(Kernel::RecurStep, Some(spec.cell));
            step.overrides.push(("PROJECTED", u32::from(spec.proj_size > 0)));
            let call = self.call(step, slots, &recur)?;
            calls.push((call, grid(recur.units4)));
        }
        if spec.proj_size > 0 {
            let slots = vec![
                Slot::Weight(WeightId::Projection(index)),
                Slot::Buffer(self.plan.lengths),
                Slot::Buffer(buffers.cells),
                Slot::Buffer(y),
            ];
            let call = self.call(variant(Kernel::RecurProject, None), slots, &recur)?;
            calls.push((call, grid(recur.state4)));
        }
        self.plan.ops.push(Op::Steps {
            calls,
            first: recur.first_step,
            count: recur.step_count,
            lag: 0,
        });
        Ok(())
    }

    fn resident(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        choice: &LayerChoice,
        recur: Recur,
        (gates, y): (usize, usize),
        buffers: &LayerBuffers,
    ) -> Result<()> {
        let most = self.resident_steps(spec, choice, &recur)?;
        let mut variant = recurrent(Kernel::RecurResident, spec, choice);
        let [x, wg_y] = choice.workgroup;
        let state_vecs = 2 * choice.tile_rows() * recur.state4;
        variant.overrides = vec![("WG_X", x), ("WG_Y", wg_y), ("STATE_VECS", state_vecs)];
        set_rules(&mut variant, spec);
        let slots = self.recur_slots(index, (gates, y), buffers);
        self.loop_dispatches(&variant, &slots, recur, (most, choice.tile_rows()))
    }

    /// The tile driver, step by step or resident.
    fn tile(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        choice: &LayerChoice,
        recur: Recur,
        (gates, y): (usize, usize),
        buffers: &LayerBuffers,
    ) -> Result<()> {
        let Some(tile) = choice.tile else {
            return Err(Error::unsupported("strategy: expected the sizes of its tile, got none"));
        };
        let one_step = choice.strategy == Strategy::StepTile;
        let step_loops = tile.step_loops(spec, choice.rows)? + u64::from(choice.tile_rows());
        self.check_loops("tile step", step_loops)?;
        let mut variant = recurrent(Kernel::RecurTile, spec, choice);
        variant.consts = tile.consts();
        set_rules(&mut variant, spec);
        let slots = self.recur_slots(index, (gates, y), buffers);
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
    fn stationary(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        choice: &LayerChoice,
        recur: Recur,
        (gates, y): (usize, usize),
        buffers: &LayerBuffers,
    ) -> Result<()> {
        let Some(shape) = choice.stationary else {
            return Err(Error::unsupported("strategy: expected the sizes of its loop, got none"));
        };
        let mut variant = recurrent(Kernel::RecurStationary, spec, choice);
        variant.consts = shape.consts();
        set_rules(&mut variant, spec);
        let slots = self.recur_slots(index, (gates, y), buffers);
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

    /// What every recurrent driver binds, in the order of their table rows.
    pub(super) fn recur_slots(
        &self,
        index: usize,
        (gates, y): (usize, usize),
        buffers: &LayerBuffers,
    ) -> Vec<Slot> {
        vec![
            Slot::Buffer(gates),
            Slot::Weight(WeightId::RecurWeight(index)),
            Slot::Weight(WeightId::RecurBias(index)),
            Slot::Buffer(buffers.h_0),
            Slot::Buffer(self.plan.lengths),
            Slot::Buffer(y),
            Slot::Buffer(buffers.cells),
            Slot::Weight(WeightId::CellParams(index)),
        ]
    }

    /// Layer normalisation of a chunk of gates_x.
    fn norm_rows(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        gates: usize,
        (first, count): (u32, u32),
    ) -> Result<()> {
        let directions = to_u32(spec.direction.count())?;
        let total = u64::from(count) * u64::from(self.batch) * u64::from(directions);
        let grid_y = total.min(u64::from(self.caps.max_workgroups)).max(1);
        let block = NormRows {
            batch: self.batch,
            directions,
            first_step: first,
            step_count: count,
            gates: to_u32(spec.cell.gates())?,
            units4: to_u32(padded(spec.hidden_size) / 4)?,
            units: to_u32(spec.hidden_size)?,
            grid_y: narrow(grid_y)?,
        };
        self.check_loops("layer normalisation", u64::from(block.gates * block.units4) / 16 + 64)?;
        let slots = vec![
            Slot::Weight(WeightId::InputNorm(index)),
            Slot::Buffer(self.plan.lengths),
            Slot::Buffer(gates),
        ];
        let call = self.call(Variant::of(Kernel::NormRows), slots, &block)?;
        let groups = [1, narrow(grid_y)?, narrow(total.div_ceil(grid_y))?];
        self.dispatch(call, Grid::Fixed(groups))
    }

    /// Steps that one resident dispatch may run: the driver's loop limit, and the watchdog.
    fn resident_steps(&self, spec: &LayerSpec, choice: &LayerChoice, recur: &Recur) -> Result<u32> {
        let gates = axis(spec.cell.gates());
        let sweeps = u64::from(ceil_div(recur.units4, choice.workgroup[0]));
        let rows = u64::from(choice.rows.rows());
        // Every loop counted as if none were unrolled.
        let per_step =
            sweeps * (1 + u64::from(recur.state4) * (1 + gates) + rows * (1 + gates)) + rows + 1;
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

    fn final_states(&mut self, spec: &LayerSpec, y: usize, buffers: &LayerBuffers) -> Result<()> {
        self.gather_states(spec, Slot::Buffer(y), (buffers.h_0, buffers.h_n), false)
    }

    /// Gathers h_n out of y: `[D, B, R]` for the caller, or `[B, D, R]` for the output layer.
    pub(super) fn gather_states(
        &mut self,
        spec: &LayerSpec,
        y: Slot,
        (h_0, target): (usize, usize),
        batch_major: bool,
    ) -> Result<()> {
        let state4 = to_u32(padded(spec.state_size()) / 4)?;
        let directions = to_u32(spec.direction.count())?;
        let block = Recur {
            batch: self.batch,
            directions,
            reverse_mask: reverse_mask(spec),
            state4,
            batch_major: u32::from(batch_major),
            ..Recur::default()
        };
        let slots =
            vec![y, Slot::Buffer(h_0), Slot::Buffer(self.plan.lengths), Slot::Buffer(target)];
        let call = self.call(Variant::of(Kernel::FinalStates), slots, &block)?;
        let grid = Grid::Fixed([ceil_div(state4, 64), self.batch, directions]);
        self.plan.ops.push(Op::Dispatch { call, grid, for_states: !batch_major });
        Ok(())
    }
}

/// A pipeline of a recurrent driver for a layer's cell, without rules.
pub(super) fn recurrent(kernel: Kernel, spec: &LayerSpec, choice: &LayerChoice) -> Variant {
    let mut variant = Variant::of(kernel);
    variant.cell = Some(spec.cell);
    variant.rows = Some(choice.rows);
    variant
}

/// Compiles a cell's options into a variant: functions of both directions, and which are on.
fn set_rules(variant: &mut Variant, spec: &LayerSpec) {
    let options = &spec.options;
    variant.custom = !options.is_default() && variant.kernel.spec().rules != Rules::None;
    if !variant.custom {
        return;
    }
    let codes = (0..spec.direction.count())
        .flat_map(|d| (0..).zip(options.functions_of(spec.cell, d)).map(move |(p, f)| (d, p, f)));
    let functions = codes.fold(0, |all, (d, place, function)| {
        all | (function.code() << (4 * place + if d == 1 { 12 } else { 0 }))
    });
    let flags = [
        options.clip.is_some(),
        options.cell_clip.is_some(),
        options.peephole,
        options.input_forget,
        options.layer_norm.is_some(),
    ];
    let bits = (0..).zip(flags).fold(0, |all, (bit, on)| all | (u32::from(on) << bit));
    variant.overrides.extend([("FUNCTIONS", functions), ("OPTIONS", bits)]);
}

pub(super) fn reverse_mask(spec: &LayerSpec) -> u32 {
    (0..spec.direction.count())
        .filter(|d| spec.direction.is_reverse(*d))
        .fold(0, |mask, d| mask | (1 << d))
}

/// Floating-point operations of one time step of a layer, all rows and directions.
pub(super) fn step_flops(spec: &LayerSpec, batch: u32) -> u64 {
    let inner = spec.input_size + spec.state_size();
    let per_row =
        axis(spec.gate_rows()) * axis(inner) + axis(spec.proj_size) * axis(spec.hidden_size);
    2 * per_row * u64::from(batch) * axis(spec.direction.count())
}
