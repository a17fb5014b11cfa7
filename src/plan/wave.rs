//! The wavefront over a stack of equal layers (`recur_wave`): which layers it takes, and its plan.
//!
//! Layer l runs step s in dispatch s + l, all layers in one: T + L − 1 dispatches instead of T·L. What a
//! layer reads, its own h of the step before and the layer below at the same step, was written by the
//! dispatch before.

use std::ops::Range;

use super::builder::{Builder, Rows, axis};
use super::layer::{recurrent, reverse_mask, step_flops};
use super::strategy::{self, Ask, LayerChoice, Strategy, padded4};
use super::*;
use crate::kernel::uniforms::Recur;

/// What a wavefront takes, for a layer that it refuses.
pub(super) const NEEDS: &str =
    "two or more equal layers in a row that read one way, without options of their own";

/// Bytes at whose multiples the parts of joined arrays begin: what every device can bind.
pub(crate) const PART_ALIGN: u64 = 256;

/// Finds the longest runs of layers that a wavefront takes: same point-wise cell and size, one and the same
/// direction, no options, projection or normalisation.
pub(crate) fn stacks(layers: &[LayerSpec]) -> Vec<Range<usize>> {
    let mut stacks = Vec::new();
    let mut first = 0;
    for end in 1..=layers.len() {
        if end < layers.len() && is_equal(&layers[first], &layers[end]) {
            continue;
        }
        if end - first > 1 {
            stacks.push(first..end);
        }
        first = end;
    }
    stacks
}

fn is_equal(a: &LayerSpec, b: &LayerSpec) -> bool {
    strategy::plain_pointwise(a).is_ok()
        && a.options.is_default()
        && b.options.is_default()
        && b.proj_size == 0
        && a.direction.count() == 1
        && (a.cell, a.hidden_size, a.direction) == (b.cell, b.hidden_size, b.direction)
}

/// Tells whether the joined W_hh of a stack, the largest of its arrays, can be bound.
pub(crate) fn joins(layers: &[LayerSpec], most: u64) -> bool {
    let Some(spec) = layers.first() else { return false };
    let units = axis(padded(spec.hidden_size));
    let weights = units.checked_mul(units).and_then(|n| n.checked_mul(axis(spec.cell.gates()) * 4));
    let all = weights.and_then(|n| n.checked_mul(axis(layers.len())));
    // A part's end adds less than its alignment.
    all.is_some_and(|bytes| bytes + axis(layers.len()) * PART_ALIGN <= most)
}

/// Shapes the wavefront over a stack with the predicted time of a diagonal, or says what it would need.
pub(super) fn choice(
    layers: &[LayerSpec],
    ask: Ask,
    caps: &DeviceCaps,
) -> std::result::Result<LayerChoice, String> {
    let spec = layers.first().ok_or(NEEDS)?;
    let most = caps.max_binding.min(caps.max_buffer);
    if !joins(layers, most) {
        return Err(format!("joined weights of at most {most} bytes"));
    }
    let words = |e: Error| e.to_string();
    let (rows, split) = split::shape(spec, ask.batch, caps, split::UNITS4).map_err(words)?;
    // Many rows fill the device without a split.
    let is_split = ask.batch <= 4;
    let plain = [padded4(spec.hidden_size).map_err(words)?.next_power_of_two().min(64), 1];
    let workgroup = if is_split { split } else { plain };
    let choice = LayerChoice::new(Strategy::Wavefront, rows, 1, workgroup);
    let step_seconds = predict::diagonal_seconds(spec, layers.len(), ask, caps, &choice);
    Ok(LayerChoice { step_seconds, ..choice })
}

/// Bytes of the joined y of a stack.
fn y_bytes(spec: &LayerSpec, layers: usize, batch: u32, steps: u32) -> Option<u64> {
    let values = axis(padded(spec.hidden_size)).checked_mul(u64::from(batch) * u64::from(steps))?;
    let part = values.checked_mul(4)?.checked_next_multiple_of(PART_ALIGN)?;
    part.checked_mul(axis(layers))
}

