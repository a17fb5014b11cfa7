//! The device: the only folder, with `engine/`, that names wgpu.
//!
//! Carries a [`crate::plan::Plan`] out: `adapter` opens a device, `canary` asks it what it can do,
//! `calibrate` how fast,
//! `pack` and `weights` bring the network onto it, `pipelines` compiles (`kept` on
//! the disk), `workspace` holds buffers
//! and bind groups of a plan, `upload` brings a batch onto it, `encode` records, `stamps` asks the
//! device's clock, `readback` brings results home.

mod adapter;
pub(crate) mod calibrate;
mod canary;
mod encode;
mod kept;
mod options;
pub(crate) mod pack;
mod pipelines;
mod readback;
mod shader;
mod stamps;
mod texture;
pub(crate) mod unpack;
mod upload;
mod weights;
mod workspace;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) use adapter::{Found, is_software, open, report};
pub use kept::PipelineCache;
pub use options::{AdapterReport, CooperativeMatrix, DeviceChoice, EngineOptions, GridPersistent};

pub(crate) use encode::{Recording, encode};
pub(crate) use pipelines::Pipeline;
pub(crate) use readback::{Readback, Staging, Wait, poll, read_back};
pub(crate) use stamps::{STAMP_BYTES, Span};
pub(crate) use weights::Weights;
pub(crate) use workspace::{External, Transfers, Workspace};

use crate::error::{Error, Result};
use crate::plan::{
    Constants, ConstantsSource, DeviceCaps, HARDWARE_FLOPS_PER_SUBMIT, HARDWARE_WORKGROUPS,
};
use pipelines::Pipelines;

