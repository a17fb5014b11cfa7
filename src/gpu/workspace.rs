//! Buffers and bind groups of one plan, made once and used by many runs.

use std::sync::Arc;

use super::pipelines::Pipeline;
use super::stamps::Stamps;
use super::upload::Upload;
use super::{Gpu, Readback, Weights, count};
use crate::error::Result;
use crate::kernel::Access;
use crate::kernel::uniforms::Step;
use crate::plan::{Call, Op, Plan, Slot};

/// The caller's buffers of an embedded run, with the bytes of each that are bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct External<'a> {
    pub(crate) input: (&'a wgpu::Buffer, u64),
    pub(crate) output: (&'a wgpu::Buffer, u64),
}

/// The way onto the device and back, for plans whose input and output are not a caller's buffers.
#[derive(Debug)]
pub(crate) struct Transfers {
    pub(crate) upload: Upload,
    pub(crate) readback: Readback,
    /// Made when a run is to be timed.
    pub(crate) stamps: Option<Stamps>,
}

impl Transfers {
    /// Makes the time stamps at first use, and tells whether there are any.
    pub(crate) fn has_stamps(&mut self, gpu: &Gpu) -> bool {
        if self.stamps.is_none() {
            self.stamps = Stamps::new(gpu);
        }
        self.stamps.is_some()
    }
}

/// Everything a plan needs on the device.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) plan: Arc<Plan>,
    pub(crate) buffers: Vec<wgpu::Buffer>,
    textures: Vec<wgpu::TextureView>,
    uniforms: wgpu::Buffer,
    steps: wgpu::Buffer,
    pub(crate) pipelines: Vec<Arc<Pipeline>>,
    /// One per call; `None` for calls that bind a caller's buffer.
    pub(crate) groups: Vec<Option<wgpu::BindGroup>>,
    /// `None` for plans that bind a caller's buffers.
    pub(crate) transfers: Option<Transfers>,
    /// Whether the initial states on the device are zero.
    pub(crate) has_zero_states: bool,
}

/// A step's uniform block is bound with this size.
const STEP_BYTES: u64 = size_of::<Step>() as u64;

impl Workspace {
    /// Allocates a plan's buffers, compiles its pipelines and makes its bind groups.
    ///
    /// # Errors
    /// `Device` when memory runs out or a shader is refused.
    pub(crate) fn new(gpu: &Gpu, plan: Arc<Plan>, weights: &Weights) -> Result<Self> {
        let pipelines = plan
            .calls
            .iter()
            .map(|call| gpu.pipelines.get(gpu, &call.variant))
            .collect::<Result<Vec<_>>>()?;
        gpu.scoped("workspace", || {
            let usage = wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST;
            let buffers: Vec<_> =
                plan.buffers.iter().map(|b| gpu.buffer(&b.label, b.bytes, usage)).collect();
            let textures: Vec<_> = plan.textures.iter().map(|t| gpu.texture(t)).collect();
            if gpu.poison {
                poison(gpu, &plan, &buffers);
                textures.iter().for_each(|texture| gpu.poison_texture(texture));
            }
            let view = |texture: &wgpu::Texture| {
                texture.create_view(&wgpu::TextureViewDescriptor::default())
            };
            let uniforms =
                gpu.buffer_with("uniforms", &plan.uniforms, wgpu::BufferUsages::UNIFORM)?;
            let bytes = step_blocks(&plan, gpu.caps.uniform_align);
            let steps = gpu.buffer_with("steps", &bytes, wgpu::BufferUsages::UNIFORM)?;
            let mut workspace = Self {
                plan: Arc::clone(&plan),
                buffers,
                textures: textures.iter().map(view).collect(),
                uniforms,
                steps,
                pipelines,
                groups: Vec::new(),
                transfers: plan.request.external.is_none().then(|| transfers(gpu, &plan)),
                has_zero_states: !gpu.poison,
            };
            for (index, call) in plan.calls.iter().enumerate() {
                let group = if is_external(call) {
                    None
                } else {
                    Some(workspace.group(gpu, weights, index, None)?)
                };
                workspace.groups.push(group);
            }
            Ok(workspace)
        })
    }

    /// Makes the bind groups that bind a caller's buffers, one place per call.
    ///
    /// # Errors
    /// `Device` when a call has a buffer too few.
    pub(crate) fn late_groups(
        &self,
        gpu: &Gpu,
        weights: &Weights,
        external: External<'_>,
    ) -> Result<Vec<Option<wgpu::BindGroup>>> {
        let make = |(index, group): (usize, &Option<wgpu::BindGroup>)| match group {
            None => self.group(gpu, weights, index, Some(external)).map(Some),
            Some(_) => Ok(None),
        };
        self.groups.iter().enumerate().map(make).collect()
    }

