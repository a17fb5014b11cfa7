//! The least time that the work of recurrent layers needs on a device.
//!
//! [`Floor`] is a lower bound by arithmetic, memory, cache and dependency, in seconds; `rnn bench` prints
//! the fraction that a run reaches.

use super::cost::Constants;
use crate::model::LayerSpec;

/// What recurrent layers compute and move for one batch, whichever way they run.
///
/// ```text
/// recurrent_flops = 2·G·H·R·N·D (+ 2·H·P·N·D)     input_flops = 2·G·H·I·N·D     N = Σ lengths
/// weight_bytes = D·G·H·(R + I)·4     input_bytes = I·N·4     output_bytes = D·R·N·4
/// streamed_bytes = T·D·G·H·R·4     steps = T
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Work {
    /// Operations of the products with h.
    pub recurrent_flops: f64,
    /// Operations of the input projection; 0 where it is a row gather.
    pub input_flops: f64,
    /// Weights, read at least once.
    pub weight_bytes: f64,
    /// Inputs, read at least once.
    pub input_bytes: f64,
    /// Outputs, written at least once.
    pub output_bytes: f64,
    /// Recurrent weights, read once a time step where they are not held on chip.
    pub streamed_bytes: f64,
    /// Time steps that wait for each other.
    pub steps: f64,
}

/// Turns a size into a factor: sizes of interest are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn factor(size: usize) -> f64 {
    size as f64
}

impl Work {
    /// Describes one layer over sequences of `total_steps` time steps together, the longest of
    /// `steps`.
    ///
    /// With `gathers_input` the input is one token a step, and its projection a row of W_ih.
    pub fn of_layer(
        spec: &LayerSpec,
        steps: usize,
        total_steps: usize,
        gathers_input: bool,
    ) -> Self {
        let (directions, rows) = (factor(spec.direction.count()), factor(spec.gate_rows()));
        let (input, state) = (factor(spec.input_size), factor(spec.state_size()));
        let projection = factor(spec.hidden_size) * factor(spec.proj_size);
        let (steps, total) = (factor(steps), factor(total_steps));
        Self {
            recurrent_flops: 2.0 * (rows * state + projection) * total * directions,
            input_flops: if gathers_input { 0.0 } else { 2.0 * rows * input * total * directions },
            weight_bytes: 4.0 * directions * (rows * (state + input) + projection),
            input_bytes: 4.0 * total * if gathers_input { 1.0 } else { input },
            output_bytes: 4.0 * total * state * directions,
            streamed_bytes: 4.0 * steps * directions * (rows * state + projection),
            steps,
        }
    }

    /// Adds the work of the next layer, which starts when this one has ended.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            recurrent_flops: self.recurrent_flops + next.recurrent_flops,
            input_flops: self.input_flops + next.input_flops,
            weight_bytes: self.weight_bytes + next.weight_bytes,
            input_bytes: self.input_bytes + next.input_bytes,
            output_bytes: self.output_bytes + next.output_bytes,
            streamed_bytes: self.streamed_bytes + next.streamed_bytes,
            steps: self.steps + next.steps,
        }
    }

    /// Returns all operations.
    pub fn flops(&self) -> f64 {
        self.recurrent_flops + self.input_flops
    }

    /// Returns the bytes that device memory must move at least.
    pub fn bytes(&self) -> f64 {
        self.weight_bytes + self.input_bytes + self.output_bytes
    }

    /// Returns the least seconds that the operations take: `flops / P`.
    pub fn t_compute(&self, constants: &Constants) -> f64 {
        self.flops() / constants.flops
    }

    /// Returns the least seconds that device memory takes: `bytes / BW_dram`.
    ///
    /// Where kernels read textures, because a software adapter loads from buffers lane by lane, BW_dram is no less than
    /// what textures give: measured through buffers it is the speed of their loads.
    pub fn t_dram(&self, constants: &Constants) -> f64 {
        let reads_textures = constants.texture_bytes > constants.cache_bytes;
        let through = if reads_textures { constants.texture_bytes } else { 0.0 };
        self.bytes() / constants.memory_bytes.max(through)
    }

    /// Returns the least seconds in which the recurrent weights pass from cache at every step:
    /// `T·D·G·H·R·4 / BW_cache`, through buffers or textures, whichever is faster; 0 where they are held on chip, which
    /// the caller knows.
    pub fn t_stream(&self, constants: &Constants) -> f64 {
        self.streamed_bytes / constants.cache_bytes.max(constants.texture_bytes)
    }

    /// Returns the least seconds of the chain of steps, each `step` seconds after the one before: a
    /// barrier or a dispatch of [`Constants`].
    pub fn t_seq(&self, step: f64) -> f64 {
        self.steps * step
    }

    /// Collects the floors; `step` as in [`Work::t_seq`].
    pub fn floor(&self, constants: &Constants, step: f64) -> Floor {
        Floor {
            compute: self.t_compute(constants),
            dram: self.t_dram(constants),
            stream: self.t_stream(constants),
            seq: self.t_seq(step),
        }
    }
}

