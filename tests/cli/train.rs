//! `rnn train` and `rnn generate`: every task on tiny networks, and runs that are killed and resumed.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use wgpu_rnn::{Activation, HeadSteps, Model};

use crate::support::*;

/// A text with a rule: words in turn.
pub(crate) fn text(words: usize) -> String {
    let words = (0..words).map(|n| ["the cat ", "sat on ", "a mat. "][(n + n / 5) % 3]);
    words.collect()
}

/// Trains on the first adapter; `None` where there is none.
pub(crate) fn train(folder: &Folder, line: &str) -> Option<Outcome> {
    let adapter = adapter(folder)?;
    Some(folder.rnn(&format!("train {line} --device {adapter}")))
}

fn load(folder: &Folder, name: &str) -> Model {
    Model::load(folder.path(name)).expect(name)
}

pub(crate) fn lines(folder: &Folder, name: &str) -> Vec<Value> {
    folder.read(name).lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Bits of all weights under their names.
fn bits(model: &Model) -> Vec<(String, Vec<u32>)> {
    let tensors = model.tensors().into_iter();
    tensors.map(|t| (t.name, t.values.iter().map(|v| v.to_bits()).collect())).collect()
}

#[test]
fn a_language_model_learns_and_writes_texts() {
    let folder = Folder::new();
    folder.write("x.txt", text(300));
    let line = "-o m.safetensors --data x.txt --hidden 16 --epochs 4 --batch-size 8 --seq-len 16 \
                --lr 0.02 --validate 0.1 --log log.jsonl --plot loss.svg --log-every 4 --embedding 6";
    let Some(outcome) = train(&folder, line) else { return };
    let err = outcome.err.clone();
    outcome.ok();
    assert!(err.contains("task: language-model (guessed from the data"), "{err}");
    assert!(err.contains("epoch 4/4: loss ") && err.contains("perplexity"), "{err}");
    let model = load(&folder, "m.safetensors");
    let vocabulary = model.info.vocabulary.as_ref().expect("a vocabulary");
    assert_eq!(vocabulary.tokens().concat(), " .acehmnost");
    assert!(model.info.command.starts_with("rnn train -o m.safetensors --data x.txt"));
    assert_eq!(model.head().expect("a head").activation, Activation::Softmax);
    let log = lines(&folder, "log.jsonl");
    let epochs: Vec<&Value> = log.iter().filter(|line| line["event"] == "epoch").collect();
    assert_eq!(epochs.len(), 4);
    let loss = |line: &Value| line["loss"].as_f64().expect("a loss");
    assert!(loss(epochs[3]) < 0.7 * loss(epochs[0]), "{log:?}");
    assert!(epochs.iter().all(|line| line["validation"].is_f64()));
    assert!(log.iter().any(|line| line["event"] == "steps" && line["lr"].is_f64()), "{log:?}");
    assert!(folder.read("loss.svg").contains("perplexity"));
    assert_eq!(
        folder.names().iter().filter(|name| *name != "cache").cloned().collect::<Vec<_>>(),
        ["log.jsonl", "loss.svg", "m.safetensors", "x.txt"]
    );
    generated(&folder);
}

/// Texts depend on the seed alone.
fn generated(folder: &Folder) {
    let write = |options: &str| {
        folder.rnn(&format!("generate m.safetensors --prompt the --device cpu -q {options}")).ok()
    };
    let plain = write("--length 40 --seed 3");
    assert_eq!(plain, write("--length 40 --seed 3"));
    assert_ne!(plain, write("--length 40 --seed 4"));
    assert_eq!(plain.chars().count(), 3 + 40 + 1);
    let greedy = write("--length 20 --temperature 0");
    assert_eq!(greedy, write("--length 20 --top-k 1 --seed 9"));
    assert_eq!(greedy, write("--length 20 --top-p 0.01 --seed 9"));
    // All of the few tokens: the kernel of largest values against whole rows.
    assert_eq!(write("--length 30 --top-k 11 --seed 5"), write("--length 30 --seed 5"));
    let object: Value = serde_json::from_str(&write("--length 40 --seed 3 --json")).expect("JSON");
    assert_eq!(format!("the{}\n", object["text"].as_str().expect("text")), plain);
    assert_eq!(object["tokens"].as_array().expect("tokens").len(), 40);
}

/// Starts a run and kills it when its log has `count` lines.
fn kill_after(folder: &Folder, line: &str, count: usize) {
    let mut command = folder.command(line);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    wait_for_lines(&folder.path("log.jsonl"), &mut child, count);
    // SIGKILL: no handler runs.
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(!folder.path("parts.safetensors").exists(), "killed before its end");
}

fn wait_for_lines(path: &Path, child: &mut Child, count: usize) {
    let begun = Instant::now();
    loop {
        let log = std::fs::read_to_string(path).unwrap_or_default();
        if log.lines().count() >= count || child.try_wait().expect("a status").is_some() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "no {count} lines in the log");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_run_that_is_killed_and_resumed_gives_the_same_bits() {
    let folder = Folder::new();
    let Some(adapter) = adapter(&folder) else { return };
    folder.write("x.txt", text(150));
    let line = format!(
        "train --data x.txt --cell gru --layers 2 --hidden 8 --dropout 0.3 --epochs 3 --batch-size 4 \
         --recurrent-dropout 0.1 \
         --seq-len 10 --schedule one-cycle --lr 0.01 --validate 0.1 --early-stop 3 --log-every 1 \
         --checkpoint-every 4 --seed 5 --device {adapter}"
    );
    folder.rnn(&format!("{line} -o whole.safetensors --checkpoint whole")).ok();
    let run = format!("{line} -o parts.safetensors --log log.jsonl");
    kill_after(&folder, &format!("{run} --checkpoint parts"), 7);
    // Once killed in an epoch, once after the first.
    kill_after(&folder, &format!("{run} --resume parts"), 9);
    kill_after(&folder, &format!("{run} --resume parts"), 40);
    let outcome = folder.rnn(&format!("{run} --resume parts"));
    assert!(outcome.err.contains("resumed in epoch "), "{}", outcome.err);
    outcome.ok();
    let (whole, parts) = (load(&folder, "whole.safetensors"), load(&folder, "parts.safetensors"));
    assert_eq!(bits(&whole), bits(&parts));
    // Other options and other data are not gone on with.
    for (options, want) in [
        ("--lr 0.02", "--lr: expected 0.01 as in the checkpoint in parts, got 0.02"),
        ("--hidden 9", "--hidden: expected 8 as in the checkpoint in parts, got 9"),
    ] {
        let name = options.split(' ').next().expect("a name");
        let mut words: Vec<&str> = run.split_whitespace().collect();
        let at = words.iter().position(|word| *word == name).expect("given");
        words.drain(at..at + 2);
        let outcome = folder.rnn(&format!("{} {options} --resume parts", words.join(" ")));
        assert_eq!(outcome.code, Some(2), "{}", outcome.err);
        assert!(outcome.err.contains(want), "{}", outcome.err);
    }
    folder.write("x.txt", text(151));
    let outcome = folder.rnn(&format!("{run} --resume parts"));
    assert!(
        outcome.err.contains("--data: expected the bytes that the checkpoint"),
        "{}",
        outcome.err
    );
}

#[test]
fn more_epochs_go_on_in_the_same_order() {
    let folder = Folder::new();
    let Some(adapter) = adapter(&folder) else { return };
    let (values, classes) = examples(40);
    let arrays = [("input", npy_f32(&[40, 6, 2], &values)), ("target", npy_i64(&[40], &classes))];
    folder.write("x.npz", npz(&arrays, false));
    let level = |n: u16| 3.0 + (f32::from(n) * 0.7).sin();
    folder.write("x.csv", (0..60u16).map(|n| format!("{}\n", level(n))).collect::<String>());
    for data in ["x.npz", "x.csv"] {
        let line = |epochs: u32, more: &str| {
            let window = if data == "x.csv" { "--seq-len 12" } else { "" };
            let options =
                format!("--hidden 6 --batch-size 8 {window} --optimizer sgd --momentum 0.9");
            let fixed =
                format!("--data {data} {options} --validate 0.2 --seed 2 --device {adapter}");
            folder.rnn(&format!("train {fixed} --epochs {epochs} {more}")).ok();
        };
        line(4, "-o whole.safetensors");
        line(2, &format!("-o half.safetensors --checkpoint {data}.run"));
        line(4, &format!("-o both.safetensors --resume {data}.run"));
        let of = |name: &str| bits(&load(&folder, name));
        assert_eq!(of("whole.safetensors"), of("both.safetensors"), "{data}");
        assert_ne!(of("whole.safetensors"), of("half.safetensors"), "{data}");
    }
}

/// Sequences of two numbers a step whose class is the sign of the first one's sum.
pub(crate) fn examples(count: usize) -> (Vec<f32>, Vec<i64>) {
    let values = sequences(&vec![6; count], 2).concat();
    let sum = |one: &[f32]| one.chunks(2).map(|pair| pair[0]).sum::<f32>();
    let classes = values.chunks(12).map(|one| i64::from(sum(one) > 0.0)).collect();
    (values, classes)
}

#[test]
fn classes_of_sequences_and_of_steps_are_learnt() {
    let folder = Folder::new();
    let (values, classes) = examples(160);
    let tags: Vec<i64> = values.chunks(2).map(|pair| i64::from(pair[1] > 0.0)).collect();
    let input = npy_f32(&[160, 6, 2], &values);
    let arrays = |target: Vec<u8>| npz(&[("input", input.clone()), ("target", target)], true);
    folder.write("c.npz", arrays(npy_i64(&[160], &classes)));
    folder.write("t.npz", arrays(npy_i64(&[160, 6], &tags)));
    let options = "--hidden 8 --epochs 12 --batch-size 16 --lr 0.02 --validate 0.25";
    let accuracy = |name: &str| {
        let end = lines(&folder, name).pop().expect("a last line");
        end["accuracy"].as_f64().expect("an accuracy")
    };
    let line = format!("--data c.npz -o c.safetensors {options} --log c.jsonl --bidirectional");
    let Some(outcome) = train(&folder, &line) else { return };
    assert!(outcome.err.contains("task: classify"), "{}", outcome.err);
    outcome.ok();
    assert!(accuracy("c.jsonl") >= 0.85, "{}", folder.read("c.jsonl"));
    assert_eq!(load(&folder, "c.safetensors").head().expect("a head").steps, HeadSteps::Final);
    folder.rnn("run c.safetensors c.npz -o y.npy --device cpu -q").ok();
    assert_eq!(read_npy(&folder.bytes("y.npy")).shape(), [160, 2]);
    let line = format!("--data t.npz -o t.safetensors {options} --log t.jsonl --cell rnn-tanh");
    let Some(outcome) = train(&folder, &line) else { return };
    assert!(outcome.err.contains("task: tag"), "{}", outcome.err);
    outcome.ok();
    assert!(accuracy("t.jsonl") >= 0.9, "{}", folder.read("t.jsonl"));
}

#[test]
fn a_forecaster_takes_and_gives_raw_numbers() {
    let folder = Folder::new();
    let level = |n: u16| 500.0 + 80.0 * (f32::from(n) * 0.9).sin() * (f32::from(n) * 0.11).cos();
    let rows = (0..120u16).map(|n| format!("{},{}\n", 1900 + n, level(n)));
    folder.write("x.csv", format!("year,level\n{}", rows.collect::<String>()));
    let line = "--data x.csv -o m.safetensors --cell gru --hidden 12 --epochs 30 --batch-size 8 \
                --seq-len 24 --lr 0.02 --validate 20 --log log.jsonl";
    let Some(outcome) = train(&folder, line) else { return };
    let err = outcome.err.clone();
    outcome.ok();
    assert!(err.contains("last row again") && err.contains("linear autoregression"), "{err}");
    let model = load(&folder, "m.safetensors");
    assert!(model.info.forecast && model.info.columns == ["level"]);
    let end = lines(&folder, "log.jsonl").pop().expect("a last line");
    let rmse = |index: usize| end["errors"][index]["rmse"].as_f64().expect("an error");
    assert!(rmse(0) < 0.7 * rmse(1), "better than the last row again: {end}");
    // The file alone gives what was measured while training, and it gives it in raw numbers.
    folder.rnn("run m.safetensors x.csv -o y.npy --device cpu -q").ok();
    let output = read_npy(&folder.bytes("y.npy"));
    let error = |n: u16| f64::from(output.data()[usize::from(n) - 1] - level(n)).powi(2);
    let own = ((100..120).map(error).sum::<f64>() / 20.0).sqrt();
    assert!((own - rmse(0)).abs() < 0.01 * own, "{own} {end}");
    // Weights go on from a file.
    let line = "--data x.csv -o n.safetensors --from m.safetensors --epochs 1 --lr 0 --validate 20 \
                --batch-size 8 --seq-len 24";
    train(&folder, line).expect("an adapter").ok();
    for (got, want) in load(&folder, "n.safetensors").tensors().iter().zip(model.tensors()) {
        for (got, want) in got.values.iter().zip(want.values) {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{}", want);
        }
    }
}

#[test]
fn losses_of_training_and_measurement_agree() {
    let folder = Folder::new();
    let lengths = [5, 1, 0, 3, 5, 2, 4, 5, 5, 1, 3, 2];
    // What stands beyond a length is not read.
    let is_beyond = |step: i64| step % 5 >= lengths[usize::try_from(step / 5).expect("small")];
    let numbers = |mut values: Vec<f32>, width: usize| {
        for (step, row) in values.chunks_mut(width).enumerate() {
            if is_beyond(i64::try_from(step).expect("small")) {
                row.fill(f32::NAN);
            }
        }
        npy_f32(&[12, 5, width], &values)
    };
    let input = numbers(sequences(&[5; 12], 3).concat(), 3);
    let token = |step: i64| if is_beyond(step) { -1 - step } else { step * step % 7 };
    let tokens: Vec<i64> = (0..60).map(token).collect();
    let lengths = npy_i64(&[12], &lengths);
    let classes = |count: usize| -> Vec<i64> { (0..60).map(|n| n * 5 % 4).take(count).collect() };
    // PyTorch's class that counts nowhere.
    let tags: Vec<i64> =
        classes(60).iter().enumerate().map(|(n, c)| if n % 6 == 1 { -100 } else { *c }).collect();
    let target = numbers(sequences(&[60], 2).concat(), 2);
    let arrays = |list: &[(&str, Vec<u8>)]| npz(list, true);
    let long = [("input", input.clone()), ("lengths", lengths.clone())];
    let with = |target: Vec<u8>| arrays(&[long[0].clone(), long[1].clone(), ("target", target)]);
    folder.write("classify.npz", with(npy_i64(&[12], &classes(12))));
    folder.write("tag.npz", with(npy_i64(&[12, 5], &tags)));
    folder.write("regress.npz", with(target));
    let tokens = npy_i64(&[12, 5], &tokens);
    folder.write("language-model.npz", arrays(&[("input", tokens), ("lengths", lengths)]));
    // Four parts of 32 characters, read in two steps each: states go on.
    folder.write("language-model.txt", &text(40)[..129]);
    for (file, options) in [
        ("classify.npz", "--batch-size 12 --cell gru --bidirectional"),
        ("tag.npz", "--batch-size 12 --layers 2"),
        ("regress.npz", "--batch-size 12"),
        ("language-model.npz", "--batch-size 12 --embedding 3"),
        ("language-model.txt", "--batch-size 4 --seq-len 16"),
    ] {
        let task = file.split('.').next().expect("a name");
        // Weights that do not change: what is learnt from is what is measured on.
        let line = format!(
            "--data {file} --validate {file} -o m.safetensors --hidden 6 --epochs 1 --lr 0 --seed 3 \
             --log log.jsonl --log-every 1 --task {task} {options}"
        );
        let Some(outcome) = train(&folder, &line) else { return };
        outcome.ok();
        let log = lines(&folder, "log.jsonl");
        let epoch = log.iter().find(|line| line["event"] == "epoch").expect("an epoch");
        let number = |name: &str| epoch[name].as_f64().expect(name);
        let (got, want) = (number("validation"), number("loss"));
        assert!((got - want).abs() < 1e-5 * want, "{file}: {got} {want}");
        // Classes that were found: counted on the device while training, on the host when measured.
        if file != "language-model.txt" && task != "regress" {
            let step = log.iter().find(|line| line["event"] == "steps").expect("a look");
            let (got, want) = (step["accuracy"].as_f64().expect("counted"), number("accuracy"));
            assert!((got - want).abs() < 1e-6, "{file}: {got} {want}");
            assert!(want > 0.0 && want < 1.0 || task == "language-model", "{file}: {want}");
        }
    }
}
