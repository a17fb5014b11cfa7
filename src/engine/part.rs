//! One part of a batch on the device: some rows over some time steps, from upload to readback.

use std::ops::Range;
use std::sync::Arc;

use super::loaded::Loaded;
use super::results::ReadLayout;
use super::run;
use super::upload::{self, Copy};
use crate::batch::{Batch, States};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Recording, Span, Transfers, Wait, Workspace, count, encode};
use crate::plan::{Plan, RunShape};

/// Some rows over some time steps.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Rows of the batch, by falling length.
    pub(super) rows: Vec<usize>,
    /// First time step.
    pub(super) first: usize,
    /// Time steps of the longest row.
    pub(super) steps: usize,
    /// Time steps of each row.
    pub(super) lengths: Vec<u32>,
}

impl Part {
    /// Cuts rows and time steps out of a batch.
    pub(super) fn new(batch: &Batch, rows: Vec<usize>, time: Range<usize>) -> Self {
        let length = |&b: &usize| batch.length(b).clamp(time.start, time.end) - time.start;
        // The plan refused what does not fit.
        let lengths = rows.iter().map(|b| u32::try_from(length(b)).unwrap_or(u32::MAX)).collect();
        Self { rows, first: time.start, steps: time.len(), lengths }
    }

    /// Calls `visit(place in [T, B], row of the batch, time step)` for every valid step.
    pub(super) fn for_each_step(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for (column, (&b, &len)) in self.rows.iter().zip(&self.lengths).enumerate() {
            for s in 0..usize::try_from(len).unwrap_or(0) {
                visit(s * self.rows.len() + column, b, self.first + s);
            }
        }
    }
}

/// What is read back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) output: bool,
    /// So many of the largest values in place of the output.
    pub(super) top: Option<usize>,
    pub(super) states: bool,
    /// The device's time stamps, where it has a clock.
    pub(super) stamps: bool,
}

/// A part that the device computes.
#[derive(Debug)]
pub(super) struct Flight {
    part: Part,
    workspace: Workspace,
    layout: ReadLayout,
    states: bool,
    index: wgpu::SubmissionIndex,
}

/// A part's results as they came from the device.
pub(super) struct PartResult {
    pub(super) part: Part,
    pub(super) plan: Arc<Plan>,
    /// Padded output rows.
    pub(super) values: Vec<f32>,
    /// Final states, where they were read.
    pub(super) states: Option<States>,
    /// When the device computed it, where that was asked and the device has a clock.
    pub(super) span: Option<Span>,
    /// Whether the results are to be thrown away ([`Plan::gives_up`]).
    pub(super) has_given_up: bool,
}

impl Flight {
    /// Uploads and submits; waits for nothing that the device computes.
    ///
    /// # Errors
    /// `Device` when memory runs out or the device fails.
    pub(super) async fn submit(
        loaded: &Loaded,
        gpu: &Gpu,
        batch: &Batch,
        part: Part,
        initial: Option<&States>,
        mut reading: Reading,
    ) -> Result<Self> {
        gpu.check_alive()?;
        let plan = run::plan(loaded, gpu, (part.rows.len(), part.steps), reading.top)?;
        let mut workspace = loaded.take_workspace(gpu, &plan)?;
        let transfers = transfers_of(&mut workspace)?;
        transfers.upload.ready(gpu).await?;
        reading.stamps =
            reading.stamps && gpu.scoped("stamps", || Ok(transfers.has_stamps(gpu)))?;
        let layout = ReadLayout::new(&plan, &part, reading);
        let index = gpu.scoped("run", || {
            let copies = upload::fill(loaded, gpu, &workspace, batch, &part, initial, &[])?;
            let index = submit(loaded, gpu, &workspace, &part, &copies, reading, &layout)?;
            let transfers = transfers_of(&mut workspace)?;
            transfers.upload.reclaim();
            transfers.readback.request(layout.bytes());
            Ok(index)
        })?;
        workspace.has_zero_states = initial.is_none();
        Ok(Self { part, workspace, layout, states: reading.states, index })
    }

    /// Tells whether its results may have to be thrown away.
    pub(super) fn may_give_up(&self) -> bool {
        self.workspace.plan.gives_up.is_some()
    }

    /// Waits for the device and takes the results out.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(super) async fn finish(
        mut self,
        loaded: &Loaded,
        gpu: &Gpu,
        wait: Wait,
    ) -> Result<PartResult> {
        self.ready(gpu, wait).await?;
        self.take(loaded, gpu)
    }

    /// Waits for the device. May be dropped and called again.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(super) async fn ready(&mut self, gpu: &Gpu, wait: Wait) -> Result<()> {
        let transfers = transfers_of(&mut self.workspace)?;
        transfers.readback.ready(gpu, &self.index, wait).await
    }

    /// Takes the results out, once they are there.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(super) fn take(self, loaded: &Loaded, gpu: &Gpu) -> Result<PartResult> {
        let Self { part, mut workspace, layout, states, .. } = self;
        let mut values = transfers_of(&mut workspace)?.readback.take(gpu, layout.bytes())?;
        count(&loaded.engine.shared.counts.readbacks);
        let plan = Arc::clone(&workspace.plan);
        loaded.give_workspace(gpu, workspace);
        let states = states.then(|| layout.states(loaded, part.rows.len(), &values));
        let span = layout.span(&values);
        let has_given_up = layout.has_given_up(&values);
        values.truncate(layout.output_values());
        Ok(PartResult { part, plan, values, states, span, has_given_up })
    }
}

fn transfers_of(workspace: &mut Workspace) -> Result<&mut Transfers> {
    let missing = || Error::device("run: expected a plan without a caller's buffers");
    workspace.transfers.as_mut().ok_or_else(missing)
}

fn submit(
    loaded: &Loaded,
    gpu: &Gpu,
    workspace: &Workspace,
    part: &Part,
    copies: &[Copy],
    reading: Reading,
    layout: &ReadLayout,
) -> Result<wgpu::SubmissionIndex> {
    let transfers = workspace.transfers.as_ref();
    let transfers = transfers.ok_or_else(|| Error::device("run: expected a way back"))?;
    let plan = &workspace.plan;
    let shape = RunShape::new(&part.lengths);
    let mut cuts = plan.submit_cuts(&shape, gpu.caps.flops_per_submit);
    cuts.push(plan.ops.len());
    let mut first = 0;
    let mut index = None;
    for (number, end) in cuts.iter().copied().enumerate() {
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgpu-rnn") });
        if number == 0 {
            upload::encode(workspace, &mut encoder, copies);
            encode_start(workspace, &mut encoder);
        }
        let recording = Recording {
            shape: &shape,
            ops: first..end,
            with_states: reading.states,
            late: &[],
            with_stamps: reading.stamps,
        };
        encode(gpu, workspace, &mut encoder, recording);
        if end == plan.ops.len() {
            layout.encode(workspace, &mut encoder, transfers.readback.buffer());
        }
        index = Some(gpu.queue.submit([encoder.finish()]));
        count(&loaded.engine.shared.counts.submits);
        first = end;
    }
    index.ok_or_else(|| Error::device("run: nothing was submitted"))
}

/// Records copies of initial states into their working copies, ahead of any dispatch.
pub(super) fn encode_start(workspace: &Workspace, encoder: &mut wgpu::CommandEncoder) {
    for start in &workspace.plan.starts {
        let bytes = workspace.plan.buffers[start.source].bytes;
        let (source, target) = (&workspace.buffers[start.source], &workspace.buffers[start.target]);
        encoder.copy_buffer_to_buffer(source, 0, target, start.target_at, Some(bytes));
    }
}
