//! One row of the results, as it is kept in files: the schema of `docs/bench.md`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use wgpu_rnn::{Engine, Precision, Strategy, wgpu};

use super::measure::Stats;
use super::oracle::Checked;
use super::recording::Recording;
use super::workload::{Lengths, Measure, Workload};

/// Name of the schema.
pub(super) const SCHEMA: &str = "wgpu-rnn-bench";
/// Version of the schema; it rises when a field changes its meaning or goes away.
pub(super) const SCHEMA_VERSION: u32 = 1;
/// The version of wgpu in Cargo.lock; a test keeps the two alike.
const WGPU_VERSION: &str = "30.0.1";

/// What was measured on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Device {
    /// Place in the list of `rnn adapters`; `None` for the CPU path.
    #[serde(default)]
    pub(super) index: Option<usize>,
    /// Adapter name, or CPU.
    pub(super) name: String,
    /// wgpu backend, or cpu.
    pub(super) backend: String,
    /// Driver and its version.
    pub(super) driver: String,
    /// PCI bus id, or n/a.
    pub(super) pci_bus_id: String,
    /// PCI vendor and device id, such as 0x10de:0x2330, or n/a.
    pub(super) pci_id: String,
    /// Whether a CPU computes: the CPU path, or a software rasteriser.
    pub(super) is_cpu: bool,
    /// Threads of the CPU path; `None` on an adapter.
    pub(super) threads: Option<usize>,
}

/// Stands for what is not known.
const UNKNOWN: &str = "n/a";

impl Device {
    /// Describes the device of an engine, an adapter with its place in the list.
    pub(super) fn of(engine: &Engine, index: Option<usize>) -> Self {
        let info = engine.info();
        let adapter = engine.device().map(wgpu::Device::adapter_info);
        let known = |text: &str| if text.is_empty() { UNKNOWN } else { text }.to_owned();
        let bus = adapter.as_ref().map_or("", |adapter| adapter.device_pci_bus_id.as_str());
        let id = adapter.as_ref().filter(|adapter| adapter.vendor != 0);
        let id = id.map(|adapter| format!("{:#06x}:{:#06x}", adapter.vendor, adapter.device));
        Self {
            index,
            name: info.name.clone(),
            backend: info.backend.clone(),
            driver: known(&info.driver),
            pci_bus_id: known(bus),
            pci_id: id.unwrap_or_else(|| UNKNOWN.to_owned()),
            is_cpu: info.is_cpu_path || info.is_software,
            threads: info.is_cpu_path.then(rayon::current_num_threads),
        }
    }

    /// Describes an adapter that no engine could open.
    pub(super) fn unopened(info: &wgpu::AdapterInfo, index: usize) -> Self {
        Self {
            index: Some(index),
            name: info.name.clone(),
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            pci_bus_id: info.device_pci_bus_id.clone(),
            pci_id: format!("{:#06x}:{:#06x}", info.vendor, info.device),
            is_cpu: info.device_type == wgpu::DeviceType::Cpu,
            threads: None,
        }
    }

    /// Names it in tables.
    pub(super) fn title(&self) -> String {
        match (self.threads, self.is_cpu) {
            (Some(threads), _) => format!("CPU path, {threads} threads"),
            (None, true) => format!("{} ({}, a CPU)", self.name, self.backend),
            (None, false) => format!("{} ({})", self.name, self.backend),
        }
    }
}

/// The workload's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) cell: String,
    pub(super) input: usize,
    pub(super) hidden: usize,
    pub(super) batch: usize,
    pub(super) steps: usize,
    pub(super) layers: usize,
    pub(super) bidirectional: bool,
    pub(super) lengths: Lengths,
    /// Σ lengths.
    pub(super) total_steps: usize,
}

/// Whether there are figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Measured.
    Ok,
    /// This device cannot, for the reason given.
    NotApplicable,
    /// Something is wrong, for the reason given.
    Error,
}

/// What a run of the program has in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Build {
    /// UTC, `2026-01-31T12:00:00Z`.
    pub(super) date: String,
    /// Version of this crate.
    pub(super) crate_version: String,
    /// Git commit, where `build.rs` found one.
    pub(super) commit: String,
    /// Version of wgpu.
    pub(super) wgpu_version: String,
    /// The suite, or shape.
    pub(super) suite: String,
}

impl Build {
    /// Describes this program, now.
    pub(super) fn now(suite: &str) -> Self {
        Self {
            date: date(SystemTime::now()),
            crate_version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("WGPU_RNN_COMMIT").unwrap_or(UNKNOWN).to_owned(),
            wgpu_version: WGPU_VERSION.to_owned(),
            suite: suite.to_owned(),
        }
    }
}

/// The figures of a measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Seconds of one batch, per sample.
    pub(super) samples_s: Vec<f64>,
    /// Calls of a sample.
    pub(super) calls_per_sample: usize,
    /// Seconds of one batch.
    pub(super) seconds: Stats,
    /// Seconds of one batch over T.
    pub(super) seconds_per_step: Stats,
    /// Σ lengths over the median.
    pub(super) time_steps_per_s: f64,
    /// B over the median.
    pub(super) sequences_per_s: f64,
    /// Operations of one batch.
    pub(super) flops: f64,
    /// Bytes that device memory must move at least.
    pub(super) bytes: f64,
    /// Operations over the median, in 10⁹.
    pub(super) gflop_per_s: f64,
    /// Bytes held.
    pub(super) memory_bytes: u64,
    /// Least seconds by arithmetic and device memory.
    pub(super) floor_hardware_s: Option<f64>,
    /// Least seconds of the way it ran.
    pub(super) floor_algorithm_s: Option<f64>,
    /// Hardware floor over the median.
    pub(super) roofline_hardware: Option<f64>,
    /// Algorithm's floor over the median.
    pub(super) roofline_algorithm: Option<f64>,
    /// Why the floors are missing.
    pub(super) roofline_reason: Option<String>,
    /// The part of the stream's time in which the device computed.
    pub(super) busy_fraction: Option<f64>,
    /// What that was measured with.
    #[serde(default)]
    pub(super) busy_clock: Option<BusyClock>,
}

