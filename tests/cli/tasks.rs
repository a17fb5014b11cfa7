//! Real tasks on the data of this repository, at reduced size; `docs/training.md` has them in full.

use std::path::Path;

use serde_json::Value;

use crate::support::*;

/// Trains on a file of `data/` and returns the last line of the log; `None` without an adapter.
fn train(folder: &Folder, files: &[(&str, &str)], line: &str) -> Option<Value> {
    let adapter = adapter(folder)?;
    let mut command = folder.command(&format!("train -o m.safetensors --log log.jsonl {line}"));
    command.args(["--device", &adapter.to_string()]);
    for (option, file) in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file);
        command.arg(option).arg(path);
    }
    finish(command.stdin(std::process::Stdio::piped()), "").ok();
    let log = folder.read("log.jsonl");
    let end: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    assert_eq!(end["event"], "end");
    Some(end)
}

#[test]
fn characters_of_the_corpus_are_predicted_better_than_by_their_frequencies() {
    let folder = Folder::new();
    let line = "--validate 0.1 --hidden 48 --epochs 2 --batch-size 64 --seq-len 32 --lr 0.02 \
                --schedule one-cycle";
    let Some(end) = train(&folder, &[("--data", "corpus.txt")], line) else { return };
    let bits = end["validation"].as_f64().expect("a loss") / std::f64::consts::LN_2;
    assert!(bits < 3.9, "{bits} bits per character; frequencies alone give 4.64");
}

#[test]
fn sunspots_are_forecast_better_than_by_persistence_and_autoregression() {
    let folder = Folder::new();
    let line = "--validate 29 --hidden 24 --epochs 50 --lr 0.015 --schedule cosine \
                --optimizer adamw --weight-decay 0.1";
    let Some(end) = train(&folder, &[("--data", "sunspots.csv")], line) else { return };
    let rmse = |place: usize| end["errors"][place]["rmse"].as_f64().expect("an error");
    assert!((rmse(1) - 29.10).abs() < 0.01, "the same year again: {end}");
    assert!((rmse(2) - 15.19).abs() < 0.05, "autoregression on 9 years: {end}");
    assert!(rmse(0) < rmse(2), "{end}");
}

#[test]
fn digits_are_read_row_by_row() {
    let folder = Folder::new();
    let line = "--cell gru --hidden 32 --bidirectional --epochs 4 --lr 0.02 --schedule one-cycle";
    let files = [("--data", "digits-train.npz"), ("--validate", "digits-test.npz")];
    let Some(end) = train(&folder, &files, line) else { return };
    assert!(end["accuracy"].as_f64().expect("an accuracy") > 0.85, "{end}");
}
