//! A batch through the device: upload, encode, submit, read back, unpack.
//!
//! Rows go sorted by falling length, in groups that fit the device's bindings; where even one row is
//! too long, time is cut and the states are carried, which networks that only read forward allow.

use std::sync::Arc;

use super::count;
use super::loaded::Loaded;
use crate::batch::{
    Batch, Output, RunOptions, States, Top, ZeroLength, by_falling_length, empty_output,
};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Gpu, Wait, Workspace, encode, read_back};
use crate::model::Direction;
use crate::plan::{Plan, PlanRequest, RunShape, padded, steps_capacity};
use crate::tensor::Tensor;

/// Rows and time steps that one run of a plan takes.
struct Cut {
    rows: usize,
    steps: usize,
}

/// Some rows over some time steps.
struct Part<'a> {
    rows: &'a [usize],
    first: usize,
    steps: usize,
    lengths: Vec<u32>,
}

/// A batch on its way through a device.
struct Run<'a> {
    loaded: &'a Loaded,
    gpu: &'a Gpu,
    batch: &'a Batch,
    options: &'a RunOptions,
    wait: Wait,
}

pub(super) async fn run(
    loaded: &Loaded,
    gpu: &Gpu,
    batch: &Batch,
    options: &RunOptions,
    wait: Wait,
) -> Result<Output> {
    let run = Run { loaded, gpu, batch, options, wait };
    let mut output = empty_output(&loaded.model, batch, options);
    let lengths: Vec<usize> = (0..batch.batch_size()).map(|b| batch.length(b)).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    if options.states {
        output.states = initial_states(loaded, batch);
    }
    if longest > 0 {
        let order = by_falling_length(&lengths);
        let cut = cut(loaded, gpu, (batch.batch_size(), longest), options.top)?;
        for rows in order.chunks(cut.rows) {
            let (states, parts) = run.group(rows, cut.steps).await?;
            parts.iter().for_each(|part| unpack(batch, part, &mut output));
            if options.states {
                output.states.scatter(&states, rows);
            }
        }
    }
    if options.states && options.zero_length == ZeroLength::Zeros {
        clear_rows(&mut output.states, &lengths);
    }
    Ok(output)
}

fn initial_states(loaded: &Loaded, batch: &Batch) -> States {
    batch.initial().cloned().unwrap_or_else(|| States::zeros(&loaded.model, batch.batch_size()))
}

fn clear_rows(states: &mut States, lengths: &[usize]) {
    let empty: Vec<usize> = (0..lengths.len()).filter(|b| lengths[*b] == 0).collect();
    let zeros = states.select(&empty).zeroed();
    states.scatter(&zeros, &empty);
}

/// Finds how many rows and steps fit: fewer rows first, then fewer steps where states can be carried.
fn cut(
    loaded: &Loaded,
    gpu: &Gpu,
    (batch, steps): (usize, usize),
    top: Option<usize>,
) -> Result<Cut> {
    let mut cut = Cut { rows: batch, steps };
    loop {
        let error = match plan(loaded, gpu, (cut.rows, cut.steps), top) {
            Ok(_) => return Ok(cut),
            Err(error) if error.kind() == ErrorKind::Limit => error,
            Err(error) => return Err(error),
        };
        let forward_only =
            loaded.network.layers.iter().all(|layer| layer.direction == Direction::Forward);
        if cut.rows > 1 {
            cut.rows = cut.rows.div_ceil(2);
        } else if cut.steps > 1 && forward_only {
            cut.steps = cut.steps.div_ceil(2);
        } else {
            return Err(error.in_context(gpu.place()));
        }
    }
}

/// Returns the plan that a run of `rows` sequences of up to `steps` steps uses, with so many of the largest
/// values in place of the output.
pub(super) fn plan(
    loaded: &Loaded,
    gpu: &Gpu,
    (rows, steps): (usize, usize),
    top: Option<usize>,
) -> Result<Arc<Plan>> {
    let strategy = loaded.engine.shared.strategy;
    let exact = PlanRequest { batch: rows, steps, strategy, external: None, top };
    let roomy = PlanRequest { steps: steps_capacity(steps), ..exact };
    match loaded.plan(gpu, roomy) {
        // The rounding may be what does not fit.
        Err(error) if error.kind() == ErrorKind::Limit && roomy != exact => loaded.plan(gpu, exact),
        other => other,
    }
}

