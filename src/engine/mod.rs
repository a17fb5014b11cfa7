//! The public engine: joins model, plan and device; the only orchestrator.
//!
//! [`Engine`] owns (or borrows) a device, [`Engine::load`] packs a [`Model`] for it,
//! [`LoadedModel::run`] takes a [`crate::Batch`] to an [`crate::Output`], and a [`Session`] records
//! into a caller's own command encoder. Five hops: plan, encode, submit, read back, unpack.

mod autotune;
mod calibrate;
mod explain;
mod generate;
mod loaded;
mod part;
mod results;
mod run;
mod session;
mod stream;
mod train;
mod upload;

pub use crate::gpu::calibrate::CalibrationEvent;
pub use crate::gpu::{
    AdapterReport, CooperativeMatrix, DeviceChoice, EngineOptions, GridPersistent, PipelineCache,
};
pub use crate::kernel::Precision;
pub use crate::plan::{Constants, ConstantsSource, Strategy};
pub use autotune::Tuning;
pub use generate::Generator;
pub use loaded::LoadedModel;
pub use session::{Session, SessionOptions};
pub use stream::{Stream, StreamOptions};
pub use train::{Checkpoint, Gradients, Progress, StepMemory, Trainer, TrainerOptions};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::gpu::{self, Found, Gpu, Made};
use crate::model::Model;

/// What an engine runs on, for people and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Adapter name, or "CPU".
    pub name: String,
    /// wgpu backend ("vulkan", "metal", …), or "cpu".
    pub backend: String,
    /// Driver and its version; empty for the CPU path.
    pub driver: String,
    /// Why this device was taken.
    pub reason: String,
    /// Whether this is the CPU path (no wgpu device).
    pub is_cpu_path: bool,
    /// Whether the adapter is a software rasteriser.
    pub is_software: bool,
    /// After how many iterations the driver ends a loop, where it does; the plan stays below.
    pub loop_limit: Option<u32>,
    /// Whether the device's speeds were measured or assumed; `None` on the CPU path.
    pub constants: Option<ConstantsSource>,
    /// Whether compiled pipelines come from the disk.
    pub pipeline_cache: PipelineCache,
}

/// What an engine has asked of its device so far; all zero on the CPU path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Queue submissions of runs.
    pub submits: u64,
    /// Times that results were mapped.
    pub readbacks: u64,
    /// Workspaces allocated: a set of buffers for one shape.
    pub workspaces: u64,
    /// Device buffers made: weights, workspaces, readback.
    pub buffers: u64,
    /// Bind groups made.
    pub bind_groups: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Runs done again because workgroups of [`Strategy::GridPersistent`] waited in vain.
    pub reruns: u64,
}

#[derive(Debug, Default)]
struct Counts {
    submits: AtomicU64,
    readbacks: AtomicU64,
    workspaces: AtomicU64,
    reruns: AtomicU64,
}

#[derive(Debug)]
enum Target {
    Cpu,
    Gpu(Box<Gpu>),
}

/// How networks are to run.
#[derive(Clone, Copy, Debug, Default)]
struct Wishes {
    strategy: Strategy,
    precision: Precision,
}

#[derive(Debug)]
struct Shared {
    info: EngineInfo,
    wishes: Wishes,
    target: Target,
    counts: Counts,
}