    /// Makes the bind group of call `index`; `external` holds the caller's buffers.
    fn group(
        &self,
        gpu: &Gpu,
        weights: &Weights,
        index: usize,
        external: Option<External<'_>>,
    ) -> Result<wgpu::BindGroup> {
        let call = &self.plan.calls[index];
        let mut slots = call.slots.iter();
        let mut entries = Vec::new();
        for (binding, (name, access)) in (0u32..).zip(call.variant.bindings()) {
            let resource = match access {
                Access::Uniform => {
                    window(&self.uniforms, call.uniform.into(), call.uniform_bytes.into())
                }
                Access::StepUniform => window(&self.steps, 0, STEP_BYTES),
                Access::Read
                | Access::ReadWrite
                | Access::ReadTexture
                | Access::WriteTexture
                | Access::ReadWriteTexture => {
                    let missing =
                        || gpu.device_error(format!("{}: nothing to bind to {name}", call.variant));
                    let slot = slots.next().ok_or_else(missing)?;
                    self.resolve(gpu, *slot, weights, external)?.ok_or_else(missing)?
                }
            };
            entries.push(wgpu::BindGroupEntry { binding, resource });
        }
        count(&gpu.made.bind_groups);
        Ok(gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&call.variant.to_string()),
            layout: &self.pipelines[index].layout,
            entries: &entries,
        }))
    }

    fn resolve<'a>(
        &'a self,
        gpu: &Gpu,
        slot: Slot,
        weights: &'a Weights,
        external: Option<External<'a>>,
    ) -> Result<Option<wgpu::BindingResource<'a>>> {
        let part = |(buffer, bytes): (&'a wgpu::Buffer, u64)| window(buffer, 0, bytes);
        Ok(match slot {
            Slot::Buffer(id) => self.buffers.get(id).map(wgpu::Buffer::as_entire_binding),
            Slot::Part { buffer, at, bytes } => {
                self.buffers.get(buffer).map(|buffer| window(buffer, at, bytes))
            }
            Slot::Weight(id) => {
                let part = weights.get(id)?;
                Some(window(&part.buffer, part.at, part.bytes))
            }
            Slot::WeightTexture(id) => {
                Some(wgpu::BindingResource::TextureView(weights.texture(gpu, id)?))
            }
            Slot::Texture(id) => self.textures.get(id).map(wgpu::BindingResource::TextureView),
            Slot::Train(id) => weights.training(id).map(wgpu::Buffer::as_entire_binding),
            Slot::ExternalInput => external.map(|e| part(e.input)),
            Slot::ExternalOutput => external.map(|e| part(e.output)),
        })
    }
}

fn transfers(gpu: &Gpu, plan: &Plan) -> Transfers {
    Transfers {
        upload: Upload::new(gpu, plan.upload_bytes()),
        readback: Readback::new(gpu, plan.readback_bytes()),
        stamps: None,
    }
}

/// Fills buffers with NaN, so that a read of what was never written shows.
fn poison(gpu: &Gpu, plan: &Plan, buffers: &[wgpu::Buffer]) {
    for (buffer, described) in buffers.iter().zip(&plan.buffers) {
        if described.keeps_zero_padding {
            continue;
        }
        let words = usize::try_from(buffer.size() / 4).unwrap_or(0);
        gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&vec![f32::NAN; words]));
    }
}

/// Tells whether a call binds a caller's buffer.
fn is_external(call: &Call) -> bool {
    call.slots.iter().any(|slot| matches!(slot, Slot::ExternalInput | Slot::ExternalOutput))
}

fn window(buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset,
        size: wgpu::BufferSize::new(bytes),
    })
}

/// One block per step of the longest chunk, at the alignment of dynamic offsets.
fn step_blocks(plan: &Plan, align: u32) -> Vec<u8> {
    let longest = plan
        .ops
        .iter()
        .map(|op| if let Op::Steps { count, .. } = op { *count } else { 0 })
        .max()
        .unwrap_or(0)
        .max(1);
    let stride = usize::try_from(align).unwrap_or(256);
    let mut bytes = vec![0; stride * usize::try_from(longest).unwrap_or(1)];
    for (index, slot) in (0u32..longest).zip(bytes.chunks_mut(stride)) {
        let block = Step { index };
        slot[..size_of::<Step>()].copy_from_slice(bytemuck::bytes_of(&block));
    }
    bytes
}