/// Lower bounds of a run's time, in seconds; a run takes at least the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Arithmetic.
    pub compute: f64,
    /// Device memory.
    pub dram: f64,
    /// Recurrent weights from cache at every step.
    pub stream: f64,
    /// Steps that wait for each other.
    pub seq: f64,
}

impl Floor {
    /// Returns what no algorithm goes below on this device: arithmetic and device memory.
    pub fn hardware(&self) -> f64 {
        self.compute.max(self.dram)
    }

    /// Returns what the way the layers run does not go below: the hardware's floor, the weights
    /// streamed at every step, and the chain of steps.
    pub fn algorithm(&self) -> f64 {
        self.hardware().max(self.stream).max(self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;

    const CONSTANTS: Constants = Constants {
        flops: 1e9,
        group_flops: 1e8,
        memory_bytes: 1e8,
        cache_bytes: 1e9,
        group_cache_bytes: 1e8,
        texture_bytes: 1e9,
        dispatch: 1e-5,
        barrier: 1e-7,
        round_trip: 1e-4,
    };

    fn is_close(got: f64, want: f64) -> bool {
        (got - want).abs() <= 1e-12 * want.abs()
    }

    #[test]
    fn work_counts_every_product_of_a_layer_once() {
        // G = 4, H = 3, I = 2, D = 2, T = 5, N = 5 + 2.
        let spec = LayerSpec::new(Cell::Lstm, 3).input(2).bidirectional();
        let work = Work::of_layer(&spec, 5, 7, false);
        assert!(is_close(work.recurrent_flops, 2.0 * 4.0 * 9.0 * 7.0 * 2.0), "{work:?}");
        assert!(is_close(work.input_flops, 2.0 * 4.0 * 6.0 * 7.0 * 2.0), "{work:?}");
        assert!(is_close(work.weight_bytes, 4.0 * 2.0 * 12.0 * 5.0), "{work:?}");
        assert!(is_close(work.input_bytes, 4.0 * 7.0 * 2.0), "{work:?}");
        assert!(is_close(work.output_bytes, 4.0 * 7.0 * 6.0), "{work:?}");
        assert!(is_close(work.streamed_bytes, 4.0 * 5.0 * 2.0 * 36.0), "{work:?}");
        let gathered = Work::of_layer(&spec, 5, 7, true);
        assert!(is_close(gathered.flops(), work.recurrent_flops), "{gathered:?}");
        let stacked = work.then(gathered);
        assert!(is_close(stacked.steps, 10.0) && stacked.flops() > work.flops(), "{stacked:?}");
    }

    #[test]
    fn work_of_a_projection_uses_the_narrow_state() {
        let spec = LayerSpec::new(Cell::Lstm, 8).input(2).projection(3);
        let work = Work::of_layer(&spec, 1, 1, false);
        assert!(is_close(work.recurrent_flops, 2.0 * (32.0 * 3.0 + 24.0)), "{work:?}");
        assert!(is_close(work.output_bytes, 12.0), "{work:?}");
    }

    #[test]
    fn floor_is_the_largest_of_its_bounds() {
        let spec = LayerSpec::new(Cell::RnnTanh, 100).input(100);
        let work = Work::of_layer(&spec, 10, 40, false);
        let floor = work.floor(&CONSTANTS, CONSTANTS.dispatch);
        assert!(is_close(floor.compute, 4.0 * 1e4 * 40.0 / 1e9), "{floor:?}");
        assert!(is_close(floor.dram, work.bytes() / 1e8), "{floor:?}");
        assert!(is_close(floor.stream, 4.0 * 10.0 * 1e4 / 1e9), "{floor:?}");
        assert!(is_close(floor.seq, 1e-4), "{floor:?}");
        assert!(is_close(floor.hardware(), floor.compute.max(floor.dram)), "{floor:?}");
        let textures = Constants { texture_bytes: 2e9, ..CONSTANTS };
        let floor = work.floor(&textures, CONSTANTS.dispatch);
        assert!(is_close(floor.dram, work.bytes() / 2e9), "{floor:?}");
        let slow = work.floor(&CONSTANTS, 1.0);
        assert!(is_close(slow.algorithm(), 10.0) && slow.hardware() < 1.0, "{slow:?}");
    }
}
