//! What a trainer sends to the device and reads back from it.

use super::super::loaded::Loaded;
use super::super::part::{Part, encode_start};
use super::super::upload;
use super::carried::Carried;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Recording, Wait, Workspace, count, encode, read_back};
use crate::plan::RunShape;

/// Waits for a submission on this thread.
pub(super) fn wait_for(gpu: &Gpu, index: wgpu::SubmissionIndex) -> Result<()> {
    pollster::block_on(crate::gpu::poll(gpu, index, Wait::Blocking))
}

/// Records a training step and submits it, cut only by the watchdog budget.
pub(super) fn record(
    gpu: &Gpu,
    loaded: &Loaded,
    workspace: &Workspace,
    part: &Part,
    copies: &[upload::Copy],
    carried: Option<(&Carried, bool)>,
) -> Result<wgpu::SubmissionIndex> {
    let plan = &workspace.plan;
    let shape = RunShape::new(&part.lengths);
    let mut cuts = plan.submit_cuts(&shape, gpu.caps.flops_per_submit);
    cuts.push(plan.ops.len());
    let (mut first, mut index) = (0, None);
    for end in cuts {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some("training step"),
        });
        if first == 0 {
            upload::encode(workspace, &mut encoder, copies);
            if let Some((carried, true)) = carried {
                carried.encode_start(workspace, &mut encoder);
            }
            encode_start(workspace, &mut encoder);
        }
        let recording = Recording {
            shape: &shape,
            ops: first..end,
            with_states: carried.is_some(),
            late: &[],
            with_stamps: false,
        };
        encode(gpu, workspace, &mut encoder, recording);
        if let (Some((carried, _)), true) = (carried, end == plan.ops.len()) {
            carried.encode_end(workspace, &mut encoder);
        }
        index = Some(gpu.queue.submit([encoder.finish()]));
        count(&loaded.engine.shared.counts.submits);
        first = end;
    }
    index.ok_or_else(|| Error::device("training: nothing was submitted"))
}

/// Reads the first bytes of buffers, one after the other.
pub(super) fn read_all(
    gpu: &Gpu,
    loaded: &Loaded,
    sources: &[(&wgpu::Buffer, u64)],
) -> Result<Vec<Vec<f32>>> {
    let parts: Vec<_> = sources.iter().map(|(buffer, bytes)| (*buffer, 0, *bytes)).collect();
    read_parts(gpu, loaded, &parts)
}

/// Reads parts of buffers, one after the other; together they count as one readback.
pub(super) fn read_parts(
    gpu: &Gpu,
    loaded: &Loaded,
    sources: &[(&wgpu::Buffer, u64, u64)],
) -> Result<Vec<Vec<f32>>> {
    count(&loaded.engine.shared.counts.readbacks);
    let mut arrays = Vec::new();
    for (buffer, at, bytes) in sources {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let (staging, index) = gpu.scoped("read training", || {
            let staging = gpu.buffer("training staging", *bytes, usage);
            let mut encoder =
                gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(buffer, *at, &staging, 0, Some(*bytes));
            Ok((staging, gpu.queue.submit([encoder.finish()])))
        })?;
        let read = read_back(gpu, &staging, *bytes, index, Wait::Blocking);
        arrays.push(pollster::block_on(read)?);
    }
    Ok(arrays)
}
