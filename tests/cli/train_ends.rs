//! What `rnn train` and `rnn generate` refuse, what they warn of, and how they end where numbers do.

use serde_json::Value;
use wgpu_rnn::{Cell, HeadSpec, Init, InputSpec, LayerSpec, Model};

use crate::support::*;
use crate::train::{examples, lines, text, train};

#[test]
fn numbers_that_are_no_longer_finite_stop_the_run() {
    let folder = Folder::new();
    folder.write("x.txt", text(120));
    let line = "--data x.txt -o m.safetensors --cell rnn-relu --hidden 8 --batch-size 4 --seq-len 8 \
                --optimizer sgd --lr 1e12 --clip-norm 0 --epochs 3 --checkpoint-every 1 --log log.jsonl";
    let Some(outcome) = train(&folder, &format!("{line} --checkpoint kept")) else { return };
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    let error = |outcome: &Outcome| {
        let found = outcome.err.lines().find(|line| line.starts_with("error: training: expected"));
        found.unwrap_or_else(|| panic!("{}", outcome.err)).to_owned()
    };
    let message = error(&outcome);
    assert!(message.contains("expected finite outputs of layer 0, got "), "{message}");
    assert!(message.contains(" in sequence ") && message.contains(", time step "), "{message}");
    let advice = "(a lower --lr, or a --clip-norm, may help; the last checkpoint stays in kept)";
    assert!(message.contains(" in step ") && message.ends_with(advice), "{message}");
    assert!(!folder.path("m.safetensors").exists());
    assert_eq!(lines(&folder, "log.jsonl").pop().expect("a line")["event"], "stopped");
    // The checkpoint is whole: going on from it comes to the same end.
    let again = train(&folder, &format!("{line} --resume kept")).expect("an adapter");
    assert_eq!(error(&again), message);

    // In the second epoch of a text, whose states start anew there: taken again from the end of the first
    // epoch, the steps come to the same numbers as from the state right before.
    let late = "--data x.txt -o m.safetensors --cell rnn-relu --hidden 8 --batch-size 4 --seq-len 32 \
                --optimizer sgd --lr 1 --clip-norm 0 --epochs 3 --schedule step --step-size 9 --gamma 30";
    let from_epoch = error(&train(&folder, late).expect("an adapter"));
    let from_step = format!("{late} --checkpoint other --checkpoint-every 1");
    let from_step = error(&train(&folder, &from_step).expect("an adapter"));
    let fault = |message: &str| message.split(" (").next().expect("a part").to_owned();
    assert_eq!(fault(&from_epoch), fault(&from_step));
    let step = from_epoch.split(" in step ").nth(1).expect("a step");
    let step: u64 = step.split(' ').next().expect("a word").parse().expect("a number");
    assert!(step > 8, "{from_epoch}");
}

#[test]
fn the_layer_where_numbers_stop_being_finite_is_named() {
    let folder = Folder::new();
    let (values, classes) = examples(32);
    let arrays = [("input", npy_f32(&[32, 6, 2], &values)), ("target", npy_i64(&[32], &classes))];
    folder.write("x.npz", npz(&arrays, false));
    let mut model = Model::builder(InputSpec::Dense { size: 2 })
        .layers(3, &LayerSpec::new(Cell::RnnRelu, 8))
        .head(HeadSpec::new(2).last_step())
        .build(Init::PyTorch, 3)
        .expect("valid");
    // Finite weights, whose products in the second layer are not.
    let mut layers = model.layers().to_vec();
    let mut directions = layers[1].directions().to_vec();
    directions[0].weight_hh.data_mut().fill(1e30);
    layers[1] = wgpu_rnn::Layer::new(layers[1].spec().clone(), directions).expect("fits");
    model = Model::new(model.input().clone(), layers, model.head().cloned()).expect("fits");
    folder.model("bad.safetensors", &model);
    let line = "--data x.npz --from bad.safetensors -o m.safetensors --epochs 1";
    let Some(outcome) = train(&folder, line) else { return };
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    let want = "expected finite outputs of layer 1, got inf in sequence ";
    assert!(outcome.err.contains(want) && outcome.err.contains("in step 1 ("), "{}", outcome.err);
}

