//! Dropout between layers, there and back.

use super::super::builder::{Builder, narrow};
use super::super::*;
use super::TrainBuffer;
use crate::kernel::train::Stage;
use crate::kernel::uniforms::Dropout;

impl Builder<'_> {
    /// Drops values of `source` on their way to `kept`, a buffer of the same size.
    pub(super) fn drop_values(&mut self, layer: usize, source: usize, kept: usize) -> Result<()> {
        let count = self.plan.buffers[source].bytes / 16;
        let blocks = count.div_ceil(64);
        let grid_x = blocks.min(u64::from(self.caps.max_workgroups)).max(1);
        let block =
            Dropout { count: narrow(count)?, layer: to_u32(layer)?, grid_x: narrow(grid_x)? };
        let slots = vec![Slot::Train(TrainBuffer::Hyper), Slot::Buffer(source), Slot::Buffer(kept)];
        let call = self.call(Variant::of(Kernel::Train(Stage::Dropout)), slots, &block)?;
        self.dispatch(call, Grid::Fixed([block.grid_x, narrow(blocks.div_ceil(grid_x))?, 1]))
    }
}
