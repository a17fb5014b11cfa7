//! Checkpoints: one `.safetensors` file in a folder, replaced whole.
//!
//! Tensors `model.*`, `first.*` and `second.*` are the parameters and the optimizer's moments under
//! PyTorch's names, `best.*` the parameters with the lowest validation loss, `states.h.L` and
//! `states.c.L` what layer L carries. The metadata entry `wgpu_rnn_checkpoint` is JSON: the options, the
//! place in the data, and what was measured. An order of examples depends on seed and epoch alone, so
//! that the place is all there is of random state.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wgpu_rnn::{Checkpoint, LoadOptions, Model, Result, States, Tensor};

use super::curve::Point;
use crate::data::Draft;
use crate::failure::{format_error, io_error};

/// The one file of a folder of checkpoints.
const FILE: &str = "checkpoint.safetensors";
/// The key in its metadata.
const KEY: &str = "wgpu_rnn_checkpoint";
/// The version that is written and read.
const VERSION: u32 = 1;

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Epochs that are over.
    pub(super) epoch: u64,
    /// Batches of the epoch after them that were taken.
    pub(super) batch: usize,
    /// Batches taken in all.
    pub(super) step: u64,
    /// Sum of the losses of this epoch.
    #[serde(with = "exact")]
    pub(super) loss_sum: f64,
    /// How many were summed.
    pub(super) loss_count: u64,
    /// The lowest validation loss.
    #[serde(with = "exact")]
    pub(super) best_loss: f64,
    /// The epoch that had it, from 1; 0 for none yet.
    pub(super) best_epoch: u64,
    /// What the epochs came to.
    pub(super) points: Vec<Point>,
}

/// Numbers of JSON that come back bit by bit, as text.
mod exact {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    /// Metadata of the network, as a model file has them.
    model: String,
    settings: Map<String, Value>,
    fingerprint: String,
    device: String,
    /// Steps of the optimizer.
    steps: u64,
    place: Place,
}

/// Everything that a run is resumed from.
#[derive(Debug)]
pub(super) struct Saved {
    /// Parameters, moments, states.
    pub(super) training: Checkpoint,
    /// The parameters with the lowest validation loss.
    pub(super) best: Option<Model>,
    /// Where the run is.
    pub(super) place: Place,
    /// The options that the weights depend on.
    pub(super) settings: Map<String, Value>,
    /// Tells the data from others.
    pub(super) fingerprint: String,
    /// The device that trained.
    pub(super) device: String,
}

type Part = (String, Vec<usize>, Vec<u8>);

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

