//! The measured constants of a device: where they come from, and how they are printed.

use serde_json::{Value, json};
use wgpu_rnn::plan::Constants;
use wgpu_rnn::{ConstantsSource, Engine};

use super::print::{figure, seconds};
use super::record::{Device, SCHEMA_VERSION};
use super::sites::Site;
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

/// A device with its constants, or why there are none.
pub(super) type Known<'a> = (&'a Device, Result<Constants, String>);

/// Returns what is known of a site.
pub(super) fn of_site(site: &Site) -> Known<'_> {
    let missing = match (&site.engine, site.device.threads, site.device.index) {
        (Err(reason), ..) => reason.clone(),
        (_, Some(_), _) => format!("{NOT_CALIBRATED}: rnn calibrate measures adapters"),
        (.., Some(index)) => format!("{NOT_CALIBRATED}: rnn calibrate --device {index} does it"),
        (.., None) => format!("{NOT_CALIBRATED}: rnn calibrate --device NAME does it"),
    };
    (&site.device, site.constants.ok_or(missing))
}

fn not_applicable(reason: &str) -> String {
    format!("n/a ({})", reason.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Writes a table of the constants, a row a device.
pub(super) fn as_table(devices: &[Known]) -> Table {
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
            Ok(c) => row.extend([
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
            Err(reason) => row.push(not_applicable(reason)),
        }
        table.row(row);
    }
    table
}

/// Makes the table of the CSV: numbers, whose units the header names.
pub(super) fn as_numbers(devices: &[Known]) -> Table {
    let text = ["device.index", "device.name", "device.backend", "device.driver"];
    let numbers = [
        "flop_per_s",
        "group_flop_per_s",
        "memory_bytes_per_s",
        "cache_bytes_per_s",
        "group_cache_bytes_per_s",
        "texture_bytes_per_s",
        "dispatch_s",
        "barrier_s",
        "round_trip_s",
    ];
    let columns = text.map(|name| (name, Align::Left)).into_iter();
    let mut table = Table::new(columns.chain(numbers.map(|name| (name, Align::Right))));
    for (device, constants) in devices {
        let index = device.index.map_or_else(|| "n/a".to_owned(), |index| index.to_string());
        let mut row = vec![index];
        row.extend([&device.name, &device.backend, &device.driver].map(Clone::clone));
        row.extend(match constants {
            Ok(c) => [
                c.flops,
                c.group_flops,
                c.memory_bytes,
                c.cache_bytes,
                c.group_cache_bytes,
                c.texture_bytes,
                c.dispatch,
                c.barrier,
                c.round_trip,
            ]
            .map(|value| value.to_string()),
            Err(reason) => numbers.map(|_| not_applicable(reason)),
        });
        table.row(row);
    }
    table
}

/// Makes a record a device.
pub(super) fn as_json(devices: &[Known]) -> Vec<Value> {
    let record = |(device, constants): &Known| {
        json!({
            "schema": SCHEMA, "schema_version": SCHEMA_VERSION, "device": device,
            "constants": constants.as_ref().ok(), "reason": constants.as_ref().err(),
        })
    };
    devices.iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::super::print::csv_of;
    use super::super::record::tests::adapter;
    use super::*;

    #[test]
    fn csv_cells_are_numbers_or_say_why_not() {
        let (constants, [first, second]) = (
            Constants {
                flops: 1.5e12,
                group_flops: 1e10,
                memory_bytes: 1e11,
                cache_bytes: 1e12,
                group_cache_bytes: 1e10,
                texture_bytes: 1e12,
                dispatch: 1.24e-5,
                barrier: 1e-7,
                round_trip: 1e-4,
            },
            [adapter(0, "vulkan"), adapter(1, "gl")],
        );
        let known = [(&first, Ok(constants)), (&second, Err("a reason".to_owned()))];
        let text = csv_of(&as_numbers(&known)).expect("CSV");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().expect("a header").clone();
        let rows: Vec<_> = reader.records().map(|row| row.expect("as wide")).collect();
        assert_eq!(rows.len(), 2);
        let numbers = header.iter().enumerate().skip_while(|(_, name)| name.starts_with("device."));
        for (place, name) in numbers {
            assert!(rows[0][place].parse::<f64>().is_ok_and(|value| value > 0.0), "{name}");
            assert_eq!(&rows[1][place], "n/a (a reason)", "{name}");
            assert!(name.ends_with("_s"), "{name} names its unit");
        }
        let dispatch = header.iter().position(|name| name == "dispatch_s").expect("a column");
        assert_eq!(&rows[0][dispatch], "0.0000124");
    }
}
