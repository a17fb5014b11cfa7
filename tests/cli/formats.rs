//! Every input and output format, its values compared with the library's own result.

use wgpu_rnn::{Batch, Layout};

use crate::support::*;

/// Three sequences of four steps through [`dense`], and their output.
fn uniform() -> (Vec<Vec<f32>>, Vec<f32>) {
    let sequences = sequences(&[4, 4, 4], 2);
    let batch = Batch::dense(sequences.concat(), 3, 4, 2, Layout::BatchFirst).expect("a batch");
    let output = library(&dense(), &batch).output.into_data();
    (sequences, output)
}

fn all(lines: &str) -> Vec<f32> {
    parse_lines(lines).into_iter().flat_map(|(_, values)| values).collect()
}

#[test]
fn every_dense_input_format_gives_the_library_result() {
    let (sequences, want) = uniform();
    let flat = sequences.concat();
    let doubles: Vec<u8> = flat.iter().flat_map(|v| f64::from(*v).to_be_bytes()).collect();
    // [B, T, I] in Fortran order: the batch index runs fastest.
    let column_major: Vec<u8> = (0..24)
        .map(|place| {
            let (b, t, i) = (place % 3, place / 3 % 4, place / 12);
            flat[(b * 4 + t) * 2 + i]
        })
        .flat_map(f32::to_le_bytes)
        .collect();
    let array = npy_f32(&[3, 4, 2], &flat);
    let inputs = [
        ("plain.npy", array.clone()),
        ("double.npy", npy(">f8", false, &[3, 4, 2], &doubles)),
        ("fortran.npy", npy("<f4", true, &[3, 4, 2], &column_major)),
        ("stored.npz", npz(&[("input", array.clone())], false)),
        ("deflated.npz", npz(&[("input", array.clone())], true)),
        ("lines.jsonl", json_lines(&sequences, 2).into_bytes()),
        ("magic_wins.csv", array),
    ];
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    for (name, bytes) in inputs {
        folder.write(name, bytes);
        let run = folder.rnn(&format!("run m.safetensors {name} -o - --device cpu"));
        let noted = run.err.contains("narrowed to f32");
        assert_eq!(noted, name == "double.npy", "{name}: {}", run.err);
        assert_close(&all(&run.ok()), &want, name);
    }
}

#[test]
fn one_sequence_formats_give_the_library_result() {
    let sequence = &sequences(&[6], 2)[0];
    let batch = Batch::dense(sequence.clone(), 1, 6, 2, Layout::BatchFirst).expect("a batch");
    let want = library(&dense(), &batch).output;
    let rows = |separator: &str| -> String {
        sequence.chunks(2).map(|row| format!("{}{separator}{}\n", row[0], row[1])).collect()
    };
    let inputs = [
        ("bare.csv", rows(",")),
        ("header.csv", format!("a;b\n{}", rows(";"))),
        ("tabs.tsv", rows("\t")),
    ];
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.npy", npy_f32(&[6, 2], sequence));
    let run = folder.rnn("run m.safetensors x.npy -o - --device cpu").ok();
    assert_close(&all(&run), want.data(), "x.npy");
    for (name, text) in inputs {
        folder.write(name, text);
        let run = folder.rnn(&format!("run m.safetensors {name} -o - --device cpu")).ok();
        assert_close(&all(&run), want.data(), name);
    }
}

