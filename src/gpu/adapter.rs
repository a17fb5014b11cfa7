//! Finding an adapter and opening a device on it.

use super::texture::TEXTURE_FEATURE;
use super::{AdapterReport, CooperativeMatrix, DeviceChoice, EngineOptions, Gpu, MATRIX_FEATURES};
use crate::error::{Error, Result};

/// Features that are used where they are there.
const USED_FEATURES: wgpu::Features =
    wgpu::Features::SUBGROUP.union(wgpu::Features::TIMESTAMP_QUERY);

/// What the portability floor asks of every adapter: WebGPU's own default limits.
const STORAGE_BUFFERS: u32 = 8;

fn instance() -> Option<wgpu::Instance> {
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return None;
    }
    // Honours WGPU_BACKEND, WGPU_VALIDATION, WGPU_DEBUG and the like.
    Some(wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env()))
}

async fn enumerate() -> Vec<wgpu::Adapter> {
    let Some(instance) = instance() else {
        return Vec::new();
    };
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::all());
    let mut adapters = instance.enumerate_adapters(backends).await;
    // A backend that validates and never executes is no adapter.
    adapters.retain(|adapter| adapter.get_info().backend != wgpu::Backend::Noop);
    adapters
}

/// Lists every adapter with what matters here.
pub(crate) async fn report() -> Vec<AdapterReport> {
    enumerate().await.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterReport {
    AdapterReport {
        index,
        info: adapter.get_info(),
        limits: adapter.limits(),
        features: adapter.features(),
        unusable: unusable(adapter),
    }
}

/// Says what an adapter lacks, where it lacks something.
fn unusable(adapter: &wgpu::Adapter) -> Option<String> {
    let flags = adapter.get_downlevel_capabilities().flags;
    if !flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
        return Some("no compute shaders".into());
    }
    let (limits, floor) = (adapter.limits(), wgpu::Limits::default());
    let checks = [
        ("storage buffers per stage", limits.max_storage_buffers_per_shader_stage, STORAGE_BUFFERS),
        (
            "bytes of workgroup memory",
            limits.max_compute_workgroup_storage_size,
            floor.max_compute_workgroup_storage_size,
        ),
        (
            "invocations per workgroup",
            limits.max_compute_invocations_per_workgroup,
            floor.max_compute_invocations_per_workgroup,
        ),
    ];
    checks
        .iter()
        .find(|(_, got, want)| got < want)
        .map(|(what, got, want)| format!("{what}: needs {want}, has {got}"))
}

pub(crate) fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

/// Order of preference among hardware: discrete, integrated, the rest; then Vulkan, Metal and DX12
/// before GL.
fn rank(info: &wgpu::AdapterInfo) -> (u8, u8) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (kind, u8::from(info.backend == wgpu::Backend::Gl))
}

fn matches(info: &wgpu::AdapterInfo, text: &str) -> bool {
    let text = text.to_lowercase();
    // An empty text is a mistake, such as an unset variable, and would match everything.
    !text.is_empty()
        && [&info.name, &info.driver, &info.driver_info, &info.device_pci_bus_id]
            .iter()
            .any(|field| field.to_lowercase().contains(&text))
}

/// What was found for a choice.
pub(crate) enum Found {
    /// An open device and why it was taken.
    Gpu(Box<Gpu>, String),
    /// No hardware adapter, and the choice allows the CPU path; the reason.
    NoHardware(String),
}

