//! `rnn adapters`: every device that a run could use.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};
use wgpu_rnn::wgpu::{DeviceType, Features};
use wgpu_rnn::{AdapterReport, Engine};

use crate::failure::Result;
use crate::print;
use crate::table::bytes;

/// List the GPUs of this machine, and the CPU path.
#[derive(Args, Debug)]
#[command(
    after_help = "The environment variables of wgpu, such as WGPU_BACKEND=vulkan, narrow the list.

Examples:
  rnn adapters
  rnn adapters --json
  WGPU_BACKEND=vulkan rnn adapters"
)]
pub(crate) struct AdaptersArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Features that change how fast a network runs or how it is measured.
const FEATURES: [(&str, Features); 5] = [
    ("SHADER_F16", Features::SHADER_F16),
    ("SUBGROUP", Features::SUBGROUP),
    ("SUBGROUP_BARRIER", Features::SUBGROUP_BARRIER),
    ("TIMESTAMP_QUERY", Features::TIMESTAMP_QUERY),
    ("EXPERIMENTAL_COOPERATIVE_MATRIX", Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

/// Runs the subcommand.
///
/// # Errors
/// `Io` when standard output is closed.
pub(crate) fn run(args: &AdaptersArgs) -> Result<()> {
    let adapters = pollster::block_on(Engine::adapters());
    if args.json {
        let adapters: Vec<Value> = adapters.iter().map(as_json).collect();
        let record = json!({ "adapters": adapters, "cpu": { "threads": threads() } });
        return print(&format!("{record:#}\n"));
    }
    let mut text = String::new();
    if adapters.is_empty() {
        text.push_str("No GPU adapter found; runs use the CPU path.\n\n");
    }
    for adapter in &adapters {
        text.push_str(&as_text(adapter));
        text.push('\n');
    }
    let count = threads();
    let noun = if count == 1 { "thread" } else { "threads" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "cpu  CPU path\n     {count} {noun}, f32; --device cpu");
    print(&text)
}

fn threads() -> usize {
    rayon::current_num_threads()
}

fn kind(kind: DeviceType) -> &'static str {
    match kind {
        DeviceType::DiscreteGpu => "discrete GPU",
        DeviceType::IntegratedGpu => "integrated GPU",
        DeviceType::VirtualGpu => "virtual GPU",
        DeviceType::Cpu => "software rasteriser on the CPU",
        DeviceType::Other => "other",
    }
}

fn features(adapter: &AdapterReport) -> Vec<&'static str> {
    let has = |(_, feature): &&(&str, Features)| adapter.features.contains(*feature);
    FEATURES.iter().filter(has).map(|(name, _)| *name).collect()
}

fn as_text(adapter: &AdapterReport) -> String {
    let (info, limits) = (&adapter.info, &adapter.limits);
    let known = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let names = features(adapter);
    let size = |[x, y, z]: [u32; 3]| format!("{x} × {y} × {z}");
    let workgroup = [
        limits.max_compute_workgroup_size_x,
        limits.max_compute_workgroup_size_y,
        limits.max_compute_workgroup_size_z,
    ];
    let rows = [
        ("type", kind(info.device_type).to_owned()),
        ("backend", info.backend.to_string()),
        ("driver", known(format!("{} {}", info.driver, info.driver_info).trim())),
        ("PCI bus id", known(&info.device_pci_bus_id)),
        ("vendor, device", format!("{:#06x}, {:#06x}", info.vendor, info.device)),
        ("storage binding", bytes(limits.max_storage_buffer_binding_size)),
        ("buffer", bytes(limits.max_buffer_size)),
        ("storage buffers", format!("{} per stage", limits.max_storage_buffers_per_shader_stage)),
        ("workgroup storage", bytes(u64::from(limits.max_compute_workgroup_storage_size))),
        (
            "workgroup size",
            format!(
                "{}, {} together",
                size(workgroup),
                limits.max_compute_invocations_per_workgroup
            ),
        ),
        ("workgroups", format!("{} per dimension", limits.max_compute_workgroups_per_dimension)),
        ("subgroups", format!("{} to {} lanes", info.subgroup_min_size, info.subgroup_max_size)),
        ("features", known(&names.join(", "))),
    ];
    let mut text = format!("{:<4} {}\n", adapter.index, info.name);
    for (name, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "     {name:<18} {value}");
    }
    if let Some(reason) = &adapter.unusable {
        let _ = writeln!(text, "     {:<18} {reason}", "unusable");
    }
    text
}

fn as_json(adapter: &AdapterReport) -> Value {
    let (info, limits) = (&adapter.info, &adapter.limits);
    json!({
        "index": adapter.index,
        "name": info.name,
        "backend": info.backend.to_string(),
        "type": kind(info.device_type),
        "driver": info.driver,
        "driver_info": info.driver_info,
        "pci_bus_id": info.device_pci_bus_id,
        "vendor": info.vendor,
        "device": info.device,
        "subgroup_min_size": info.subgroup_min_size,
        "subgroup_max_size": info.subgroup_max_size,
        "limits": {
            "max_storage_buffer_binding_size": limits.max_storage_buffer_binding_size,
            "max_buffer_size": limits.max_buffer_size,
            "max_storage_buffers_per_shader_stage": limits.max_storage_buffers_per_shader_stage,
            "max_compute_workgroup_storage_size": limits.max_compute_workgroup_storage_size,
            "max_compute_invocations_per_workgroup": limits.max_compute_invocations_per_workgroup,
            "max_compute_workgroup_size": [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
            "max_compute_workgroups_per_dimension": limits.max_compute_workgroups_per_dimension,
            "min_storage_buffer_offset_alignment": limits.min_storage_buffer_offset_alignment,
        },
        "features": features(adapter),
        "unusable": adapter.unusable,
    })
}
