//! How a device is chosen and opened, and what is known of those that are there: plain data.

use std::path::PathBuf;

use crate::kernel::Precision;
use crate::plan::{Constants, Strategy};

/// Which device computes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A hardware GPU, else the CPU path. A software adapter is never taken.
    #[default]
    Auto,
    /// The CPU path: threads over sequences, f32.
    Cpu,
    /// The best hardware GPU; an error where there is none.
    Gpu,
    /// The adapter at this place in [`crate::Engine::adapters`].
    Index(usize),
    /// The first adapter whose name, driver or PCI bus id contains this text, letter case ignored.
    Name(String),
}

impl std::str::FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            other => other.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Index),
        })
    }
}

/// Whether workgroups of a dispatch may wait for one another ([`Strategy::GridPersistent`]).
///
/// No graphics API promises that this ends: it does where all workgroups run side by side. The kernels look a
/// bounded number of times, and what gave up runs again with another strategy; yet a driver that does
/// something else meanwhile makes such a run slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GridPersistent {
    /// No.
    #[default]
    Off,
    /// Yes, on as many workgroups as a trial when the engine is made finds side by side, on adapters that are
    /// known to run them so: NVIDIA's under Vulkan. None on others, and none on a borrowed device, to which
    /// nothing is submitted behind its owner's back.
    Probe,
    /// Yes, on so many workgroups, whatever the adapter. For trials.
    Assume(u32),
}

/// Whether products use cooperative matrices, the matrix units of GPUs; in precision f16 only.
///
/// wgpu has them as experimental: its bugs may reach the driver. What enters the input projection
/// and the output layer is rounded to f16 as well; the recurrence rounds nothing that precision f16 does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CooperativeMatrix {
    /// No.
    #[default]
    Off,
    /// Where the adapter multiplies 16 × 16 tiles of f16 into f32 (Vulkan); a borrowed device needs
    /// `EXPERIMENTAL_COOPERATIVE_MATRIX` and `SHADER_F16`, and such an adapter.
    Use,
    /// Ordinary instructions in their place, on any device: slow, for tests.
    Emulate,
}

/// How an [`crate::Engine`] is made.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Which device computes. Default: a hardware GPU, else the CPU.
    pub device: DeviceChoice,
    /// How the time loop runs on a GPU. Default: the planner picks.
    pub strategy: Strategy,
    /// How weights and hidden states are stored on a GPU. Default: f32.
    pub precision: Precision,
    /// Whether the output layer and its function, or the search for its largest values, are one kernel.
    /// Default: the planner picks; where a device cannot, they are apart.
    pub fuse_output: Option<bool>,
    /// Keeps wgpu's bounds and loop checks in our shaders, at the cost of speed. Default: on in debug
    /// builds, off in release builds; the tests run both.
    pub checked_shaders: Option<bool>,
    /// Floating-point operations after which a run goes on in another submit, so that no driver
    /// watchdog ends it. Default: 10¹¹ on hardware, no limit on software adapters.
    pub flops_per_submit: Option<u64>,
    /// Fills fresh device memory with NaN instead of leaving it zero, so that a read of something
    /// never written shows in the result. For tests; costs an upload of every buffer. Default false.
    pub poison_memory: bool,
    /// Plans for a software adapter as for a hardware GPU, with its kernels and tile sizes. For tests, which
    /// would else see those on real hardware only. Default false.
    pub plan_as_hardware: bool,
    /// Whether [`Strategy::GridPersistent`] may be asked for. Default: off.
    pub grid_persistent: GridPersistent,
    /// Whether products use cooperative matrices, and [`Strategy::StepMatrix`] may be asked for. Default: off.
    pub cooperative_matrix: CooperativeMatrix,
    /// Speeds of the device, from an earlier [`crate::Engine::calibrate`] on it; the planner compares
    /// strategies by them. Default: assumed by kind of device. Not read on the CPU path.
    pub constants: Option<Constants>,
    /// A folder in which compiled pipelines outlive the program, one file per adapter, on backends
    /// that give them out (Vulkan). Default: none. Read when the engine is made, written when its last
    /// handle goes or by [`crate::Engine::save_pipelines`]; a file that is damaged or of another
    /// driver is replaced, and never fails a run. A driver trusts what it finds there: take a folder
    /// that only this user can write. A borrowed device needs `Features::PIPELINE_CACHE`.
    pub pipeline_cache: Option<PathBuf>,
}

impl EngineOptions {
    pub(super) fn is_checked(&self) -> bool {
        self.checked_shaders.unwrap_or(cfg!(debug_assertions))
    }
}

/// One adapter of this machine.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Its place in the list, for [`DeviceChoice::Index`].
    pub index: usize,
    /// wgpu's description: name, backend, driver, PCI bus id, subgroup sizes.
    pub info: wgpu::AdapterInfo,
    /// Its limits.
    pub limits: wgpu::Limits,
    /// Its features.
    pub features: wgpu::Features,
    /// Why the engine cannot use it, where it cannot.
    pub unusable: Option<String>,
}
