//! Loads the fixtures of `tests/golden`: a PyTorch `state_dict`, a batch, and PyTorch's results; of
//! `tests/golden/gradients`: targets, a loss and PyTorch's gradients.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::{SafeTensors, TensorView};
use wgpu_rnn::train::{CrossEntropy, Loss, Targets};
use wgpu_rnn::{
    Activation, Batch, Cell, HeadSteps, Layout, LoadOptions, Model, Output, States, Tensor,
};

use super::compare::{first_fault, widen};

/// One fixture.
pub(crate) struct Fixture {
    /// File name without its ending.
    pub(crate) name: String,
    /// The network.
    pub(crate) model: Model,
    /// Input, lengths and initial states.
    pub(crate) batch: Batch,
    /// `[B, T, O]`, in f64.
    pub(crate) output: Vec<f64>,
    /// `[L·D, B, R]`, in f64.
    pub(crate) h_n: Vec<f64>,
    /// `[L·D, B, H]`, in f64; for LSTM.
    pub(crate) c_n: Option<Vec<f64>>,
}

impl Fixture {
    /// Compares f32 results with PyTorch's; says what differs.
    #[must_use]
    pub(crate) fn fault(&self, got: &Output, atol: f64, rtol: f64) -> Option<String> {
        let h = got.h_n().map(|h| widen(h.data())).unwrap_or_default();
        let c = got.c_n().map(|c| widen(c.data()));
        self.fault_in(&widen(got.output.data()), &h, c.as_deref(), atol, rtol)
    }

    /// Compares f64 results with PyTorch's; says what differs.
    #[must_use]
    pub(crate) fn fault_in(
        &self,
        output: &[f64],
        h: &[f64],
        c: Option<&[f64]>,
        atol: f64,
        rtol: f64,
    ) -> Option<String> {
        let fault = |what: &str, got: &[f64], want: &[f64]| {
            let fault = first_fault(got, want, atol, rtol)?;
            Some(format!("{} {what}: {fault}", self.name))
        };
        fault("output", output, &self.output).or_else(|| fault("h_n", h, &self.h_n)).or_else(|| {
            fault("c_n", c.unwrap_or_default(), self.c_n.as_deref().unwrap_or_default())
        })
    }
}

/// Loads every fixture, in name order.
///
/// # Panics
/// When the folder cannot be read or a fixture is damaged.
#[must_use]
pub(crate) fn fixtures() -> Vec<Fixture> {
    paths("tests/golden").iter().map(|path| load(path)).collect()
}

fn paths(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"))
        .collect();
    paths.sort();
    paths
}

fn load(path: &Path) -> Fixture {
    let bytes = std::fs::read(path).expect("a fixture");
    let file = SafeTensors::deserialize(&bytes).expect("a fixture");
    let (name, model, _) = network(path, &bytes, &file);
    let values =
        |key: &str| file.tensor(key).ok().map(|view| (view.shape().to_vec(), floats(&view)));
    Fixture {
        batch: batch(&file, &model),
        output: values("golden.output").expect("output").1,
        h_n: values("golden.h_n").expect("h_n").1,
        c_n: values("golden.c_n").map(|(_, c)| c),
        name,
        model,
    }
}

/// Returns the name of a file, its network and its description.
fn network(
    path: &Path,
    bytes: &[u8],
    file: &SafeTensors<'_>,
) -> (String, Model, serde_json::Value) {
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let (_, header) = SafeTensors::read_metadata(bytes).expect("a fixture");
    let text = &header.metadata().as_ref().expect("metadata")["golden"];
    let about: serde_json::Value = serde_json::from_str(text).expect("metadata");
    let options = LoadOptions {
        cell: Cell::from_name(about["cell"].as_str().expect("a cell")),
        activation: Activation::from_name(about["head_activation"].as_str().expect("a name"))
            .filter(|_| file.tensor("fc.weight").is_ok()),
        steps: about["head_steps"].as_str().and_then(HeadSteps::from_name),
        ..LoadOptions::default()
    };
    let model = Model::from_safetensors(&state_dict(file), &options)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    check_description(&name, &model, &about);
    (name, model, about)
}