/// What was made on a device: none of it may grow while runs repeat.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) buffers: AtomicU64,
    pub(crate) bind_groups: AtomicU64,
    pub(crate) pipelines: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An open device with what all networks on it share.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) info: wgpu::AdapterInfo,
    pub(crate) caps: DeviceCaps,
    pub(crate) pipelines: Arc<Pipelines>,
    /// Whether they come from the disk.
    pub(crate) pipeline_cache: PipelineCache,
    pub(crate) made: Arc<Made>,
    /// Whether fresh buffers are filled with NaN instead of left zero.
    pub(crate) poison: bool,
    /// Held around every use of a GL device; see [`Gpu::exclusive`].
    turn: Arc<Mutex<()>>,
    /// What the driver reported outside any error scope: device loss, mostly.
    fault: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    pub(crate) fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: wgpu::AdapterInfo,
        options: &EngineOptions,
        is_owned: bool,
    ) -> Result<Self> {
        if info.backend == wgpu::Backend::Noop {
            return Err(Error::unsupported(
                "device: expected one that computes, got wgpu's no-op backend",
            ));
        }
        let caps = caps(&device, &info, options);
        let (kept, pipeline_cache) =
            kept::Kept::open(&device, &info, options.pipeline_cache.as_deref());
        let mut gpu = Self {
            device,
            queue,
            info,
            caps,
            pipelines: Arc::new(Pipelines::new(options.is_checked(), kept)),
            pipeline_cache,
            made: Arc::default(),
            poison: options.poison_memory,
            turn: Arc::default(),
            fault: Arc::default(),
        };
        if options.plan_as_hardware {
            gpu.caps.is_software = false;
            gpu.caps.workgroups_at_once = HARDWARE_WORKGROUPS;
            gpu.caps.constants = Constants::for_discrete();
        }
        if let Some(constants) = options.constants {
            gpu.set_constants(constants)?;
        }
        if is_owned {
            gpu.watch();
        }
        gpu.ask_canaries(options.grid_persistent, is_owned)?;
        Ok(gpu)
    }

    /// Finds what the driver does beyond its limits. A borrowed device is not submitted to behind its owner's
    /// back: the worst is assumed of it.
    fn ask_canaries(&mut self, grid_persistent: GridPersistent, is_owned: bool) -> Result<()> {
        self.caps.loop_limit = if is_owned {
            canary::loop_limit(self)?
        } else {
            is_software(&self.info).then_some(canary::KNOWN_LOOP_LIMIT)
        };
        self.caps.side_by_side = match grid_persistent {
            GridPersistent::Assume(groups) => groups,
            GridPersistent::Probe if is_owned && runs_side_by_side(&self.info) => {
                canary::side_by_side(self)?
            }
            GridPersistent::Off | GridPersistent::Probe => 0,
        };
        Ok(())
    }

    /// Returns another handle to the same device, with the same compiled kernels and counts of its own.
    pub(crate) fn share(&self) -> Self {
        Self { made: Arc::default(), ..self.clone() }
    }

    /// Takes measured constants in place of assumed ones.
    ///
    /// # Errors
    /// `Unsupported` when one of them is no positive number.
    pub(crate) fn set_constants(&mut self, constants: Constants) -> Result<()> {
        if let Some(fault) = constants.fault() {
            return Err(Error::unsupported(format!("constants: {fault}")));
        }
        self.caps.constants = constants;
        self.caps.constants_source = ConstantsSource::Calibrated;
        Ok(())
    }

    /// Keeps a device loss for the next call, and late errors from ending the process. For devices
    /// that we own.
    fn watch(&self) {
        let fault = Arc::clone(&self.fault);
        self.device.set_device_lost_callback(move |reason, text| {
            keep(&fault, format!("device lost ({reason:?}): {text}"));
        });
        // Our own calls are scoped; what arrives here is late news, not a reason to end later runs.
        self.device.on_uncaptured_error(Arc::new(|error: wgpu::Error| log::error!("{error}")));
    }

    /// Names adapter and backend, for messages.
    pub(crate) fn place(&self) -> String {
        format!("{} ({})", self.info.name, self.info.backend)
    }

    pub(crate) fn device_error(&self, what: impl std::fmt::Display) -> Error {
        Error::device(format!("{}: {what}", self.place()))
    }

    /// Fails when the driver has reported something since.
    pub(crate) fn check_alive(&self) -> Result<()> {
        match self.fault.lock() {
            Ok(fault) => fault.as_ref().map_or(Ok(()), |text| Err(self.device_error(text))),
            Err(_) => Err(self.device_error("an earlier call panicked")),
        }
    }

    /// Runs `work` inside error scopes and turns what they catch into typed errors.
    ///
    /// # Errors
    /// What `work` gives; `Device` for out of memory, validation and internal errors.
    pub(crate) fn scoped<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _turn = self.exclusive();
        self.scoped_within(what, work)
    }

    /// As [`Gpu::scoped`], inside of it: an error here is not the outer call's.
    ///
    /// # Errors
    /// As [`Gpu::scoped`].
    pub(crate) fn scoped_within<T>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let result = work();
        // Off the web these futures are ready at once.
        let errors = [
            pollster::block_on(internal.pop()),
            pollster::block_on(validation.pop()),
            pollster::block_on(memory.pop()),
        ];
        match errors.into_iter().flatten().next() {
            Some(wgpu::Error::OutOfMemory { source }) => {
                Err(self.device_error(format!("{what}: out of memory")).with_source(source))
            }
            Some(error) => Err(self.device_error(format!("{what}: {error}")).with_source(error)),
            None => result,
        }
    }

    /// Waits until no other thread uses this device, where that matters: wgpu's GL backend has one
    /// context per adapter and panics when a thread waits long for it (six seconds on EGL, one on
    /// WGL), which a compilation in another thread can cause. Other backends need no turn and get `None`.
    pub(crate) fn exclusive(&self) -> Option<std::sync::MutexGuard<'_, ()>> {
        let is_gl = self.info.backend == wgpu::Backend::Gl;
        // The lock guards no data, so a panic elsewhere leaves nothing half-done.
        is_gl.then(|| self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Makes a buffer of `bytes`, zeroed, for use in shaders and copies.
    pub(crate) fn buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> wgpu::Buffer {
        count(&self.made.buffers);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.next_multiple_of(16),
            usage,
            mapped_at_creation: false,
        })
    }

    /// Makes a buffer of at least `bytes`, zeroed and mapped for writing.
    fn mapped_buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        count(&self.made.buffers);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.next_multiple_of(16).max(16),
            usage,
            mapped_at_creation: true,
        })
    }

    /// Makes a buffer that holds `bytes`.
    pub(crate) fn buffer_with(
        &self,
        label: &str,
        bytes: &[u8],
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer> {
        let buffer = self.mapped_buffer(label, bytes.len() as u64, usage);
        {
            let mut view = buffer
                .get_mapped_range_mut(..)
                .map_err(|e| self.device_error(format!("{label}: {e:?}")))?;
            view.slice(..bytes.len()).copy_from_slice(bytes);
        }
        buffer.unmap();
        Ok(buffer)
    }
}