/// One part's results as they came from the device.
pub(super) struct PartOutput<'a> {
    part: Part<'a>,
    values: Vec<f32>,
    plan: Arc<Plan>,
}

impl Run<'_> {
    /// Runs some rows, cut into parts of `steps` time steps; gives their final states.
    async fn group<'r>(
        &self,
        rows: &'r [usize],
        steps: usize,
    ) -> Result<(States, Vec<PartOutput<'r>>)> {
        let batch = self.batch;
        let longest = batch.length(rows[0]);
        let mut states = initial_states(self.loaded, batch).select(rows);
        let mut has_states = batch.initial().is_some();
        let mut outputs = Vec::new();
        for first in (0..longest).step_by(steps.max(1)) {
            let last = (first + steps).min(longest);
            let length = |&b: &usize| batch.length(b).clamp(first, last) - first;
            let lengths =
                rows.iter().map(|b| u32::try_from(length(b)).unwrap_or(u32::MAX)).collect();
            let part = Part { rows, first, steps: last - first, lengths };
            // Cut runs need the states to go on with.
            let with_states = self.options.states || last < longest;
            let shape = (rows.len(), part.steps);
            let plan = plan(self.loaded, self.gpu, shape, self.options.top)?;
            let initial = has_states.then_some(&states);
            let (values, after) = self.part(&plan, &part, initial, with_states).await?;
            if let Some(after) = after {
                states = after;
                has_states = true;
            }
            outputs.push(PartOutput { part, values, plan });
        }
        Ok((states, outputs))
    }

    /// Uploads, submits and reads back one part; gives padded output rows and final states.
    async fn part(
        &self,
        plan: &Arc<Plan>,
        part: &Part<'_>,
        initial: Option<&States>,
        with_states: bool,
    ) -> Result<(Vec<f32>, Option<States>)> {
        let (loaded, gpu) = (self.loaded, self.gpu);
        gpu.check_alive()?;
        let mut workspace = loaded.take_workspace(gpu, plan)?;
        let layout = ReadLayout::new(plan, part, self.options.output, with_states);
        let (staging, index) = gpu.scoped("run", || {
            let staging = loaded.staging.take(gpu, layout.bytes());
            upload(gpu, loaded, &mut workspace, self.batch, part, initial);
            let index = submit(loaded, gpu, &workspace, part, with_states, &layout, &staging)?;
            Ok((staging, index))
        })?;
        let mut values = read_back(gpu, &staging, layout.bytes(), index, self.wait).await?;
        count(&loaded.engine.shared.counts.readbacks);
        loaded.staging.give(gpu, staging);
        loaded.give_workspace(gpu, workspace);
        let states = with_states.then(|| layout.states(loaded, part.rows.len(), &values));
        values.truncate(layout.output_values);
        Ok((values, states))
    }
}

fn upload(
    gpu: &Gpu,
    loaded: &Loaded,
    workspace: &mut Workspace,
    batch: &Batch,
    part: &Part<'_>,
    initial: Option<&States>,
) {
    let plan = Arc::clone(&workspace.plan);
    let write = |id: usize, bytes: &[u8]| {
        if !bytes.is_empty() {
            gpu.queue.write_buffer(&workspace.buffers[id], 0, bytes);
        }
    };
    write(plan.lengths, bytemuck::cast_slice(&part.lengths));
    let rows = part.rows;
    if let Some(id) = plan.tokens {
        let mut tokens = vec![0u32; part.steps * rows.len()];
        for_each_step(part, |at, b, t| tokens[at] = batch.token(b, t).unwrap_or(0));
        write(id, bytemuck::cast_slice(&tokens));
    }
    if let Some(id) = plan.input {
        let tight = loaded.network.input.width();
        let width = padded(tight);
        let mut values = vec![0f32; part.steps * rows.len() * width];
        for_each_step(part, |at, b, t| {
            values[at * width..at * width + tight].copy_from_slice(batch.features(b, t));
        });
        write(id, bytemuck::cast_slice(&values));
    }
    if initial.is_none() && workspace.has_zero_states {
        return;
    }
    write_states(gpu, loaded, workspace, rows.len(), initial);
    workspace.has_zero_states = initial.is_none();
}

