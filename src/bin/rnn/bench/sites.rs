//! The devices of a run of the bench, opened once.

use wgpu_rnn::plan::Constants;
use wgpu_rnn::{AdapterReport, Engine, Precision, Strategy};

use super::calibration;
use super::record::Device;
use crate::device::{Allowed, DeviceArgs};
use crate::failure::{Failure, Result};
use crate::report::Reporter;

/// A device that results are to be had of.
pub(super) struct Site {
    /// What it is.
    pub(super) device: Device,
    /// The engine on it, or why there is none.
    pub(super) engine: Result<Engine, String>,
    /// Its measured constants, where there are any.
    pub(super) constants: Option<Constants>,
}

/// Opens the devices of `--device`, each once, by whatever names; with `all` every adapter, and the CPU
/// path last.
///
/// # Errors
/// As [`DeviceArgs::open`], for a device that was named; an adapter of `all` that cannot be opened
/// stays in the list with the reason.
pub(super) fn open(
    names: &[&str],
    precision: Precision,
    allowed: Allowed,
    reporter: &Reporter,
) -> Result<Vec<Site>> {
    let open = |name: &str| {
        let device = DeviceArgs { device: name.to_owned() };
        // The CPU path says at each workload that it has f32 only.
        let engine = device.open_for(Strategy::Auto, allowed, reporter)?;
        Ok::<_, Failure>(engine.with_precision(precision))
    };
    let mut adapters = None;
    let mut adapters =
        || adapters.get_or_insert_with(|| pollster::block_on(Engine::adapters())).clone();
    let mut sites: Vec<Site> = Vec::new();
    for name in names {
        if *name != "all" {
            let engine = open(name)?;
            let index =
                if engine.info().is_cpu_path { None } else { index(&engine, name, &adapters()) };
            sites.push(site(engine, index));
            continue;
        }
        for adapter in adapters() {
            let unopened = |reason: String| Site {
                device: Device::unopened(&adapter.info, adapter.index),
                engine: Err(reason),
                constants: None,
            };
            sites.push(match &adapter.unusable {
                Some(reason) => unopened(reason.clone()),
                None => match open(&adapter.index.to_string()) {
                    Ok(engine) => site(engine, Some(adapter.index)),
                    Err(failure) => unopened(failure.message()),
                },
            });
        }
        sites.push(site(open("cpu")?, None));
    }
    let mut seen: Vec<Device> = Vec::new();
    sites.retain(|site| {
        let is_new = !seen.contains(&site.device);
        seen.extend(is_new.then(|| site.device.clone()));
        is_new
    });
    Ok(sites)
}

/// Finds the adapter of an engine in the list: by the number it was asked for by, or by what it is.
fn index(engine: &Engine, name: &str, adapters: &[AdapterReport]) -> Option<usize> {
    let info = engine.device()?.adapter_info();
    let is_it = |adapter: &&AdapterReport| adapter.info == info;
    name.parse().ok().or_else(|| adapters.iter().find(is_it).map(|adapter| adapter.index))
}

fn site(engine: Engine, index: Option<usize>) -> Site {
    let constants = calibration::constants(&engine);
    Site { device: Device::of(&engine, index), engine: Ok(engine), constants }
}
