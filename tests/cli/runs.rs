//! What a run does beyond formats: order, states, forecasts, summaries, warnings, files left behind.

use wgpu_rnn::{Batch, Layout};

use crate::support::*;

#[test]
fn order_is_kept_whatever_the_batches() {
    let lengths: Vec<usize> = (0..40).map(|i| i * 7 % 13).collect();
    let sequences = sequences(&lengths, 2);
    let want = library(&dense(), &Batch::ragged(&sequences, 2).expect("a batch")).output;
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.jsonl", json_lines(&sequences, 2));
    for size in ["1", "3", "256"] {
        let line = format!("run m.safetensors x.jsonl -o - --batch-size {size} --device cpu");
        let lines = parse_lines(&folder.rnn(&line).ok());
        assert_eq!(lines.len(), 40);
        for (index, (id, values)) in lines.iter().enumerate() {
            assert_eq!(id, &format!("s{index}"));
            let start = index * want.shape()[1] * 3;
            assert_close(values, &want.data()[start..start + lengths[index] * 3], size);
        }
    }
}

#[test]
fn ids_are_carried_through_and_places_stand_in() {
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    let input = "[[1,2]]\n\n{\"input\":[[1,2]],\"id\":{\"k\":1}}\n{\"input\":[],\"id\":7}\n";
    let lines = folder.rnn_with_input("run m.safetensors - -o - --device cpu", input).ok();
    let ids: Vec<String> = parse_lines(&lines).iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["0", "{\"k\":1}", "7"]);
}

#[test]
fn states_carry_a_run_on_where_another_stopped() {
    for (name, model) in [("stacked", plain()), ("per layer", dense())] {
        let sequences = sequences(&[6, 6], 2);
        let width = model.output_size();
        let batch = Batch::dense(sequences.concat(), 2, 6, 2, Layout::BatchFirst).expect("a batch");
        let want = library(&model, &batch);
        let folder = Folder::new();
        folder.model("m.safetensors", &model);
        let half = |part: usize| -> Vec<f32> {
            sequences.iter().flat_map(|s| s[part * 6..][..6].to_vec()).collect()
        };
        folder.write("1.npy", npy_f32(&[2, 3, 2], &half(0)));
        folder.write("2.npy", npy_f32(&[2, 3, 2], &half(1)));
        let line = "--batch-size 1 --device cpu";
        folder.rnn(&format!("run m.safetensors 1.npy -o 1y.npy --states s.npz {line}")).ok();
        folder.rnn(&format!("run m.safetensors 2.npy -o 2y.npz --initial s.npz {line}")).ok();
        let arrays = read_npz(folder.bytes("2y.npz"));
        for b in 0..2 {
            let got = &arrays[0].1.data()[b * 3 * width..][..3 * width];
            assert_close(got, &want.output.data()[(b * 6 + 3) * width..][..3 * width], name);
        }
        let find = |name: &str| arrays.iter().find(|(n, _)| n == name).expect(name).1.clone();
        match want.h_n() {
            Some(h) => assert_close(find("h_n").data(), h.data(), name),
            None => assert_close(find("h_n_l1").data(), want.states.h[1].data(), name),
        }
        assert_close(find("c_n").data(), want.c_n().expect("a cell state").data(), name);
        assert_eq!(arrays.iter().find(|(n, _)| n == "lengths"), None, "nothing is ragged");
    }
}

#[test]
fn states_in_the_input_archive_are_used() {
    let model = plain();
    let sequence = &sequences(&[3], 2)[0];
    let h: Vec<f32> = (0..6u8).map(|i| 0.1 * f32::from(i)).collect();
    let c: Vec<f32> = (0..6u8).map(|i| 0.3 - 0.1 * f32::from(i)).collect();
    let tensor = |values: &[f32]| wgpu_rnn::Tensor::new([2, 1, 3], values.to_vec()).expect("fits");
    let states = wgpu_rnn::States::from_stacked(&model, Some(&tensor(&h)), Some(&tensor(&c)));
    let batch = Batch::dense(sequence.clone(), 1, 3, 2, Layout::BatchFirst).expect("a batch");
    let want = library(&model, &batch.with_initial(states.expect("states"))).output;
    let folder = Folder::new();
    folder.model("m.safetensors", &model);
    let input = ("input", npy_f32(&[1, 3, 2], sequence));
    let arrays = [input, ("h_0", npy_f32(&[2, 1, 3], &h)), ("c_0", npy_f32(&[2, 1, 3], &c))];
    folder.write("x.npz", npz(&arrays, false));
    folder.rnn("run m.safetensors x.npz -o y.npy --device cpu").ok();
    assert_close(read_npy(&folder.bytes("y.npy")).data(), want.data(), "initial states");
}

