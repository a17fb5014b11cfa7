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

/// A chunk of time steps of a layer, for the driver that runs it.
pub(super) struct Chunk<'a> {
    /// Of the layer.
    pub(super) index: usize,
    pub(super) spec: &'a LayerSpec,
    pub(super) choice: &'a LayerChoice,
    pub(super) recur: Recur,
    /// What every recurrent driver binds.
    pub(super) slots: Vec<Slot>,
    /// Whether the last of them is for W_hh's pre-activations.
    pub(super) keeps_gates: bool,
}

impl Builder<'_> {
    /// Bytes of gates_x that one time step of a layer needs.
    fn gates_step_bytes(&self, spec: &LayerSpec) -> u64 {
        let columns = axis(spec.cell.gates() * padded(spec.hidden_size));
        columns * 4 * u64::from(self.batch) * axis(spec.direction.count())
    }

    pub(super) fn chunk_steps(&self, spec: &LayerSpec) -> Result<u32> {
        if self.plan.request.train.is_some() {
            // Backward needs the input gates of all steps.
            return Ok(self.steps.max(1));
        }
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
        kept: Option<usize>,
    ) -> Result<Rows> {
        let choice = self.choices[index].clone();
        // The homes of y are used in turn: what was copied of one is old.
        self.textures.held = None;
        let (units, state) = (padded(spec.hidden_size), padded(spec.state_size()));
        let buffers = self.layer_buffers(index, spec)?;
        let is_normalised = spec.options.layer_norm.is_some();
        let mut first = 0;
        let chunk = self.chunk_steps(spec)?;
        while first < self.steps {
            let count = chunk.min(self.steps - first);
            self.project_input(index, spec, rows, gates, (first, count), choice.beside())?;
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
                layers: to_u32(index)?,
                ..Recur::default()
            };
            let mut slots = self.recur_slots(index, (gates, y), &buffers);
            if let (Some(kept), Some(params)) = (kept, slots.last_mut()) {
                *params = Slot::Buffer(kept);
            }
            let keeps_gates = kept.is_some();
            let chunk = Chunk { index, spec, choice: &choice, recur, slots, keeps_gates };
            match choice.strategy {
                Strategy::StepTile | Strategy::ResidentTile => self.tile(chunk)?,
                Strategy::Resident => self.resident(chunk)?,
                Strategy::Stationary => self.stationary(chunk)?,
                Strategy::GridPersistent => self.grid(chunk)?,
                _ => self.per_step(chunk, (buffers.cells, y))?,
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

    /// Adds the input projection of steps of a layer, and names its kernel in the layer's choice.
    pub(super) fn project_input(
        &mut self,
        index: usize,
        spec: &LayerSpec,
        rows: Rows,
        gates: usize,
        steps: (u32, u32),
        beside: Strategy,
    ) -> Result<()> {
        self.input_product(index, spec, rows, gates, steps, beside)?;
        if let Some(call) = self.plan.calls.last() {
            self.choices[index].input_kernel = call.variant.kernel.spec().name;
        }
        Ok(())
    }

    fn input_product(
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
    /// What every recurrent driver binds, in the order of their table rows.
    fn recur_slots(
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
pub(super) fn set_rules(variant: &mut Variant, spec: &LayerSpec) {
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
