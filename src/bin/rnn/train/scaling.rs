//! From raw numbers to normalised ones, and a network that was trained on the latter made to take and
//! give the former.
//!
//! ```text
//! x' = (x − m) / s     W·x' + b = (W / s)·x + (b − Σ W·m / s)     y = s·y' + m
//! ```

use wgpu_rnn::{Activation, Error, ErrorKind, Head, Layer, Model, Result};

use super::data::{Example, Held, Samples, Series, Target};
use crate::data::Values;

/// Mean and standard deviation of every feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Affine {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Affine {
    /// Measures rows of `width` numbers; a feature that does not change keeps its scale.
    pub(super) fn measure(values: &[f32], width: usize) -> Self {
        let rows = count(values.len() / width.max(1)).max(1.0);
        let mut mean = vec![0.0; width];
        for row in values.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / rows);
        }
        let mut variance = vec![0.0; width];
        for row in values.chunks_exact(width) {
            for ((variance, x), mean) in variance.iter_mut().zip(row).zip(&mean) {
                *variance += (f64::from(*x) - mean).powi(2) / rows;
            }
        }
        let deviation = |variance: f64| match variance.sqrt() {
            deviation if deviation > 1e-12 => deviation,
            _ => 1.0,
        };
        Self { mean, deviation: variance.into_iter().map(deviation).collect() }
    }

    fn apply(&self, values: &[f32]) -> Vec<f32> {
        let parts = || self.mean.iter().zip(&self.deviation);
        let row = |row: &[f32]| -> Vec<f32> {
            row.iter().zip(parts()).map(|(x, (m, s))| narrow((f64::from(*x) - m) / s)).collect()
        };
        values.chunks(self.mean.len().max(1)).flat_map(row).collect()
    }

    /// The way back.
    fn inverse(&self) -> Self {
        let pairs = || self.mean.iter().zip(&self.deviation);
        Self {
            mean: pairs().map(|(m, s)| -m / s).collect(),
            deviation: self.deviation.iter().map(|s| 1.0 / s).collect(),
        }
    }

    /// Returns the standard deviation of a feature.
    pub(super) fn deviation(&self, feature: usize) -> f64 {
        self.deviation.get(feature).copied().unwrap_or(1.0)
    }
}

/// The normalisation of a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scaling {
    /// Of dense inputs.
    pub(super) input: Option<Affine>,
    /// Of targets that are numbers.
    pub(super) output: Option<Affine>,
}

impl Scaling {
    /// Normalises rows of inputs.
    pub(super) fn inputs(&self, values: &[f32]) -> Vec<f32> {
        self.input.as_ref().map_or_else(|| values.to_vec(), |affine| affine.apply(values))
    }

    /// Normalises rows of targets.
    pub(super) fn outputs(&self, values: &[f32]) -> Vec<f32> {
        self.output.as_ref().map_or_else(|| values.to_vec(), |affine| affine.apply(values))
    }

    /// Returns what was held out in raw numbers again, as f32 rounds them.
    pub(super) fn raw(&self, held: &Held) -> Held {
        let back = |affine: &Option<Affine>, values: &[f32]| {
            affine.as_ref().map_or_else(|| values.to_vec(), |affine| affine.inverse().apply(values))
        };
        let (inputs, outputs) =
            (|v: &[f32]| back(&self.input, v), |v: &[f32]| back(&self.output, v));
        let example = |example: &Example| Example {
            input: match &example.input {
                Values::Dense(values) => Values::Dense(inputs(values)),
                tokens @ Values::Tokens(_) => tokens.clone(),
            },
            target: match &example.target {
                Target::Values(values) => Target::Values(outputs(values)),
                classes @ Target::Classes(_) => classes.clone(),
            },
        };
        let samples = match &held.samples {
            Samples::Series(series) => Samples::Series(Series {
                inputs: inputs(&series.inputs),
                targets: outputs(&series.targets),
                rows: series.rows,
            }),
            Samples::Examples(list) => Samples::Examples(list.iter().map(example).collect()),
            stream @ Samples::Stream(_) => stream.clone(),
        };
        Held { samples, from: held.from }
    }

    /// Makes a network that takes and gives normalised numbers take and give raw ones.
    ///
    /// # Errors
    /// `Unsupported` for a network without the biases, or with a function behind the output layer.
    pub(super) fn fold(&self, model: &Model) -> Result<Model> {
        fold(model, self.input.as_ref(), self.output.as_ref())
    }