/// Writes initial states, or zeros, padded.
pub(super) fn write_states(
    gpu: &Gpu,
    loaded: &Loaded,
    workspace: &Workspace,
    rows: usize,
    states: Option<&States>,
) {
    let zeros;
    let states = match states {
        Some(states) => states,
        None => {
            zeros = States::zeros(&loaded.model, rows);
            &zeros
        }
    };
    let write = |id: usize, tensor: &Tensor| {
        let width = tensor.shape().last().copied().unwrap_or(1);
        let packed = crate::gpu::pack::pad_rows(tensor.data(), width);
        if !packed.is_empty() {
            gpu.queue.write_buffer(&workspace.buffers[id], 0, bytemuck::cast_slice(&packed));
        }
    };
    for (index, buffers) in workspace.plan.layers.iter().enumerate() {
        write(buffers.h_0, &states.h[index]);
        if let (Some(id), Some(c)) = (buffers.c_0, &states.c[index]) {
            write(id, c);
        }
    }
}

/// Calls `visit(place in [T, B], row of the batch, time step)` for every valid step of a part.
fn for_each_step(part: &Part<'_>, mut visit: impl FnMut(usize, usize, usize)) {
    for (column, (&b, &len)) in part.rows.iter().zip(&part.lengths).enumerate() {
        for s in 0..usize::try_from(len).unwrap_or(0) {
            visit(s * part.rows.len() + column, b, part.first + s);
        }
    }
}

/// Records copies of c_0 into the working cell states, ahead of any dispatch.
pub(super) fn encode_start(workspace: &Workspace, encoder: &mut wgpu::CommandEncoder) {
    for buffers in &workspace.plan.layers {
        if let Some(c_0) = buffers.c_0 {
            let bytes = workspace.plan.buffers[c_0].bytes;
            let (source, target) = (&workspace.buffers[c_0], &workspace.buffers[buffers.cells]);
            encoder.copy_buffer_to_buffer(source, 0, target, 0, Some(bytes));
        }
    }
}

fn submit(
    loaded: &Loaded,
    gpu: &Gpu,
    workspace: &Workspace,
    part: &Part<'_>,
    with_states: bool,
    layout: &ReadLayout,
    staging: &wgpu::Buffer,
) -> Result<wgpu::SubmissionIndex> {
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
            encode_start(workspace, &mut encoder);
        }
        encode(gpu, workspace, &mut encoder, &shape, first..end, with_states, None)?;
        if end == plan.ops.len() {
            layout.encode(workspace, &mut encoder, staging);
        }
        index = Some(gpu.queue.submit([encoder.finish()]));
        count(&loaded.engine.shared.counts.submits);
        first = end;
    }
    index.ok_or_else(|| Error::device("run: nothing was submitted"))
}

/// What comes back, and where it lies in the staging buffer.
pub(super) struct ReadLayout {
    /// (buffer, bytes) in staging order.
    copies: Vec<(usize, u64)>,
    output_values: usize,
}

impl ReadLayout {
    fn new(plan: &Plan, part: &Part<'_>, with_output: bool, with_states: bool) -> Self {
        let rows = part.rows.len();
        let output = &plan.output;
        let output_rows = if output.last_only { rows } else { part.steps * rows };
        let output_values =
            if with_output { output_rows * output.blocks * output.block_stride } else { 0 };
        let mut layout = Self { copies: Vec::new(), output_values };
        if with_output {
            layout.copies.push((output.buffer, output_values as u64 * 4));
        }
        if with_states {
            layout.add_states(plan);
        }
        layout
    }

    /// Final states only.
    pub(super) fn of_states(plan: &Plan) -> Self {
        let mut layout = Self { copies: Vec::new(), output_values: 0 };
        layout.add_states(plan);
        layout
    }

