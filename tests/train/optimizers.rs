//! Optimizers against their formulas in f64, and a run against PyTorch's.

use wgpu_rnn::model::DirectionWeights;
use wgpu_rnn::train::{Optimizer, Targets, WeightDecay};
use wgpu_rnn::{
    Batch, Cell, Head, HeadSpec, HeadSteps, Init, InputSpec, Layer, LayerSpec, Layout, Model,
    Tensor, TrainerOptions, reference,
};

use crate::cases::{classes, dense, lengths};
use crate::gradients::difference;
use crate::support;

/// An optimizer's steps in f64, from the oracle's gradients.
struct Twin {
    model: Model,
    moments: Vec<[Vec<f64>; 2]>,
}

impl Twin {
    fn new(model: &Model) -> Self {
        let zeros = |t: &wgpu_rnn::model::TensorRef<'_>| {
            [vec![0.0; t.values.len()], vec![0.0; t.values.len()]]
        };
        Self { model: model.clone(), moments: model.tensors().iter().map(zeros).collect() }
    }

    /// Takes step `t`, counted from 1, and returns the loss before it.
    fn step(&mut self, t: i32, batch: &Batch, targets: &Targets, options: &TrainerOptions) -> f64 {
        let want = reference::gradients(&self.model, batch, targets, &options.loss).expect("runs");
        let norm =
            want.parameters.values().flat_map(|g| g.data()).map(|g| g * g).sum::<f64>().sqrt();
        let clip = options.clip_norm.map_or(1.0, |most| (f64::from(most) / (norm + 1e-6)).min(1.0));
        let mut new = Vec::new();
        for (tensor, moments) in self.model.tensors().iter().zip(&mut self.moments) {
            let decay = f64::from(decay_of(&tensor.name, &options.weight_decay));
            let gradients = want.parameters[&tensor.name].data();
            let values = tensor.values.iter().zip(gradients).enumerate().map(|(i, (p, g))| {
                let mut g = g * clip;
                if let Some(most) = options.clip_value {
                    g = g.clamp(-f64::from(most), f64::from(most));
                }
                let [m, v] = moments;
                let p = update(options, decay, t, f64::from(*p), g, (&mut m[i], &mut v[i]));
                narrow(p)
            });
            new.push((tensor.name.clone(), values.collect::<Vec<f32>>()));
        }
        self.model = with_values(&self.model, &new);
        want.loss
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn narrow(value: f64) -> f32 {
    value as f32
}

fn decay_of(name: &str, decay: &WeightDecay) -> f32 {
    let is = |part: &str| name.contains(part);
    match () {
        () if is("bias") => decay.biases,
        () if is("weight_ih") => decay.input,
        () if is("weight_hh") || is("weight_hr") => decay.recurrent,
        () if is("fc") => decay.output,
        () => decay.embedding,
    }
}

/// torch.optim's formulas.
fn update(
    options: &TrainerOptions,
    decay: f64,
    t: i32,
    mut p: f64,
    mut g: f64,
    (m, v): (&mut f64, &mut f64),
) -> f64 {
    let rate = f64::from(options.learning_rate);
    let is_apart = matches!(options.optimizer, Optimizer::AdamW { .. });
    if is_apart {
        p -= rate * decay * p;
    } else {
        g += decay * p;
    }
    match options.optimizer {
        Optimizer::Sgd { momentum, nesterov } => {
            let mu = f64::from(momentum);
            *m = mu * *m + g;
            p - rate * if nesterov { g + mu * *m } else { *m }
        }
        Optimizer::Adam { betas, epsilon } | Optimizer::AdamW { betas, epsilon } => {
            let [b1, b2] = betas.map(f64::from);
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            let (c1, c2) = (1.0 - b1.powi(t), 1.0 - b2.powi(t));
            p - rate / c1 * *m / ((*v / c2).sqrt() + f64::from(epsilon))
        }
        Optimizer::RmsProp { alpha, epsilon } => {
            let alpha = f64::from(alpha);
            *v = alpha * *v + (1.0 - alpha) * g * g;
            p - rate * g / (v.sqrt() + f64::from(epsilon))
        }
    }
}

/// The same network with other values under the names of its tensors.
fn with_values(model: &Model, values: &[(String, Vec<f32>)]) -> Model {
    let take = |name: String, old: &Tensor| {
        let (_, new) = values.iter().find(|(n, _)| *n == name).expect("named");
        Tensor::new(old.shape(), new.clone()).expect("fits")
    };
    let layers = model.layers().iter().enumerate().map(|(index, layer)| {
        let directions = layer.directions().iter().enumerate().map(|(d, old)| {
            let name = |stem: &str| {
                format!("rnn.{}", wgpu_rnn::model::layer_tensor_name(stem, index, d == 1))
            };
            DirectionWeights {
                weight_ih: take(name("weight_ih"), &old.weight_ih),
                weight_hh: take(name("weight_hh"), &old.weight_hh),
                bias_ih: old.bias_ih.as_ref().map(|b| take(name("bias_ih"), b)),
                bias_hh: old.bias_hh.as_ref().map(|b| take(name("bias_hh"), b)),
                ..old.clone()
            }
        });
        Layer::new(layer.spec().clone(), directions.collect()).expect("fits")
    });
    let head = model.head().map(|head| Head {
        weight: take("fc.weight".into(), &head.weight),
        bias: head.bias.as_ref().map(|b| take("fc.bias".into(), b)),
        ..*head
    });
    Model::new(model.input().clone(), layers.collect(), head).expect("fits")
}

/// Two batches of several lengths.
fn batches() -> Vec<(Batch, Targets)> {
    [(4, 5), (3, 7)]
        .into_iter()
        .map(|(rows, steps)| {
            let batch = dense(rows, steps, 4, Layout::BatchFirst);
            let batch = batch.with_lengths(lengths(rows, steps)).expect("valid");
            (batch, classes(&[rows, steps], 3))
        })
        .collect()
}

#[test]
fn optimizers_follow_their_formulas_over_steps() {
    let betas = [0.9, 0.99];
    let optimizers = [
        Optimizer::Sgd { momentum: 0.0, nesterov: false },
        Optimizer::Sgd { momentum: 0.9, nesterov: false },
        Optimizer::Sgd { momentum: 0.9, nesterov: true },
        Optimizer::Adam { betas, epsilon: 1e-6 },
        Optimizer::AdamW { betas, epsilon: 1e-6 },
        Optimizer::RmsProp { alpha: 0.9, epsilon: 1e-5 },
    ];
    let model = Model::builder(InputSpec::Dense { size: 4 })
        .layer(LayerSpec::new(Cell::Lstm, 6).bidirectional())
        .layer(LayerSpec::new(Cell::Gru, 5))
        .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(3) })
        .build(Init::PyTorch, 5)
        .expect("valid");
    let batches = batches();
    let groups = WeightDecay { input: 0.1, recurrent: 0.3, biases: 0.2, ..0.05.into() };
    let decays = [0.05.into(), WeightDecay::default(), groups];
    for (name, engine) in support::quick_gpus() {
        for (index, optimizer) in optimizers.into_iter().enumerate() {
            let options = TrainerOptions {
                optimizer,
                learning_rate: 0.02,
                weight_decay: decays[index % 3],
                clip_norm: (index % 3 == 0).then_some(0.2),
                clip_value: (index % 3 == 1).then_some(0.01),
                ..TrainerOptions::default()
            };
            let mut trainer = engine.trainer(&model, options.clone()).expect("trains");
            let mut twin = Twin::new(&model);
            let mut sum = 0.0;
            for t in 1..=6 {
                let (batch, targets) = &batches[usize::try_from(t).expect("small") % 2];
                trainer.step(batch, targets).expect("steps");
                sum += twin.step(t, batch, targets, &options);
            }
            let progress = trainer.progress().expect("reads");
            assert_eq!(progress.steps, 6, "{name}");
            assert!(!progress.is_stopped, "{name}");
            let apart = (f64::from(progress.mean_loss) - sum / 6.0).abs();
            assert!(
                apart < 1e-4,
                "{name} {optimizer:?}: loss {} {}",
                progress.mean_loss,
                sum / 6.0
            );
            for (got, want) in
                trainer.model().expect("reads").tensors().iter().zip(twin.model.tensors())
            {
                let want: Vec<f64> = want.values.iter().map(|v| f64::from(*v)).collect();
                let apart = difference(got.values, &want);
                assert!(apart < 2e-4, "{name} {optimizer:?}: {} differs by {apart:.2e}", got.name);
            }
        }
    }
}

#[test]
fn two_hundred_steps_follow_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/curve/lstm_adam.safetensors");
    let curve = support::golden::curve(std::path::Path::new(path));
    assert_eq!(curve.losses.len(), 200);
    for (name, engine) in support::quick_gpus() {
        let options = TrainerOptions {
            learning_rate: curve.learning_rate,
            clip_norm: Some(curve.clip_norm),
            ..TrainerOptions::default()
        };
        let mut trainer = engine.trainer(&curve.model, options).expect("trains");
        for (step, want) in curve.losses.iter().enumerate() {
            let (batch, targets) = &curve.batches[step % curve.batches.len()];
            trainer.step(batch, targets).expect("steps");
            // Every loss is read here because every one is compared; training itself reads few.
            let got = trainer.progress().expect("reads").loss;
            let apart = (got - want).abs() / want;
            assert!(apart < 0.01, "{name}: step {step}: {got} against {want}");
        }
        assert!(curve.losses[199] < 0.8 * curve.losses[0], "it learns");
    }
}