#[test]
fn what_a_run_does_on_its_own_is_said() {
    let folder = Folder::new();
    let (values, classes) = examples(40);
    let arrays = [("input", npy_f32(&[40, 6, 2], &values)), ("target", npy_i64(&[40], &classes))];
    folder.write("x.npz", npz(&arrays, false));
    // A loss that does not fall: the weights stay.
    let line = "--data x.npz -o m.safetensors --hidden 4 --epochs 9 --lr 0 --validate 0.25 --early-stop 2 \
                --checkpoint run --log log.jsonl --recompute";
    let Some(outcome) = train(&folder, line) else { return };
    let early = "stopped early: no lower validation loss since epoch 1, whose weights are written";
    assert!(outcome.err.contains(early), "{}", outcome.err);
    assert!(
        outcome.err.contains("take what W_hh gave at each time step, computed again"),
        "the trade: {}",
        outcome.err
    );
    assert!(!outcome.err.contains("is replaced"), "{}", outcome.err);
    outcome.ok();
    let outcome = train(&folder, line).expect("an adapter");
    let warning = "--checkpoint: the one in run is replaced at the end of the first epoch";
    assert!(outcome.err.contains(warning), "{}", outcome.err);
    let fewer = "--data x.npz -o m.safetensors --hidden 4 --epochs 2 --lr 0 --validate 0.25 --early-stop 2 \
                 --resume run --recompute";
    let outcome = train(&folder, fewer).expect("an adapter");
    assert_eq!(outcome.code, Some(2), "{}", outcome.err);
    assert!(outcome.err.contains("--epochs: expected at least the 3 that"), "{}", outcome.err);
}

#[test]
fn the_log_has_the_learning_rate_of_its_step() {
    let folder = Folder::new();
    folder.write("x.txt", text(60));
    let line = "--data x.txt -o m.safetensors --hidden 4 --epochs 1 --batch-size 4 --seq-len 8 --lr 0.5 \
                --schedule step --step-size 3 --gamma 0.5 --log log.jsonl --log-every 1";
    let Some(outcome) = train(&folder, line) else { return };
    outcome.ok();
    let log = lines(&folder, "log.jsonl");
    let steps: Vec<&Value> = log.iter().filter(|line| line["event"] == "steps").collect();
    let rates: Vec<f64> = steps.iter().map(|line| line["lr"].as_f64().expect("a rate")).collect();
    assert_eq!(&rates[..7], &[0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125], "{rates:?}");
}

#[test]
fn offsets_that_f32_rounds_away_are_warned_of() {
    let folder = Folder::new();
    let level = |offset: f64, n: u16| offset + (f64::from(n) * 0.9).sin();
    let file =
        |offset: f64| (0..120u16).map(|n| format!("{}\n", level(offset, n))).collect::<String>();
    folder.write("near.csv", file(10.0));
    folder.write("far.csv", file(1e7));
    for (data, warns) in [("near.csv", false), ("far.csv", true)] {
        let line = format!(
            "--data {data} -o m.safetensors --hidden 12 --epochs 20 --batch-size 8 --seq-len 24 --lr 0.02 \
             --validate 20"
        );
        let Some(outcome) = train(&folder, &line) else { return };
        assert_eq!(outcome.err.contains("raw ones, which f32 rounds"), warns, "{}", outcome.err);
        outcome.ok();
    }
}

#[test]
fn tokens_without_texts_are_learnt_and_generated() {
    let folder = Folder::new();
    let tokens: Vec<i64> = (0..240).map(|n| (n + n / 10) % 5).collect();
    folder.write("x.npz", npz(&[("input", npy_i64(&[24, 10], &tokens))], false));
    let line =
        "--data x.npz -o m.safetensors --cell gru --hidden 12 --epochs 30 --batch-size 8 --lr 0.03";
    let Some(outcome) = train(&folder, line) else { return };
    outcome.ok();
    let write = |options: &str| {
        folder.rnn(&format!("generate m.safetensors --device cpu -q --temperature 0 {options}"))
    };
    assert_eq!(write("--prompt-tokens 3,4 --length 6").ok(), "3 4 0 1 2 3 4 0\n");
    let object: Value =
        serde_json::from_str(&write("--prompt-tokens 3,4 --length 3 --json").ok()).expect("JSON");
    assert_eq!(object["prompt"], "3 4");
    assert_eq!(object["tokens"], serde_json::json!([0, 1, 2]));
    let outcome = write("--prompt a");
    assert!(outcome.err.contains("--prompt-tokens takes ids"), "{}", outcome.err);
}