/// Opens the adapter that the options name.
///
/// # Errors
/// `Device` when no adapter matches (lists those that are there), or the driver refuses.
pub(crate) async fn open(options: &EngineOptions) -> Result<Found> {
    if options.device == DeviceChoice::Cpu {
        // No driver is woken for a run that will not use one.
        return Ok(Found::NoHardware("the CPU path was asked for".into()));
    }
    let adapters = enumerate().await;
    let list = list(&adapters);
    let hardware = || {
        let mut usable: Vec<_> = adapters
            .iter()
            .filter(|a| !is_software(&a.get_info()) && unusable(a).is_none())
            .collect();
        usable.sort_by_key(|a| rank(&a.get_info()));
        usable.first().copied()
    };
    let (adapter, reason) = match &options.device {
        DeviceChoice::Auto | DeviceChoice::Cpu => match hardware() {
            Some(adapter) => (adapter, "the best hardware GPU".to_owned()),
            None => {
                return Ok(Found::NoHardware(format!("no hardware GPU; adapters: {list}")));
            }
        },
        DeviceChoice::Gpu => match hardware() {
            Some(adapter) => (adapter, "the best hardware GPU".to_owned()),
            None => {
                return Err(Error::device(format!(
                    "device gpu: expected a hardware GPU, got none; adapters: {list} (name a \
                     software adapter to use it)"
                )));
            }
        },
        DeviceChoice::Index(index) => {
            let adapter = adapters.get(*index).ok_or_else(|| {
                Error::device(format!(
                    "device {index}: expected an adapter, got none; adapters: {list}"
                ))
            })?;
            (adapter, format!("adapter {index} was asked for"))
        }
        DeviceChoice::Name(name) => {
            let mut found: Vec<_> =
                adapters.iter().filter(|a| matches(&a.get_info(), name)).collect();
            found.sort_by_key(|a| rank(&a.get_info()));
            let adapter = found.first().copied().ok_or_else(|| {
                Error::device(format!(
                    "device {name}: expected an adapter of that name, got none; adapters: {list}"
                ))
            })?;
            (adapter, format!("an adapter named {name:?} was asked for"))
        }
    };
    Ok(Found::Gpu(Box::new(open_adapter(adapter, options).await?), reason))
}

fn list(adapters: &[wgpu::Adapter]) -> String {
    if adapters.is_empty() {
        return "none (no Vulkan, Metal, DX12 or GL driver answered)".into();
    }
    let names: Vec<String> = adapters
        .iter()
        .enumerate()
        .map(|(i, a)| {
            let info = a.get_info();
            let software = if is_software(&info) { ", software" } else { "" };
            format!("{i} = {} ({}{software})", info.name, info.backend)
        })
        .collect();
    names.join(", ")
}

/// Tells whether an adapter multiplies 16 × 16 tiles of f16 into f32.
fn multiplies_tiles(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let is_ours = |tile: &wgpu::CooperativeMatrixProperties| {
        (tile.m_size, tile.n_size, tile.k_size) == (16, 16, 16)
            && (tile.ab_type, tile.cr_type) == (F16, F32)
    };
    adapter.features().contains(MATRIX_FEATURES)
        && adapter.cooperative_matrix_properties().iter().any(is_ours)
}

async fn open_adapter(adapter: &wgpu::Adapter, options: &EngineOptions) -> Result<Gpu> {
    let info = adapter.get_info();
    if let Some(why) = unusable(adapter) {
        return Err(Error::unsupported(format!("adapter {} ({}): {why}", info.name, info.backend)));
    }
    let mut features = USED_FEATURES;
    features.set(wgpu::Features::PIPELINE_CACHE, options.pipeline_cache.is_some());
    // What only software adapters gain by is asked of them alone.
    features.set(TEXTURE_FEATURE, is_software(&info));
    let wants_matrices = options.cooperative_matrix == CooperativeMatrix::Use;
    let takes_matrices = wants_matrices && multiplies_tiles(adapter);
    if takes_matrices {
        features |= MATRIX_FEATURES;
    }
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("wgpu-rnn"),
        required_features: adapter.features() & features,
        // Everything the adapter has: larger bindings mean fewer chunks.
        required_limits: adapter.limits(),
        experimental_features: if takes_matrices {
            super::shader::experimental()
        } else {
            wgpu::ExperimentalFeatures::disabled()
        },
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await.map_err(|e| {
        Error::device(format!("adapter {} ({}): {e}", info.name, info.backend)).with_source(e)
    })?;
    Gpu::new(device, queue, info, options, true)
}
