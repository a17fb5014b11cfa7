//! What a plan needs to know of a device: limits, kind, the loops it can run, and how fast it is.

use super::{Constants, ConstantsSource};

/// Limits and habits of a device, as plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceCaps {
    /// Bytes that one storage binding may have.
    pub max_binding: u64,
    /// Bytes that one buffer may have.
    pub max_buffer: u64,
    /// Workgroups along one axis of a dispatch.
    pub max_workgroups: u32,
    /// Bytes of workgroup memory.
    pub workgroup_storage: u32,
    /// Invocations of a workgroup.
    pub max_invocations: u32,
    /// Alignment of dynamic uniform offsets.
    pub uniform_align: u32,
    /// Time steps that one run may have.
    pub max_steps: u32,
    /// Lanes of a subgroup, where shaders may use subgroups and all have the same size.
    pub subgroup: Option<u32>,
    /// Workgroups that run side by side: processor cores for a software adapter, else a guess.
    pub workgroups_at_once: u32,
    /// Whether the adapter is a software rasteriser on the CPU.
    pub is_software: bool,
    /// Lines that a texture may have, each of [`TEXTURE_LINE`](super::TEXTURE_LINE) values.
    pub texture_lines: u32,
    /// Loop iterations an invocation may run, where the driver ends loops early.
    pub loop_limit: Option<u32>,
    /// Workgroups of a dispatch that were seen to run side by side, where that was asked; else 0.
    pub side_by_side: u32,
    /// Invocations of a workgroup of kernels with cooperative matrices, four subgroups, where they may be used.
    pub matrix_threads: Option<u32>,
    /// Floating-point operations after which a submit is ended, so that no watchdog fires.
    pub flops_per_submit: u64,
    /// Whether the output layer and what follows it are one kernel; `None` leaves it to the prediction.
    pub fuse_output: Option<bool>,
    /// How fast the device is.
    pub constants: Constants,
    /// Whether that was measured.
    pub constants_source: ConstantsSource,
}

impl DeviceCaps {
    /// The limits that every WebGPU device has, seen as a hardware GPU.
    pub const fn webgpu_default() -> Self {
        Self {
            max_binding: 128 << 20,
            max_buffer: 256 << 20,
            max_workgroups: 65_535,
            workgroup_storage: 16_384,
            max_invocations: 256,
            uniform_align: 256,
            max_steps: 1 << 16,
            subgroup: None,
            workgroups_at_once: HARDWARE_WORKGROUPS,
            is_software: false,
            texture_lines: 8192,
            loop_limit: None,
            side_by_side: 0,
            matrix_threads: None,
            flops_per_submit: HARDWARE_FLOPS_PER_SUBMIT,
            fuse_output: None,
            constants: Constants::for_discrete(),
            constants_source: ConstantsSource::Assumed,
        }
    }
}

/// Cores of a mid-size GPU, where nothing was measured.
pub const HARDWARE_WORKGROUPS: u32 = 32;

/// Work of one submit on hardware: half a second at 200 GFLOP/s, a quarter of the shortest usual
/// watchdog (Windows: 2 s).
pub const HARDWARE_FLOPS_PER_SUBMIT: u64 = 100_000_000_000;
