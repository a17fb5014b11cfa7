//! Results on standard output: Markdown, CSV, JSON.

use serde_json::Value;
use wgpu_rnn::{Error, ErrorKind};

use super::args::OutputFormat;
use super::record::{Build, Device, Figures, Record, Status};
use super::recording::Recording;
use crate::failure::{Result, format_error};
use crate::table::{Align, Table, bytes};

/// Writes a figure with three significant digits.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        return format!("{value:.3e}");
    }
    let places = match size {
        s if s >= 99.95 || s <= 0.0 => 0,
        s if s >= 9.995 => 1,
        s if s >= 0.9995 => 2,
        s if s >= 0.000_995 => 4,
        _ => return format!("{value:.2e}"),
    };
    format!("{value:.places$}")
}

/// Writes a time with its unit.
pub(super) fn seconds(value: f64) -> String {
    for (scale, unit) in [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")] {
        if value >= scale {
            return format!("{} {unit}", figure(value / scale));
        }
    }
    format!("{} ns", figure(value / 1e-9))
}

fn percent(fraction: f64) -> String {
    format!("{} %", figure(fraction * 100.0))
}

/// Writes what stands in place of figures.
pub(super) fn reason(record: &Record) -> String {
    let reason = record.reason.as_deref().unwrap_or("no samples");
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match record.status {
        Status::Error => format!("ERROR: {reason}"),
        Status::Ok | Status::NotApplicable => format!("n/a ({reason})"),
    }
}

/// Writes `auto: resident`, or the strategy alone, and the precision where it is not f32.
fn strategy(record: &Record) -> String {
    let half = if record.precision == "f32" { "" } else { record.precision.as_str() };
    let words = match &record.strategy_used {
        Some(used) if *used != record.strategy => format!("{}: {used} {half}", record.strategy),
        _ => format!("{} {half}", record.strategy),
    };
    words.trim_end().to_owned()
}

/// Makes the table of all records.
pub(super) fn table(records: &[Record]) -> Table {
    let mut table = Table::new([
        ("workload", Align::Left),
        ("device", Align::Left),
        ("strategy", Align::Left),
        ("measure", Align::Left),
        ("time/step", Align::Right),
        ("p10 … p90", Align::Right),
        ("batch", Align::Right),
        ("steps/s", Align::Right),
        ("seq/s", Align::Right),
        ("GFLOP/s", Align::Right),
        ("memory", Align::Right),
        ("record", Align::Right),
        ("roofline (hardware)", Align::Right),
        ("roofline (algorithm)", Align::Right),
        ("busy", Align::Right),
    ]);
    for record in records {
        let mut row = vec![
            record.workload.clone(),
            record.device.title(),
            strategy(record),
            record.measure.name().to_owned(),
        ];
        match &record.figures {
            Some(figures) => row.extend(cells(figures, record.record.as_ref())),
            None => row.push(reason(record)),
        }
        table.row(row);
    }
    table
}

/// Writes what recording takes, and how many empty passes that is.
fn recording(recording: &Recording) -> String {
    format!("{} ({}×)", seconds(recording.seconds), figure(recording.ratio))
}

fn cells(f: &Figures, record: Option<&Recording>) -> [String; 11] {
    let step = f.seconds_per_step;
    let roofline = |fraction: Option<f64>| {
        let missing = || format!("n/a ({})", f.roofline_reason.as_deref().unwrap_or("unknown"));
        fraction.map_or_else(missing, percent)
    };
    [
        seconds(step.median),
        format!("{} … {}", seconds(step.p10), seconds(step.p90)),
        seconds(f.seconds.median),
        figure(f.time_steps_per_s),
        figure(f.sequences_per_s),
        figure(f.gflop_per_s),
        bytes(f.memory_bytes),
        record.map_or_else(String::new, recording),
        roofline(f.roofline_hardware),
        roofline(f.roofline_algorithm),
        f.busy_fraction.map_or_else(String::new, percent),
    ]
}

/// Lists the devices of records, each once, in order.
pub(super) fn devices(records: &[Record]) -> Vec<&Device> {
    let mut list: Vec<&Device> = Vec::new();
    for record in records {
        if !list.contains(&&record.device) {
            list.push(&record.device);
        }
    }
    list
}

