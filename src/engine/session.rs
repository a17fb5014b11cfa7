//! Recording into a caller's own command encoder: for applications that own the frame.

use std::sync::{Arc, Mutex, PoisonError};

use super::LoadedModel;
use super::loaded::Loaded;
use super::part::encode_start;
use super::results::ReadLayout;
use crate::batch::{Layout, States};
use crate::error::{Error, Result};
use crate::gpu::{
    External, Gpu, Recording, Wait, Weights, Workspace, count, encode, pack, read_back,
};
use crate::kernel::Precision;
use crate::plan::{Plan, PlanRequest, RunShape, Strategy};
use crate::tensor::Tensor;

/// The shape and habits of a [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Axis order of the input buffer. Default `[T, B, I]`, which is bound without a copy when I is
    /// a multiple of four.
    pub input_layout: Layout,
    /// Axis order of the output buffer. Default `[T, B, O]`.
    pub output_layout: Layout,
    /// Whether the final states of one `encode` are the initial states of the next. Default false.
    pub carry_state: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            input_layout: Layout::TimeMajor,
            output_layout: Layout::TimeMajor,
            carry_state: false,
        }
    }
}

/// A network with the device memory for one shape, ready to be recorded frame after frame.
///
/// [`Session::encode`] records only: no submit, no map, no wait. What [`Session::set_lengths`] and
/// [`Session::set_states`] write goes through the queue and takes effect at the next submit, for
/// every `encode` in it.
#[derive(Debug)]
pub struct Session {
    loaded: Arc<Loaded>,
    workspace: Workspace,
    /// All rows over all steps: kernels skip what the lengths on the device exclude.
    shape: RunShape,
    options: SessionOptions,
    /// Bind groups of the caller's buffers, the most recently used last.
    bound: Mutex<Vec<Bound>>,
}

/// Pairs of buffers whose bind groups are kept: a ring of four frames.
const KEPT_PAIRS: usize = 4;

/// The bind groups of a pair of the caller's buffers.
#[derive(Debug)]
struct Bound {
    input: wgpu::Buffer,
    output: wgpu::Buffer,
    groups: Arc<[Option<wgpu::BindGroup>]>,
}

impl LoadedModel {
    /// Allocates what `encode` needs for `batch` sequences of up to `steps` time steps.
    ///
    /// # Errors
    /// `Unsupported` on the CPU path; `Limit` when the shape exceeds the device; `Device` when memory
    /// runs out.
    pub fn session(&self, batch: usize, steps: usize, options: SessionOptions) -> Result<Session> {
        let strategy = self.inner().request(batch, steps, None).strategy;
        self.session_with(strategy, batch, steps, options)
    }

    /// As [`LoadedModel::session`], with a strategy of its own.
    pub(super) fn session_with(
        &self,
        strategy: Strategy,
        batch: usize,
        steps: usize,
        options: SessionOptions,
    ) -> Result<Session> {
        let loaded = Arc::clone(self.inner());
        let (gpu, _) = loaded.on_gpu().ok_or_else(|| {
            Error::unsupported("session: expected a model on a GPU, got the CPU path (use run)")
        })?;
        if batch == 0 || steps == 0 {
            return Err(Error::shape(format!(
                "session: expected at least 1 sequence and 1 step, got B = {batch}, T = {steps}"
            )));
        }
        let layouts = (options.input_layout, options.output_layout);
        let request = PlanRequest { strategy, ..loaded.request(batch, steps, Some(layouts)) };
        let plan = loaded.plan(gpu, request)?;
        let workspace = loaded.take_workspace(gpu, &plan)?;
        let shape = RunShape::new(&vec![to_u32(steps); batch]);
        let session = Session { loaded, workspace, shape, options, bound: Mutex::default() };
        session.set_lengths(&vec![steps; batch])?;
        if !session.workspace.has_zero_states {
            session.set_states(None)?;
        }
        Ok(session)
    }
}

fn to_u32(steps: usize) -> u32 {
    // The plan refused what does not fit.
    u32::try_from(steps).unwrap_or(u32::MAX)
}

impl Session {
    /// Returns the bytes of the input buffer: f32 `[T, B, I]`, or u32 tokens `[T, B]`.
    pub fn input_bytes(&self) -> u64 {
        let request = &self.workspace.plan.request;
        let spec = self.loaded.network.input;
        let width = if spec.vocab().is_some() { 1 } else { spec.width() };
        (request.batch * request.steps * width) as u64 * 4
    }

