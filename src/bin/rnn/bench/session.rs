//! A network on a GPU with buffers of the bench's own: what is timed from submit to idle.

use wgpu_rnn::plan::RunShape;
use wgpu_rnn::{
    Batch, Engine, Error, ErrorKind, LoadedModel, Result, Session, SessionOptions, wgpu,
};

use super::recording::Recording;

/// Values that are read back for comparison at most: 64 MiB.
const MOST_COMPARED: usize = 1 << 24;

/// A session with its input on the device.
pub(super) struct OnDevice {
    engine: Engine,
    session: Session,
    input: wgpu::Buffer,
    output: wgpu::Buffer,
}

impl OnDevice {
    /// Allocates for `batch` and uploads it.
    ///
    /// # Errors
    /// As [`LoadedModel::session`]; `Limit` when a buffer exceeds the device.
    pub(super) fn new(loaded: &LoadedModel, batch: &Batch, carry_state: bool) -> Result<Self> {
        let options = SessionOptions { carry_state, ..SessionOptions::default() };
        let session = loaded.session(batch.batch_size(), batch.steps(), options)?;
        if let Some(lengths) = batch.lengths() {
            session.set_lengths(lengths)?;
        }
        let engine = loaded.engine().clone();
        let usage = wgpu::BufferUsages::STORAGE;
        let input = buffer(&engine, session.input_bytes(), usage | wgpu::BufferUsages::COPY_DST)?;
        let output = buffer(&engine, session.output_bytes(), usage | wgpu::BufferUsages::COPY_SRC)?;
        let run = Self { engine, session, input, output };
        run.upload(batch)?;
        Ok(run)
    }

    /// Tells whether workgroups of a loop over the whole device waited in vain.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(super) fn gave_up(&self) -> Result<bool> {
        pollster::block_on(self.session.gave_up())
    }

    /// Writes the input; it takes effect at the next submit.
    ///
    /// # Errors
    /// `Device` on the CPU path.
    pub(super) fn upload(&self, batch: &Batch) -> Result<()> {
        let mut bytes = Vec::new();
        for t in 0..batch.steps() {
            for b in 0..batch.batch_size() {
                match batch.token(b, t) {
                    Some(token) => bytes.extend_from_slice(&token.to_le_bytes()),
                    None => bytes.extend_from_slice(bytemuck::cast_slice(batch.features(b, t))),
                }
            }
        }
        self.write(&bytes)
    }

    /// Writes the input as bytes of the device.
    ///
    /// # Errors
    /// `Device` on the CPU path.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<()> {
        let queue = self.engine.queue().ok_or_else(no_device)?;
        queue.write_buffer(&self.input, 0, bytes);
        Ok(())
    }

    /// Runs once and waits until the device is idle.
    ///
    /// # Errors
    /// As [`Session::submit_and_wait`].
    pub(super) fn run(&self) -> Result<()> {
        self.session.submit_and_wait(&self.input, &self.output)
    }

    /// Times the recording of a run.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub(super) fn recording(&self, lengths: &[u32]) -> Result<Recording> {
        let device = self.engine.device().ok_or_else(no_device)?;
        let dispatches = self.session.plan().dispatches(&RunShape::new(lengths));
        Recording::of(device, dispatches, |encoder| {
            self.session.encode(encoder, &self.input, &self.output)
        })
    }

    /// Returns the session.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Reads the output `[T, B, O]`, or as much from its start as is compared.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(super) fn read(&self) -> Result<Vec<f32>> {
        let device = self.engine.device().ok_or_else(no_device)?;
        let queue = self.engine.queue().ok_or_else(no_device)?;
        let bytes = self.session.output_bytes().min(MOST_COMPARED as u64 * 4);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = buffer(&self.engine, bytes, usage)?;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&self.output, 0, &staging, 0, Some(bytes));
        queue.submit([encoder.finish()]);
        // An error shows when the range is asked for.
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        let failed =
            |e: &dyn std::fmt::Display| Error::new(ErrorKind::Device, format!("readback: {e}"));
        device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| failed(&e))?;
        let view = staging.get_mapped_range(..).map_err(|e| failed(&e))?;
        Ok(bytemuck::pod_collect_to_vec(&view[..]))
    }
}

fn no_device() -> Error {
    Error::new(ErrorKind::Device, "bench: expected a GPU, got the CPU path")
}

fn buffer(engine: &Engine, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
    let device = engine.device().ok_or_else(no_device)?;
    let limits = device.limits();
    let most = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
    if bytes > most {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("buffer: expected at most {most} bytes on this device, got {bytes}"),
        ));
    }
    let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let size = bytes.next_multiple_of(16);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("bench"),
        size,
        usage,
        mapped_at_creation: false,
    });
    match pollster::block_on(scope.pop()) {
        Some(error) => {
            Err(Error::new(ErrorKind::Limit, format!("buffer of {bytes} bytes: {error}")))
        }
        None => Ok(buffer),
    }
}
