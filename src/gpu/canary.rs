//! Asks a device how long a loop it runs: some software drivers end loops early, silently.

use super::{Gpu, Wait, read_back};
use crate::error::Result;
use crate::kernel::uniforms::Canary;
use crate::kernel::{Kernel, Variant};

/// What Mesa's llvmpipe runs in versions that limit loops (22.3; not 25 and later).
pub(super) const KNOWN_LOOP_LIMIT: u32 = 65_535;
const ASKED: u32 = 70_000;

/// Counts on the device; `None` when it counted to the end.
pub(super) fn loop_limit(gpu: &Gpu) -> Result<Option<u32>> {
    let variant = Variant::of(Kernel::LoopCanary);
    let pipeline = gpu.pipelines.get(gpu, &variant)?;
    let uniform = gpu.buffer_with(
        "canary",
        bytemuck::bytes_of(&Canary { limit: ASKED }),
        wgpu::BufferUsages::UNIFORM,
    )?;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let reached = gpu.buffer("reached", 16, usage);
    let staging = gpu.buffer(
        "canary staging",
        16,
        wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
    );
    let index = gpu.scoped("loop canary", || {
        let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("canary"),
            layout: &pipeline.layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: reached.as_entire_binding() },
            ],
        });
        let mut encoder =
            gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        encoder.copy_buffer_to_buffer(&reached, 0, &staging, 0, Some(16));
        Ok(gpu.queue.submit([encoder.finish()]))
    })?;
    let reached: Vec<u32> =
        pollster::block_on(read_back(gpu, &staging, 16, index, Wait::Blocking))?;
    let counted = reached.first().copied().unwrap_or(0);
    if counted == ASKED {
        return Ok(None);
    }
    log::info!("{}: loops end after {counted} iterations", gpu.place());
    Ok(Some(counted))
}