/// One fixture of training.
pub(crate) struct TrainingFixture {
    /// File name without its ending.
    pub(crate) name: String,
    /// The network.
    pub(crate) model: Model,
    /// Input, lengths and initial states.
    pub(crate) batch: Batch,
    /// What the outputs are compared with.
    pub(crate) targets: Targets,
    /// The loss.
    pub(crate) loss: Loss,
    /// PyTorch's loss, in f64.
    pub(crate) value: f64,
    /// PyTorch's gradients in f64: by the names of `Model::tensors`, `h_0` and `c_0` stacked as
    /// `[L·D, B, R]` and `[L·D, B, H]`, and `input` `[B, T, I]` where the input is dense.
    pub(crate) gradients: BTreeMap<String, Tensor<f64>>,
}

/// Loads every fixture of training, in name order.
///
/// # Panics
/// When the folder cannot be read or a fixture is damaged.
#[must_use]
pub(crate) fn training_fixtures() -> Vec<TrainingFixture> {
    paths("tests/golden/gradients").iter().map(|path| load_training(path)).collect()
}

fn load_training(path: &Path) -> TrainingFixture {
    let bytes = std::fs::read(path).expect("a fixture");
    let file = SafeTensors::deserialize(&bytes).expect("a fixture");
    let (name, model, about) = network(path, &bytes, &file);
    let gradients = file.iter().filter_map(|(key, view)| {
        let name = key.strip_prefix("golden.gradient.")?;
        Some((name.to_owned(), Tensor::new(view.shape(), floats(&view)).expect("a gradient")))
    });
    TrainingFixture {
        batch: batch(&file, &model),
        targets: targets(&file),
        loss: loss(&file, &about),
        value: floats(&file.tensor("golden.loss").expect("a loss"))[0],
        gradients: gradients.collect(),
        name,
        model,
    }
}

fn targets(file: &SafeTensors<'_>) -> Targets {
    if let Ok(view) = file.tensor("golden.classes") {
        return Targets::Classes(Tensor::new(view.shape(), integers(&view)).expect("classes"));
    }
    if let Ok(view) = file.tensor("golden.values") {
        return Targets::Values(Tensor::new(view.shape(), singles(&view)).expect("values"));
    }
    let labels = integers(&file.tensor("golden.labels").expect("labels"));
    let mut labels = labels.iter().map(|label| u32::try_from(*label).expect("a label"));
    let lengths = integers(&file.tensor("golden.label_lengths").expect("lengths"));
    let lists = lengths.iter().map(|n| {
        labels.by_ref().take(usize::try_from(*n).expect("a length")).collect::<Vec<u32>>()
    });
    Targets::Labels(lists.collect())
}

fn loss(file: &SafeTensors<'_>, about: &serde_json::Value) -> Loss {
    let number = |key: &str| {
        let text = about[key].to_string();
        text.parse::<f32>().unwrap_or_else(|_| panic!("{key}: {text}"))
    };
    match about["loss"].as_str().expect("a loss") {
        "cross-entropy" => Loss::CrossEntropy(CrossEntropy {
            class_weights: file.tensor("golden.class_weights").ok().map(|view| singles(&view)),
            label_smoothing: number("label_smoothing"),
            ignore_index: about["ignore_index"].as_i64(),
        }),
        "binary-cross-entropy" => Loss::BinaryCrossEntropy,
        "mse" => Loss::Mse,
        "l1" => Loss::L1,
        "huber" => Loss::Huber { delta: number("delta") },
        "ctc" => {
            let blank = about["blank"].as_u64().expect("a class");
            Loss::Ctc { blank: u32::try_from(blank).expect("a class") }
        }
        other => panic!("no loss {other}"),
    }
}

/// Writes the file again without what is not PyTorch's.
fn state_dict(file: &SafeTensors<'_>) -> Vec<u8> {
    let kept = file.iter().filter(|(name, _)| !name.starts_with("golden."));
    safetensors::serialize(kept, None::<HashMap<String, String>>).expect("a state_dict")
}

