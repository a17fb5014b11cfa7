//! The devices of a run of the bench, opened once.

use wgpu_rnn::plan::Constants;
use wgpu_rnn::{Engine, Precision, Strategy};

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

/// Opens the devices of `--device`; with `all` every adapter, and the CPU path last.
///
/// # Errors
/// As [`DeviceArgs::open`], for a device that was named; an adapter of `all` that cannot be opened
/// stays in the list with the reason.
pub(super) fn open(
    names: &[String],
    precision: Precision,
    allowed: Allowed,
    reporter: &Reporter,
) -> Result<Vec<Site>> {
    let open = |name: &str| {
        let device = DeviceArgs { device: name.to_owned() };
        // The CPU path says at each workload that it has f32 only.
        let engine = device.open_for(Strategy::Auto, allowed, reporter)?;
        Ok::<_, Failure>(site(engine.with_precision(precision)))
    };
    let mut sites: Vec<Site> = Vec::new();
    for name in names {
        if name != "all" {
            sites.push(open(name)?);
            continue;
        }
        for adapter in pollster::block_on(Engine::adapters()) {
            let unopened = |reason: String| Site {
                device: Device::unopened(&adapter.info),
                engine: Err(reason),
                constants: None,
            };
            sites.push(match &adapter.unusable {
                Some(reason) => unopened(reason.clone()),
                None => match open(&adapter.index.to_string()) {
                    Ok(site) => site,
                    Err(failure) => unopened(failure.message()),
                },
            });
        }
        sites.push(open("cpu")?);
    }
    Ok(sites)
}

fn site(engine: Engine) -> Site {
    let constants = calibration::constants(&engine);
    Site { device: Device::of(&engine), engine: Ok(engine), constants }
}