    /// Returns the bytes of the output buffer: f32 `[T, B, O]`, or `[B, O]` for a last-step head.
    pub fn output_bytes(&self) -> u64 {
        let request = &self.workspace.plan.request;
        let steps = if self.workspace.plan.output.last_only { 1 } else { request.steps };
        (request.batch * steps * self.loaded.model.output_size()) as u64 * 4
    }

    fn on_gpu(&self) -> Result<(&Gpu, &Weights)> {
        self.loaded.on_gpu().ok_or_else(|| Error::device("session: expected a model on a GPU"))
    }

    /// Sets how many steps of each row are valid; output beyond is 0.
    ///
    /// # Errors
    /// `Shape` when there is not one length a row, or one is beyond T (names the row).
    pub fn set_lengths(&self, lengths: &[usize]) -> Result<()> {
        let request = &self.workspace.plan.request;
        if lengths.len() != request.batch {
            return Err(Error::shape(format!(
                "lengths: expected one per sequence = {}, got {}",
                request.batch,
                lengths.len()
            )));
        }
        if let Some((row, len)) = lengths.iter().enumerate().find(|(_, len)| **len > request.steps)
        {
            return Err(Error::shape(format!(
                "lengths: expected at most T = {}, got {len} in row {row}",
                request.steps
            )));
        }
        let lengths: Vec<u32> = lengths.iter().map(|len| to_u32(*len)).collect();
        let (gpu, _) = self.on_gpu()?;
        let buffer = &self.workspace.buffers[self.workspace.plan.lengths];
        gpu.scoped("lengths", || {
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&lengths));
            Ok(())
        })
    }

    /// Sets the initial states of the next `encode`; `None` makes them zero.
    ///
    /// # Errors
    /// `Shape` when the states do not fit the network and B.
    pub fn set_states(&self, states: Option<&States>) -> Result<()> {
        let batch = self.workspace.plan.request.batch;
        if let Some(states) = states {
            states.check_fits(&self.loaded.model, batch)?;
        }
        let (gpu, _) = self.on_gpu()?;
        gpu.scoped("states", || {
            let zeros;
            let states = match states {
                Some(states) => states,
                None => {
                    zeros = States::zeros(&self.loaded.model, batch);
                    &zeros
                }
            };
            self.write_states(gpu, states);
            Ok(())
        })
    }

    fn write_states(&self, gpu: &Gpu, states: &States) {
        let precision = self.workspace.plan.request.precision;
        let write = |id: usize, tensor: &Tensor, precision: Precision| {
            let packed = pack::state_rows(tensor, precision);
            let buffer = &self.workspace.buffers[id];
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&packed));
        };
        for (index, buffers) in self.workspace.plan.layers.iter().enumerate() {
            write(buffers.h_0, &states.h[index], precision);
            if let (Some(id), Some(c)) = (buffers.c_0, &states.c[index]) {
                write(id, c, Precision::F32);
            }
        }
    }

    /// Reads the final states of what was submitted last; waits for it, off the executor.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub async fn read_states(&self) -> Result<States> {
        let (layout, values) = self.read(ReadLayout::of_states(&self.workspace.plan)).await?;
        Ok(layout.states(&self.loaded, self.workspace.plan.request.batch, &values))
    }

    /// Tells whether workgroups of [`Strategy::GridPersistent`] waited for one another in vain in what was
    /// submitted last; then its output and states are to be thrown away. Waits for it, off the executor.
    /// False at once for other strategies.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub async fn gave_up(&self) -> Result<bool> {
        let Some(buffer) = self.workspace.plan.gives_up else { return Ok(false) };
        let (layout, values) = self.read(ReadLayout::of_word(buffer)).await?;
        Ok(layout.has_given_up(&values))
    }

    async fn read(&self, layout: ReadLayout) -> Result<(ReadLayout, Vec<f32>)> {
        let (gpu, _) = self.on_gpu()?;
        let (staging, index) = gpu.scoped("read", || {
            let staging = self.loaded.staging.take(gpu, layout.bytes());
            let mut encoder =
                gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            layout.encode(&self.workspace, &mut encoder, &staging);
            Ok((staging, gpu.queue.submit([encoder.finish()])))
        })?;
        let values = read_back(gpu, &staging, layout.bytes(), index, Wait::Yielding).await?;
        self.loaded.staging.give(gpu, staging);
        Ok((layout, values))
    }

    /// Records the network into `encoder`: `input` to `output`, both buffers of the caller with
    /// `STORAGE` usage and at least [`Session::input_bytes`] and [`Session::output_bytes`].
    ///
    /// The session keeps the last four pairs of buffers with their bind groups, so that a ring of
    /// frames makes none anew.
    ///
    /// # Errors
    /// `Shape` when a buffer is too small or lacks `STORAGE`; `Device` when wgpu refuses a binding.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        input: &wgpu::Buffer,
        output: &wgpu::Buffer,
    ) -> Result<()> {
        check_buffer("input", input, self.input_bytes())?;
        check_buffer("output", output, self.output_bytes())?;
        let (gpu, weights) = self.on_gpu()?;
        let workspace = &self.workspace;
        gpu.scoped("encode", || {
            let late = self.bind(gpu, weights, input, output)?;
            encode_start(workspace, encoder);
            let recording = Recording {
                shape: &self.shape,
                ops: 0..workspace.plan.ops.len(),
                with_states: true,
                late: &late,
                with_stamps: false,
            };
            encode(gpu, workspace, encoder, recording);
            if self.options.carry_state {
                self.carry(encoder);
            }
            Ok(())
        })
    }

    /// Returns the bind groups of a pair of buffers, made at first use.
    fn bind(
        &self,
        gpu: &Gpu,
        weights: &Weights,
        input: &wgpu::Buffer,
        output: &wgpu::Buffer,
    ) -> Result<Arc<[Option<wgpu::BindGroup>]>> {
        // Every entry is whole, whatever another thread did.
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let found = bound.iter().position(|b| (&b.input, &b.output) == (input, output));
        let pair = match found {
            Some(place) => bound.remove(place),
            None => {
                let external = External {
                    input: (input, self.input_bytes()),
                    output: (output, self.output_bytes()),
                };
                let groups = self.workspace.late_groups(gpu, weights, external)?.into();
                Bound { input: input.clone(), output: output.clone(), groups }
            }
        };
        if bound.len() == KEPT_PAIRS {
            bound.remove(0);
        }
        let groups = Arc::clone(&pair.groups);
        bound.push(pair);
        Ok(groups)
    }

    fn carry(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut copy = |(source, at): (usize, u64), target: usize, bytes: u64| {
            let (source, target) =
                (&self.workspace.buffers[source], &self.workspace.buffers[target]);
            encoder.copy_buffer_to_buffer(source, at, target, 0, Some(bytes));
        };
        let plan = &self.workspace.plan;
        for buffers in &plan.layers {
            copy((buffers.h_n, 0), buffers.h_0, plan.buffers[buffers.h_0].bytes);
            if let Some(c_0) = buffers.c_0 {
                copy((buffers.cells, buffers.cells_at), c_0, plan.buffers[c_0].bytes);
            }
        }
    }

    /// Records and submits on the engine's own queue, for callers without a frame.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub fn submit(
        &self,
        input: &wgpu::Buffer,
        output: &wgpu::Buffer,
    ) -> Result<wgpu::SubmissionIndex> {
        let (gpu, _) = self.on_gpu()?;
        let mut encoder =
            gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encode(&mut encoder, input, output)?;
        count(&self.loaded.engine.shared.counts.submits);
        gpu.scoped("submit", || Ok(gpu.queue.submit([encoder.finish()])))
    }

    /// Submits and waits on this thread until the device has finished; nothing is read back.
    ///
    /// A browser does not let a thread wait: there it returns at once.
    ///
    /// # Errors
    /// As [`Session::encode`]; `Device` when the device fails.
    pub fn submit_and_wait(&self, input: &wgpu::Buffer, output: &wgpu::Buffer) -> Result<()> {
        let index = self.submit(input, output)?;
        let (gpu, _) = self.on_gpu()?;
        loop {
            // GL holds the device while it waits: in rounds, so that others get their turn.
            let round = wgpu::PollType::Wait {
                submission_index: Some(index.clone()),
                timeout: Some(std::time::Duration::from_millis(500)),
            };
            let polled = {
                let _turn = gpu.exclusive();
                gpu.device.poll(round)
            };
            match polled {
                Ok(_) => return gpu.check_alive(),
                Err(wgpu::PollError::Timeout) => gpu.check_alive()?,
                Err(error) => return Err(gpu.device_error(&error).with_source(error)),
            }
        }
    }

    /// Returns the plan that is recorded: strategies, dispatches, buffers.
    pub fn plan(&self) -> &Plan {
        &self.workspace.plan
    }
}

fn check_buffer(name: &str, buffer: &wgpu::Buffer, bytes: u64) -> Result<()> {
    if buffer.size() < bytes {
        return Err(Error::shape(format!(
            "{name} buffer: expected at least {bytes} bytes, got {}",
            buffer.size()
        )));
    }
    if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
        return Err(Error::shape(format!(
            "{name} buffer: expected STORAGE among its usages, got {:?}",
            buffer.usage()
        )));
    }
    Ok(())
}