/// Says in a layer's choice what the wavefront needs.
pub(super) fn refuse(choice: &mut LayerChoice, needs: String) {
    let rival = Rival { strategy: Strategy::Wavefront, step_seconds: Err(needs) };
    choice.reason.push_str(&format!("; {rival}"));
    choice.rivals.push(rival);
}

/// Puts the wavefront in the place of the layers' own drivers where it is predicted to end earlier; says
/// in every layer's reason what it would take.
pub(super) fn consider(
    layers: &[LayerSpec],
    choices: &mut [LayerChoice],
    ask: Ask,
    caps: &DeviceCaps,
) {
    let (batch, steps) = (ask.batch, ask.steps);
    let wave = match choice(layers, ask, caps) {
        Ok(wave) => wave,
        Err(refusal) => {
            choices.iter_mut().for_each(|choice| refuse(choice, refusal.clone()));
            return;
        }
    };
    let most = caps.max_binding.min(caps.max_buffer);
    let fits = y_bytes(&layers[0], layers.len(), batch, steps).is_some_and(|bytes| bytes <= most);
    let diagonals = f64::from(steps) + f64::from(u32::try_from(layers.len()).unwrap_or(1)) - 1.0;
    let together = diagonals * wave.step_seconds;
    let apart: f64 = choices
        .iter()
        .zip(layers)
        .enumerate()
        .map(|(index, (choice, spec))| {
            let input = if index > 0 { predict::input_seconds(spec, batch, caps) } else { 0.0 };
            f64::from(steps) * (choice.step_seconds + input)
        })
        .sum();
    let is_worth_it = !caps.is_software || apart - together >= WORTH_COMPILING;
    let wins = fits && is_worth_it && together < apart;
    for choice in choices {
        let own = std::mem::take(&mut choice.reason);
        let all = format!(
            "wavefront over {} layers: {} for all steps, {} layer by layer predicted",
            layers.len(),
            strategy::duration(together),
            strategy::duration(apart)
        );
        if wins {
            let mut rivals = std::mem::take(&mut choice.rivals);
            rivals.insert(
                0,
                Rival { strategy: choice.strategy, step_seconds: Ok(choice.step_seconds) },
            );
            *choice =
                LayerChoice { reason: format!("{all} (alone: {own})"), rivals, ..wave.clone() };
        } else {
            choice.reason = format!("{own}; {all}");
            let step_seconds = Ok(wave.step_seconds);
            choice.rivals.insert(0, Rival { strategy: Strategy::Wavefront, step_seconds });
        }
    }
}

/// The arrays of a stack that its dispatches share.
struct StackBuffers {
    y: usize,
    y_bytes: u64,
    h_0: usize,
    cells: usize,
}

