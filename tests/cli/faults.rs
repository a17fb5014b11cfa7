//! Everything that can be wrong with a call: exit code and message, and no file left behind.

use crate::support::*;

/// A folder with models and good inputs.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.model("dense.safetensors", &dense());
    folder.model("chars.safetensors", &chars());
    folder.model("forecaster.safetensors", &forecaster());
    folder.model("last.safetensors", &last_step());
    folder.write("x.npy", npy_f32(&[3, 4, 2], &sequences(&[4, 4, 4], 2).concat()));
    folder.write("x.csv", "a,b\n1,2\n3,4\n");
    folder.write("x.jsonl", json_lines(&sequences(&[4, 2], 2), 2));
    folder.write("x.txt", "ab\n");
    folder
}

/// Runs each line, and checks exit code, message and that nothing new lies in the folder.
#[track_caller]
fn check(folder: &Folder, cases: &[(&str, i32, &str)]) {
    let before = folder.names();
    for (line, code, message) in cases {
        let run = folder.rnn(&format!("run {line} --device cpu"));
        assert_eq!(run.code, Some(*code), "{line}: {}", run.err);
        assert!(run.err.contains(message), "{line}: {}", run.err);
        assert!(!run.err.contains("panicked"), "{line}: {}", run.err);
        assert_eq!(folder.names(), before, "{line}");
    }
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let folder = folder();
    let good = npy_f32(&[3, 4, 2], &sequences(&[4, 4, 4], 2).concat());
    folder.write("wide.npy", npy_f32(&[1, 2, 3], &[0.0; 6]));
    folder.write("rank.npy", npy_f32(&[1, 1, 1, 2], &[0.0; 2]));
    folder.write("int.npy", npy_i64(&[1, 2], &[0, 1]));
    folder.write("negative.npy", npy_i64(&[2, 2], &[0, 1, 2, -1]));
    folder.write("large.npy", npy_i64(&[2], &[0, 4]));
    folder.write("complex.npy", npy("<c8", false, &[1], &[0; 8]));
    folder.write("empty.npy", npy_f32(&[0, 4, 2], &[]));
    folder.write("endless.npy", npy_f32(&[100_000_000_000, 0, 2], &[]));
    folder.write("cut.npy", &good[..good.len() - 3]);
    folder.write("head.npy", &good[..20]);
    folder.write("fake.npy", "not an array");
    let zip = npz(&[("input", good)], false);
    folder.write("cut.npz", &zip[..zip.len() / 2]);
    folder.write("other.npz", npz(&[("data", npy_f32(&[1], &[0.0]))], false));
    check(
        &folder,
        &[
            (
                "dense.safetensors wide.npy",
                1,
                "expected floats, 2 features per time step, got floats (<f4) of shape [1, 2, 3]",
            ),
            ("dense.safetensors rank.npy", 1, "[B, T, I] or [T, I]"),
            ("dense.safetensors int.npy", 1, "got integers (<i8)"),
            ("chars.safetensors x.npy", 1, "expected integer token ids below 4, got floats"),
            (
                "chars.safetensors negative.npy",
                1,
                "negative.npy: sequence 1: step 1: expected token ids 0 to 3, got -1",
            ),
            ("chars.safetensors large.npy", 1, "step 1: expected token ids 0 to 3, got 4"),
            ("dense.safetensors complex.npy", 1, "got <c8"),
            ("dense.safetensors empty.npy", 1, "at least 1 sequence"),
            (
                "dense.safetensors endless.npy -o y.npy",
                1,
                "at most 1000000 sequences without steps",
            ),
            ("dense.safetensors cut.npy", 1, "cut.npy: npy data: expected 96 bytes"),
            ("dense.safetensors head.npy", 1, "expected a whole header"),
            ("dense.safetensors fake.npy", 1, "magic bytes"),
            ("dense.safetensors cut.npz", 1, "cut.npz: npz: expected a whole zip archive"),
            ("dense.safetensors other.npz", 1, "expected an array named input, got data.npy"),
        ],
    );
}