/// Names devices for a legend or a header: an adapter that has the name of another one with its place in
/// the list.
pub(super) fn labels(devices: &[&Device]) -> Vec<String> {
    let label = |device: &&Device| {
        let title = device.title();
        let same = devices.iter().filter(|other| other.title() == title).count();
        match device.index {
            Some(index) if same > 1 => format!("{title}, adapter {index}"),
            _ => title,
        }
    };
    devices.iter().map(label).collect()
}

/// Puts the devices side by side: time per step of each measure, and who is fastest; `None` for one
/// device.
pub(super) fn side_by_side(records: &[Record]) -> Option<Table> {
    let devices = devices(records);
    if devices.len() < 2 {
        return None;
    }
    let mut columns =
        vec![("workload".to_owned(), Align::Left), ("measure".to_owned(), Align::Left)];
    let names = labels(&devices);
    columns.extend(names.iter().map(|name| (name.clone(), Align::Right)));
    columns.push(("fastest".to_owned(), Align::Left));
    let mut table = Table::new(columns);
    let mut seen = Vec::new();
    for record in records {
        let key = (&record.workload, record.measure);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        // The fastest strategy of each device.
        let best: Vec<Option<&Record>> = devices
            .iter()
            .map(|device| {
                let own = records.iter().filter(|r| (&r.workload, r.measure) == key);
                own.filter(|r| r.device == **device).min_by(|a, b| {
                    let time = |r: &Record| r.median().unwrap_or(f64::INFINITY);
                    time(a).total_cmp(&time(b))
                })
            })
            .collect();
        let least = best.iter().flatten().filter_map(|r| r.median()).fold(f64::INFINITY, f64::min);
        let mut row = vec![record.workload.clone(), record.measure.name().to_owned()];
        let mut fastest = String::new();
        for (own, name) in best.iter().zip(&names) {
            row.push(match own.map(|own| (own, &own.figures)) {
                Some((_, Some(figures))) => {
                    let ratio = figures.seconds.median / least;
                    if ratio <= 1.0 {
                        fastest.clone_from(name);
                    }
                    format!("{} ({ratio:.2}×)", seconds(figures.seconds_per_step.median))
                }
                Some((own, None)) => reason(own),
                None => "n/a (not measured)".to_owned(),
            });
        }
        row.push(fastest);
        table.row(row);
    }
    Some(table)
}

/// Describes a device in a line.
pub(super) fn device_line(device: &Device) -> String {
    let mut line = device.title();
    for (name, value) in
        [("driver", &device.driver), ("PCI", &device.pci_bus_id), ("id", &device.pci_id)]
    {
        if value != "n/a" {
            line += &format!(", {name} {value}");
        }
    }
    if device.is_cpu {
        line += " — A CPU COMPUTES HERE: these figures say nothing of a GPU";
    }
    line
}

/// Describes program and time in a line.
pub(super) fn build_line(build: &Build) -> String {
    let Build { date, crate_version, commit, wgpu_version, suite } = build;
    format!(
        "wgpu-rnn {crate_version} (commit {commit}), wgpu {wgpu_version}, {date}, suite {suite}"
    )
}

/// Writes all records in the format asked for.
///
/// # Errors
/// `Format` when a record cannot be written, which a test excludes.
pub(super) fn render(records: &[Record], build: &Build, format: OutputFormat) -> Result<String> {
    let json = || -> Result<Vec<Value>> {
        let values = records.iter().map(serde_json::to_value).collect::<Result<_, _>>();
        values.map_err(|e| format_error(format!("record: {e}")).into())
    };
    Ok(match format {
        OutputFormat::Md => {
            let mut text = format!("{}\n\n", build_line(build));
            text += &devices(records)
                .into_iter()
                .map(|device| format!("- {}\n", device_line(device)))
                .collect::<String>();
            text += &format!("\n{}", table(records).markdown());
            if let Some(table) = side_by_side(records) {
                text += &format!("\nTime per step, device against device:\n\n{}", table.markdown());
            }
            text
        }
        OutputFormat::Csv => csv(&json()?)?,
        OutputFormat::Json => format!("{:#}\n", Value::from(json()?)),
        OutputFormat::Jsonl => json()?.iter().map(|value| format!("{value}\n")).collect(),
    })
}

