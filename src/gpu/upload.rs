//! A batch onto the device: one buffer per workspace that the host writes in place.
//!
//! wgpu's `Queue::write_buffer` makes a buffer for every call. This one is made once: it is written
//! while mapped, copied from at the start of a run, and mapped again when that run has finished.

use futures::channel::oneshot;

use super::Gpu;
use crate::error::Result;

type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// A buffer that is mapped for writing whenever no run copies from it.
#[derive(Debug)]
pub(crate) struct Upload {
    buffer: wgpu::Buffer,
    /// Answers once the buffer is mapped again; `None` while it is.
    mapping: Option<oneshot::Receiver<Mapped>>,
}

impl Upload {
    pub(super) fn new(gpu: &Gpu, bytes: u64) -> Self {
        let buffer = gpu.mapped_buffer(
            "upload",
            bytes,
            wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
        );
        Self { buffer, mapping: None }
    }

    /// Waits until the buffer can be written; off the web that is so once its last run was read back.
    ///
    /// # Errors
    /// `Device` when the device refuses the mapping.
    pub(crate) async fn ready(&mut self, gpu: &Gpu) -> Result<()> {
        let Some(mapping) = self.mapping.take() else { return Ok(()) };
        mapping
            .await
            .map_err(|_| gpu.device_error("upload: the device dropped the request"))?
            .map_err(|e| gpu.device_error("upload: the buffer could not be mapped").with_source(e))
    }

    /// Lets `write` fill the buffer; then it can be copied from.
    ///
    /// # Errors
    /// `Device` when the buffer is not mapped.
    pub(crate) fn fill(
        &self,
        gpu: &Gpu,
        write: impl FnOnce(wgpu::WriteOnly<'_, [u8]>),
    ) -> Result<()> {
        let mut view = self
            .buffer
            .get_mapped_range_mut(..)
            .map_err(|e| gpu.device_error(format!("upload: {e:?}")))?;
        write(view.slice(..));
        drop(view);
        self.buffer.unmap();
        Ok(())
    }

    /// Returns the buffer, to be copied from once it is filled.
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Asks for the buffer back, after the submit that copies from it.
    pub(crate) fn reclaim(&mut self) {
        let (sender, receiver) = oneshot::channel();
        self.buffer.map_async(wgpu::MapMode::Write, .., move |result| {
            // The receiver is gone only when the workspace is.
            let _ = sender.send(result);
        });
        self.mapping = Some(receiver);
    }
}