#[test]
fn lines_that_do_not_fit_are_refused_by_place() {
    let folder = folder();
    folder.write("empty.csv", "");
    folder.write("header.csv", "a,b\n");
    folder.write("bad.csv", "a,b\n1,2\n3,x\n");
    folder.write("wide.csv", "1,2,3\n");
    folder.write("gap.csv", "level\n1\n2\n\n4\n");
    folder.write("empty.jsonl", "\n");
    folder.write("bad.jsonl", "[[1,2]]\n\n{\"input\":\n");
    folder.write("narrow.jsonl", "[[1,2]]\n[[1]]\n");
    folder.write("empty.txt", "");
    folder.write("bad.txt", "ab\nax\n");
    check(
        &folder,
        &[
            ("dense.safetensors empty.csv", 1, "empty.csv: expected at least 1 row"),
            ("dense.safetensors header.csv", 1, "expected at least 1 row"),
            ("dense.safetensors bad.csv", 1, "bad.csv: row 3: b: expected a number, got \"x\""),
            ("dense.safetensors wide.csv", 1, "expected 2 columns, got 3"),
            (
                "forecaster.safetensors gap.csv",
                1,
                "gap.csv: row 4: expected 1 value, got an empty line",
            ),
            ("dense.safetensors empty.jsonl", 1, "empty.jsonl: expected at least 1 sequence"),
            ("dense.safetensors bad.jsonl", 1, "bad.jsonl: line 3: expected JSON"),
            ("dense.safetensors narrow.jsonl", 1, "line 2: step 0: expected 2 features, got 1"),
            ("dense.safetensors -", 1, "standard input: expected at least 1 sequence"),
            ("chars.safetensors empty.txt", 1, "empty.txt: expected at least 1 line"),
            (
                "chars.safetensors bad.txt",
                1,
                "bad.txt: line 2: text: expected chars of the vocabulary",
            ),
            ("dense.safetensors x.txt", 1, "expected a model with a vocabulary"),
        ],
    );
}

#[test]
fn faults_after_the_first_batches_leave_no_output() {
    let folder = folder();
    let good = "[[1,2]]\n".repeat(300);
    folder.write("late.jsonl", format!("{good}[[1]]\n"));
    let rows = "1,2\n".repeat(70_000);
    folder.write("late.csv", format!("{rows}1,x\n"));
    for output in ["y.npy", "y.npz", "y.csv", "y.jsonl"] {
        let late = format!("dense.safetensors late.jsonl -o {output} --batch-size 1");
        check(&folder, &[(&late, 1, "line 301: step 0: expected 2 features")]);
    }
    check(&folder, &[("dense.safetensors late.csv -o y.npy", 1, "row 70001: column 2")]);
}

#[test]
fn lengths_and_states_that_do_not_fit_are_refused() {
    let folder = folder();
    folder.write("few.txt", "1\n2\n");
    folder.write("long.txt", "1\n5\n2\n");
    folder.write("negative.txt", "1\n-1\n2\n");
    folder.write("words.txt", "1\nx\n2\n");
    folder.write("none.npz", npz(&[("other", npy_f32(&[1], &[0.0]))], false));
    folder.write("one.npz", npz(&[("h_0_l0", npy_f32(&[1, 3, 5], &[0.0; 15]))], false));
    let array = |width| npy_f32(&[1, 3, width], &vec![0.0; 3 * width]);
    let states = |batch: usize| {
        let array = |width| npy_f32(&[1, batch, width], &vec![0.0; batch * width]);
        npz(&[("h_0_l0", array(5)), ("h_0_l1", array(4)), ("c_0_l0", array(5))], false)
    };
    let both = [("h_0_l0", array(5)), ("h_0_l1", array(4))];
    folder.write("half.npz", npz(&both, false));
    folder.write("two.npz", states(2));
    folder.write("four.npz", states(4));
    let stacked = npy_f32(&[2, 3, 5], &[0.0; 30]);
    folder.write("stacked.npz", npz(&[("h_0", stacked)], false));
    let x = "dense.safetensors x.npy -o y.npy";
    check(
        &folder,
        &[
            (&format!("{x} --lengths few.txt"), 1, "expected one per sequence = 3, got 2"),
            (&format!("{x} --lengths long.txt"), 1, "expected 0 to T = 4, got 5 in row 1"),
            (&format!("{x} --lengths negative.txt"), 1, "got -1 in row 1"),
            (&format!("{x} --lengths words.txt"), 1, "line 2: expected a whole number"),
            (&format!("{x} --initial none.npz"), 1, "expected arrays h_0"),
            (&format!("{x} --initial one.npz"), 1, "got no h_0_l1"),
            (&format!("{x} --initial half.npz"), 1, "expected c_0 too"),
            (&format!("{x} --initial two.npz"), 1, "initial states: expected"),
            (&format!("{x} --initial four.npz"), 1, "initial states: expected"),
            ("dense.safetensors x.csv --initial four.npz -o missing/y.npy", 1, "initial states:"),
            ("dense.safetensors x.npy --initial four.npz -o missing/y.npy", 1, "initial states:"),
            (&format!("{x} --initial stacked.npz"), 1, "widths differ"),
            (&format!("{x} --initial x.npy"), 1, "zip archive"),
            (&format!("{x} --initial missing.npz"), 1, "missing.npz: cannot read"),
        ],
    );
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let folder = folder();
    folder.write("broken.safetensors", "not a model");
    std::fs::create_dir(folder.path("folder.npy")).expect("a folder");
    folder.write("x.xyz", "1,2\n");
    folder.write("noending", "1,2\n");
    let x = "dense.safetensors x.jsonl";
    check(
        &folder,
        &[
            ("missing.safetensors x.jsonl", 1, "missing.safetensors"),
            ("broken.safetensors x.jsonl", 1, "broken.safetensors"),
            ("dense.safetensors missing.csv", 1, "missing.csv: cannot read"),
            ("dense.safetensors x.xyz", 2, "got .xyz"),
            ("dense.safetensors noending", 2, "got no ending"),
            (&format!("{x} -o y.xyz"), 2, "expected an output ending in"),
            (&format!("{x} -o missing/y.npy"), 1, "missing/y.npy: cannot write"),
            (&format!("{x} -o folder.npy"), 1, "folder.npy: cannot write"),
            (&format!("{x} -o y.npy --states missing/s.npz"), 1, "missing/s.npz: cannot write"),
            (&format!("{x} -o y.npy --plot missing/p.svg"), 1, "missing/p.svg: cannot write"),
        ],
    );
    // The output is tried before the input is read to its end: no line was computed.
    let run = folder.rnn_with_input("run dense.safetensors - -o missing/y.npy", "[[1]]\n");
    assert!(run.err.contains("missing/y.npy"), "{}", run.err);
}

