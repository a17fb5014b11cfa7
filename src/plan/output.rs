//! What follows the recurrent layers of a [`Plan`]: the output, and a caller's buffer for it.
//!
//! The output layer itself is planned in `head`.

use super::builder::{Builder, Rows, axis};
use super::*;

impl Builder<'_> {
    pub(super) fn output(&mut self, rows: Rows) -> Result<()> {
        self.check_top()?;
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

    fn check_top(&self) -> Result<()> {
        let request = &self.plan.request;
        if request.top.is_some() && (request.external.is_some() || self.network.head.is_none()) {
            return Err(Error::unsupported(
                "top: expected an output layer, and results that are read back (a session writes whole \
                 rows into its caller's buffer)",
            ));
        }
        Ok(())
    }

    /// The final states of the last layer as rows `[B, D, R]` of an output layer.
    pub(super) fn final_rows(&mut self, y: usize, rows: Rows) -> Result<usize> {
        let network = self.network;
        let states = self.buffer("final states", &[u64::from(self.batch), axis(rows.width), 4])?;
        if let (Some(spec), Some(buffers)) = (network.layers.last(), self.plan.layers.last()) {
            let h_0 = buffers.h_0;
            self.gather_states(spec, Slot::Buffer(y), (h_0, states), true)?;
        }
        Ok(states)
    }
}
