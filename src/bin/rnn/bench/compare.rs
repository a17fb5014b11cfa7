//! `--compare`: this run against an earlier one.

use std::path::Path;

use super::measure::Stats;
use super::print::seconds;
use super::record::{Record, SCHEMA, SCHEMA_VERSION};
use crate::failure::{Result, format_error, io_error};
use crate::table::{Align, Table};

/// A ratio within which nothing is flagged.
const NOISE: f64 = 1.05;

/// What became of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Slower beyond noise.
    Regression,
    /// Faster beyond noise.
    Improvement,
    /// Within noise.
    Same,
}

impl Change {
    /// Compares medians, and asks the percentiles whether they are apart.
    fn between(old: Stats, new: Stats) -> Self {
        let ratio = new.median / old.median;
        if new.p10 > old.p90 && ratio > NOISE {
            Self::Regression
        } else if new.p90 < old.p10 && ratio < 1.0 / NOISE {
            Self::Improvement
        } else {
            Self::Same
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Regression => "REGRESSION",
            Self::Improvement => "faster",
            Self::Same => "within noise",
        }
    }
}

/// Reads the records of an earlier run: a JSON array, or objects one after the other.
///
/// # Errors
/// `Io` when the file cannot be read; `Format` when it holds something else.
pub(super) fn load(path: &Path) -> Result<Vec<Record>> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| io_error(file, "read", e))?;
    let records: Vec<Record> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)
    } else {
        serde_json::Deserializer::from_str(&text).into_iter().collect()
    }
    .map_err(|e| {
        let file = path.display();
        format_error(format!("{file}: expected records of rnn bench -o json, got: {e}"))
    })?;
    if records.is_empty() {
        return Err(format_error(format!(
            "{}: expected records of rnn bench -o json, got none",
            path.display()
        ))
        .into());
    }
    let is_known = |r: &Record| r.schema == SCHEMA && r.schema_version == SCHEMA_VERSION;
    match records.iter().find(|record| !is_known(record)) {
        Some(other) => Err(format_error(format!(
            "{}: expected schema {SCHEMA} {SCHEMA_VERSION}, got {} {}",
            path.display(),
            other.schema,
            other.schema_version
        ))
        .into()),
        None => Ok(records),
    }
}

/// A comparison in words, and how many measures became slower.
pub(super) struct Comparison {
    /// A row for each measure that both runs have.
    pub(super) table: Table,
    /// Slower beyond noise.
    pub(super) regressions: usize,
    /// Measures that both runs have.
    pub(super) compared: usize,
}

/// Compares what both runs measured on the same device in the same way.
pub(super) fn compare(old: &[Record], new: &[Record]) -> Comparison {
    let mut table = Table::new([
        ("workload", Align::Left),
        ("device", Align::Left),
        ("strategy", Align::Left),
        ("measure", Align::Left),
        ("old time/step", Align::Right),
        ("new time/step", Align::Right),
        ("new/old", Align::Right),
        ("change", Align::Left),
    ]);
    let (mut regressions, mut compared) = (0, 0);
    for new in new {
        let is_same = |old: &&Record| {
            let device = |r: &Record| (r.device.name.clone(), r.device.backend.clone());
            old.workload == new.workload
                && old.measure == new.measure
                && old.strategy == new.strategy
                && old.precision == new.precision
                && device(old) == device(new)
        };
        // The last one of a file that runs were appended to.
        let before = old.iter().rev().find(is_same).and_then(|old| old.figures.as_ref());
        let (Some(before), Some(now)) = (before, &new.figures) else { continue };
        compared += 1;
        let change = Change::between(before.seconds, now.seconds);
        regressions += usize::from(change == Change::Regression);
        table.row([
            new.workload.clone(),
            new.device.title(),
            new.strategy.clone(),
            new.measure.name().to_owned(),
            seconds(before.seconds_per_step.median),
            seconds(now.seconds_per_step.median),
            format!("{:.2}", now.seconds.median / before.seconds.median),
            change.name().to_owned(),
        ]);
    }
    Comparison { table, regressions, compared }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_needs_distance_and_separation() {
        let stats =
            |median: f64, spread: f64| Stats { median, p10: median - spread, p90: median + spread };
        let change = |old, new| Change::between(old, new);
        assert_eq!(change(stats(1.0, 0.1), stats(1.5, 0.1)), Change::Regression);
        assert_eq!(change(stats(1.0, 0.3), stats(1.5, 0.3)), Change::Same, "they overlap");
        assert_eq!(change(stats(1.0, 0.01), stats(1.04, 0.01)), Change::Same, "too close");
        assert_eq!(change(stats(1.5, 0.1), stats(1.0, 0.1)), Change::Improvement);
    }
}
