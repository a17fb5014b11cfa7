//! `rnn bench` on the CPU path, with tiny shapes: what it prints, and what it flags.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::*;

/// A shape of a few milliseconds.
const TINY: &str = "bench --device cpu --quiet -r 3 --sample-ms 1 --input 3 --steps 4 --batch 2";

fn records(text: &str) -> Vec<Value> {
    let records: Value = serde_json::from_str(text).expect("JSON");
    records.as_array().expect("a list").clone()
}

/// Follows a dotted path; `None` where a name on it is missing.
fn at<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, name| value.get(name))
}

#[test]
fn bench_takes_lists_and_ranges_as_a_product() {
    let folder = Folder::new();
    let line =
        "bench --list --cell gru,lstm --hidden 8..32*2 --batch 1,4..6+2 --lengths full,log-normal";
    let text = folder.rnn(line).ok();
    assert_eq!(text.lines().count(), 1 + 2 * 3 * 3 * 2, "{text}");
    for name in ["gru I=128 H=8 B=1 T=100", "lstm I=128 H=32 B=6 T=100 log-normal"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    for (line, message) in [
        ("bench --hidden 0", "at least 1"),
        ("bench --hidden 8..4", "rises"),
        ("bench --suite quick --hidden 4", "both"),
        ("bench --suite nothing", "quick"),
        ("bench --filter no-such-workload", "--list"),
        ("bench --strategy fastest", "expected auto, step"),
        ("bench --list --hidden 1..1000 --batch 1..1000 --steps 1..1000", "at most 10000"),
        ("bench --list --batch 1000000000000 --lengths log-normal", "drawn one by one"),
        ("bench --fail-on-regression", "--compare"),
    ] {
        let run = folder.rnn(line);
        assert_eq!(run.code, Some(2), "{line}: {}", run.err);
        assert!(run.err.contains(message), "{line}: {}", run.err);
    }
}

#[test]
fn bench_help_and_manual_name_the_depth_of_a_stream() {
    let depth = wgpu_rnn::StreamOptions::default().depth;
    let text = Folder::new().rnn("bench --help").ok();
    assert!(text.contains(&format!("of which {depth} are in flight")), "{text}");
    let manual = include_str!("../../docs/bench.md");
    assert!(manual.contains(&format!("default depth ({depth} in flight)")));
}

#[test]
fn bench_runs_nothing_twice() {
    let folder = Folder::new();
    let bench = |words: &[&str]| {
        let mut command = folder.command("bench -q -r 1 --sample-ms 1 -o json --batch 2 --steps 4");
        records(&finish(command.args(words).stdin(Stdio::piped()), "").ok()).len()
    };
    let twice =
        ["--cell", "gru,gru", "--hidden", "16,16", "--lengths", "full,full", "--input", "3"];
    assert_eq!(
        bench(&[&twice[..], &["--device", "cpu,cpu", "--strategy", "auto, auto"]].concat()),
        3
    );
    let once = ["--cell", "gru", "--hidden", "16", "--input", "3", "--strategy", "step"];
    let Some(index) = adapter(&folder) else { return };
    // By two names, and with a space.
    let both = format!("cpu, {index}");
    assert_eq!(bench(&[&once[..], &["--device", both.as_str()]].concat()), 6);
    let name = format!("{index},llvmpipe,cpu");
    let adapters: Value = serde_json::from_str(&folder.rnn("adapters --json").ok()).expect("JSON");
    let taken = &adapters["adapters"][usize::try_from(index).expect("a place")]["name"];
    if taken.as_str().is_some_and(|taken| taken.contains("llvmpipe")) {
        assert_eq!(bench(&[&once[..], &["--device", name.as_str()]].concat()), 6);
    }
}

#[test]
fn bench_records_the_commit_of_the_checkout() {
    let list = records(&Folder::new().rnn(&format!("{TINY} --hidden 4 -o json")).ok());
    let commit = list[0]["commit"].as_str().expect("a text");
    if let Ok(given) = std::env::var("WGPU_RNN_COMMIT") {
        assert_eq!(commit, given, "the caller's name wins");
        return;
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let git = Command::new("git").args(["-C", root, "rev-parse", "--short", "HEAD"]).output();
    match git.ok().filter(|git| git.status.success()) {
        Some(git) if std::path::Path::new(root).join(".git").exists() => {
            let hash = String::from_utf8(git.stdout).expect("text");
            assert_eq!(commit.trim_end_matches("-dirty"), hash.trim());
        }
        _ => assert_eq!(commit, "n/a"),
    }
}

#[test]
fn bench_lines_of_json_come_as_they_are_measured() {
    let folder = Folder::new();
    // Each workload takes two seconds, the time of one sample.
    let line =
        "bench --device cpu -q -r 1 --sample-ms 2000 -o jsonl --cell gru --input 3 --hidden 4,5";
    let mut child = folder.command(line).stdout(Stdio::piped()).spawn().expect("started");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let is_measured =
        |line: &str| serde_json::from_str::<Value>(line).expect("a whole line")["status"] == "ok";
    let mut line = String::new();
    while out.read_line(&mut line).expect("a line") > 0 && !is_measured(&line) {
        line.clear();
    }
    child.kill().expect("killed");
    assert!(is_measured(&line), "the first workload is printed: {line}");
    let rest: Vec<String> = out.lines().map(|line| line.expect("a line")).collect();
    assert!(!rest.iter().any(|line| is_measured(line)), "the second one never ended");
    child.wait().expect("ended");
}

#[test]
fn bench_suites_list_their_workloads() {
    let folder = Folder::new();
    let count = |suite: &str| {
        let text = folder.rnn(&format!("bench --suite {suite} --list")).ok();
        let names: std::collections::BTreeSet<&str> =
            text.lines().skip(1).filter_map(|line| line.split("  ").next()).collect();
        assert_eq!(names.len(), text.lines().count() - 1, "two of a name: {text}");
        names.len()
    };
    assert_eq!(count("quick"), 7);
    assert_eq!(count("sets"), 36);
    assert!(count("deepbench") > 60);
    assert!(count("stream") >= 4);
}

#[test]
fn bench_markdown_has_a_cell_for_every_column() {
    let folder = Folder::new();
    let text = folder.rnn(&format!("{TINY} --cell rnn-tanh,gru --hidden 5")).ok();
    assert!(text.contains("A CPU COMPUTES HERE"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(lines.len(), 2 + 2 * 3, "{text}");
    let columns = lines[0].matches('|').count();
    assert_eq!(columns, 16);
    assert!(lines.iter().all(|line| line.matches('|').count() == columns), "{text}");
    let row = |measure: &str| {
        let found = lines.iter().find(|line| line.contains(&format!("| {measure} |")));
        *found.expect(measure)
    };
    assert!(row("end_to_end").contains("n/a (not calibrated)"), "{text}");
    assert!(row("layer").contains("n/a (the CPU path"), "{text}");
    assert!(row("recurrence").contains("n/a (the CPU path"), "{text}");
}

#[test]
fn bench_json_has_every_field_and_the_formats_agree() {
    let folder = Folder::new();
    let line = format!("{TINY} --cell lstm --hidden 5 --layers 2 --bidirectional");
    let list = records(&folder.rnn(&format!("{line} -o json")).ok());
    assert_eq!(list.len(), 3);
    let record = list.iter().find(|r| r["measure"] == "end_to_end").expect("measured");
    assert_eq!(
        (&record["schema"], &record["schema_version"]),
        (&"wgpu-rnn-bench".into(), &1.into())
    );
    assert_eq!(record["status"], "ok");
    let number = |path: &str| at(record, path).and_then(Value::as_f64).expect(path);
    let samples = record["figures"]["samples_s"].as_array().expect("samples");
    assert_eq!(samples.len(), 3);
    let median = number("figures.seconds.median");
    assert!(median > 0.0 && number("figures.seconds.p10") <= median);
    assert!(median <= number("figures.seconds.p90"));
    let close = |got: f64, want: f64| (got - want).abs() <= 1e-9 * want;
    assert!(close(number("figures.seconds_per_step.median"), median / 4.0));
    assert!(close(number("figures.time_steps_per_s"), 8.0 / median));
    assert!(close(number("figures.sequences_per_s"), 2.0 / median));
    // G·H·(I + H)·D of the first layer, G·H·(D·H + H)·D of the second; 8 time steps.
    let flops = 2.0 * 8.0 * 2.0 * 20.0 * ((3.0 + 5.0) + (10.0 + 5.0));
    assert!(close(number("figures.flops"), flops));
    assert!(close(number("figures.gflop_per_s"), flops / median / 1e9));
    assert!(number("check.max_abs") < 1e-5);
    for record in &list {
        assert_eq!(record["status"] == "ok", !record["figures"].is_null(), "{record}");
        assert_eq!(record["status"] == "ok", record["reason"].is_null(), "{record}");
    }
    let lines = folder.rnn(&format!("{line} -o jsonl")).ok();
    for text in lines.lines() {
        let one: Value = serde_json::from_str(text).expect("JSON");
        let keys = |value: &Value| value.as_object().expect("an object").len();
        assert_eq!(keys(&one), keys(record));
    }
    let text = folder.rnn(&format!("{line} -o csv")).ok();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("a header").clone();
    for path in &header {
        // Null on the CPU path, which records nothing.
        let path = if path.starts_with("record.") { "record" } else { path };
        assert!(at(record, path).is_some(), "{path} is a field of the JSON");
    }
    let rows: Vec<_> = reader.records().map(|row| row.expect("as wide as the header")).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().flatten().all(|cell| !cell.is_empty()), "{text}");
    let place = header.iter().position(|name| name == "figures.gflop_per_s").expect("a column");
    let status = header.iter().position(|name| name == "status").expect("a column");
    for row in rows {
        assert_eq!(row[status] == *"ok", row[place].parse::<f64>().is_ok_and(|v| v > 0.0));
        assert!(row[status] == *"ok" || row[place].starts_with("n/a ("), "{row:?}");
    }
}

#[test]
fn bench_compare_flags_a_planted_regression() {
    let folder = Folder::new();
    let line = format!("{TINY} --cell gru --hidden 5,6 -o json");
    let text = folder.rnn(&line).ok();
    let mut old = records(&text);
    let mut plant = |hidden: u64, factor: f64| {
        let of = |r: &&mut Value| r["shape"]["hidden"] == hidden && r["status"] == "ok";
        let seconds = &mut old.iter_mut().find(of).expect("measured")["figures"]["seconds"];
        for name in ["median", "p10", "p90"] {
            seconds[name] = (seconds[name].as_f64().expect("a time") * factor).into();
        }
    };
    // What is measured now is a thousand times slower, and a thousand times faster, than this.
    plant(5, 1e-3);
    plant(6, 1e3);
    folder.write("old.json", Value::from(old.clone()).to_string());
    let lines: String = old.iter().map(|record| format!("{record}\n")).collect();
    folder.write("old.jsonl", lines);
    let line = format!("{TINY} --cell gru --hidden 5,6");
    for file in ["old.json", "old.jsonl"] {
        let text = folder.rnn(&format!("{line} --compare {file}")).ok();
        assert!(text.contains("REGRESSION") && text.contains("faster"), "{text}");
        assert!(text.contains("1 of 2 measures became slower"), "{text}");
    }
    let run = folder.rnn(&format!("{line} --compare old.json --fail-on-regression -o json"));
    assert_eq!(run.code, Some(1));
    assert_eq!(records(&run.out).len(), 6, "standard output stays JSON");
    assert!(run.err.contains("REGRESSION"), "{}", run.err);
    let one = old.iter().find(|r| r["status"] == "ok" && r["shape"]["hidden"] == 5);
    folder.write("one.json", format!("{:#}", one.expect("measured")));
    let text = folder.rnn(&format!("{line} --compare one.json")).ok();
    assert!(text.contains("1 of 1 measures became slower"), "{text}");
    // Nothing in common is no success.
    let other = format!("{TINY} --cell gru --hidden 7 --compare old.json");
    assert!(folder.rnn(&other).ok().contains("Nothing to compare"));
    let run = folder.rnn(&format!("{other} --fail-on-regression"));
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("nothing was compared"), "{}", run.err);
    folder.write("other.json", "[{\"schema\": \"something else\"}]");
    folder.write("text.json", "not JSON");
    folder.write("cut.jsonl", &old[0].to_string()[..40]);
    folder.write("empty.json", " \n");
    for file in ["other.json", "text.json", "cut.jsonl", "empty.json", "missing.json"] {
        let run = folder.rnn(&format!("{line} --compare {file}"));
        assert_eq!(run.code, Some(1), "{file}");
        assert!(run.err.contains(file), "{file}: {}", run.err);
    }
}

/// Walks over the tags of a page and demands that each one is closed in its turn.
fn assert_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for (start, _) in page.match_indices('<') {
        let tag = &page[start + 1..];
        let tag = &tag[..tag.find('>').expect("an end")];
        assert!(!tag.contains('<'), "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
        if tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn bench_html_is_one_well_formed_file() {
    let folder = Folder::new();
    folder.rnn(&format!("{TINY} --hidden 4..8*2 --cell lstm,gru --html page.html")).ok();
    let page = folder.read("page.html");
    assert_well_formed(&page);
    for part in ["over H", "over B", "Roofline", "lstm I=3 H=8 B=2 T=4", "A CPU COMPUTES HERE"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.matches("<svg").count() >= 3, "charts");
    for outside in ["<script", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("NaN"), "a figure is missing without a reason");
    assert_eq!(folder.names(), ["page.html"]);
}

#[test]
fn bench_says_why_a_figure_is_missing() {
    let folder = Folder::new();
    let list =
        records(&folder.rnn(&format!("{TINY} --hidden 4 --strategy auto,step -o json")).ok());
    assert!(list.iter().any(|r| r["strategy"] == "step"));
    for record in list.iter().filter(|r| r["strategy"] == "step") {
        assert_eq!(record["status"], "not_applicable");
        assert!(record["reason"].as_str().expect("a reason").contains("CPU path"), "{record}");
    }
    // Inputs and outputs, layers, weights.
    for shape in [
        "--batch 10000000 --steps 100",
        "--batch 1000000000000",
        "--layers 1000000000000",
        "--hidden 30000 --batch 1 --steps 1 --input 4",
    ] {
        assert!(folder.rnn(&format!("bench --list {shape}")).ok().contains("lstm"), "{shape}");
        let list = records(&folder.rnn(&format!("bench --device cpu -q {shape} -o json")).ok());
        assert_eq!(list.len(), 3, "{shape}");
        for record in list {
            let reason = record["reason"].as_str().expect("a reason").to_owned();
            assert!(reason.contains("--max-memory"), "{reason}");
            assert_eq!(record["figures"], Value::Null);
        }
    }
}

#[test]
fn bench_calibration_says_what_is_missing_and_takes_no_option_of_workloads() {
    let folder = Folder::new();
    let bench = |rest: &str| folder.rnn(&format!("bench --suite calibration -q {rest}"));
    let text = bench("--device cpu").ok();
    assert!(text.contains("n/a (not calibrated: rnn calibrate measures adapters)"), "{text}");
    let list = records(&bench("--device cpu -o json").ok());
    assert_eq!(
        (&list[0]["schema"], &list[0]["constants"]),
        (&"wgpu-rnn-constants".into(), &Value::Null)
    );
    assert!(bench("--device cpu -o csv").ok().contains(",round_trip_s\n"));
    for option in ["--html x.html", "--compare x.json", "--assert", "--filter lstm"] {
        let run = bench(&format!("--device cpu {option}"));
        assert_eq!(run.code, Some(2), "{option}");
        let name = option.split(' ').next().expect("a name");
        assert!(run.err.contains(&format!("{name}: expected a suite of workloads")), "{}", run.err);
    }
    let both = bench("--device cpu --compare x.json --fail-on-regression");
    assert_eq!(both.code, Some(2), "{}", both.err);
    assert!(!folder.path("x.html").exists());
    let Some(index) = adapter(&folder) else { return };
    let text = bench(&format!("--device {index}")).ok();
    assert!(text.contains(&format!("rnn calibrate --device {index}")), "{text}");
}

#[test]
fn bench_assert_fails_when_nothing_was_compared() {
    let folder = Folder::new();
    let run = folder.rnn(&format!("{TINY} --hidden 4 --assert -o json"));
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.err.contains("nothing was compared"), "{}", run.err);
    assert!(records(&run.out).iter().all(|record| record["status"] == "not_applicable"));
}

/// On the first usable adapter. Which choice is good is not asked of a busy machine.
#[test]
fn bench_assert_compares_the_strategies_of_an_adapter() {
    let folder = Folder::new();
    let Some(index) = adapter(&folder) else { return };
    let shape = "--cell rnn-tanh --input 3 --hidden 4 --batch 2 --steps 4";
    let run = folder.rnn(&format!("bench --device {index} --assert -r 1 --sample-ms 1 {shape}"));
    assert!(run.err.contains("of 1 choices are good"), "{}", run.err);
    assert!(!run.err.contains("nothing was compared"), "{}", run.err);
    assert_eq!(run.code == Some(0), run.err.contains("1 of 1 choices"), "{}", run.err);
}

/// On the first usable adapter: what recording costs, and how busy a stream keeps the device.
#[test]
fn bench_tells_what_recording_costs_and_how_busy_a_stream_is() {
    let folder = Folder::new();
    let Some(index) = adapter(&folder) else { return };
    let line = format!("bench --device {index} -q -r 2 --sample-ms 1 -o json");
    let shape = "--cell rnn-tanh --input 4 --hidden 4 --batch 2 --steps 30 --strategy step";
    let list = records(&folder.rnn(&format!("{line} {shape}")).ok());
    for record in &list {
        assert_eq!(record["status"], "ok", "{record}");
        let number = |path: &str| at(record, path).and_then(Value::as_f64).expect(path);
        if record["measure"] == "end_to_end" {
            assert_eq!(record["record"], Value::Null);
            continue;
        }
        // A dispatch a step, the input projection, the final states, the output's copy.
        assert!((31.0..=40.0).contains(&number("record.dispatches")), "{record}");
        assert!(number("record.encode_s") > 0.0);
        assert!(number("record.encode_s") < number("record.seconds"), "{record}");
        let ratio = number("record.seconds") / number("record.empty_pass_s");
        assert!((number("record.ratio") / ratio - 1.0).abs() < 1e-9);
        assert!(ratio > 1.0, "thirty dispatches cost more than none: {record}");
    }
    let list =
        records(&folder.rnn(&format!("{line} --suite stream --filter lstm --strategy step")).ok());
    let stream = list.iter().find(|r| r["measure"] == "stream").expect("measured");
    let busy = at(stream, "figures.busy_fraction").and_then(Value::as_f64).expect("a fraction");
    assert!(busy > 0.0 && busy.is_finite(), "{busy}");
    let clock = &stream["figures"]["busy_clock"];
    assert!(clock == "timestamps" || clock == "submit_to_idle", "{clock}");
    assert!(clock != "timestamps" || busy <= 1.0, "{busy}");
}

/// On the first usable adapter: an output over the 128 MiB that a binding holds at WebGPU's limits.
#[test]
fn bench_memory_of_a_run_in_parts_is_that_of_a_part() {
    let folder = Folder::new();
    let Some(index) = adapter(&folder) else { return };
    let shape = "--cell rnn-tanh --input 1 --hidden 16 --batch 1024 --steps 2100";
    let line = format!("bench --device {index} -q -r 1 --sample-ms 1 {shape} -o json");
    let list = records(&folder.rnn(&line).ok());
    let record = list.iter().find(|r| r["measure"] == "end_to_end").expect("listed");
    let memory = at(record, "figures.memory_bytes").and_then(Value::as_u64).expect("a figure");
    let output = 1024 * 2100 * 16 * 4;
    if record["strategy_used"] == "in parts" {
        // The output of half the sequences, on the device and on its way back, and less than the whole run.
        assert!((output..2 * output).contains(&memory), "{memory} beside {output}");
    } else {
        assert!(memory > 2 * output, "{memory} beside {output}");
    }
}

#[test]
fn bench_stream_carries_states_from_frame_to_frame() {
    let folder = Folder::new();
    let line = "bench --suite stream --filter H=128 --device cpu -q -r 1 --sample-ms 1 -o json";
    let list = records(&folder.rnn(line).ok());
    let find = |measure: &str, name: &str| {
        let is_it = |r: &&Value| {
            r["measure"] == measure && r["workload"].as_str().is_some_and(|w| w.contains(name))
        };
        list.iter().find(is_it).expect(measure).clone()
    };
    assert_eq!(find("end_to_end", "frames")["status"], "ok");
    assert_eq!(find("end_to_end", "stream")["status"], "ok");
    assert_eq!(find("frame", "frames")["status"], "not_applicable");
}