    /// Makes a network that takes and gives raw numbers take and give normalised ones.
    ///
    /// # Errors
    /// As [`Scaling::fold`].
    pub(super) fn unfold(&self, model: &Model) -> Result<Model> {
        let inverse = |affine: &Option<Affine>| affine.as_ref().map(Affine::inverse);
        fold(model, inverse(&self.input).as_ref(), inverse(&self.output).as_ref())
    }
}

fn fold(model: &Model, input: Option<&Affine>, output: Option<&Affine>) -> Result<Model> {
    let mut layers = model.layers().to_vec();
    if let (Some(affine), Some(first)) = (input, layers.first_mut()) {
        *first = fold_layer(first, affine)?;
    }
    let mut head = model.head().cloned();
    if let (Some(affine), Some(head)) = (output, &mut head) {
        fold_head(head, affine)?;
    }
    let mut folded = Model::new(model.input().clone(), layers, head)?;
    folded.info = model.info.clone();
    Ok(folded)
}

fn missing(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("normalisation: expected {what} to fold it into, got none"),
    )
}

fn fold_layer(layer: &Layer, affine: &Affine) -> Result<Layer> {
    let mut directions = layer.directions().to_vec();
    for weights in &mut directions {
        let bias = weights.bias_ih.as_mut().ok_or_else(|| missing("biases in the first layer"))?;
        let width = affine.mean.len();
        let rows = weights.weight_ih.data_mut().chunks_exact_mut(width);
        for (row, bias) in rows.zip(bias.data_mut()) {
            let mut shift = f64::from(*bias);
            for ((w, m), s) in row.iter_mut().zip(&affine.mean).zip(&affine.deviation) {
                let scaled = f64::from(*w) / s;
                shift -= scaled * m;
                *w = narrow(scaled);
            }
            *bias = narrow(shift);
        }
    }
    Layer::new(layer.spec().clone(), directions)
}

fn fold_head(head: &mut Head, affine: &Affine) -> Result<()> {
    if head.activation != Activation::None {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "normalisation: expected an output layer without a function to fold it into, got {}",
                head.activation.name()
            ),
        ));
    }
    let bias = head.bias.as_mut().ok_or_else(|| missing("a bias in the output layer"))?;
    let width = head.weight.shape()[1];
    let rows = head.weight.data_mut().chunks_exact_mut(width);
    let parts = affine.mean.iter().zip(&affine.deviation);
    for ((row, bias), (m, s)) in rows.zip(bias.data_mut()).zip(parts) {
        row.iter_mut().for_each(|w| *w = narrow(f64::from(*w) * s));
        *bias = narrow(f64::from(*bias) * s + m);
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "numbers of rows are below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu_rnn::{Batch, Cell, Engine, HeadSpec, Init, InputSpec, LayerSpec, Layout};

    fn run(model: &Model, values: Vec<f32>) -> Vec<f32> {
        let batch = Batch::dense(values, 1, 5, 2, Layout::BatchFirst).expect("a batch");
        let loaded = Engine::cpu().load(model).expect("loaded");
        loaded.run_blocking(&batch).expect("a run").output.into_data()
    }

    #[test]
    fn folded_networks_take_and_give_raw_numbers() {
        let model = Model::builder(InputSpec::Dense { size: 2 })
            .layer(LayerSpec::new(Cell::Gru, 4).bidirectional())
            .head(HeadSpec::new(2))
            .build(Init::PyTorch, 3)
            .expect("a network");
        let raw = vec![50.0, -3.0, 20.0, -3.0, 80.0, -3.0, 10.0, -3.0, 0.0, -3.0];
        let affine = Affine::measure(&raw, 2);
        assert!((affine.mean[0] - 32.0).abs() < 1e-9, "{affine:?}");
        assert!((affine.deviation[1] - 1.0).abs() < 1e-12, "a constant keeps its scale");
        let scaling = Scaling { input: Some(affine.clone()), output: Some(affine.clone()) };
        let folded = scaling.fold(&model).expect("folded");
        let (got, want) = (run(&folded, raw.clone()), run(&model, scaling.inputs(&raw)));
        for (got, want) in scaling.outputs(&got).iter().zip(&want) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        let back = scaling.unfold(&folded).expect("unfolded");
        for (got, want) in back.tensors().iter().zip(model.tensors()) {
            for (got, want) in got.values.iter().zip(want.values) {
                assert!((got - want).abs() < 1e-5, "{got} {want}");
            }
        }
        let bare = Model::builder(InputSpec::Dense { size: 2 })
            .layer(LayerSpec::new(Cell::Gru, 4).bias(false))
            .build(Init::PyTorch, 3)
            .expect("a network");
        let error = scaling.fold(&bare).expect_err("no biases");
        assert!(error.to_string().contains("expected biases in the first layer"), "{error}");
    }
}