/// What the planner has to know of a device, canaries left out.
fn caps(device: &wgpu::Device, info: &wgpu::AdapterInfo, options: &EngineOptions) -> DeviceCaps {
    let limits = device.limits();
    let is_software = is_software(info);
    DeviceCaps {
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        workgroup_storage: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        uniform_align: limits.min_uniform_buffer_offset_alignment,
        max_steps: 1 << 20,
        subgroup: (device.features().contains(wgpu::Features::SUBGROUP)
            && info.subgroup_min_size == info.subgroup_max_size)
            .then_some(info.subgroup_min_size),
        workgroups_at_once: if is_software { cores() } else { HARDWARE_WORKGROUPS },
        is_software,
        texture_lines: texture::lines_of(device),
        loop_limit: None,
        side_by_side: 0,
        matrix_threads: matrix_threads(device, info, options.cooperative_matrix),
        fuse_output: options.fuse_output,
        constants: assumed(info),
        constants_source: ConstantsSource::Assumed,
        flops_per_submit: options.flops_per_submit.unwrap_or(if is_software {
            u64::MAX
        } else {
            HARDWARE_FLOPS_PER_SUBMIT
        }),
    }
}

/// What is assumed of a device before anything was measured.
fn assumed(info: &wgpu::AdapterInfo) -> Constants {
    match info.device_type {
        wgpu::DeviceType::Cpu => {
            let constants = Constants::for_software(cores(), has_wide_masks());
            // Other rasterisers were not seen to gain by textures: SwiftShader loses by them.
            let is_llvmpipe = info.name.contains("llvmpipe");
            let texture_bytes =
                if is_llvmpipe { constants.texture_bytes } else { constants.cache_bytes };
            Constants { texture_bytes, ..constants }
        }
        wgpu::DeviceType::DiscreteGpu => Constants::for_discrete(),
        // A virtual GPU is a share of one; drivers that do not say are mostly GL on small chips.
        wgpu::DeviceType::IntegratedGpu
        | wgpu::DeviceType::VirtualGpu
        | wgpu::DeviceType::Other => Constants::for_integrated(),
    }
}

/// What cooperative matrices ask of a device beside their own tile sizes.
pub(crate) const MATRIX_FEATURES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// Invocations of four subgroups, where the device was opened with cooperative matrices and all subgroups have
/// one size.
fn matrix_threads(
    device: &wgpu::Device,
    info: &wgpu::AdapterInfo,
    wish: CooperativeMatrix,
) -> Option<u32> {
    let has_one_size = info.subgroup_min_size == info.subgroup_max_size;
    match wish {
        CooperativeMatrix::Off => None,
        CooperativeMatrix::Emulate => Some(4),
        CooperativeMatrix::Use => (device.features().contains(MATRIX_FEATURES) && has_one_size)
            .then_some(4 * info.subgroup_min_size),
    }
}

/// Adapters on which workgroups that wait for one another were seen to end: NVIDIA's scheduler lets resident
/// workgroups run on. A list to be extended by `rnn check --grid-persistent` on other hardware.
fn runs_side_by_side(info: &wgpu::AdapterInfo) -> bool {
    const NVIDIA: u32 = 0x10de;
    info.backend == wgpu::Backend::Vulkan && info.vendor == NVIDIA && !is_software(info)
}

/// Tells whether the processor has what llvmpipe's loads are fast with: AVX-512 on vectors of 256 bits.
fn has_wide_masks() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("avx512vl");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

fn keep(fault: &Mutex<Option<String>>, text: String) {
    log::error!("{text}");
    if let Ok(mut fault) = fault.lock() {
        fault.get_or_insert(text);
    }
}
