//! What `rnn run --autotune` measured: per device, network and shape, the fastest strategy.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wgpu_rnn::plan::NetworkSpec;
use wgpu_rnn::{Engine, LoadedModel, Strategy, Tuning};

use crate::cache;
use crate::calibration::Key;
use crate::failure::{Failure, Result};
use crate::report::Reporter;

const FILE: &str = "autotune.json";

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    /// The network without its weights, in words, with the precision.
    network: String,
    batch: usize,
    steps: usize,
    strategy: String,
}

impl Entry {
    fn is_for(&self, other: &Self) -> bool {
        (&self.key, &self.network, self.batch, self.steps)
            == (&other.key, &other.network, other.batch, other.steps)
    }
}

/// Tunes the shapes of a run, each once.
#[derive(Debug)]
pub(crate) struct Autotune {
    path: Option<PathBuf>,
    seen: HashSet<(usize, usize)>,
}

/// Tells whether a device can be tuned.
///
/// # Errors
/// Usage for the CPU path.
pub(crate) fn check(engine: &Engine) -> Result<()> {
    if engine.info().is_cpu_path {
        let why = &engine.info().reason;
        return Err(Failure::usage(format!(
            "--autotune: expected a GPU, got the CPU path ({why})"
        )));
    }
    Ok(())
}

impl Autotune {
    /// Uses the platform's cache folder.
    pub(crate) fn new() -> Self {
        Self::at(cache::folder().map(|folder| folder.join(FILE)))
    }

    fn at(path: Option<PathBuf>) -> Self {
        Self { path, seen: HashSet::new() }
    }

    /// Makes runs of a shape use its fastest strategy: as the cache has it, else measured and cached.
    ///
    /// # Errors
    /// As [`LoadedModel::autotune`].
    pub(crate) fn tune(
        &mut self,
        loaded: &LoadedModel,
        (batch, steps): (usize, usize),
        reporter: &Reporter,
    ) -> wgpu_rnn::Result<()> {
        let steps = wgpu_rnn::plan::steps_capacity(steps);
        if batch == 0 || steps == 0 || !self.seen.insert((batch, steps)) {
            return Ok(());
        }
        let engine = loaded.engine();
        let network =
            format!("{:?} {}", NetworkSpec::from(loaded.model()), engine.precision().name());
        let key = Key::of(engine.info());
        let mut entry = Entry { key, network, batch, steps, strategy: String::new() };
        let known = self.path.as_deref().and_then(|path| find(path, &entry));
        if let Some(strategy) = known
            && loaded.set_tuned(batch, steps, strategy).is_ok()
        {
            reporter
                .note(&format!("autotune: B = {batch}, T = {steps}: {} (cached)", strategy.name()));
            return Ok(());
        }
        let tuning = loaded.autotune(batch, steps)?;
        reporter.note(&describe(&tuning));
        entry.strategy = tuning.strategy.name().to_owned();
        if let Some(path) = &self.path
            && let Err(failure) = store(path, &entry)
        {
            reporter.warn(&format!("autotune: not kept: {}", failure.message()));
        }
        Ok(())
    }
}

fn describe(tuning: &Tuning) -> String {
    let trials: Vec<String> = tuning
        .trials
        .iter()
        .map(|(strategy, seconds)| format!("{} {:.3} ms", strategy.name(), seconds * 1e3))
        .collect();
    let (batch, steps) = (tuning.batch, tuning.steps);
    format!(
        "autotune: B = {batch}, T = {steps}: {} ({})",
        tuning.strategy.name(),
        trials.join(", ")
    )
}

fn find(path: &Path, wanted: &Entry) -> Option<Strategy> {
    // A damaged file is measured anew.
    let content = cache::read(path).ok()?;
    let entries = content.devices.iter().filter_map(|entry| Entry::deserialize(entry).ok());
    let found = entries.into_iter().find(|entry| entry.is_for(wanted))?;
    Strategy::from_name(&found.strategy)
}

fn store(path: &Path, entry: &Entry) -> Result<()> {
    let is_old =
        |old: &serde_json::Value| Entry::deserialize(old).is_ok_and(|old| old.is_for(entry));
    cache::replace(path, is_old, cache::entry(path, entry)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_network_and_shape() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let info = wgpu_rnn::Engine::cpu().info().clone();
        let entry = |batch: usize, strategy: &str| Entry {
            key: Key::of(&info),
            network: "one".to_owned(),
            batch,
            steps: 16,
            strategy: strategy.to_owned(),
        };
        assert_eq!(find(&path, &entry(1, "")), None);
        store(&path, &entry(1, "resident")).expect("stored");
        store(&path, &entry(2, "step")).expect("stored");
        store(&path, &entry(1, "step-split")).expect("stored");
        assert_eq!(find(&path, &entry(1, "")), Some(Strategy::StepSplit));
        assert_eq!(find(&path, &entry(2, "")), Some(Strategy::StepPerDispatch));
        let other = Entry { network: "two".to_owned(), ..entry(1, "") };
        assert_eq!(find(&path, &other), None);
        std::fs::write(&path, "{").expect("written");
        assert_eq!(find(&path, &entry(1, "")), None);
    }
}