/// The loader infers from names and shapes what the generator wrote down.
fn check_description(name: &str, model: &Model, about: &serde_json::Value) {
    let spec = model.layers()[0].spec();
    let got = serde_json::json!([
        model.layers().len(),
        spec.hidden_size,
        spec.input_size,
        spec.direction.count() == 2,
        spec.bias,
        spec.proj_size,
    ]);
    let keys = ["num_layers", "hidden_size", "input_size", "bidirectional", "bias", "proj_size"];
    let want: Vec<_> = keys.iter().map(|key| about[key].clone()).collect();
    assert_eq!(got, serde_json::Value::Array(want), "{name}");
}

fn batch(file: &SafeTensors<'_>, model: &Model) -> Batch {
    let mut batch = if let Ok(tokens) = file.tensor("golden.tokens") {
        let ids: Vec<u32> =
            integers(&tokens).iter().map(|id| u32::try_from(*id).expect("a token")).collect();
        Batch::tokens(ids, tokens.shape()[0], tokens.shape()[1], Layout::BatchFirst)
    } else {
        let input = file.tensor("golden.input").expect("an input");
        let [rows, steps, features] = *input.shape() else { panic!("input has three axes") };
        Batch::dense(singles(&input), rows, steps, features, Layout::BatchFirst)
    }
    .expect("a batch");
    if let Ok(lengths) = file.tensor("golden.lengths") {
        let lengths: Vec<usize> =
            integers(&lengths).iter().map(|n| usize::try_from(*n).expect("a length")).collect();
        batch = batch.with_lengths(lengths).expect("lengths");
    }
    let state = |key: &str| {
        let view = file.tensor(key).ok()?;
        Some(Tensor::new(view.shape(), singles(&view)).expect("a state"))
    };
    if let Some(h) = state("golden.h_0") {
        let initial = States::from_stacked(model, Some(&h), state("golden.c_0").as_ref());
        batch = batch.with_initial(initial.expect("states"));
    }
    batch
}

fn floats(view: &TensorView<'_>) -> Vec<f64> {
    view.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

fn singles(view: &TensorView<'_>) -> Vec<f32> {
    view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn integers(view: &TensorView<'_>) -> Vec<i64> {
    view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
}

/// A training run of PyTorch.
pub(crate) struct Curve {
    /// The network it starts from.
    pub(crate) model: Model,
    /// The batches, taken in turn.
    pub(crate) batches: Vec<(Batch, Targets)>,
    /// The loss before each step.
    pub(crate) losses: Vec<f32>,
    /// Of Adam.
    pub(crate) learning_rate: f32,
    /// The largest norm of all gradients.
    pub(crate) clip_norm: f32,
}

/// Loads the training run of a file that `curve.py` wrote.
///
/// # Panics
/// When it is missing or damaged.
#[must_use]
pub(crate) fn curve(path: &Path) -> Curve {
    let bytes = std::fs::read(path).expect("a fixture");
    let file = SafeTensors::deserialize(&bytes).expect("a fixture");
    let (_, model, about) = network(path, &bytes, &file);
    let view = file.tensor("golden.tokens").expect("tokens");
    let &[count, rows, columns] = view.shape() else { panic!("tokens: {:?}", view.shape()) };
    let all: Vec<i64> = view
        .data()
        .chunks(4)
        .map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        .collect();
    let steps = columns - 1;
    let row = |batch: usize, b: usize| &all[(batch * rows + b) * columns..][..columns];
    let batches = (0..count).map(|batch| {
        let pick = |first: usize| {
            (0..rows)
                .flat_map(|b| row(batch, b)[first..first + steps].to_vec())
                .collect::<Vec<i64>>()
        };
        let tokens =
            pick(0).iter().map(|id| u32::try_from(*id).expect("a token")).collect::<Vec<_>>();
        let tokens = Batch::tokens(tokens, rows, steps, Layout::BatchFirst).expect("tokens");
        (tokens, Targets::Classes(Tensor::new([rows, steps], pick(1)).expect("classes")))
    });
    let number = |key: &str| about[key].to_string().parse().expect("a number");
    Curve {
        batches: batches.collect(),
        losses: singles(&file.tensor("golden.losses").expect("losses")),
        learning_rate: number("lr"),
        clip_norm: number("clip_norm"),
        model,
    }
}