#[test]
fn summary_shows_the_last_steps_and_the_forecast() {
    let levels = [0.1f32, 0.4, 0.2, 0.6, 0.3];
    let model = forecaster();
    // The forecast as the library gives it, step by step.
    let batch = Batch::dense(levels, 1, 5, 1, Layout::BatchFirst).expect("a batch");
    let mut run = library(&model, &batch);
    let mut want = vec![run.output.data()[4]];
    for _ in 0..2 {
        let next = Batch::dense([want[want.len() - 1]], 1, 1, 1, Layout::BatchFirst);
        run = library(&model, &next.expect("a batch").with_initial(run.states));
        want.push(run.output.data()[0]);
    }
    let folder = Folder::new();
    folder.model("m.safetensors", &model);
    let rows: String =
        levels.iter().enumerate().map(|(t, v)| format!("{},{v}\n", 1990 + t)).collect();
    folder.write("x.csv", format!("year,level\n{rows}"));
    let text = folder.rnn("run m.safetensors x.csv --forecast 3 --device cpu").ok();
    assert!(text.contains("year  level  next level"), "{text}");
    let forecast = text.split("Forecast\n").nth(1).expect("a forecast");
    for (row, (year, want)) in forecast.lines().skip(1).zip((1995..).zip(&want)) {
        let mut cells = row.split_whitespace();
        assert_eq!(cells.next(), Some(year.to_string().as_str()));
        let got: f32 = cells.next().expect("a value").parse().expect("a number");
        assert!((got - want).abs() < 1e-3, "{row}: {want}");
    }
    assert_eq!(forecast.lines().count(), 4);
    let rows =
        |line: &str| folder.rnn(line).ok().split("Forecast\n").nth(1).map(|t| t.lines().count());
    assert_eq!(rows("run m.safetensors x.csv --device cpu"), Some(12), "11 rows by default");
    assert_eq!(rows("run m.safetensors x.csv --forecast 0 --device cpu"), None);
}

#[test]
fn summary_of_a_character_model_shows_the_likeliest_tokens() {
    let folder = Folder::new();
    folder.model("m.safetensors", &chars());
    folder.write("x.txt", "ab c\n");
    let text = folder.rnn("run m.safetensors x.txt --forecast 4 --device cpu").ok();
    for expected in ["likeliest next", "second", "third", "\"b\"", "as text: \""] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let batch = Batch::tokens([0u32, 1, 3, 2], 1, 4, Layout::BatchFirst).expect("a batch");
    let output = library(&chars(), &batch).output;
    let best = output.row(3).iter().copied().fold(0f32, f32::max);
    let last = text.lines().find(|line| line.trim_start().starts_with("3 ")).expect("a row");
    assert!(last.contains(&format!("{best:.2}")), "{last}: {best}");
}

#[test]
fn columns_are_chosen_by_name_and_number() {
    let folder = Folder::new();
    folder.model("m.safetensors", &forecaster());
    folder.write("named.csv", "a,level\n9,0.1\n8,0.4\n");
    folder.write("bare.csv", "9,0.1\n8,0.4\n");
    let run = |line: &str| folder.rnn(&format!("run m.safetensors {line} -o - --device cpu")).ok();
    let want = run("named.csv");
    assert_eq!(run("named.csv --columns level"), want);
    assert_eq!(run("bare.csv --columns 2"), want);
    assert_ne!(run("named.csv --columns a"), want);
}

#[test]
fn plots_are_complete_pictures() {
    let folder = Folder::new();
    folder.model("f.safetensors", &forecaster());
    folder.model("c.safetensors", &chars());
    folder.model("l.safetensors", &last_step());
    folder.write("x.csv", "level\n0.1\nNaN\n0.3\n");
    folder.write("x.txt", "ab c\n");
    folder.write("x.jsonl", json_lines(&sequences(&[4, 2], 2), 2));
    for (line, parts) in [
        (
            "f.safetensors x.csv --forecast 3",
            vec!["stroke-dasharray", "forecast, fed back", ">level<"],
        ),
        ("c.safetensors x.txt", vec!["next token", "probability"]),
        ("l.safetensors x.jsonl", vec!["sequence 0 of 2", ">input<", ">output<"]),
    ] {
        folder.rnn(&format!("run {line} --plot p.svg --device cpu")).ok();
        let picture = folder.read("p.svg");
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{line}");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{line}");
        for part in parts {
            assert!(picture.contains(part), "{line}: {part}");
        }
    }
}

#[test]
fn standard_error_ends_with_the_rates_unless_quiet() {
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.jsonl", json_lines(&sequences(&[4, 2], 2), 2));
    let run = folder.rnn("run m.safetensors x.jsonl -o y.npy --device cpu");
    let last = run.err.lines().last().expect("a line");
    assert!(last.starts_with("2 sequences, 6 steps, ") && last.ends_with(" steps/s"), "{last}");
    assert!(run.err.contains("device: CPU ("), "{}", run.err);
    assert_eq!(run.out, "");
    let run = folder.rnn("run m.safetensors x.jsonl -o y.npy --device cpu --quiet");
    assert_eq!(run.err, "");
}

