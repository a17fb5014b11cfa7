//! When the device began and ended the passes of a run, by its own clock.

use super::{Gpu, count};

/// Bytes of the two time stamps behind the results in a readback buffer.
pub(crate) const STAMP_BYTES: u64 = 16;

/// A pair of time stamps: before the first pass, after the last.
#[derive(Debug)]
pub(crate) struct Stamps {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

/// Begin and end of a run in ticks of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

impl Stamps {
    /// Makes the pair; `None` where the device has no clock to ask.
    pub(super) fn new(gpu: &Gpu) -> Option<Self> {
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        count(&gpu.made.buffers);
        let set = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("stamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("stamps"),
            size: STAMP_BYTES,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Some(Self { set, resolved })
    }

    /// Returns what the first and the last pass of a run write.
    pub(super) fn writes(
        &self,
        first: bool,
        last: bool,
    ) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        (first || last).then(|| wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: first.then_some(0),
            end_of_pass_write_index: last.then_some(1),
        })
    }

    /// Records the copy of both stamps to `target`.
    pub(crate) fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        target: &wgpu::Buffer,
        offset: u64,
    ) {
        encoder.resolve_query_set(&self.set, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, target, offset, Some(STAMP_BYTES));
    }
}

impl Span {
    /// Reads the stamps from the words that came back.
    pub(crate) fn from_words(words: &[f32]) -> Option<Self> {
        let [a, b, c, d] = words.first_chunk::<4>()?.map(|word| u64::from(word.to_bits()));
        Some(Self { begin: a | b << 32, end: c | d << 32 })
    }
}
