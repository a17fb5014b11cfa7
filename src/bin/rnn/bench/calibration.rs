//! The measured constants of a device: where they come from, and how they are printed.

use serde_json::{Value, json};
use wgpu_rnn::plan::Constants;
use wgpu_rnn::{ConstantsSource, Engine};

use super::print::{figure, seconds};
use super::record::{Device, SCHEMA_VERSION};
use crate::table::{Align, Table};

/// Name of the schema of a record.
const SCHEMA: &str = "wgpu-rnn-constants";

/// Says why a fraction of roofline is missing.
pub(super) const NOT_CALIBRATED: &str = "not calibrated";

/// Returns the measured constants of the engine's device, where there are any.
///
/// This is the one place that asks for them.
pub(super) fn constants(engine: &Engine) -> Option<Constants> {
    let is_measured = engine.constants_source() == Some(ConstantsSource::Calibrated);
    engine.constants().copied().filter(|_| is_measured)
}

/// Writes a table of the constants, a row a device.
pub(super) fn as_table(devices: &[(Device, Option<Constants>)]) -> Table {
    let mut table = Table::new([
        ("device", Align::Left),
        ("GFLOP/s", Align::Right),
        ("of one workgroup", Align::Right),
        ("memory GB/s", Align::Right),
        ("cache GB/s", Align::Right),
        ("into one workgroup", Align::Right),
        ("through a texture", Align::Right),
        ("dispatch", Align::Right),
        ("barrier", Align::Right),
        ("round trip", Align::Right),
    ]);
    for (device, constants) in devices {
        let mut row = vec![device.title()];
        match constants {
            Some(c) => row.extend([
                figure(c.flops / 1e9),
                figure(c.group_flops / 1e9),
                figure(c.memory_bytes / 1e9),
                figure(c.cache_bytes / 1e9),
                figure(c.group_cache_bytes / 1e9),
                figure(c.texture_bytes / 1e9),
                seconds(c.dispatch),
                seconds(c.barrier),
                seconds(c.round_trip),
            ]),
            None => row.extend((0..9).map(|_| format!("n/a ({NOT_CALIBRATED})"))),
        }
        table.row(row);
    }
    table
}

/// Makes a record a device.
pub(super) fn as_json(devices: &[(Device, Option<Constants>)]) -> Vec<Value> {
    let record = |(device, constants): &(Device, Option<Constants>)| {
        let reason = constants.is_none().then_some(NOT_CALIBRATED);
        json!({
            "schema": SCHEMA, "schema_version": SCHEMA_VERSION, "device": device,
            "constants": constants, "reason": reason,
        })
    };
    devices.iter().map(record).collect()
}