/// A device with everything that networks on it share. Cloning is cheap and shares it.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Takes a hardware GPU, else the CPU path.
    ///
    /// # Errors
    /// `Device` when a GPU is there and refuses.
    pub async fn new() -> Result<Self> {
        Self::with_options(&EngineOptions::default()).await
    }

    /// Takes the device that the options name.
    ///
    /// # Errors
    /// `Device` when there is no such adapter (lists those there are), or it refuses; `Unsupported`
    /// when the adapter is below WebGPU's default limits.
    pub async fn with_options(options: &EngineOptions) -> Result<Self> {
        let wishes = Wishes { strategy: options.strategy, precision: options.precision };
        match gpu::open(options).await? {
            Found::NoHardware(reason) => Ok(Self::on(Target::Cpu, reason, wishes)),
            Found::Gpu(gpu, reason) => Ok(Self::on(Target::Gpu(gpu), reason, wishes)),
        }
    }

    /// Uses the CPU path: threads over sequences, f32.
    pub fn cpu() -> Self {
        Self::on(Target::Cpu, "the CPU path was asked for".into(), Wishes::default())
    }

    /// Borrows the device of an application.
    ///
    /// Installs no callbacks, changes no limits, submits nothing by itself; late errors go to the
    /// application's own handler. Device and queue are handles: clones of the application's.
    ///
    /// # Errors
    /// `Unsupported` when the device is below [`Engine::required_limits`].
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        Self::from_device_with(device, queue, &EngineOptions::default())
    }

    /// Borrows the device of an application, with options (`device` is not read).
    ///
    /// # Errors
    /// As [`Engine::from_device`].
    pub fn from_device_with(
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &EngineOptions,
    ) -> Result<Self> {
        let info = device.adapter_info();
        let (limits, floor) = (device.limits(), Self::required_limits());
        if !floor.check_limits(&limits) {
            let mut lacking = Vec::new();
            floor.check_limits_with_fail_fn(&limits, false, |name, need, has| {
                lacking.push(format!("{name}: expected at least {need}, got {has}"));
            });
            return Err(Error::unsupported(format!(
                "device {}: {} (request Engine::required_limits())",
                info.name,
                lacking.join("; ")
            )));
        }
        let gpu = Gpu::new(device, queue, info, options, false)?;
        let reason = "the application's own device".into();
        let wishes = Wishes { strategy: options.strategy, precision: options.precision };
        Ok(Self::on(Target::Gpu(Box::new(gpu)), reason, wishes))
    }

    /// Returns the limits that a borrowed device must have; an embedder merges them into its own.
    pub fn required_limits() -> wgpu::Limits {
        wgpu::Limits {
            max_storage_buffers_per_shader_stage: 8,
            max_storage_buffer_binding_size: 1 << 20,
            max_buffer_size: 1 << 20,
            max_compute_workgroup_storage_size: 16_384,
            max_compute_invocations_per_workgroup: 256,
            max_compute_workgroup_size_x: 128,
            max_compute_workgroup_size_y: 64,
            max_compute_workgroup_size_z: 1,
            max_compute_workgroups_per_dimension: 65_535,
            max_uniform_buffers_per_shader_stage: 2,
            max_dynamic_uniform_buffers_per_pipeline_layout: 1,
            max_bind_groups: 1,
            max_bindings_per_bind_group: 16,
            max_uniform_buffer_binding_size: 4096,
            min_uniform_buffer_offset_alignment: 256,
            min_storage_buffer_offset_alignment: 256,
            ..wgpu::Limits::downlevel_webgl2_defaults()
        }
    }

    /// Returns the features that a borrowed device must have: none.
    pub fn required_features() -> wgpu::Features {
        wgpu::Features::empty()
    }

    fn on(target: Target, reason: String, wishes: Wishes) -> Self {
        let info = match &target {
            Target::Cpu => EngineInfo {
                name: "CPU".into(),
                backend: "cpu".into(),
                driver: String::new(),
                reason,
                is_cpu_path: true,
                is_software: false,
                loop_limit: None,
                constants: None,
                pipeline_cache: PipelineCache::Off,
            },
            Target::Gpu(gpu) => EngineInfo {
                name: gpu.info.name.clone(),
                backend: gpu.info.backend.to_string(),
                driver: format!("{} {}", gpu.info.driver, gpu.info.driver_info).trim().to_owned(),
                reason,
                is_cpu_path: false,
                is_software: gpu::is_software(&gpu.info),
                loop_limit: gpu.caps.loop_limit,
                constants: Some(gpu.caps.constants_source),
                pipeline_cache: gpu.pipeline_cache.clone(),
            },
        };
        let counts = Counts::default();
        Self { shared: Arc::new(Shared { info, wishes, target, counts }) }
    }

    /// Shares the device and picks another strategy; networks loaded from the result use it.
    #[must_use]
    pub fn with_strategy(&self, strategy: Strategy) -> Self {
        self.with_wishes(Wishes { strategy, ..self.shared.wishes })
    }

    /// Shares the device and stores weights and states in another precision; networks loaded from the
    /// result do. The CPU path takes f32 only: [`Engine::load`] refuses others there.
    #[must_use]
    pub fn with_precision(&self, precision: Precision) -> Self {
        self.with_wishes(Wishes { precision, ..self.shared.wishes })
    }

    /// Returns how networks that are loaded on it store weights and states.
    pub fn precision(&self) -> Precision {
        self.shared.wishes.precision
    }

    fn with_wishes(&self, wishes: Wishes) -> Self {
        let target = match &self.shared.target {
            Target::Cpu => Target::Cpu,
            Target::Gpu(gpu) => Target::Gpu(Box::new(gpu.share())),
        };
        Self::on(target, self.shared.info.reason.clone(), wishes)
    }

    /// Writes compiled pipelines into the folder of [`EngineOptions::pipeline_cache`]; without one it
    /// does nothing. For programs that run long: the last handle of an engine writes them anyway.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub fn save_pipelines(&self) -> Result<()> {
        self.gpu().map_or(Ok(()), |gpu| gpu.pipelines.save())
    }

    /// Lists every adapter of this machine; empty where no driver answers or no wgpu backend is
    /// compiled in.
    pub async fn adapters() -> Vec<AdapterReport> {
        gpu::report().await
    }

    /// Returns what the engine runs on.
    pub fn info(&self) -> &EngineInfo {
        &self.shared.info
    }

    /// Returns what has been asked of the device so far.
    pub fn counters(&self) -> Counters {
        let counts = &self.shared.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let made =
            |pick: fn(&Made) -> &AtomicU64| self.gpu().map_or(0, |gpu| read(pick(&gpu.made)));
        Counters {
            submits: read(&counts.submits),
            readbacks: read(&counts.readbacks),
            workspaces: read(&counts.workspaces),
            buffers: made(|made| &made.buffers),
            bind_groups: made(|made| &made.bind_groups),
            pipelines: made(|made| &made.pipelines),
            reruns: read(&counts.reruns),
        }
    }

    /// Packs a network for this device.
    ///
    /// # Errors
    /// `Limit` when one of its weights exceeds what the device can bind; `Device` when memory runs
    /// out; with [`Precision::F16`] `Weights` when one is beyond 65504 (names it), and `Unsupported` on
    /// the CPU path.
    pub fn load(&self, model: &Model) -> Result<LoadedModel> {
        LoadedModel::new(self.clone(), model)
    }

    /// Returns the wgpu device, to make buffers for a [`Session`] on it; `None` on the CPU path.
    ///
    /// It is shared, not lent: install no callbacks and open no error scope across a call of this
    /// crate. A GL device takes one thread at a time; the crate's own calls take turns, others do not.
    pub fn device(&self) -> Option<&wgpu::Device> {
        self.gpu().map(|gpu| &gpu.device)
    }

    /// Returns the wgpu queue that belongs to [`Engine::device`]; `None` on the CPU path.
    pub fn queue(&self) -> Option<&wgpu::Queue> {
        self.gpu().map(|gpu| &gpu.queue)
    }

    fn gpu(&self) -> Option<&Gpu> {
        match &self.shared.target {
            Target::Cpu => None,
            Target::Gpu(gpu) => Some(gpu),
        }
    }
}