/// Where the device's time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BusyClock {
    /// Time stamps of the device in the stream itself.
    Timestamps,
    /// The host's clock, in `layer`: one batch from submit to idle.
    SubmitToIdle,
}

/// One measure of one workload on one device with one strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) schema: String,
    pub(super) schema_version: u32,
    #[serde(flatten)]
    pub(super) build: Build,
    pub(super) device: Device,
    /// The name that tells workloads apart.
    pub(super) workload: String,
    pub(super) shape: Shape,
    /// How weights and states are stored; f32 where a file does not say.
    #[serde(default = "f32_name")]
    pub(super) precision: String,
    /// What was asked for.
    pub(super) strategy: String,
    /// What ran, layer by layer.
    pub(super) strategy_used: Option<String>,
    pub(super) measure: Measure,
    pub(super) status: Status,
    /// Why there are no figures.
    pub(super) reason: Option<String>,
    /// What was compared with the f64 reference.
    pub(super) check: Option<Checked>,
    /// What it costs the host to record one run; `None` where the measure does not start with that.
    #[serde(default)]
    pub(super) record: Option<Recording>,
    pub(super) figures: Option<Figures>,
}

fn f32_name() -> String {
    Precision::F32.name().to_owned()
}

impl Record {
    /// Makes a record that has no figures yet.
    pub(super) fn new(
        build: &Build,
        device: &Device,
        workload: &Workload,
        measure: Measure,
        (strategy, precision): (Strategy, Precision),
    ) -> Self {
        let w = workload;
        Self {
            schema: SCHEMA.to_owned(),
            schema_version: SCHEMA_VERSION,
            build: build.clone(),
            device: device.clone(),
            workload: w.name(),
            shape: Shape {
                cell: w.cell.name().to_owned(),
                input: w.input,
                hidden: w.hidden,
                batch: w.batch,
                steps: w.steps,
                layers: w.layers,
                bidirectional: w.bidirectional,
                lengths: w.lengths,
                total_steps: w.total_steps(),
            },
            precision: precision.name().to_owned(),
            strategy: strategy.name().to_owned(),
            strategy_used: None,
            measure,
            status: Status::NotApplicable,
            reason: None,
            check: None,
            record: None,
            figures: None,
        }
    }

    /// Returns the median of a batch in seconds, where there is one.
    pub(super) fn median(&self) -> Option<f64> {
        self.figures.as_ref().map(|figures| figures.seconds.median)
    }
}

/// Writes a time as UTC, by Howard Hinnant's `civil_from_days`.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use wgpu_rnn::Cell;

    use super::*;

    /// An adapter of the given place and backend, all of one name.
    pub(in crate::bench) fn adapter(index: usize, backend: &str) -> Device {
        let text = str::to_owned;
        Device {
            index: Some(index),
            name: text("llvmpipe"),
            backend: text(backend),
            driver: text("Mesa"),
            pci_bus_id: text(UNKNOWN),
            pci_id: text(UNKNOWN),
            is_cpu: true,
            threads: None,
        }
    }

    /// A record in which no field is missing.
    pub(in crate::bench) fn filled(device: &Device, workload: &Workload, seconds: f64) -> Record {
        let stats = Stats { median: seconds, p10: seconds, p90: seconds };
        let figures = Figures {
            samples_s: vec![seconds; 2],
            calls_per_sample: 3,
            seconds: stats,
            seconds_per_step: stats,
            time_steps_per_s: 1.0,
            sequences_per_s: 1.0,
            flops: 1.0,
            bytes: 1.0,
            gflop_per_s: 1.0,
            memory_bytes: 1,
            floor_hardware_s: Some(1.0),
            floor_algorithm_s: Some(1.0),
            roofline_hardware: Some(1.0),
            roofline_algorithm: Some(1.0),
            roofline_reason: Some("a reason".to_owned()),
            busy_fraction: Some(1.0),
            busy_clock: Some(BusyClock::Timestamps),
        };
        let recording =
            Recording { dispatches: 1, seconds: 1.0, encode_s: 1.0, empty_pass_s: 1.0, ratio: 1.0 };
        let how = (Strategy::Auto, Precision::F32);
        Record {
            strategy_used: Some("step".to_owned()),
            status: Status::Ok,
            reason: Some("a reason".to_owned()),
            check: Some(Checked { sequences: 1, steps: 1, max_abs: 0.0 }),
            record: Some(recording),
            figures: Some(figures),
            ..Record::new(&Build::now("shape"), device, workload, Measure::Layer, how)
        }
    }

    #[test]
    fn device_of_an_older_file_has_no_index() {
        let device = adapter(1, "gl");
        let mut value = serde_json::to_value(&device).expect("JSON");
        value.as_object_mut().expect("an object").remove("index");
        let older: Device = serde_json::from_value(value).expect("a device");
        assert_eq!(older, Device { index: None, ..device });
        let record = filled(&older, &Workload::new(Cell::Gru, [1, 2, 3, 4]), 1.0);
        assert_eq!(record.workload, "gru I=1 H=2 B=3 T=4");
    }

    #[test]
    fn date_is_utc_across_leap_years() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn wgpu_version_is_the_locked_one() {
        let lock = include_str!("../../../../Cargo.lock");
        let entry = format!("name = \"wgpu\"\nversion = \"{WGPU_VERSION}\"");
        assert!(lock.contains(&entry), "{entry}");
    }
}
