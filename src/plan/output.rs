//! What follows the recurrent layers of a [`Plan`]: output layer, function g, a caller's buffer.

use super::builder::{Builder, Rows, axis, narrow};
use super::gemm::Mode;
use super::*;
use crate::kernel::uniforms::{Activate, Gemm};

impl Builder<'_> {
    pub(super) fn output(&mut self, rows: Rows) -> Result<()> {
        let last_layer = self.network.layers.last().map_or(0, LayerSpec::state_size);
        let mut output = OutputPlan {
            buffer: 0,
            blocks: rows.blocks,
            width: last_layer,
            block_stride: rows.block,
            last_only: false,
        };
        match (self.network.head, rows.slot) {
            (Some(head), Slot::Buffer(y)) if head.steps == HeadSteps::Final => {
                let states = self.final_rows(y, rows)?;
                output = self.head(head, Slot::Buffer(states), rows.width)?;
            }
            (Some(head), slot) => output = self.head(head, slot, rows.width)?,
            (None, Slot::Buffer(y)) => output.buffer = y,
            (None, _) => {}
        }
        self.plan.output = output;
        if let Some((_, layout)) = self.plan.request.external {
            let steps = if output.last_only { 1 } else { self.steps };
            let source = (Slot::Buffer(output.buffer), Layout::TimeMajor);
            let size = (steps, output.blocks, output.width);
            let blocks = (output.block_stride, output.width);
            let total = axis(output.blocks * output.width);
            self.check_external("output", &[u64::from(steps), u64::from(self.batch), total, 4])?;
            self.copy_rows(source, (Slot::ExternalOutput, layout), size, blocks)?;
        }
        Ok(())
    }

    /// The final states of the last layer as rows `[B, D, R]` of an output layer.
    fn final_rows(&mut self, y: usize, rows: Rows) -> Result<usize> {
        let network = self.network;
        let states = self.buffer("final states", &[u64::from(self.batch), axis(rows.width), 4])?;
        if let (Some(spec), Some(buffers)) = (network.layers.last(), self.plan.layers.last()) {
            let h_0 = buffers.h_0;
            self.gather_states(spec, Slot::Buffer(y), (h_0, states), true)?;
        }
        Ok(states)
    }

    fn head(&mut self, head: HeadSpec, a: Slot, width: usize) -> Result<OutputPlan> {
        let (batch, out) = (u64::from(self.batch), padded(head.output_size));
        let last_only = head.steps.is_per_sequence();
        let steps = if last_only { 1 } else { self.steps };
        let axes = [u64::from(steps), batch, axis(out), 4];
        let logits = self.buffer("output", &axes)?;
        // Rows of the product go along y.
        let by_grid = u64::from(self.caps.max_workgroups) * 8 / batch.max(1);
        let step_flops = (2 * axis(width) * axis(out)).saturating_mul(batch).max(1);
        let by_work = self.caps.flops_per_submit / step_flops;
        let most = narrow(by_grid.min(by_work).clamp(1, u64::from(steps.max(1))))?;
        let mut first = 0;
        while first < steps {
            let count = most.min(steps - first);
            let block = Gemm {
                batch: self.batch,
                first_step: first,
                step_count: count,
                reverse_mask: 0,
                inner4: to_u32(width / 4)?,
                columns4: to_u32(out / 4)?,
                vocab: 0,
                zero: 0,
            };
            let lengths = Slot::Buffer(self.plan.lengths);
            let slots = vec![
                a,
                Slot::Weight(WeightId::HeadWeight),
                Slot::Weight(WeightId::HeadBias),
                lengths,
                lengths,
                Slot::Buffer(logits),
            ];
            let mode = match head.steps {
                HeadSteps::Every => 1,
                HeadSteps::Last => 2,
                HeadSteps::Final => 3,
            };
            let beside = self.choices.last().map_or(Strategy::Auto, |choice| choice.strategy);
            self.gemm(block, slots, Mode { mode, gathers: false }, 1, beside)?;
            let flops = step_flops.saturating_mul(u64::from(count));
            self.plan.ops.push(Op::MaySubmit { first, flops });
            first += count;
        }
        if head.activation != Activation::None {
            self.activate(head, logits, steps)?;
        }
        let width = head.output_size;
        Ok(OutputPlan { buffer: logits, blocks: 1, width, block_stride: out, last_only })
    }

    fn activate(&mut self, head: HeadSpec, logits: usize, steps: u32) -> Result<()> {
        self.check_loops("output function", axis(head.output_size) / 32 + 64)?;
        let rows = u64::from(steps) * u64::from(self.batch);
        let grid_x = rows.min(u64::from(self.caps.max_workgroups)).max(1);
        let kind = match head.activation {
            Activation::None => 0,
            Activation::Softmax => 1,
            Activation::LogSoftmax => 2,
            Activation::Sigmoid => 3,
            Activation::Tanh => 4,
            Activation::Relu => 5,
        };
        let block = Activate {
            rows: narrow(rows)?,
            columns: to_u32(head.output_size)?,
            columns4: to_u32(padded(head.output_size) / 4)?,
            grid_x: narrow(grid_x)?,
        };
        let mut variant = Variant::of(Kernel::Activate);
        variant.overrides = vec![("KIND", kind)];
        let call = self.call(variant, vec![Slot::Buffer(logits)], &block)?;
        self.dispatch(call, Grid::Fixed([narrow(grid_x)?, narrow(rows.div_ceil(grid_x))?, 1]))
    }
}