#[test]
fn values_that_are_not_finite_pass_with_a_warning() {
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.csv", "a,b\n1,2\n3,nan\ninf,5\n");
    let run = folder.rnn("run m.safetensors x.csv -o y.csv --device cpu --quiet");
    let place = "warning: input: 2 non-finite values, the first in sequence 0, step 1, column b";
    assert!(run.err.contains(place), "{}", run.err);
    assert!(run.err.contains("warning: output: "), "{}", run.err);
    run.ok();
    let text = folder.read("y.csv");
    assert!(!text.lines().nth(1).expect("step 0").contains("NaN"), "{text}");
    assert!(text.lines().nth(2).expect("step 1").contains("NaN"), "{text}");
}

#[test]
fn output_replaces_a_file_and_leaves_no_other() {
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.jsonl", json_lines(&sequences(&[4, 2], 2), 2));
    for name in ["y.npy", "y.npz", "y.csv", "y.jsonl"] {
        folder.write(name, "old");
        let line = format!("run m.safetensors x.jsonl -o {name} --layout time --device cpu");
        let line = if name.contains(".np") { line } else { line.replace("--layout time", "") };
        folder.rnn(&line).ok();
        assert_ne!(folder.bytes(name), b"old");
    }
    let names = folder.names();
    assert_eq!(names, ["m.safetensors", "x.jsonl", "y.csv", "y.jsonl", "y.npy", "y.npz"]);
}

#[cfg(unix)]
#[test]
fn interrupt_ends_with_130_and_leaves_no_file() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("y.npz", "old");
    let line = "run m.safetensors - -o y.npz --states s.npz --batch-size 1 --device cpu";
    let mut command = folder.command(line);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"[[1,2]]\n").expect("fed");
    let deadline = Instant::now() + Duration::from_secs(30);
    // The drafts of the archive, of the array inside it, and of the states.
    while folder.names().len() < 5 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(folder.names().len(), 5, "{:?}", folder.names());
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    drop(stdin);
    assert_eq!(folder.names(), ["m.safetensors", "y.npz"]);
    assert_eq!(folder.bytes("y.npz"), b"old");
}

/// Calls the program with a standard output that nobody reads.
fn unread(folder: &Folder, line: &str) -> Option<i32> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = folder.command(line);
    command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.stdout(writer).status().expect("ended").code()
}

#[test]
fn files_are_written_though_nobody_reads_what_is_printed() {
    let folder = Folder::new();
    folder.model("m.safetensors", &forecaster());
    folder.write("x.csv", "level\n1\n2\n3\n");
    let line = "run m.safetensors x.csv --states s.npz --plot p.svg --device cpu";
    assert_eq!(unread(&folder, line), Some(0));
    let forecast = format!("{line} -o y.npy --forecast 3");
    for file in ["s.npz", "p.svg"] {
        std::fs::remove_file(folder.path(file)).expect(file);
    }
    assert_eq!(unread(&folder, &forecast), Some(0));
    let trace = "trace m.safetensors --input x.csv --plot t.svg --device cpu";
    assert_eq!(unread(&folder, trace), Some(0));
    let want = ["m.safetensors", "p.svg", "s.npz", "t.svg", "x.csv", "y.npy"];
    assert_eq!(folder.names(), want);
    let output = "run m.safetensors x.csv -o - --device cpu";
    assert_eq!(unread(&folder, output), Some(0));
    assert_eq!(unread(&folder, &format!("{output} --states lost.npz")), Some(1));
    assert_eq!(folder.names(), want);
}

#[test]
fn a_check_that_compared_nothing_fails_though_nobody_reads_it() {
    let folder = Folder::new();
    assert_eq!(unread(&folder, "check --filter no-such-case --device cpu"), Some(1));
}

#[test]
fn a_forecast_of_several_lines_warns_and_keeps_the_output() {
    let folder = Folder::new();
    folder.model("m.safetensors", &forecaster());
    folder.write("x.jsonl", "[1,2]\n[3]\n");
    let line = "run m.safetensors x.jsonl -o y.jsonl --forecast 2 --device cpu";
    let run = folder.rnn(line);
    assert!(run.err.contains("--forecast: expected one sequence, got 2"), "{}", run.err);
    assert_eq!(run.ok(), "");
    assert_eq!(parse_lines(&folder.read("y.jsonl")).len(), 2);
}

#[test]
fn states_may_go_back_where_they_came_from() {
    let folder = Folder::new();
    folder.model("m.safetensors", &plain());
    folder.write("x.csv", "1,2\n3,4\n");
    let line = "run m.safetensors x.csv --device cpu --states s.npz";
    folder.rnn(line).ok();
    let first = folder.bytes("s.npz");
    folder.rnn(&format!("{line} --initial ./s.npz")).ok();
    assert_ne!(folder.bytes("s.npz"), first);
}