/// Checks exit code and message of every line.
#[track_caller]
fn assert_refused(folder: &Folder, cases: &[(i32, &str, &str)]) {
    for (code, line, want) in cases {
        let outcome = folder.rnn(line);
        assert_eq!(outcome.code, Some(*code), "{line}: {}", outcome.err);
        assert!(outcome.err.contains(want), "{line}: {}", outcome.err);
        assert!(!folder.path("m.safetensors").exists(), "{line}");
    }
}

#[test]
fn options_that_fit_nothing_are_refused() {
    let folder = Folder::new();
    folder.write("x.txt", text(30));
    folder.write("x.npq", "");
    let text = |code, options, want| (code, format!("train --data x.txt {options}"), want);
    let cases = [
        text(2, "-o m.txt", "--output: expected a file ending in .safetensors or .onnx"),
        text(2, "-o m.safetensors --plot m.png", "--plot: expected a file ending in .svg"),
        text(2, "-o m.safetensors --log x.txt", "--log: expected a file of its own"),
        text(2, "-o m.safetensors --task classify", "--task: expected language-model for a text"),
        text(2, "-o m.safetensors --columns a", "--columns: expected --data with columns"),
        text(2, "-o m.safetensors --bidirectional", "--bidirectional: expected layers that read"),
        text(2, "-o m.safetensors --dropout 0.5", "--dropout: expected at least 2 layers"),
        text(2, "-o m.safetensors --early-stop 3", "--validate"),
        text(2, "-o m.safetensors --lr -1", "'--lr <X>': expected a number of at least 0"),
        text(2, "-o m.safetensors --lr nan", "'--lr <X>': expected a number of at least 0"),
        text(2, "-o m.safetensors --clip-norm -1", "expected a number of at least 0"),
        text(2, "-o m.safetensors --gamma 0.5", "--gamma: expected --schedule step to apply it"),
        text(2, "-o m.safetensors --step-size 5", "--step-size: expected --schedule step"),
        text(2, "-o m.safetensors --warm-up 5", "--warm-up: expected --schedule cosine"),
        text(2, "-o m.safetensors --nesterov", "--momentum: expected --optimizer sgd"),
        text(2, "-o m.safetensors --optimizer sgd --nesterov", "--nesterov: expected --momentum"),
        text(2, "-o m.safetensors --label-smoothing 1", "--label-smoothing: expected 0 to below 1"),
        text(2, "-o m.safetensors --checkpoint-every 3", "--checkpoint-every: expected --check"),
        text(2, "-o m.safetensors --validate 1.5", "expected a fraction between 0 and 1"),
        text(1, "-o m.safetensors --validate 9999", "--validate: expected fewer than all"),
        text(1, "-o m.safetensors --resume none", "checkpoint.safetensors: cannot read"),
        text(1, "-o m.safetensors --device cpu", "training: expected a GPU, got the CPU path"),
        text(1, "-o none/m.safetensors", "none/m.safetensors: cannot write"),
        text(2, "-o m.safetensors --log m.safetensors", "--log: expected a file of its own"),
        text(2, "-o m.safetensors --log l.svg --plot l.svg", "--plot: expected a file of its own"),
        text(
            2,
            "-o k/checkpoint.safetensors --checkpoint k",
            "--output: expected a file of its own",
        ),
        (2, "train -o m.safetensors --data x.npq".to_owned(), "expected an input ending in"),
        (1, "train -o m.safetensors --data none.txt".to_owned(), "none.txt: cannot read"),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(code, line, want)| (*code, line.as_str(), *want)).collect();
    assert_refused(&folder, &cases);
    let Some(adapter) = adapter(&folder) else { return };
    for (options, want) in [
        ("--layers 2 --dropout 1", "training dropout: expected 0 to below 1, got 1"),
        ("--optimizer sgd --momentum 1", "optimizer momentum: expected 0 to below 1, got 1"),
        ("--batch-size 9999", "--batch-size: expected fewer than the"),
    ] {
        let line = format!("train --data x.txt -o m.safetensors {options} --device {adapter}");
        assert_refused(&folder, &[(1, &line, want)]);
    }
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    folder.write("x.txt", text(30));
    folder.write("x.csv", "year,a,b\n2000,1,2\n2001,3,4\n2002,5,6\n2003,1,2\n2004,0,1\n");
    folder.write("dates.csv", "date,a\n2000-01-01,1\n2000-01-02,2\n2000-01-03,3\n");
    folder.write("nan.csv", "a\n1\n2\nNaN\n3\n4\n");
    folder.write("one.csv", "year,a,b\n2005,1,2\n");
    folder.write("one.txt", "t");
    let input = npy_f32(&[4, 3, 2], &[0.5; 24]);
    let file = |target: Vec<u8>| npz(&[("input", input.clone()), ("target", target)], false);
    folder.write("short.npz", file(npy_i64(&[3], &[0, 1, 0])));
    folder.write("below.npz", file(npy_i64(&[4], &[0, -1, 0, 1])));
    folder.write("ignored.npz", file(npy_i64(&[4], &[-100; 4])));
    folder.write("bare.npz", npz(&[("input", input.clone())], false));
    folder.model("dense.safetensors", &dense());
    folder.model("chars.safetensors", &chars());
    let cases = [
        (2, "x.csv --target c", "--target: expected columns of x.csv: year, a, b; got c"),
        (2, "x.csv --embedding 3", "--embedding: expected data of tokens"),
        (1, "dates.csv", "got \"2000-01-01\" (--columns chooses the columns that are read)"),
        (1, "nan.csv", "a: expected finite numbers to learn from, got NaN in row 3"),
        (1, "short.npz", "target: expected integers [4] or [4, 3]"),
        (
            1,
            "below.npz",
            "target: expected classes from 0, or -100 for what does not count, got -1",
        ),
        (1, "ignored.npz", "target: expected a class that counts, got -100 everywhere"),
        (2, "below.npz --seq-len 5", "--seq-len: expected a text or series to cut"),
        (1, "bare.npz", "expected an array named target beside numbers"),
        (1, "x.csv --from dense.safetensors", "--from: expected a network of 2 outputs, got 3"),
        (1, "x.txt --from dense.safetensors", "expected a model with a vocabulary"),
        (1, "x.txt --from chars.safetensors", "expected chars of the vocabulary"),
        (2, "x.txt --from chars.safetensors --hidden 3", "cannot be used with"),
    ];
    for (code, options, want) in cases {
        let line = format!("train -o m.safetensors --data {options}");
        assert_refused(&folder, &[(code, &line, want)]);
    }
    let Some(adapter) = adapter(&folder) else { return };
    let input = npy_f32(&[2, 3, 1], &[0.5; 6]);
    let lengths = npy_i64(&[2], &[0, 0]);
    let target = npy_f32(&[2, 3, 1], &[0.5; 6]);
    folder.write("full.npz", npz(&[("input", input.clone()), ("target", target.clone())], false));
    let arrays = [("input", input), ("target", target), ("lengths", lengths)];
    folder.write("empty.npz", npz(&arrays, false));
    for (options, want) in [
        ("x.csv --columns a,b --validate one.csv", "--validate: expected at least 2 rows"),
        ("x.txt --batch-size 4 --validate one.txt", "text: expected at least 2 characters, got 1"),
        ("full.npz --validate empty.npz", "--validate: expected at least 1 target"),
        ("empty.npz", "--data: expected at least 1 time step to learn from"),
    ] {
        let line = format!("train -o m.safetensors --data {options} --device {adapter}");
        assert_refused(&folder, &[(1, &line, want)]);
    }
}

#[test]
fn texts_that_cannot_be_written_are_refused() {
    let folder = Folder::new();
    folder.model("dense.safetensors", &dense());
    folder.model("chars.safetensors", &chars());
    let cases = [
        (2, "dense.safetensors --prompt a", "MODEL: expected a network that reads tokens"),
        (2, "chars.safetensors --prompt-tokens 0,99", "--prompt-tokens: expected ids below"),
        (1, "chars.safetensors --prompt x", "text: expected chars of the vocabulary"),
        (2, "chars.safetensors --prompt a --top-p 0", "expected a number above 0 and up to 1"),
        (2, "chars.safetensors --prompt a --temperature -1", "expected a number of at least 0"),
        (2, "chars.safetensors", "--prompt"),
    ];
    for (code, options, want) in cases {
        let line = format!("generate {options}");
        assert_refused(&folder, &[(code, &line, want)]);
    }
}
