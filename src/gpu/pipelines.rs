//! Pipelines, compiled once per variant and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::kept::Kept;
use super::{Gpu, count, shader, texture};
use crate::error::Result;
use crate::kernel::{Access, Variant};

/// Pipelines kept; beyond it those that no workspace holds are dropped. A network needs a handful,
/// but a process that runs thousands of networks would otherwise grow without end.
const KEPT: usize = 256;

/// A compiled kernel with the layout of its bind group.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    /// Whether it takes the index of a step, by a dynamic offset.
    pub(crate) takes_step: bool,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Pipelines {
    checked: bool,
    cache: Mutex<HashMap<Variant, Arc<Pipeline>>>,
    /// Where they outlive the program.
    kept: Option<Kept>,
}

impl Pipelines {
    pub(super) fn new(checked: bool, kept: Option<Kept>) -> Self {
        Self { checked, cache: Mutex::default(), kept }
    }

    /// Writes compiled pipelines to the disk, where they are kept.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        self.kept.as_ref().map_or(Ok(()), Kept::save)
    }

    /// Returns the pipeline of a variant, compiling it at first use.
    ///
    /// # Errors
    /// `Device` when the driver refuses the shader.
    pub(crate) fn get(&self, gpu: &Gpu, variant: &Variant) -> Result<Arc<Pipeline>> {
        let poisoned = || gpu.device_error("pipelines: an earlier compilation panicked");
        if let Some(found) = self.cache.lock().map_err(|_| poisoned())?.get(variant) {
            return Ok(Arc::clone(found));
        }
        let compiled = Arc::new(gpu.scoped(&format!("kernel {variant}"), || {
            Ok(compile(gpu, variant, self.checked, self.kept.as_ref()))
        })?);
        let mut cache = self.cache.lock().map_err(|_| poisoned())?;
        let mut dropped = HashMap::new();
        if cache.len() >= KEPT {
            dropped = std::mem::take(&mut *cache);
            *cache = dropped.extract_if(|_, pipeline| Arc::strong_count(pipeline) > 1).collect();
        }
        cache.insert(variant.clone(), Arc::clone(&compiled));
        drop(cache);
        let _turn = gpu.exclusive();
        drop(dropped);
        Ok(compiled)
    }
}

fn compile(gpu: &Gpu, variant: &Variant, checked: bool, kept: Option<&Kept>) -> Pipeline {
    let spec = variant.kernel.spec();
    let label = variant.to_string();
    let entries: Vec<_> =
        (0u32..).zip(variant.bindings()).map(|(at, (_, access))| entry(at, access)).collect();
    let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(&label),
        entries: &entries,
    });
    let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let module = shader::module(&gpu.device, &label, &variant.source(), checked);
    let constants: Vec<(&str, f64)> =
        variant.overrides.iter().map(|(name, value)| (*name, f64::from(*value))).collect();
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(spec.entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            // No result depends on workgroup memory that was not written: the resident loop reads
            // the state of ended rows, and discards what it makes of it.
            zero_initialize_workgroup_memory: checked,
        },
        cache: kept.map(|kept| &kept.cache),
    });
    count(&gpu.made.pipelines);
    let takes_step = spec.bindings.iter().any(|(_, access)| *access == Access::StepUniform);
    Pipeline { pipeline, layout, takes_step }
}

pub(super) fn entry(binding: u32, access: Access) -> wgpu::BindGroupLayoutEntry {
    let buffer = |ty| wgpu::BindingType::Buffer {
        ty,
        has_dynamic_offset: access == Access::StepUniform,
        min_binding_size: None,
    };
    let texture = |access| wgpu::BindingType::StorageTexture {
        access,
        format: texture::FORMAT,
        view_dimension: wgpu::TextureViewDimension::D2,
    };
    let ty = match access {
        Access::Uniform | Access::StepUniform => buffer(wgpu::BufferBindingType::Uniform),
        Access::Read => buffer(wgpu::BufferBindingType::Storage { read_only: true }),
        Access::ReadWrite => buffer(wgpu::BufferBindingType::Storage { read_only: false }),
        Access::ReadTexture => texture(wgpu::StorageTextureAccess::ReadOnly),
        Access::WriteTexture => texture(wgpu::StorageTextureAccess::WriteOnly),
        Access::ReadWriteTexture => texture(wgpu::StorageTextureAccess::ReadWrite),
    };
    wgpu::BindGroupLayoutEntry { binding, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None }
}
