//! The shipped models on the shipped data, against what PyTorch computes with them in float64.

use std::path::Path;

use safetensors::SafeTensors;

use crate::support::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a tensor of PyTorch's results, narrowed to f32.
fn expected(file: &str, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(root().join("models/expected").join(file)).expect(file);
    let tensors = SafeTensors::deserialize(&bytes).expect(file);
    let data = tensors.tensor(name).expect(name).data();
    data.chunks_exact(8)
        .map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")))
        .map(|value| value.to_string().parse().expect("a number"))
        .collect()
}

/// Compares values of any size, printed with five digits or more.
#[track_caller]
fn assert_near(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let close = (got - want).abs() <= tolerance * want.abs().max(1.0);
        assert!(close, "value {index}: {got}, expected {want}");
    }
}

#[test]
fn sunspots_give_pytorchs_output_and_forecast() {
    let folder = Folder::new();
    let (model, data) =
        (root().join("models/sunspots.safetensors"), root().join("data/sunspots.csv"));
    let mut command = folder.command("run --device cpu -q -o y.npz --forecast 22");
    command.args([&model, &data]).stdin(std::process::Stdio::piped());
    let text = finish(&mut command, "").ok();
    let arrays = read_npz(folder.bytes("y.npz"));
    for (name, tensor) in &arrays {
        assert_near(tensor.data(), &expected("sunspots.safetensors", name), 1e-4);
    }
    assert_eq!(arrays.len(), 3);
    let rows = text.lines().skip_while(|line| !line.contains("year")).skip(1);
    let (years, values): (Vec<String>, Vec<f32>) = rows
        .filter_map(|row| row.trim().split_once(char::is_whitespace))
        .map(|(year, value)| (year.to_owned(), value.trim().parse::<f32>().expect("a number")))
        .unzip();
    assert_near(&values, &expected("sunspots.safetensors", "forecast"), 1e-3);
    assert_eq!((years[0].as_str(), years[21].as_str()), ("2009", "2030"));
}

#[test]
fn characters_give_pytorchs_probabilities() {
    let folder = Folder::new();
    folder.write("x.txt", "I love AI\n");
    let mut command = folder.command("run --device cpu -q -o y.npy");
    command.arg(root().join("models/chars.safetensors")).arg("x.txt");
    command.stdin(std::process::Stdio::piped());
    finish(&mut command, "").ok();
    let got = read_npy(&folder.bytes("y.npy"));
    assert_eq!(got.shape(), [1, 9, 67]);
    assert_near(got.data(), &expected("chars.safetensors", "output"), 1e-5);
}
