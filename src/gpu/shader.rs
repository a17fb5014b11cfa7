//! Shader modules: checked, or trusted for our own embedded WGSL; and the word for experimental features.
#![allow(unsafe_code, reason = "wgpu offers both only through unsafe functions")]

/// Compiles WGSL. `checked` keeps wgpu's bounds and loop checks.
pub(super) fn module(
    device: &wgpu::Device,
    label: &str,
    source: &str,
    checked: bool,
) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    };
    if checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: the WGSL is embedded in this crate, never a caller's. Its indices stay inside the
    // buffers because the plan computes buffer sizes, uniforms and grids from the same numbers;
    // values that come from outside (token ids, lengths) are compared with their bounds in the
    // shader or on the host; calibration masks its indices. Its loops end: every bound is a uniform
    // or a constant. The tests run every kernel of a plan in both forms.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

/// The word that wgpu wants before it enables experimental features.
pub(super) fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: asked of callers is that they know what may happen: bugs of wgpu or drivers. The one feature is
    // off by default, `CooperativeMatrix::Use` names the risk, and our shaders load and store tiles inside
    // workgroup memory whose sizes are constants.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
