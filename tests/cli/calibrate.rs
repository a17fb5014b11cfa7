//! `rnn calibrate` and its cache file. Measures on the first usable adapter; skipped without one.

use serde_json::Value;

use crate::support::*;

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
    for name in names.into_iter().chain(["group_cache_bytes", "texture_bytes"]) {
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

#[test]
fn autotune_measures_once_and_keeps_it() {
    let folder = Folder::new();
    let Some(index) = adapter(&folder) else { return };
    folder.model("m.safetensors", &plain());
    folder.write("x.csv", "a,b\n1,2\n3,4\n");
    let line = format!("run m.safetensors x.csv --autotune --device {index}");
    let error = folder.rnn("run m.safetensors x.csv --autotune --device cpu");
    assert_eq!(error.code, Some(2), "{}", error.err);
    assert!(error.err.contains("--autotune: expected a GPU"), "{}", error.err);
    let wanted = folder.rnn(&line.replace("--autotune ", "")).ok();
    let first = folder.rnn(&line);
    assert!(first.err.contains("autotune: B = 1, T = 2: "), "{}", first.err);
    assert!(first.err.contains("auto "), "{}", first.err);
    let second = folder.rnn(&line);
    assert!(second.err.contains("(cached)"), "{}", second.err);
    assert_eq!(folder.rnn(&line).ok(), wanted);
    folder.write("cache/autotune.json", "{");
    assert!(folder.rnn(&line).err.contains("autotune: B = 1, T = 2: "));
    assert!(folder.rnn(&line).err.contains("(cached)"));
}
