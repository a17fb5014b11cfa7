//! Asks a device how long a loop it runs, since some software drivers end loops early, silently; and how many
//! workgroups it runs side by side.

use super::{Gpu, Wait, read_back};
use crate::error::Result;
use crate::kernel::uniforms::{Canary, GridCanary};
use crate::kernel::{Kernel, Variant};

/// What Mesa's llvmpipe runs in versions that limit loops (22.3; not 25 and later).
pub(super) const KNOWN_LOOP_LIMIT: u32 = 65_535;
const ASKED: u32 = 70_000;

/// Workgroups that are tried, most first: eight on each of 128 cores down to a few.
const TRIED: [u32; 6] = [1024, 512, 256, 128, 64, 32];
/// Looks at a count, well under a second.
const SPINS: u32 = 1 << 18;

/// Counts on the device; `None` when it counted to the end.
pub(super) fn loop_limit(gpu: &Gpu) -> Result<Option<u32>> {
    let block = Canary { limit: ASKED };
    let [counted, _] = ask(gpu, Kernel::LoopCanary, bytemuck::bytes_of(&block), 1)?;
    if counted == ASKED {
        return Ok(None);
    }
    log::info!("{}: loops end after {counted} iterations", gpu.place());
    Ok(Some(counted))
}

/// Finds how many workgroups run side by side, three times in a row; 0 where even a few do not.
pub(super) fn side_by_side(gpu: &Gpu) -> Result<u32> {
    for groups in TRIED {
        let block = GridCanary { groups, spins: SPINS };
        let mut all_met = true;
        for _ in 0..3 {
            let block = bytemuck::bytes_of(&block);
            let [_, met] = ask(gpu, Kernel::GridCanary, block, groups)?;
            all_met &= met == groups;
        }
        if all_met {
            log::info!("{}: {groups} workgroups run side by side", gpu.place());
            return Ok(groups);
        }
    }
    Ok(0)
}

/// Runs a canary and returns the two words that it wrote.
fn ask(gpu: &Gpu, kernel: Kernel, block: &[u8], groups: u32) -> Result<[u32; 2]> {
    let pipeline = gpu.pipelines.get(gpu, &Variant::of(kernel))?;
    let uniform = gpu.buffer_with("canary", block, wgpu::BufferUsages::UNIFORM)?;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let answer = gpu.buffer("canary's answer", 16, usage);
    let staging = gpu.buffer(
        "canary staging",
        16,
        wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
    );
    let index = gpu.scoped("canary", || {
        let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("canary"),
            layout: &pipeline.layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: answer.as_entire_binding() },
            ],
        });
        let mut encoder =
            gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        }
        encoder.copy_buffer_to_buffer(&answer, 0, &staging, 0, Some(16));
        Ok(gpu.queue.submit([encoder.finish()]))
    })?;
    let words: Vec<u32> = pollster::block_on(read_back(gpu, &staging, 16, index, Wait::Blocking))?;
    Ok([0, 1].map(|place: usize| words.get(place).copied().unwrap_or(0)))
}