impl Saved {
    /// Writes the checkpoint into `folder`, in place of the one that is there.
    ///
    /// # Errors
    /// `Io` when it cannot be written; the old one then stays.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let document = Document {
            version: VERSION,
            model: metadata(&self.training.model)?,
            settings: self.settings.clone(),
            fingerprint: self.fingerprint.clone(),
            device: self.device.clone(),
            steps: self.training.steps,
            place: self.place.clone(),
        };
        let broken = |e: &dyn std::fmt::Display| format_error(format!("checkpoint: {e}"));
        let text = serde_json::to_string(&document).map_err(|e| broken(&e))?;
        let parts = self.parts();
        let mut views = Vec::with_capacity(parts.len());
        for (name, shape, bytes) in &parts {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            views.push((name, view.map_err(|e| broken(&e))?));
        }
        let entries = HashMap::from([(KEY.to_owned(), text)]);
        let file = safetensors::serialize(views, Some(entries)).map_err(|e| broken(&e))?;
        let mut draft = Draft::create(&path)?;
        draft.file().write_all(&file).map_err(|e| draft.failed(e))?;
        draft.commit()
    }

    fn parts(&self) -> Vec<Part> {
        let training = &self.training;
        let mut parts = Vec::new();
        let networks = [
            ("model", Some(&training.model)),
            ("first", Some(&training.first)),
            ("second", Some(&training.second)),
            ("best", self.best.as_ref()),
        ];
        for (prefix, model) in networks {
            for tensor in model.iter().flat_map(|model| model.tensors()) {
                let name = format!("{prefix}.{}", tensor.name);
                parts.push((name, tensor.shape.clone(), bytes(tensor.values)));
            }
        }
        if let Some(states) = &training.states {
            let mut add = |kind: &str, layer: usize, tensor: &Tensor| {
                let name = format!("states.{kind}.{layer}");
                parts.push((name, tensor.shape().to_vec(), bytes(tensor.data())));
            };
            for (layer, (h, c)) in states.h.iter().zip(&states.c).enumerate() {
                add("h", layer, h);
                if let Some(c) = c {
                    add("c", layer, c);
                }
            }
        }
        parts
    }

    /// Reads the checkpoint in `folder`.
    ///
    /// # Errors
    /// `Io` when there is none, `Format` when it is damaged or of another version.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = std::fs::read(&path).map_err(|e| io_error(path.display(), "read", e))?;
        Self::parse(&bytes).map_err(|e| e.in_context(path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged = |e: &dyn std::fmt::Display| {
            format_error(format!("checkpoint: expected a whole one, got damaged bytes: {e}"))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let text = text.ok_or_else(|| damaged(&format!("no entry {KEY} in its metadata")))?;
        let document: Document = serde_json::from_str(text).map_err(|e| damaged(&e))?;
        if document.version != VERSION {
            return Err(format_error(format!(
                "checkpoint: expected version {VERSION}, got {}",
                document.version
            )));
        }
        let network = |prefix: &str| network(&file, prefix, &document.model);
        let training = Checkpoint {
            model: network("model")?,
            first: network("first")?,
            second: network("second")?,
            steps: document.steps,
            states: states(&file)?,
        };
        let has_best = file.names().iter().any(|name| name.starts_with("best."));
        Ok(Self {
            training,
            best: if has_best { Some(network("best")?) } else { None },
            place: document.place,
            settings: document.settings,
            fingerprint: document.fingerprint,
            device: document.device,
        })
    }
}

/// Makes the folder of checkpoints, and learns whether it can be written before any work.
///
/// What a killed run left half written is removed.
///
/// # Errors
/// `Io` when it cannot.
pub(super) fn prepare(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(|e| io_error(folder.display(), "make", e))?;
    let entries = std::fs::read_dir(folder).map_err(|e| io_error(folder.display(), "read", e))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let rest = name.strip_prefix('.').and_then(|name| name.strip_prefix(FILE));
        if rest.is_some_and(|rest| rest.ends_with(".tmp")) {
            // One that cannot be removed is in nobody's way.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    drop(Draft::create(&folder.join(FILE))?);
    Ok(folder.to_path_buf())
}

/// Returns where the checkpoint of `folder` lies.
pub(super) fn file_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Tells whether `folder` holds a checkpoint.
pub(super) fn is_in(folder: &Path) -> bool {
    file_in(folder).exists()
}

/// Returns what a model file says of a network beside its tensors.
fn metadata(model: &Model) -> Result<String> {
    let bytes = model.to_safetensors()?;
    let broken = |e: safetensors::SafeTensorError| format_error(format!("checkpoint: {e}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let entry = header.metadata().as_ref().and_then(|entries| entries.get("wgpu_rnn").cloned());
    entry.ok_or_else(|| format_error("checkpoint: expected metadata of the network, got none"))
}

/// Takes the tensors under `prefix` out as a network.
fn network(file: &SafeTensors<'_>, prefix: &str, metadata: &str) -> Result<Model> {
    let broken = |e: safetensors::SafeTensorError| format_error(format!("checkpoint: {e}"));
    let mut views: Vec<(String, TensorView<'_>)> = Vec::new();
    for (name, view) in file.tensors() {
        if let Some(name) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) {
            views.push((name.to_owned(), view));
        }
    }
    let entries = HashMap::from([("wgpu_rnn".to_owned(), metadata.to_owned())]);
    let bytes = safetensors::serialize(views, Some(entries)).map_err(broken)?;
    Model::from_safetensors(&bytes, &LoadOptions::default()).map_err(|e| e.in_context(prefix))
}

fn states(file: &SafeTensors<'_>) -> Result<Option<States>> {
    let tensor = |kind: &str, layer: usize| -> Result<Option<Tensor>> {
        let Ok(view) = file.tensor(&format!("states.{kind}.{layer}")) else { return Ok(None) };
        let float = |b: &[u8]| b.try_into().map_or(f32::NAN, f32::from_le_bytes);
        let values = view.data().chunks_exact(4).map(float).collect();
        Tensor::new(view.shape(), values).map(Some)
    };
    let mut states = States::default();
    while let Some(h) = tensor("h", states.h.len())? {
        let layer = states.h.len();
        states.h.push(h);
        states.c.push(tensor("c", layer)?);
    }
    Ok(Some(states).filter(|states| !states.h.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu_rnn::{Cell, HeadSpec, Init, InputSpec, LayerSpec};

    fn saved() -> Saved {
        let model = |seed| {
            let mut model = Model::builder(InputSpec::Embedding { vocab: 5, size: 3 })
                .layer(LayerSpec::new(Cell::Lstm, 4))
                .layer(LayerSpec::new(Cell::Gru, 3))
                .head(HeadSpec::new(5))
                .build(Init::PyTorch, seed)
                .expect("a network");
            // A file says them.
            model.info.recurrent_name = "rnn".into();
            model.info.head_name = "fc".into();
            model.info.embedding_name = "embedding".into();
            model
        };
        let (first, second) = (model(2), model(3));
        let states = States {
            h: vec![Tensor::from_fn([1, 2, 4], |_| 0.5), Tensor::from_fn([1, 2, 3], |_| -0.0)],
            c: vec![Some(Tensor::from_fn([1, 2, 4], |_| 1.5)), None],
        };
        let place = Place {
            epoch: 3,
            step: 77,
            loss_sum: 0.1 + 0.2,
            best_loss: f64::INFINITY,
            ..Place::default()
        };
        let states = Some(states);
        Saved {
            training: Checkpoint { model: model(1), first, second, steps: 76, states },
            best: Some(model(4)),
            place,
            settings: Map::from_iter([("lr".to_owned(), "0.1".into())]),
            fingerprint: "abc".into(),
            device: "llvmpipe".into(),
        }
    }

    #[test]
    fn a_checkpoint_comes_back_bit_by_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = prepare(&folder.path().join("deep/er")).expect("a folder");
        std::fs::write(folder.join(".checkpoint.safetensors.abc.tmp"), "cut").expect("written");
        let folder = prepare(&folder).expect("a folder");
        let written = saved();
        written.write(&folder).expect("written");
        let read = Saved::read(&folder).expect("read");
        // Written out, a zero shows its sign.
        let text = |saved: &Saved| format!("{:?} {:?}", saved.training, saved.best);
        assert!(text(&read) == text(&written), "another network, moments or states");
        assert_eq!(read.place, written.place);
        assert_eq!((read.settings, read.device), (written.settings, written.device));
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1);
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Saved::read(folder.path()).expect_err("none there");
        assert!(error.to_string().contains("checkpoint.safetensors: cannot read"), "{error}");
        saved().write(folder.path()).expect("written");
        let path = folder.path().join(FILE);
        let bytes = std::fs::read(&path).expect("a file");
        for cut in [0, 7, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).expect("written");
            let error = Saved::read(folder.path()).expect_err("cut");
            assert!(error.to_string().contains("expected a whole one"), "{error}");
        }
        saved().training.model.save(&path).expect("a model file");
        let error = Saved::read(folder.path()).expect_err("no checkpoint");
        assert!(error.to_string().contains("no entry wgpu_rnn_checkpoint"), "{error}");
    }
}
