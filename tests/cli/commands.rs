//! The other subcommands, and help.

use serde_json::Value;

use crate::support::*;

#[test]
fn help_of_every_subcommand_has_examples() {
    let folder = Folder::new();
    let help = folder.rnn("--help").ok();
    let commands =
        ["run", "inspect", "convert", "adapters", "calibrate", "check", "bench", "trace"];
    for command in commands {
        assert!(help.contains(command), "{help}");
        let help = folder.rnn(&format!("{command} --help")).ok();
        assert!(help.contains("Examples:"), "{command}: {help}");
        assert!(help.contains(&format!("rnn {command}")), "{command}: {help}");
    }
    assert_eq!(folder.rnn("").code, Some(2));
    assert_eq!(folder.rnn("fly").code, Some(2));
}

#[test]
fn inspect_shows_layers_tensors_and_plan() {
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    let text = folder.rnn("inspect m.safetensors --shape 8x50 --device cpu").ok();
    for part in ["lstm", "gru", "rnn.weight_ih_l0", "[20, 2]", "fc.bias", "8 × 50 steps"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = folder.rnn("inspect m.safetensors --json --device cpu -q").ok();
    let record: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(record["layers"][0]["cell"], "lstm");
    assert_eq!(record["layers"][1]["input_size"], 5);
    assert_eq!(record["head"]["output_size"], 3);
    assert_eq!(record["parameters"], dense().parameter_count());
    if let Some(index) = adapter(&folder) {
        let line = format!("inspect m.safetensors --json --shape 8x50 --device {index} -q");
        let record: serde_json::Value =
            serde_json::from_str(&folder.rnn(&line).ok()).expect("JSON");
        let layer = &record["plan"]["layers"][0];
        assert!(layer["predicted_step_s"].as_f64().expect("seconds") > 0.0, "{layer}");
        assert!(layer["input_kernel"].as_str().expect("a name").starts_with("gemm"), "{layer}");
        let rivals = layer["rivals"].as_array().expect("rivals");
        // All but auto and the one that runs.
        assert_eq!(rivals.len(), wgpu_rnn::Strategy::ALL.len() - 2, "{layer}");
        let grid = rivals.iter().find(|rival| rival["strategy"] == "grid-persistent");
        assert!(grid.expect("named")["needs"].is_string(), "{layer}");
    }
    assert_eq!(folder.rnn("inspect m.safetensors --shape 8").code, Some(2));
    assert_eq!(folder.rnn("inspect missing.safetensors").code, Some(1));
}

#[test]
fn overrides_change_what_is_loaded() {
    let folder = Folder::new();
    folder.model("m.safetensors", &chars());
    let inspect = |more: &str| {
        let text = folder.rnn(&format!("inspect m.safetensors --json --device cpu {more}")).ok();
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    assert_eq!(inspect("")["head"]["activation"], "softmax");
    assert_eq!(inspect("--output-activation log-softmax")["head"]["activation"], "log-softmax");
    assert_eq!(inspect("--cell rnn-relu")["layers"][0]["cell"], "rnn-relu");
    assert_eq!(inspect("--head none")["head"], Value::Null);
    assert_eq!(folder.rnn("inspect m.safetensors --cell lstm --device cpu").code, Some(1));
}

#[test]
fn adapters_lists_the_cpu_path_at_least() {
    let folder = Folder::new();
    let text = folder.rnn("adapters").ok();
    assert!(text.contains("CPU path"), "{text}");
    let record: Value = serde_json::from_str(&folder.rnn("adapters --json").ok()).expect("JSON");
    assert!(record["cpu"]["threads"].as_u64().expect("a count") > 0);
    for adapter in record["adapters"].as_array().expect("a list") {
        assert!(adapter["limits"]["max_buffer_size"].as_u64().expect("a limit") > 0);
        let name = adapter["name"].as_str().expect("a name");
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn check_passes_on_the_cpu_and_fails_when_nothing_ran() {
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    let text = folder.rnn("check m.safetensors --filter m.safetensors --device cpu").ok();
    assert!(text.contains("m.safetensors: 6 sequences, ragged"), "{text}");
    assert!(text.contains("4 passed, 0 failed"), "{text}");
    let text = folder.rnn("check --filter lstm --json --device cpu").ok();
    let record: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(record["failed"], 0);
    assert!(record["passed"].as_u64().expect("a count") > 0);
    let names = folder.rnn("check --list").ok();
    assert!(names.lines().count() > 10 && names.contains("gru"), "{names}");
    let run = folder.rnn("check --filter no-such-case --device cpu");
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("nothing was compared"), "{}", run.err);
    assert_eq!(folder.rnn("check --cell lstm").code, Some(2));
}

#[test]
fn trace_shows_every_step() {
    let folder = Folder::new();
    folder.model("m.safetensors", &chars());
    let mut command = folder.command("trace m.safetensors --plot p.svg --device cpu --top 2");
    command.args(["--text", "ab c"]).stdin(std::process::Stdio::piped());
    let text = finish(&mut command, "").ok();
    assert!(text.contains("h_t = tanh("), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.contains('‖')).skip(1).collect();
    assert_eq!(rows.len(), 4, "{text}");
    assert!(rows[2].starts_with("3  \" \""), "{text}");
    // What one step ends with is what the next one starts from.
    let states = |row: &str| -> Vec<String> {
        row.split('[').skip(1).map(|part| part.split(']').next().unwrap_or("").to_owned()).collect()
    };
    for pair in rows.windows(2) {
        assert_eq!(states(pair[0])[1], states(pair[1])[0]);
    }
    let picture = folder.read("p.svg");
    assert!(picture.contains("t = 4") && picture.contains("h₄") && picture.ends_with("</svg>\n"));
}

#[test]
fn trace_follows_both_directions_and_dense_input() {
    let folder = Folder::new();
    folder.model("b.safetensors", &last_step());
    folder.model("d.safetensors", &dense());
    folder.write("x.csv", "1,2\n3,4\n5,6\n");
    let text = folder.rnn("trace b.safetensors --input x.csv --plot p.svg --device cpu").ok();
    assert!(text.contains("0 →") && text.contains("0 ←"), "{text}");
    let states = |row: &str, which: usize| {
        row.split('[').nth(which).and_then(|part| part.split(']').next()).map(str::to_owned)
    };
    let back: Vec<&str> = text.lines().filter(|line| line.contains('←')).collect();
    assert_eq!(back.len(), 3);
    assert_eq!(states(back[0], 1), states(back[1], 2), "the reverse state comes from the right");
    assert!(states(back[2], 1).expect("a state").trim().starts_with("0.00"));
    let text = folder.rnn("trace d.safetensors --input x.csv --steps 2 --device cpu").ok();
    assert!(text.contains("c_t = f ⊙ c_{t-1} + i ⊙ g"), "{text}");
    assert!(!text.contains("5 6"), "{text}");
}

#[test]
fn trace_refuses_what_it_cannot_read() {
    let folder = Folder::new();
    folder.model("c.safetensors", &chars());
    folder.model("d.safetensors", &dense());
    folder.write("empty.txt", "\n");
    for (line, code, message) in [
        ("trace c.safetensors", 2, "--text"),
        ("trace c.safetensors --text abz", 1, "\"z\" at position 3"),
        ("trace d.safetensors --text a", 1, "vocabulary"),
        ("trace c.safetensors --text a --plot p.png", 2, ".svg"),
        ("trace c.safetensors --input empty.txt", 1, "at least 1 time step"),
        ("trace c.safetensors --text a --top 0", 2, "at least 1"),
    ] {
        let run = folder.rnn(line);
        assert_eq!(run.code, Some(code), "{line}: {}", run.err);
        assert!(run.err.contains(message), "{line}: {}", run.err);
    }
}

#[test]
fn trace_takes_any_number_of_steps() {
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.csv", "1,2\n3,4\n");
    let line = "trace m.safetensors --input x.csv --device cpu --steps";
    let all = folder.rnn(&format!("{line} 2")).ok();
    assert_eq!(folder.rnn(&format!("{line} {}", usize::MAX)).ok(), all);
}

#[test]
fn what_a_plain_state_dict_leaves_open_is_noted() {
    let folder = Folder::new();
    let bytes = [0u8; 64];
    let view = |shape: Vec<usize>| {
        let size = shape.iter().product::<usize>() * 4;
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &bytes[..size])
            .expect("a tensor")
    };
    let tensors = [("rnn.weight_ih_l0", view(vec![3, 2])), ("rnn.weight_hh_l0", view(vec![3, 3]))];
    let file = safetensors::serialize(tensors, None).expect("a file");
    folder.write("plain.safetensors", file);
    folder.write("x.csv", "1,2\n3,4\n");
    let noted = "note: rnn taken as rnn-tanh (rnn-relu has the same shapes: --cell rnn-relu)";
    let outcome = folder.rnn("run plain.safetensors x.csv --device cpu");
    assert!(outcome.err.contains(noted), "{}", outcome.err);
    let outcome = folder.rnn("run plain.safetensors x.csv --device cpu --cell rnn-relu");
    assert!(!outcome.err.contains(noted), "{}", outcome.err);
    let outcome = folder.rnn("run plain.safetensors x.csv --device cpu --quiet");
    assert!(!outcome.err.contains("note:"), "{}", outcome.err);
}