#[test]
fn options_without_effect_are_refused() {
    let folder = folder();
    folder.write("few.txt", "1\n");
    folder.write("b.csv", "1,2\n");
    folder.write(
        "n.npz",
        npz(&[("input", npy_f32(&[1, 1, 2], &[0.0; 2])), ("lengths", npy_i64(&[1], &[1]))], false),
    );
    let x = "dense.safetensors x.jsonl";
    check(
        &folder,
        &[
            (&format!("{x} --layout time"), 2, "--layout: expected"),
            (&format!("{x} --lengths few.txt"), 2, "--lengths: expected"),
            (&format!("{x} --columns a"), 2, "--columns: expected"),
            (&format!("{x} --pad-value 1"), 2, "--pad-value: expected"),
            (&format!("{x} -o y.csv --pad-value 1"), 2, "--pad-value: expected"),
            (&format!("{x} --states s.npy"), 2, "--states: expected a file ending in .npz"),
            (&format!("{x} --plot p.png"), 2, "--plot: expected a file ending in .svg"),
            (&format!("{x} -o y.npz --states y.npz"), 2, "a file of its own"),
            (&format!("{x} -o y.npz --states ./y.npz"), 2, "the same file as --output y.npz"),
            (&format!("{x} -o ./x.jsonl"), 2, "got ./x.jsonl, the same file as the input x.jsonl"),
            ("dense.safetensors x.npy -o x.npy --lengths x.npy", 2, "a file of its own"),
            ("dense.safetensors x.npy --lengths l.npz --states ./l.npz", 2, "as --lengths l.npz"),
            (&format!("{x} --strategy resident"), 2, "--strategy: expected a GPU"),
            (&format!("{x} --strategy fast"), 2, "expected auto, step"),
            (&format!("{x} --cell elman"), 2, "expected rnn-tanh"),
            (&format!("{x} --output-activation exp"), 2, "expected none, softmax"),
            (&format!("{x} --batch-size 0"), 2, "at least 1"),
            (
                "dense.safetensors b.csv --batch-size 3",
                2,
                "--batch-size: expected an input of several sequences (a .csv is one)",
            ),
            (
                "forecaster.safetensors x.csv --columns a --forecast 18446744073709551615",
                2,
                "expected a whole number from 0 to 1000000",
            ),
            (&format!("{x} --forecast 2"), 2, "as many outputs as inputs"),
            ("last.safetensors x.jsonl --forecast 2", 2, "--forecast: expected"),
            (
                "forecaster.safetensors x.csv --columns a --forecast 2 -o -",
                2,
                "--forecast: expected",
            ),
            ("dense.safetensors x.csv --columns a,c", 2, "expected columns of x.csv: a, b; got c"),
            ("dense.safetensors x.csv --columns a", 2, "--columns: expected 2"),
            ("dense.safetensors n.npz --lengths few.txt", 2, "--lengths: expected none"),
            ("dense.safetensors", 2, "INPUT"),
        ],
    );
    folder.write("two.npy", npy_f32(&[2, 3, 1], &[0.0; 6]));
    let two = "forecaster.safetensors two.npy -o y.npy --forecast 2";
    check(&folder, &[(two, 2, "expected one sequence, got 2")]);
}

#[test]
fn devices_that_are_not_there_are_refused() {
    let folder = folder();
    let unnamed = folder.rnn("run dense.safetensors x.jsonl --device=");
    assert_eq!(unnamed.code, Some(2), "{}", unnamed.err);
    for device in ["99", "no-such-adapter"] {
        let run = folder.rnn(&format!("run dense.safetensors x.jsonl -o y.npy --device {device}"));
        assert_eq!(run.code, Some(1), "{}", run.err);
        assert!(run.err.contains("error: "), "{}", run.err);
        assert!(run.err.contains(device), "{}", run.err);
    }
    assert!(!folder.names().contains(&"y.npy".to_owned()));
}