impl Builder<'_> {
    /// Adds a stack as a wavefront.
    pub(super) fn wave(&mut self, stack: Range<usize>, rows: Rows, gates: usize) -> Result<Rows> {
        let network = self.network;
        let spec = &network.layers[stack.start];
        let units = padded(spec.hidden_size);
        let shared = self.shared_buffers(spec, stack.len())?;
        let (gates4, units4) = (axis(spec.cell.gates() * units / 4), axis(units / 4));
        self.check_loops("diagonal", 2 * (units4 + gates4) + gates4.max(64))?;
        let flops = network.layers[stack.clone()]
            .iter()
            .map(|spec| step_flops(spec, self.batch))
            .fold(0, u64::saturating_add);
        let end = self.steps + to_u32(stack.len())? - 1;
        let chunk = self.chunk_steps(spec)?;
        let mut first = 0;
        while first < end {
            let count = chunk.min(end - first);
            self.diagonals(&stack, (first, count), (rows, gates), &shared)?;
            let flops = flops.saturating_mul(u64::from(count));
            self.plan.ops.push(Op::MaySubmit { first, flops });
            first += count;
        }
        self.stack_states(stack, &shared)?;
        Ok(Rows { slot: Slot::Buffer(shared.y), width: units, blocks: 1, block: units })
    }

    fn shared_buffers(&mut self, spec: &LayerSpec, layers: usize) -> Result<StackBuffers> {
        let y_bytes = y_bytes(spec, layers, self.batch, self.steps).unwrap_or(u64::MAX);
        let state = [axis(layers), u64::from(self.batch), axis(padded(spec.hidden_size)), 4];
        let cells: &[u64] = if spec.cell.has_c() { &state } else { &[16] };
        Ok(StackBuffers {
            y: self.buffer("y (stack)", &[y_bytes])?,
            y_bytes,
            h_0: self.buffer("h_0 (stack)", &state)?,
            cells: self.buffer("cells (stack)", cells)?,
        })
    }

    /// Adds diagonals `first..first + count` with the input projection of the first layer's steps there.
    fn diagonals(
        &mut self,
        stack: &Range<usize>,
        (first, count): (u32, u32),
        (rows, gates): (Rows, usize),
        shared: &StackBuffers,
    ) -> Result<()> {
        let network = self.network;
        let spec = &network.layers[stack.start];
        let choice = self.choices[stack.start].clone();
        let layers = to_u32(stack.len())?;
        let steps = count.min(self.steps.saturating_sub(first));
        if steps > 0 {
            self.project_input(stack.start, spec, rows, gates, (first, steps), choice.strategy)?;
        }
        let units4 = padded4(spec.hidden_size)?;
        let block = Recur {
            batch: self.batch,
            directions: 1,
            reverse_mask: reverse_mask(spec),
            state4: units4,
            units4,
            state_size: to_u32(spec.hidden_size)?,
            units: to_u32(spec.hidden_size)?,
            first_step: first,
            step_count: count,
            gate_first: first,
            gate_steps: steps,
            batch_major: 0,
            layers,
            plan_steps: self.steps,
        };
        let mut variant = recurrent(Kernel::RecurWave, spec, &choice);
        let [x, slices] = choice.workgroup;
        let tiles = split::part_tiles(choice.workgroup, to_u32(spec.cell.gates())?, 1);
        variant.overrides = vec![("WG_X", x), ("WG_Y", slices), ("PART_TILES", tiles)];
        let slots = vec![
            Slot::Buffer(gates),
            Slot::Weight(WeightId::StackInput(stack.start)),
            Slot::Weight(WeightId::StackRecur(stack.start)),
            Slot::Weight(WeightId::StackBias(stack.start)),
            Slot::Buffer(shared.h_0),
            Slot::Buffer(self.plan.lengths),
            Slot::Buffer(shared.y),
            Slot::Buffer(shared.cells),
        ];
        let call = self.call(variant, slots, &block)?;
        let grid = Grid::WaveRows { x: ceil_div(units4, x), layers, per_group: choice.tile_rows() };
        let calls = vec![(call, grid)];
        self.plan.ops.push(Op::Steps { calls, first, count, lag: layers - 1 });
        Ok(())
    }

    /// Adds every layer's own states, and the final ones out of the stack's y.
    fn stack_states(&mut self, stack: Range<usize>, shared: &StackBuffers) -> Result<()> {
        let network = self.network;
        let layers = stack.len();
        let part = shared.y_bytes / axis(layers).max(1);
        for (place, index) in stack.enumerate() {
            let spec = &network.layers[index];
            let state = u64::from(self.batch) * axis(padded(spec.hidden_size)) * 4;
            let buffers =
                self.stack_buffers(index, (shared.h_0, shared.cells), axis(place) * state)?;
            // The last layer lies first.
            let at = axis(layers - 1 - place) * part;
            let y = Slot::Part { buffer: shared.y, at, bytes: part };
            self.gather_states(spec, y, (buffers.h_0, buffers.h_n), false)?;
            self.plan.layers.push(buffers);
        }
        Ok(())
    }

    /// States of a layer of a stack, whose working copies lie `at` bytes into those of the stack.
    fn stack_buffers(
        &mut self,
        index: usize,
        (h, cells): (usize, usize),
        at: u64,
    ) -> Result<LayerBuffers> {
        let spec = &self.network.layers[index];
        let axes = [u64::from(self.batch), axis(padded(spec.hidden_size)), 4];
        let h_0 = self.buffer(&format!("h_0 of layer {index}"), &axes)?;
        self.start(h_0, (h, at));
        let c_0 = if spec.cell.has_c() {
            let c_0 = self.buffer(&format!("c_0 of layer {index}"), &axes)?;
            self.start(c_0, (cells, at));
            Some(c_0)
        } else {
            None
        };
        let h_n = self.buffer(&format!("h_n of layer {index}"), &axes)?;
        Ok(LayerBuffers { h_0, c_0, cells, cells_at: at, h_n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::model::Direction;

    fn layer(cell: Cell, hidden: usize) -> LayerSpec {
        LayerSpec::new(cell, hidden).input(hidden)
    }

    #[test]
    fn stacks_are_runs_of_equal_layers() {
        let lstm = || layer(Cell::Lstm, 8);
        assert!(stacks(&[lstm()]).is_empty());
        assert_eq!(stacks(&[lstm(), lstm(), lstm()]), vec![Range { start: 0, end: 3 }]);
        let backwards = || lstm().direction(Direction::Reverse);
        let mixed =
            [layer(Cell::Gru, 8), lstm(), lstm(), backwards(), backwards(), layer(Cell::Lstm, 9)];
        assert_eq!(stacks(&mixed), [1..3, 3..5]);
        let refused = [lstm().bidirectional(), layer(Cell::GruResetBefore, 8)];
        for spec in refused {
            assert!(stacks(&[spec.clone(), spec]).is_empty());
        }
        assert!(stacks(&[lstm().projection(4), lstm().projection(4)]).is_empty());
    }

    #[test]
    fn a_device_that_waits_long_for_dispatches_takes_the_wavefront() {
        let mut caps = DeviceCaps::webgpu_default();
        let layers = [layer(Cell::Lstm, 1024), layer(Cell::Lstm, 1024), layer(Cell::Lstm, 1024)];
        caps.constants.dispatch = 1e-4;
        let choices = |caps: &DeviceCaps| {
            let precision = Precision::F32;
            let ask = Ask {
                batch: 1,
                steps: 100,
                strategy: Strategy::Auto,
                precision,
                has_textures: false,
                gathers_input: false,
            };
            strategy::choose_all(&layers, ask, caps).expect("takes the layers")
        };
        let names =
            |choices: &[LayerChoice]| choices.iter().map(|c| c.strategy).collect::<Vec<_>>();
        assert_eq!(names(&choices(&caps)), [Strategy::Wavefront; 3]);
        caps.constants.dispatch = 1e-12;
        caps.constants.barrier = 1e-12;
        caps.constants.flops = 1e9;
        let slow = choices(&caps);
        assert!(slow.iter().all(|c| c.strategy != Strategy::Wavefront), "{}", slow[0].reason);
        assert!(slow[1].reason.contains("wavefront over 3 layers"), "{}", slow[1].reason);
    }

    #[test]
    fn a_wavefront_that_was_asked_for_refuses_single_layers() {
        let caps = DeviceCaps::webgpu_default();
        let layers = [layer(Cell::Lstm, 8), layer(Cell::Gru, 8)];
        let (strategy, precision) = (Strategy::Wavefront, Precision::F32);
        let (has_textures, gathers_input) = (false, false);
        let ask = Ask { batch: 1, steps: 10, strategy, precision, has_textures, gathers_input };
        let error = strategy::choose_all(&layers, ask, &caps);
        let error = error.expect_err("no stack").to_string();
        assert!(error.contains("two or more equal layers"), "{error}");
    }
}