    fn add_states(&mut self, plan: &Plan) {
        for buffers in &plan.layers {
            self.copies.push((buffers.h_n, plan.buffers[buffers.h_n].bytes));
            if let Some(c_0) = buffers.c_0 {
                self.copies.push((buffers.cells, plan.buffers[c_0].bytes));
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        // Mapping nothing is refused; sixteen bytes are not.
        self.copies.iter().map(|(_, bytes)| bytes).sum::<u64>().max(16)
    }

    pub(super) fn encode(
        &self,
        workspace: &Workspace,
        encoder: &mut wgpu::CommandEncoder,
        staging: &wgpu::Buffer,
    ) {
        let mut offset = 0;
        for (buffer, bytes) in &self.copies {
            if *bytes > 0 {
                let source = &workspace.buffers[*buffer];
                encoder.copy_buffer_to_buffer(source, 0, staging, offset, Some(*bytes));
            }
            offset += bytes;
        }
    }

    pub(super) fn states(&self, loaded: &Loaded, rows: usize, values: &[f32]) -> States {
        let mut rest = &values[self.output_values..];
        let mut states = States::zeros(&loaded.model, rows);
        for (h, c) in states.h.iter_mut().zip(&mut states.c) {
            rest = take_rows(h, rest);
            if let Some(c) = c {
                rest = take_rows(c, rest);
            }
        }
        states
    }
}

/// Fills a tight `[D, B, W]` from padded rows and returns what follows them.
fn take_rows<'a>(tensor: &mut Tensor, values: &'a [f32]) -> &'a [f32] {
    let width = tensor.shape().last().copied().unwrap_or(1).max(1);
    let stride = padded(width);
    let count = tensor.len() / width;
    for (target, source) in tensor.data_mut().chunks_mut(width).zip(values.chunks(stride)) {
        target.copy_from_slice(&source[..width]);
    }
    &values[(count * stride).max(4)..]
}

/// Brings padded output rows into the caller's order and layout; padding keeps the pad value.
fn unpack(batch: &Batch, output: &PartOutput<'_>, into: &mut Output) {
    let PartOutput { values, plan, .. } = output;
    let out = &plan.output;
    let stride = out.blocks * out.block_stride;
    let row_of = |source: usize| &values[source * stride..(source + 1) * stride];
    if let Some(top) = &mut into.top {
        for_each_row(batch, output, |source, target| unpack_top(row_of(source), target, top));
    } else if !into.output.is_empty() {
        let width = out.blocks * out.width;
        for_each_row(batch, output, |source, target| {
            let row = row_of(source);
            let target = &mut into.output.data_mut()[target * width..(target + 1) * width];
            for (block, tight) in target.chunks_mut(out.width).enumerate() {
                tight.copy_from_slice(&row[block * out.block_stride..][..out.width]);
            }
        });
    }
}

/// Puts a row of the device, k places as u32 and then k values, at row `target` of the result.
fn unpack_top(row: &[f32], target: usize, into: &mut Top) {
    let k = row.len() / 2;
    let places = target * k..(target + 1) * k;
    into.values.data_mut()[places.clone()].copy_from_slice(&row[k..]);
    let indices = &mut into.indices.data_mut()[places];
    indices.iter_mut().zip(row).for_each(|(index, word)| *index = word.to_bits());
}

/// Calls `visit(row of the part's values, row of the result)` for every output row.
fn for_each_row(batch: &Batch, output: &PartOutput<'_>, mut visit: impl FnMut(usize, usize)) {
    let PartOutput { part, values, plan } = output;
    if values.is_empty() {
        return;
    }
    if plan.output.last_only {
        for (column, &b) in part.rows.iter().enumerate() {
            let len = batch.length(b);
            if len > part.first && len <= part.first + part.steps {
                visit(column, b);
            }
        }
        return;
    }
    let (layout, rows) = (batch.layout(), part.rows.len());
    for_each_step(part, |at, b, t| {
        debug_assert!(at < part.steps * rows);
        visit(at, layout.index(b, t, batch.batch_size(), batch.steps()));
    });
}
