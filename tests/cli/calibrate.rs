//! `rnn calibrate` and its cache file. Measures on the first usable adapter; skipped without one.
#![allow(clippy::print_stdout, reason = "tests say what they skipped")]

use serde_json::Value;

use crate::support::*;

/// The index of an adapter to measure, llvmpipe first, or `None` with a line that says so.
fn adapter(folder: &Folder) -> Option<u64> {
    let record: Value = serde_json::from_str(&folder.rnn("adapters --json").ok()).expect("JSON");
    let adapters = record["adapters"].as_array().expect("a list");
    let is_llvmpipe = |a: &&Value| a["name"].as_str().is_some_and(|n| n.contains("llvmpipe"));
    let usable: Vec<&Value> = adapters.iter().filter(|a| a["unusable"].is_null()).collect();
    let found = usable.iter().copied().find(is_llvmpipe).or_else(|| usable.first().copied());
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| v == "1");
    assert!(!(required && found.is_none()), "REQUIRE_GPU=1 and no usable adapter");
    if found.is_none() {
        println!("skipped (no adapter)");
    }
    found.and_then(|adapter| adapter["index"].as_u64())
}

fn constants(record: &str) -> Value {
    let record: Value = serde_json::from_str(record).expect("JSON");
    record["devices"][0]["constants"].clone()
}

#[test]
fn calibrate_measures_once_and_keeps_it() {
    let folder = Folder::new();
    let Some(index) = adapter(&folder) else { return };
    let line = format!("calibrate --device {index}");
    let first = folder.rnn(&format!("{line} --json"));
    assert!(first.err.contains("measuring: barrier"), "{}", first.err);
    let first = constants(&first.ok());
    let value = |name: &str| first[name].as_f64().expect(name);
    let names = ["memory_bytes", "dispatch", "barrier", "round_trip", "group_flops"];
    for name in names.into_iter().chain(["group_cache_bytes"]) {
        assert!(value(name).is_finite() && value(name) > 0.0, "{name}: {first}");
    }
    assert!(value("group_flops") <= value("flops"), "{first}");
    assert!(value("group_cache_bytes") <= value("cache_bytes"), "{first}");

    // A second call shows what the first one kept; so does opening the device.
    let second = folder.rnn(&format!("{line} --json"));
    assert!(!second.err.contains("measuring"), "{}", second.err);
    assert_eq!(constants(&second.ok()), first);
    let text = folder.rnn(&line).ok();
    for part in ["measured earlier", "FLOP/s", "B/s", "barrier", "kept in", "calibration.json"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // The plan says what it was made with.
    folder.model("m.safetensors", &dense());
    let inspect = |folder: &Folder| {
        folder.rnn(&format!("inspect m.safetensors --shape 2x3 --device {index}")).ok()
    };
    assert!(inspect(&folder).contains("speeds      calibrated: "), "{}", inspect(&folder));
    let other = Folder::new();
    other.model("m.safetensors", &dense());
    assert!(inspect(&other).contains("speeds      assumed by kind of device"));

    // A damaged file is warned of and replaced.
    folder.write("cache/calibration.json", "{\"devices\": [");
    let third = folder.rnn(&format!("{line} --json"));
    assert!(third.err.contains("warning: ") && third.err.contains("ignored"), "{}", third.err);
    assert!(third.err.contains("measuring: memory"), "{}", third.err);
    let third = constants(&third.ok());
    assert!(third["flops"].as_f64().is_some_and(|flops| flops > 0.0), "{third}");
    let kept: Value = serde_json::from_str(&folder.read("cache/calibration.json")).expect("JSON");
    assert_eq!(kept["devices"][0]["constants"], third);
}

#[test]
fn calibrate_refuses_the_cpu_path() {
    let folder = Folder::new();
    let run = folder.rnn("calibrate --device cpu");
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.err.contains("expected a GPU to measure, got the CPU path"), "{}", run.err);
    assert!(!folder.path("cache").exists());
}