#[test]
fn every_token_input_format_gives_the_library_result() {
    let batch = Batch::tokens([2u32, 0, 3, 1], 1, 4, Layout::BatchFirst).expect("a batch");
    let want = library(&chars(), &batch).output;
    let shorts: Vec<u8> = [2u16, 0, 3, 1].iter().flat_map(|id| id.to_be_bytes()).collect();
    let inputs = [
        ("flat.npy", npy_i64(&[4], &[2, 0, 3, 1])),
        ("batch.npy", npy_i64(&[1, 4], &[2, 0, 3, 1])),
        ("bytes.npy", npy("|u1", false, &[4], &[2, 0, 3, 1])),
        ("shorts.npy", npy(">u2", false, &[4], &shorts)),
        ("x.npz", npz(&[("input", npy_i64(&[1, 4], &[2, 0, 3, 1]))], false)),
        ("tokens.jsonl", br#"{"tokens": [2, 0, 3, 1]}"#.to_vec()),
        ("text.jsonl", br#"{"text": "ca b"}"#.to_vec()),
        ("bare.jsonl", b"[2, 0, 3, 1]".to_vec()),
        ("x.txt", b"ca b\r\n".to_vec()),
        ("x.csv", b"token\n2\n0\n3\n1\n".to_vec()),
    ];
    let folder = Folder::new();
    folder.model("m.safetensors", &chars());
    for (name, bytes) in inputs {
        folder.write(name, bytes);
        let run = folder.rnn(&format!("run m.safetensors {name} -o - --device cpu")).ok();
        assert_close(&all(&run), want.data(), name);
    }
}

#[test]
fn time_first_arrays_are_read_and_written_time_first() {
    let (sequences, want) = uniform();
    let flat = sequences.concat();
    // [T, B, I] and back.
    let swap = |values: &[f32], (from, to): (usize, usize), width: usize| -> Vec<f32> {
        (0..from * to)
            .flat_map(|place| {
                let (t, b) = (place / to, place % to);
                values[(b * from + t) * width..][..width].to_vec()
            })
            .collect()
    };
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.npy", npy_f32(&[4, 3, 2], &swap(&flat, (4, 3), 2)));
    folder.write("x.npz", npz(&[("input", npy_f32(&[4, 3, 2], &swap(&flat, (4, 3), 2)))], false));
    for input in ["x.npy", "x.npz"] {
        let line = format!("run m.safetensors {input} -o y.npy --layout time --device cpu");
        folder.rnn(&line).ok();
        let got = read_npy(&folder.bytes("y.npy"));
        assert_eq!(got.shape(), [4, 3, 3]);
        assert_close(got.data(), &swap(&want, (4, 3), 3), input);
    }
    // With lines in, the layout is the output's alone.
    folder.write("x.jsonl", json_lines(&sequences, 2));
    folder.rnn("run m.safetensors x.jsonl -o y.npy --layout time --device cpu").ok();
    assert_close(read_npy(&folder.bytes("y.npy")).data(), &swap(&want, (4, 3), 3), "x.jsonl");
}

/// Ragged sequences with an empty one, padded with −7.
const LENGTHS: [usize; 5] = [3, 0, 5, 1, 5];

fn ragged() -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let sequences = sequences(&LENGTHS, 2);
    let model = dense();
    let outputs = sequences.iter().map(|sequence| {
        let steps = sequence.len() / 2;
        let batch =
            Batch::dense(sequence.clone(), 1, steps, 2, Layout::BatchFirst).expect("a batch");
        library(&model, &batch).output.into_data()
    });
    let outputs = outputs.collect();
    (sequences, outputs)
}

fn padded(outputs: &[Vec<f32>], steps: usize, pad: f32) -> Vec<f32> {
    let row = |output: &Vec<f32>| {
        let mut row = output.clone();
        row.resize(steps * 3, pad);
        row
    };
    outputs.iter().flat_map(row).collect()
}

#[test]
fn every_output_format_holds_the_library_result() {
    let (sequences, want) = ragged();
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.jsonl", json_lines(&sequences, 2));
    let run = |output: &str, more: &str| {
        let line = format!("run m.safetensors x.jsonl -o {output} --batch-size 2 --device cpu");
        folder.rnn(&format!("{line} {more}")).ok()
    };

    run("y.npy", "--pad-value -7");
    let got = read_npy(&folder.bytes("y.npy"));
    assert_eq!(got.shape(), [5, 5, 3]);
    assert_close(got.data(), &padded(&want, 5, -7.0), "npy");

    run("y.npz", "--pad-value nan");
    let arrays = read_npz(folder.bytes("y.npz"));
    let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
    // The layers differ in size; only the first is an LSTM.
    assert_eq!(names, ["output", "h_n_l0", "h_n_l1", "c_n", "lengths"]);
    assert_close(arrays[0].1.data(), &padded(&want, 5, f32::NAN), "npz");
    assert_close(arrays[4].1.data(), &[3.0, 0.0, 5.0, 1.0, 5.0], "lengths");

    run("y.jsonl", "");
    let lines = parse_lines(&folder.read("y.jsonl"));
    for (index, ((id, values), want)) in lines.iter().zip(&want).enumerate() {
        assert_eq!(id, &format!("s{index}"));
        assert_close(values, want, "jsonl");
    }
    assert_eq!(run("-", ""), folder.read("y.jsonl"), "standard output holds the same lines");

    run("y.csv", "");
    let text = folder.read("y.csv");
    let mut rows = text.lines();
    assert_eq!(rows.next(), Some("sequence,step,y0,y1,y2"));
    for (sequence, want) in want.iter().enumerate() {
        for (step, want) in want.chunks(3).enumerate() {
            let row = rows.next().expect("a row");
            let rest = row.strip_prefix(&format!("{sequence},{step},")).expect(row);
            let got: Vec<f32> = rest.split(',').map(|cell| cell.parse().expect(row)).collect();
            assert_close(&got, want, "csv");
        }
    }
    assert_eq!(rows.next(), None);
}

#[test]
fn last_step_outputs_have_one_row_per_sequence() {
    let sequences = sequences(&LENGTHS, 2);
    let batch = Batch::ragged(&sequences, 2).expect("a batch");
    let want = library(&last_step(), &batch).output;
    let folder = Folder::new();
    folder.model("m.safetensors", &last_step());
    folder.write("x.jsonl", json_lines(&sequences, 2));
    folder.rnn("run m.safetensors x.jsonl -o y.npy --device cpu").ok();
    let got = read_npy(&folder.bytes("y.npy"));
    assert_eq!(got.shape(), [5, 3]);
    assert_close(got.data(), want.data(), "npy");

    let lines = folder.rnn("run m.safetensors x.jsonl -o - --device cpu").ok();
    assert_eq!(lines.lines().nth(1), Some(r#"{"id":"s1","output":[]}"#));
    assert_close(&parse_lines(&lines)[2].1, want.row(2), "jsonl");

    folder.rnn("run m.safetensors x.jsonl -o y.csv --device cpu").ok();
    let text = folder.read("y.csv");
    let places: Vec<String> = text
        .lines()
        .skip(1)
        .map(|row| row.splitn(3, ',').take(2).collect::<Vec<_>>().join(","))
        .collect();
    assert_eq!(places, ["0,2", "2,4", "3,0", "4,4"], "the step is the last valid one");
}

#[test]
fn lengths_come_from_a_file_or_from_the_archive() {
    let (sequences, want) = ragged();
    let width = 5 * 2;
    let mut padded_input = Vec::new();
    for sequence in &sequences {
        padded_input.extend(sequence);
        // What lies beyond a sequence's end must not matter.
        padded_input.extend(std::iter::repeat_n(f32::NAN, width - sequence.len()));
    }
    let array = npy_f32(&[5, 5, 2], &padded_input);
    let lengths = npy_i64(&[5], &[3, 0, 5, 1, 5]);
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.npy", &array);
    folder.write("x.npz", npz(&[("input", array), ("lengths", lengths.clone())], false));
    folder.write("lengths.npy", lengths);
    folder.write("lengths.txt", "3\n0\n5\n1\n5\n");
    for input in ["x.npy --lengths lengths.npy", "x.npy --lengths lengths.txt", "x.npz"] {
        let run = folder.rnn(&format!("run m.safetensors {input} -o y.npy --device cpu"));
        assert!(!run.err.contains("non-finite"), "{}", run.err);
        run.ok();
        let got = read_npy(&folder.bytes("y.npy"));
        assert_close(got.data(), &padded(&want, 5, 0.0), input);
    }
}

#[test]
fn byte_order_marks_are_passed_over() {
    let folder = Folder::new();
    folder.model("dense.safetensors", &dense());
    folder.model("chars.safetensors", &chars());
    folder.write("x.npy", npy_f32(&[2, 3, 2], &sequences(&[3, 3], 2).concat()));
    for (name, text) in
        [("x.jsonl", "[[1,2]]\n[[3,4]]\n"), ("x.txt", "ab\nca\n"), ("l.txt", "2\n3\n")]
    {
        folder.write(name, text);
        folder.write(&format!("marked-{name}"), format!("\u{feff}{text}"));
    }
    let run = |line: &str| folder.rnn(&format!("run {line} -o - --device cpu")).ok();
    for (line, marked) in [
        ("dense.safetensors x.jsonl", "dense.safetensors marked-x.jsonl"),
        ("chars.safetensors x.txt", "chars.safetensors marked-x.txt"),
        (
            "dense.safetensors x.npy --lengths l.txt",
            "dense.safetensors x.npy --lengths marked-l.txt",
        ),
    ] {
        assert_eq!(run(line), run(marked), "{line}");
    }
}