/// Columns of the CSV, as paths into a JSON record; samples are joined by spaces.
const CSV_COLUMNS: [&str; 60] = [
    "schema",
    "schema_version",
    "date",
    "crate_version",
    "commit",
    "wgpu_version",
    "suite",
    "device.index",
    "device.name",
    "device.backend",
    "device.driver",
    "device.pci_bus_id",
    "device.pci_id",
    "device.is_cpu",
    "device.threads",
    "workload",
    "shape.cell",
    "shape.input",
    "shape.hidden",
    "shape.batch",
    "shape.steps",
    "shape.layers",
    "shape.bidirectional",
    "shape.lengths",
    "shape.total_steps",
    "precision",
    "strategy",
    "strategy_used",
    "measure",
    "status",
    "reason",
    "check.sequences",
    "check.steps",
    "check.max_abs",
    "record.dispatches",
    "record.seconds",
    "record.encode_s",
    "record.empty_pass_s",
    "record.ratio",
    "figures.calls_per_sample",
    "figures.seconds.median",
    "figures.seconds.p10",
    "figures.seconds.p90",
    "figures.seconds_per_step.median",
    "figures.seconds_per_step.p10",
    "figures.seconds_per_step.p90",
    "figures.time_steps_per_s",
    "figures.sequences_per_s",
    "figures.flops",
    "figures.bytes",
    "figures.gflop_per_s",
    "figures.memory_bytes",
    "figures.floor_hardware_s",
    "figures.floor_algorithm_s",
    "figures.roofline_hardware",
    "figures.roofline_algorithm",
    "figures.roofline_reason",
    "figures.busy_fraction",
    "figures.busy_clock",
    "figures.samples_s",
];

/// Writes a table as CSV.
///
/// # Errors
/// Never for rows as long as the header, which a table has.
pub(super) fn csv_of(table: &Table) -> Result<String> {
    let cells = |row: Vec<&str>| row.into_iter().map(str::to_owned).collect();
    csv_lines(std::iter::once(table.titles().collect()).chain(table.full_rows()).map(cells))
}

fn csv_lines(rows: impl Iterator<Item = Vec<String>>) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Format, format!("csv: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).map_err(|e| failed(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(&e))?;
    Ok(String::from_utf8(bytes).map_err(|e| failed(&e))?)
}

fn csv(records: &[Value]) -> Result<String> {
    let row = |record: &Value| -> Vec<String> {
        let why = || format!("n/a ({})", record["reason"].as_str().unwrap_or("none"));
        let cell = |path: &&str| {
            let value = path.split('.').fold(record, |value, name| &value[name]);
            match value {
                // What is missing because there are no figures says why; what does not exist is n/a.
                Value::Null if path.starts_with("figures.") && record["figures"].is_null() => why(),
                Value::Null => "n/a".to_owned(),
                Value::String(text) => text.clone(),
                Value::Array(list) => {
                    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
                }
                other => other.to_string(),
            }
        };
        CSV_COLUMNS.iter().map(cell).collect()
    };
    let header = CSV_COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    csv_lines(std::iter::once(header).chain(records.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wgpu_rnn::Cell;

    use super::super::record::tests::{adapter, filled};
    use super::super::workload::Workload;
    use super::*;

    /// Lists the paths to what is no object.
    fn paths(value: &Value, at: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    paths(value, &path, into);
                }
            }
            _ => {
                into.insert(at.to_owned());
            }
        }
    }

    #[test]
    fn csv_has_the_fields_of_the_json() {
        let record = filled(&adapter(0, "gl"), &Workload::new(Cell::Gru, [1, 2, 3, 4]), 1.0);
        let mut json = BTreeSet::new();
        paths(&serde_json::to_value(&record).expect("JSON"), "", &mut json);
        let text = render(std::slice::from_ref(&record), &Build::now("shape"), OutputFormat::Csv);
        let text = text.expect("a text");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().expect("a header").clone();
        assert_eq!(header.iter().map(str::to_owned).collect::<BTreeSet<_>>(), json);
        assert_eq!(header.len(), json.len(), "a column twice");
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (value, want) in [(0.0, "0"), (12_345.6, "12346"), (1.234, "1.23"), (0.012, "0.0120")] {
            assert_eq!(figure(value), want);
        }
        assert_eq!(seconds(1.5e-5), "15.0 µs");
        assert_eq!(seconds(2.5e-9), "2.50 ns");
        assert_eq!(seconds(3.0), "3.00 s");
    }
}
