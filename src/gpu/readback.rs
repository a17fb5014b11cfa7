//! Results back to the host: map a staging buffer, wait without holding up others.

use std::sync::Mutex;

use futures::channel::oneshot;

use super::Gpu;
use crate::error::Result;

/// How to wait for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// This thread waits; cheapest.
    Blocking,
    /// A thread of its own waits and the future is woken; the executor stays free.
    Yielding,
}

type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// A buffer that results are copied to, and from there to the host.
#[derive(Debug)]
pub(crate) struct Readback {
    buffer: wgpu::Buffer,
    /// Answers once the results can be taken; `None` while nothing was asked for, or it has answered.
    mapping: Option<oneshot::Receiver<Mapped>>,
}

impl Readback {
    pub(super) fn new(gpu: &Gpu, bytes: u64) -> Self {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Self { buffer: gpu.buffer("readback", bytes, usage), mapping: None }
    }

    /// Returns the buffer, for the copy at the end of a run.
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Asks for the first `bytes` bytes, after the submit that copies to them.
    pub(crate) fn request(&mut self, bytes: u64) {
        self.mapping = Some(request(&self.buffer, bytes));
    }

    /// Waits for submission `index` and for what was asked for. May be dropped and called again.
    ///
    /// # Errors
    /// `Device` when the device is lost or the map fails.
    pub(crate) async fn ready(
        &mut self,
        gpu: &Gpu,
        index: &wgpu::SubmissionIndex,
        wait: Wait,
    ) -> Result<()> {
        let Some(mapping) = &mut self.mapping else { return Ok(()) };
        poll(gpu, index.clone(), wait).await?;
        answer(gpu, mapping.await)?;
        self.mapping = None;
        Ok(())
    }

    /// Copies the first `bytes` bytes out, once they are there.
    ///
    /// # Errors
    /// `Device` when the device is lost.
    pub(crate) fn take<T: bytemuck::Pod>(&self, gpu: &Gpu, bytes: u64) -> Result<Vec<T>> {
        take(gpu, &self.buffer, bytes)
    }
}

/// Waits for submission `index` and copies the first `bytes` bytes out of a mappable buffer.
///
/// # Errors
/// `Device` when the device is lost or the map fails.
pub(crate) async fn read_back<T: bytemuck::Pod>(
    gpu: &Gpu,
    staging: &wgpu::Buffer,
    bytes: u64,
    index: wgpu::SubmissionIndex,
    wait: Wait,
) -> Result<Vec<T>> {
    let mapping = {
        let _turn = gpu.exclusive();
        request(staging, bytes)
    };
    poll(gpu, index, wait).await?;
    answer(gpu, mapping.await)?;
    take(gpu, staging, bytes)
}

fn request(buffer: &wgpu::Buffer, bytes: u64) -> oneshot::Receiver<Mapped> {
    let (sender, receiver) = oneshot::channel();
    buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
        // The receiver is gone only when the caller dropped the future.
        let _ = sender.send(result);
    });
    receiver
}

fn answer(gpu: &Gpu, answer: std::result::Result<Mapped, oneshot::Canceled>) -> Result<()> {
    answer
        .map_err(|_| gpu.device_error("readback: the device dropped the request"))?
        .map_err(|e| gpu.device_error("readback: the buffer could not be mapped").with_source(e))
}

fn take<T: bytemuck::Pod>(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<T>> {
    let turn = gpu.exclusive();
    let view = buffer
        .get_mapped_range(0..bytes)
        .map_err(|e| gpu.device_error(format!("readback: {e:?}")))?;
    let copy = bytemuck::pod_collect_to_vec(&view[..]);
    drop(view);
    buffer.unmap();
    drop(turn);
    gpu.check_alive()?;
    Ok(copy)
}

/// Waits until submission `index` is done; by then its map requests have been answered.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn poll(gpu: &Gpu, index: wgpu::SubmissionIndex, wait: Wait) -> Result<()> {
    if wait == Wait::Blocking {
        return poll_rounds(gpu, index);
    }
    let waiting = gpu.clone();
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("wgpu-rnn wait".into())
        // The receiver is gone only when the caller dropped the future.
        .spawn(move || sender.send(poll_rounds(&waiting, index)))
        .map_err(|e| gpu.device_error("readback: no thread to wait on").with_source(e))?;
    receiver.await.map_err(|_| gpu.device_error("readback: the waiting thread died"))?
}

/// One round of waiting: GL holds the device for its length, and gives up after two seconds anyway.
#[cfg(not(target_arch = "wasm32"))]
const ROUND: std::time::Duration = std::time::Duration::from_millis(500);

#[cfg(not(target_arch = "wasm32"))]
fn poll_rounds(gpu: &Gpu, index: wgpu::SubmissionIndex) -> Result<()> {
    loop {
        let until =
            wgpu::PollType::Wait { submission_index: Some(index.clone()), timeout: Some(ROUND) };
        let polled = {
            let _turn = gpu.exclusive();
            gpu.device.poll(until)
        };
        match polled {
            Ok(_) => return Ok(()),
            Err(wgpu::PollError::Timeout) => gpu.check_alive()?,
            Err(error) => return Err(gpu.device_error(&error).with_source(error)),
        }
    }
}

#[cfg(target_arch = "wasm32")]
async fn poll(_: &Gpu, _: wgpu::SubmissionIndex, _: Wait) -> Result<()> {
    // The browser resolves maps by itself.
    Ok(())
}

/// Staging buffers that wait for their next use.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    free: Mutex<Vec<wgpu::Buffer>>,
}

/// Staging buffers kept; enough for one map in flight and one being filled.
const KEPT: usize = 2;

impl Staging {
    /// Takes a free buffer of at least `bytes`, or makes one.
    pub(crate) fn take(&self, gpu: &Gpu, bytes: u64) -> wgpu::Buffer {
        let free = self.free.lock().ok().and_then(|mut free| {
            let fits = free.iter().position(|buffer| buffer.size() >= bytes)?;
            Some(free.swap_remove(fits))
        });
        free.unwrap_or_else(|| {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            gpu.buffer("staging", bytes, usage)
        })
    }

    /// Gives a buffer back, unmapped.
    pub(crate) fn give(&self, gpu: &Gpu, buffer: wgpu::Buffer) {
        let dropped = self.free.lock().ok().and_then(|mut free| {
            free.push(buffer);
            (free.len() > KEPT).then(|| free.remove(0))
        });
        let _turn = gpu.exclusive();
        drop(dropped);
    }
}
