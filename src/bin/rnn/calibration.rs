//! The cache of measured constants: one JSON file, an entry per adapter, backend and driver.
//!
//! A cache may be lost at any time and must never be in the way: a missing file is none, a damaged one
//! is ignored with a warning and replaced by the next `rnn calibrate`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wgpu_rnn::{Constants, EngineInfo};

use crate::cache;
use crate::failure::Result;
use crate::report::Reporter;

const FILE: &str = "calibration.json";
/// 0 keeps compiled pipelines off the disk.
const PIPELINES_VARIABLE: &str = "WGPU_RNN_PIPELINE_CACHE";

/// The device that constants belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    name: String,
    backend: String,
    /// Driver and its version: another one may be faster.
    driver: String,
    /// Version of the measurements.
    version: u32,
}

impl Key {
    /// Names the device of an engine.
    pub(crate) fn of(info: &EngineInfo) -> Self {
        Self {
            name: info.name.clone(),
            backend: info.backend.clone(),
            driver: info.driver.clone(),
            version: Constants::VERSION,
        }
    }

    /// Tells whether an entry is of this device, whatever its version.
    pub(crate) fn is_of_device(&self, entry: &Value) -> bool {
        let same = |field: &str, value: &str| entry[field] == value;
        same("name", &self.name) && same("backend", &self.backend) && same("driver", &self.driver)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    constants: Constants,
}

/// Returns the cache file, whether it exists or not; `None` where the platform names no folder.
pub(crate) fn file() -> Option<PathBuf> {
    cache::folder().map(|folder| folder.join(FILE))
}

/// Returns the folder for compiled pipelines, unless [`PIPELINES_VARIABLE`] is 0.
pub(crate) fn pipelines() -> Option<PathBuf> {
    if std::env::var_os(PIPELINES_VARIABLE).is_some_and(|value| value == "0") {
        return None;
    }
    cache::folder()
}

/// Looks a device up; a file that cannot be used is warned of.
pub(crate) fn find(key: &Key, reporter: &Reporter) -> Option<Constants> {
    let path = file()?;
    match find_in(&path, key) {
        Ok(found) => found,
        Err(why) => {
            reporter.warn(&format!(
                "{}: ignored: {why} (rnn calibrate --force writes it anew)",
                path.display()
            ));
            None
        }
    }
}

fn find_in(path: &Path, key: &Key) -> Result<Option<Constants>, String> {
    let content = cache::read(path)?;
    let Some(entry) = content.devices.iter().find(|entry| has_key(entry, key)) else {
        return Ok(None);
    };
    let entry = Entry::deserialize(entry).map_err(|e| e.to_string())?;
    match entry.constants.fault() {
        Some(fault) => Err(fault),
        None => Ok(Some(entry.constants)),
    }
}

fn has_key(entry: &Value, key: &Key) -> bool {
    Key::deserialize(entry).is_ok_and(|of_entry| of_entry == *key)
}

/// Stores constants in `path` in place of what it holds of this device.
///
/// # Errors
/// `Io` when the file cannot be written.
pub(crate) fn store(path: &Path, key: Key, constants: Constants) -> Result<()> {
    let entry = cache::entry(path, Entry { key: key.clone(), constants })?;
    cache::replace(path, |old| key.is_of_device(old), entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            name: name.to_owned(),
            backend: "vulkan".to_owned(),
            driver: "driver 1.0".to_owned(),
            version: Constants::VERSION,
        }
    }

    #[test]
    fn cache_gives_back_what_was_stored_for_each_device() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("below").join(FILE);
        assert_eq!(find_in(&path, &key("a")), Ok(None));
        let (first, second) = (Constants::for_discrete(), Constants::for_integrated());
        store(&path, key("a"), first).expect("stored");
        store(&path, key("b"), first).expect("stored");
        store(&path, key("b"), second).expect("stored");
        assert_eq!(find_in(&path, &key("a")), Ok(Some(first)));
        assert_eq!(find_in(&path, &key("b")), Ok(Some(second)));
        let other_driver = Key { driver: "driver 1.1".to_owned(), ..key("a") };
        assert_eq!(find_in(&path, &other_driver), Ok(None));
        assert_eq!(cache::read(&path).expect("read").devices.len(), 2);
    }

    #[test]
    fn entries_of_another_version_are_passed_over_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let old = serde_json::json!({ "devices": [{
            "name": "a", "backend": "vulkan", "driver": "driver 1.0", "version": 0,
            "constants": { "speed": 1 },
        }] });
        std::fs::write(&path, old.to_string()).expect("written");
        assert_eq!(find_in(&path, &key("a")), Ok(None));
        store(&path, key("a"), Constants::for_discrete()).expect("stored");
        assert_eq!(find_in(&path, &key("a")), Ok(Some(Constants::for_discrete())));
        assert_eq!(cache::read(&path).expect("read").devices.len(), 1);
    }

    #[test]
    fn damaged_cache_is_a_reason_and_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let zero = Constants { barrier: 0.0, ..Constants::for_discrete() };
        let entry = serde_json::to_value(Entry { key: key("a"), constants: zero }).expect("JSON");
        let useless = serde_json::json!({ "devices": [entry] }).to_string();
        for damage in ["", "{", "[]", "{\"devices\": 3}", &useless] {
            std::fs::write(&path, damage).expect("written");
            assert!(find_in(&path, &key("a")).is_err(), "{damage}");
            store(&path, key("a"), Constants::for_discrete()).expect("stored");
            assert_eq!(find_in(&path, &key("a")), Ok(Some(Constants::for_discrete())));
        }
    }
}
