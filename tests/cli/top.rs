//! `rnn run --top K`: places and largest values in every format, compared with the library's own result.

use serde_json::Value;
use wgpu_rnn::{Batch, Engine, Model, RunOptions, Top};

use crate::support::*;

/// The largest values as the library gives them.
fn library_top(model: &Model, batch: &Batch, k: usize) -> Top {
    let options = RunOptions { top: Some(k), ..RunOptions::default() };
    let loaded = Engine::cpu().load(model).expect("loaded");
    loaded.run_blocking_with(batch, &options).expect("a run").top.expect("asked for")
}

#[test]
fn json_lines_name_place_label_and_value() {
    let batch = Batch::tokens([2u32, 0, 3, 1], 1, 4, wgpu_rnn::Layout::BatchFirst);
    let want = library_top(&chars(), &batch.expect("a batch"), 2);
    let folder = Folder::new();
    folder.model("m.safetensors", &chars());
    folder.write("x.txt", "ca b\n");
    let text = folder.rnn("run m.safetensors x.txt -o - --top 2 --device cpu").ok();
    let line: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let rows = line["top"].as_array().expect("rows");
    assert_eq!(rows.len(), 4);
    for (t, row) in rows.iter().enumerate() {
        for (n, entry) in row.as_array().expect("entries").iter().enumerate() {
            let (place, value) = (want.indices.row(t)[n], want.values.row(t)[n]);
            assert_eq!(entry["index"], Value::from(place), "step {t}");
            let label = ["a", "b", "c", " "][usize::try_from(place).expect("small")];
            assert_eq!(entry["label"], Value::from(label), "step {t}");
            let written: f32 = entry["value"].to_string().parse().expect("a number");
            assert_close(&[written], &[value], "jsonl");
        }
    }
    assert_eq!(line.get("output"), None);
}

#[test]
fn csv_has_a_column_each_and_labels_where_the_model_names_its_outputs() {
    let sequences = sequences(&[3, 0, 2], 2);
    let batch = Batch::ragged(&sequences, 2).expect("a batch");
    let want = library_top(&dense(), &batch, 2);
    let folder = Folder::new();
    folder.model("plain.safetensors", &dense());
    let mut named = dense();
    named.info.outputs = ["one", "two, or", "three"].map(str::to_owned).to_vec();
    folder.model("named.safetensors", &named);
    folder.write("x.jsonl", json_lines(&sequences, 2));
    folder.rnn("run plain.safetensors x.jsonl -o y.csv --top 2 --device cpu").ok();
    let text = folder.read("y.csv");
    let mut rows = text.lines();
    assert_eq!(rows.next(), Some("sequence,step,index_1,value_1,index_2,value_2"));
    for (b, t) in [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)] {
        let (indices, values) = (want.indices.row(b * 3 + t), want.values.row(b * 3 + t));
        let cells = [
            b.to_string(),
            t.to_string(),
            indices[0].to_string(),
            values[0].to_string(),
            indices[1].to_string(),
            values[1].to_string(),
        ];
        assert_eq!(rows.next(), Some(cells.join(",").as_str()));
    }
    assert_eq!(rows.next(), None);
    folder.rnn("run named.safetensors x.jsonl -o y.csv --top 3 --device cpu").ok();
    let text = folder.read("y.csv");
    let header =
        "sequence,step,index_1,label_1,value_1,index_2,label_2,value_2,index_3,label_3,value_3";
    assert_eq!(text.lines().next(), Some(header));
    assert!(text.lines().nth(1).expect("a row").contains(",1,\"two, or\","), "{text}");
}

#[test]
fn npz_holds_places_and_values_and_minus_one_in_the_padding() {
    let sequences = sequences(&[3, 0, 2], 2);
    let batch = Batch::ragged(&sequences, 2).expect("a batch");
    let want = library_top(&dense(), &batch, 2);
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.write("x.jsonl", json_lines(&sequences, 2));
    folder.rnn("run m.safetensors x.jsonl -o y.npz --top 2 --pad-value 7 --device cpu").ok();
    let arrays = read_npz(folder.bytes("y.npz"));
    let array = |name: &str| {
        let found = arrays.iter().find(|(n, _)| n == name);
        found.unwrap_or_else(|| panic!("no {name}")).1.clone()
    };
    assert!(arrays.iter().all(|(name, _)| name != "output"));
    let (indices, values) = (array("top_indices"), array("top_values"));
    assert_eq!((indices.shape(), values.shape()), (&[3, 3, 2][..], &[3, 3, 2][..]));
    for row in 0..9 {
        if row % 3 < [3, 0, 2][row / 3] {
            let place = |index: &u32| f32::from(u16::try_from(*index).expect("small"));
            let places: Vec<f32> = want.indices.row(row).iter().map(place).collect();
            assert_eq!(indices.row(row), places);
            assert_close(values.row(row), want.values.row(row), "npz");
        } else {
            assert_eq!((indices.row(row), values.row(row)), (&[-1.0; 2][..], &[7.0; 2][..]));
        }
    }
    assert!(arrays.iter().any(|(name, _)| name == "h_n_l0" || name == "h_n"), "{arrays:?}");
}

#[test]
fn last_step_networks_give_one_list_a_sequence() {
    let sequences = sequences(&[3, 2], 2);
    let want = library_top(&last_step(), &Batch::ragged(&sequences, 2).expect("a batch"), 1);
    let folder = Folder::new();
    folder.model("m.safetensors", &last_step());
    folder.write("x.jsonl", json_lines(&sequences, 2));
    let text = folder.rnn("run m.safetensors x.jsonl -o - --top 1 --device cpu").ok();
    for (b, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["top"][0]["index"], Value::from(want.indices.data()[b]));
        assert_eq!(line["top"][0].get("label"), None);
    }
}

#[test]
fn what_has_no_largest_values_or_no_room_for_them_is_refused() {
    let folder = Folder::new();
    folder.model("m.safetensors", &dense());
    folder.model("plain.safetensors", &plain());
    folder.write("x.jsonl", json_lines(&sequences(&[3], 2), 2));
    let refused = [
        ("m.safetensors x.jsonl -o - --top 0", "expected a whole number of at least 1"),
        ("m.safetensors x.jsonl -o - --top 4", "--top: expected at most 3 for a network of 3"),
        (
            "plain.safetensors x.jsonl -o - --top 1",
            "--top: expected a network with an output layer",
        ),
        ("m.safetensors x.jsonl -o y.npy --top 1", "--top: expected --output .npz, .csv or .jsonl"),
        ("m.safetensors x.jsonl --top 1", "--top: expected --output .npz, .csv or .jsonl"),
        ("m.safetensors x.jsonl -o - --top 1 --plot p.svg", "--top: expected no --plot"),
        ("m.safetensors x.jsonl -o y.csv --top 1 --forecast 3", "--top: expected no --forecast"),
    ];
    for (line, message) in refused {
        let run = folder.rnn(&format!("run {line} --device cpu"));
        assert_eq!(run.code, Some(2), "{line}: {}", run.err);
        assert!(run.err.contains(message), "{line}: {}", run.err);
    }
}
