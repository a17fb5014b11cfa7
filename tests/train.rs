//! Training on every device: gradients against the f64 oracle, optimizers against their formulas.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use wgpu_rnn::check::input_value;
use wgpu_rnn::model::DirectionWeights;
use wgpu_rnn::reference;
use wgpu_rnn::train::{CrossEntropy, Loss, Optimizer, Targets};
use wgpu_rnn::{
    Activation, Batch, Cell, CellOptions, Direction, Engine, ErrorKind, Head, HeadSpec, HeadSteps,
    Init, InputSpec, Layer, LayerSpec, Layout, Model, States, Tensor, TrainerOptions,
};

/// In parts of an array's largest value.
const TOLERANCE: f64 = 1e-4;

/// One case: a network, a batch with lengths and states, a loss with targets.
struct Case {
    name: String,
    model: Model,
    batch: Batch,
    loss: Loss,
    targets: Targets,
}

fn dense(rows: usize, steps: usize, inputs: usize, layout: Layout) -> Batch {
    let values: Vec<f32> = (0..rows * steps * inputs).map(input_value).collect();
    Batch::dense(values, rows, steps, inputs, layout).expect("valid")
}

fn with_states(model: &Model, batch: Batch) -> Batch {
    let mut states = States::zeros(model, batch.batch_size());
    for tensor in states.h.iter_mut().chain(states.c.iter_mut().flatten()) {
        let values = tensor.data_mut().iter_mut().enumerate();
        values.for_each(|(i, value)| *value = input_value(i + 11));
    }
    batch.with_initial(states)
}

/// Lengths around the longest, one of them 0.
fn lengths(rows: usize, steps: usize) -> Vec<usize> {
    (0..rows).map(|row| [steps, 0, 1, steps - 1, steps / 2][row % 5]).collect()
}

fn classes(shape: &[usize], count: usize) -> Targets {
    let class = |i: usize| i64::try_from(i * 7 % count).expect("small");
    Targets::Classes(Tensor::from_fn(shape, class))
}

/// Values from 0 to 1.
fn values(shape: &[usize]) -> Targets {
    let value = |i: usize| f32::from(u8::try_from(i * 5 % 8).expect("small")) / 7.0;
    Targets::Values(Tensor::from_fn(shape, value))
}

fn case(name: &str, model: Model, batch: Batch, loss: Loss, targets: Targets) -> Case {
    Case { name: name.into(), model, batch, loss, targets }
}

/// Every cell, both directions, stacks, every kind of input and output layer, every loss.
fn cases() -> Vec<Case> {
    let mut list = Vec::new();
    let cells = [Cell::RnnTanh, Cell::RnnRelu, Cell::Lstm, Cell::Gru, Cell::GruResetBefore];
    for (index, cell) in cells.into_iter().enumerate() {
        for (layers, hidden, both) in [(1, 10, false), (2, 7, true), (3, 4, false)] {
            let spec = LayerSpec::new(cell, hidden);
            let spec = if both { spec.bidirectional() } else { spec };
            let model = Model::builder(InputSpec::Dense { size: 5 })
                .layers(layers, &spec)
                .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(6) })
                .build(Init::PyTorch, 20 + index as u64)
                .expect("valid");
            let batch = dense(6, 9, 5, Layout::BatchFirst).with_lengths(lengths(6, 9));
            let batch = with_states(&model, batch.expect("valid"));
            let loss = Loss::CrossEntropy(CrossEntropy::default());
            let name = format!("{cell} {layers} layers, both ways {both}");
            list.push(case(&name, model, batch, loss, classes(&[6, 9], 6)));
        }
    }
    let heads = [
        (HeadSteps::Every, Activation::Softmax),
        (HeadSteps::Last, Activation::None),
        (HeadSteps::Final, Activation::LogSoftmax),
    ];
    for (steps, activation) in heads {
        for input in [InputSpec::Embedding { vocab: 9, size: 6 }, InputSpec::OneHot { vocab: 9 }] {
            let model = Model::builder(input)
                .layer(LayerSpec::new(Cell::Gru, 8).bidirectional())
                .layer(LayerSpec::new(Cell::Lstm, 5).bidirectional())
                .head(HeadSpec { steps, activation, ..HeadSpec::new(7) })
                .build(Init::PyTorch, 31)
                .expect("valid");
            let tokens: Vec<u32> = (0..5u32 * 8).map(|i| i * i % 9).collect();
            let batch = Batch::tokens(tokens, 5, 8, Layout::TimeMajor).expect("valid");
            let batch = batch.with_lengths(lengths(5, 8)).expect("valid");
            let options = CrossEntropy {
                class_weights: Some(vec![1.0, 0.5, 2.0, 0.0, 1.5, 1.0, 0.25]),
                label_smoothing: 0.1,
                ignore_index: Some(3),
            };
            let shape: &[usize] = if steps == HeadSteps::Every { &[5, 8] } else { &[5] };
            let name = format!("{input:?} {steps:?}");
            let loss = Loss::CrossEntropy(options);
            list.push(case(&name, model, batch, loss, classes(shape, 7)));
        }
    }
    let losses = [
        (Loss::BinaryCrossEntropy, Activation::Sigmoid),
        (Loss::Mse, Activation::None),
        (Loss::Mse, Activation::Tanh),
        (Loss::L1, Activation::Sigmoid),
        (Loss::Huber { delta: 0.3 }, Activation::Relu),
        (Loss::Huber { delta: 0.3 }, Activation::None),
    ];
    for (loss, activation) in losses {
        let steps = if activation == Activation::Tanh { HeadSteps::Last } else { HeadSteps::Every };
        let model = Model::builder(InputSpec::Dense { size: 3 })
            .layer(LayerSpec::new(Cell::Lstm, 9))
            .head(HeadSpec { steps, activation, ..HeadSpec::new(3) })
            .build(Init::PyTorch, 41)
            .expect("valid");
        let batch = dense(4, 6, 3, Layout::TimeMajor).with_lengths(lengths(4, 6)).expect("valid");
        let shape: &[usize] = if steps == HeadSteps::Every { &[4, 6, 3] } else { &[4, 3] };
        let name = format!("{} {activation:?}", loss.name());
        list.push(case(&name, model, batch, loss, values(shape)));
    }
    let peepholes = CellOptions { peephole: true, ..CellOptions::default() };
    let with_peepholes = LayerSpec { options: peepholes, ..LayerSpec::new(Cell::Lstm, 9) };
    let projected = LayerSpec::new(Cell::Lstm, 9).projection(5).bidirectional();
    let both = LayerSpec { options: with_peepholes.options.clone(), ..projected.clone() };
    for (what, spec) in [("peepholes", with_peepholes), ("projection", projected), ("both", both)] {
        let model = Model::builder(InputSpec::Dense { size: 3 })
            .layers(2, &spec)
            .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(4) })
            .build(Init::PyTorch, 47)
            .expect("valid");
        let batch = dense(5, 7, 3, Layout::BatchFirst).with_lengths(lengths(5, 7)).expect("valid");
        let batch = with_states(&model, batch);
        let loss = Loss::CrossEntropy(CrossEntropy::default());
        list.push(case(what, model, batch, loss, classes(&[5, 7], 4)));
    }
    let model = Model::builder(InputSpec::Dense { size: 3 })
        .layer(LayerSpec::new(Cell::Lstm, 8).bidirectional())
        .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(6) })
        .build(Init::PyTorch, 48)
        .expect("valid");
    let batch = dense(4, 12, 3, Layout::TimeMajor).with_lengths(vec![12, 0, 7, 9]).expect("valid");
    let labels = vec![vec![1, 1, 3, 5], vec![2], vec![], vec![4, 0, 4, 1, 3]];
    list.push(case("ctc", model, batch, Loss::Ctc { blank: 2 }, Targets::Labels(labels)));
    let model = Model::builder(InputSpec::Dense { size: 3 })
        .layer(LayerSpec::new(Cell::Gru, 5).bidirectional())
        .build(Init::PyTorch, 43)
        .expect("valid");
    let batch = dense(4, 6, 3, Layout::BatchFirst).with_lengths(lengths(4, 6)).expect("valid");
    list.push(case("no output layer", model, batch, Loss::Mse, values(&[4, 6, 10])));
    let direction = Direction::Reverse;
    let spec = LayerSpec { bias: false, direction, ..LayerSpec::new(Cell::Lstm, 6) };
    let model = Model::builder(InputSpec::Dense { size: 2 })
        .layer(spec)
        .head(HeadSpec { steps: HeadSteps::Final, bias: false, ..HeadSpec::new(3) })
        .build(Init::PyTorch, 44)
        .expect("valid");
    let batch = dense(70, 3, 2, Layout::BatchFirst);
    let loss = Loss::CrossEntropy(CrossEntropy::default());
    list.push(case("reverse without biases, 70 rows", model, batch, loss, classes(&[70], 3)));
    list
}

/// Largest difference to the oracle, in parts of the array's largest value.
fn difference(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-3f64, |most, v| most.max(v.abs()));
    let apart = got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).abs() / scale);
    // NaN is not less than anything.
    apart.fold(0.0, |most, v| if v <= most { most } else { v })
}

fn check(name: &str, engine: &Engine, case: &Case) {
    let name = format!("{name}: {}", case.name);
    let options = TrainerOptions { loss: case.loss.clone(), ..TrainerOptions::default() };
    let mut trainer = engine.trainer(&case.model, options).expect("trains");
    let got = trainer.gradients(&case.batch, &case.targets).expect("runs");
    let want = reference::gradients(&case.model, &case.batch, &case.targets, &case.loss);
    let want = want.expect("runs");
    let apart = (f64::from(got.loss) - want.loss).abs() / want.loss.abs().max(1e-3);
    assert!(apart < TOLERANCE, "{name}: loss {} {}", got.loss, want.loss);
    let compare = |what: &str, got: &[f32], want: &[f64]| {
        let apart = difference(got, want);
        assert!(apart < TOLERANCE, "{name}: {what} differs by {apart:.2e} of its scale");
    };
    for tensor in got.parameters.tensors() {
        compare(&tensor.name, tensor.values, want.parameters[&tensor.name].data());
    }
    for (layer, (h, c)) in got.states.h.iter().zip(&got.states.c).enumerate() {
        compare(&format!("h_0 of layer {layer}"), h.data(), want.h_0[layer].data());
        if let (Some(got), Some(want)) = (c, &want.c_0[layer]) {
            compare(&format!("c_0 of layer {layer}"), got.data(), want.data());
        }
    }
    assert_eq!(got.input.is_some(), want.input.is_some(), "{name}");
    if let (Some(got), Some(want)) = (&got.input, &want.input) {
        compare("input", got.data(), want.data());
    }
}

#[test]
fn gradients_match_the_oracle() {
    let list = cases();
    for (name, engine) in support::quick_gpus() {
        for case in &list {
            check(name, engine, case);
        }
    }
}

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
            let decay =
                if tensor.name.contains("bias") { 0.0 } else { f64::from(options.weight_decay) };
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
    let batches: Vec<(Batch, Targets)> = [(4, 5), (3, 7)]
        .into_iter()
        .map(|(rows, steps)| {
            let batch = dense(rows, steps, 4, Layout::BatchFirst);
            let batch = batch.with_lengths(lengths(rows, steps)).expect("valid");
            (batch, classes(&[rows, steps], 3))
        })
        .collect();
    for (name, engine) in support::quick_gpus() {
        for (index, optimizer) in optimizers.into_iter().enumerate() {
            let options = TrainerOptions {
                optimizer,
                learning_rate: 0.02,
                weight_decay: if index % 2 == 0 { 0.05 } else { 0.0 },
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
fn two_runs_give_the_same_bits_and_nothing_is_read_back_between_steps() {
    let list = cases();
    let case = &list[1];
    for (name, engine) in support::quick_gpus() {
        let run = || {
            let engine = engine.with_strategy(wgpu_rnn::Strategy::Auto);
            let options = TrainerOptions { loss: case.loss.clone(), ..TrainerOptions::default() };
            let mut trainer = engine.trainer(&case.model, options).expect("trains");
            for _ in 0..5 {
                trainer.step(&case.batch, &case.targets).expect("steps");
            }
            trainer.model().expect("reads")
        };
        let (first, second) = (run(), run());
        for (a, b) in first.tensors().iter().zip(second.tensors()) {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(a.values), bits(b.values), "{name}: {}", a.name);
        }
        assert_ne!(first.tensors()[0].values, case.model.tensors()[0].values, "{name}");
    }
}

#[test]
fn a_gradient_that_is_no_number_stops_updates_and_keeps_the_last_parameters() {
    for (name, engine) in support::quick_gpus() {
        let model = Model::builder(InputSpec::Dense { size: 1 })
            .layer(LayerSpec::new(Cell::RnnTanh, 4))
            .head(HeadSpec::new(1))
            .build(Init::PyTorch, 6)
            .expect("valid");
        let options = TrainerOptions { loss: Loss::Mse, ..TrainerOptions::default() };
        let mut trainer = engine.trainer(&model, options).expect("trains");
        let batch =
            |value: f32| Batch::dense(vec![value; 6], 2, 3, 1, Layout::BatchFirst).expect("valid");
        let targets = |value: f32| Targets::Values(Tensor::from_fn([2, 3, 1], |_| value));
        trainer.step(&batch(0.5), &targets(1.0)).expect("steps");
        assert!(!trainer.progress().expect("reads").is_stopped, "{name}");
        let good = trainer.model().expect("reads");
        trainer.step(&batch(0.5), &targets(f32::INFINITY)).expect("steps");
        trainer.step(&batch(0.5), &targets(1.0)).expect("steps");
        assert!(trainer.progress().expect("reads").is_stopped, "{name}");
        assert_eq!(trainer.model().expect("reads"), good, "{name}");
    }
}

#[test]
fn what_cannot_be_trained_is_refused_with_the_reason() {
    let model = Model::builder(InputSpec::Dense { size: 1 })
        .layer(LayerSpec::new(Cell::RnnTanh, 4))
        .head(HeadSpec::new(2))
        .build(Init::PyTorch, 6)
        .expect("valid");
    let refused = Engine::cpu().trainer(&model, TrainerOptions::default()).expect_err("refused");
    assert!(refused.to_string().contains("expected a GPU"), "{refused}");
    for (name, engine) in support::quick_gpus() {
        let options = TrainerOptions { learning_rate: f32::NAN, ..TrainerOptions::default() };
        let error = engine.trainer(&model, options).expect_err("refused");
        assert!(error.to_string().contains("learning_rate"), "{name}: {error}");
        let mut trainer = engine.trainer(&model, TrainerOptions::default()).expect("trains");
        let batch = Batch::dense(vec![0.0; 4], 2, 2, 1, Layout::BatchFirst).expect("valid");
        for targets in
            [classes(&[3], 2), values(&[2, 2]), Targets::Classes(Tensor::from_fn([2], |_| 2))]
        {
            let error = trainer.step(&batch, &targets).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Shape, "{name}: {error}");
        }
        assert_eq!(trainer.steps(), 0, "{name}");
    }
}

/// The bits of every parameter.
fn bits(model: &Model) -> Vec<Vec<u32>> {
    let of = |t: wgpu_rnn::model::TensorRef<'_>| t.values.iter().map(|v| v.to_bits()).collect();
    model.tensors().into_iter().map(of).collect()
}

#[test]
fn a_run_that_is_resumed_gives_the_same_bits() {
    let model = Model::builder(InputSpec::Embedding { vocab: 9, size: 6 })
        .layers(2, &LayerSpec::new(Cell::Lstm, 7))
        .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(9) })
        .build(Init::PyTorch, 8)
        .expect("valid");
    let options = TrainerOptions {
        dropout: 0.3,
        seed: 5,
        carry_states: true,
        weight_decay: 0.01,
        optimizer: Optimizer::AdamW { betas: [0.9, 0.99], epsilon: 1e-8 },
        learning_rate: 0.01,
        ..TrainerOptions::default()
    };
    let tokens = |t: u32| (0..3 * 6u32).map(|i| (i * i + t) % 9).collect::<Vec<u32>>();
    let batch = |t| Batch::tokens(tokens(t), 3, 6, Layout::BatchFirst).expect("valid");
    let targets = classes(&[3, 6], 9);
    for (name, engine) in support::quick_gpus() {
        let mut whole = engine.trainer(&model, options.clone()).expect("trains");
        let mut first = engine.trainer(&model, options.clone()).expect("trains");
        for t in 0..4 {
            whole.step(&batch(t), &targets).expect("steps");
            first.step(&batch(t), &targets).expect("steps");
        }
        let checkpoint = first.checkpoint().expect("reads");
        assert!(checkpoint.states.is_some(), "{name}");
        drop(first);
        let mut second = engine.resume(&checkpoint, options.clone()).expect("resumes");
        // What is asked in between changes nothing.
        second.evaluate(&batch(1), &targets).expect("runs");
        for t in 4..8 {
            whole.step(&batch(t), &targets).expect("steps");
            second.step(&batch(t), &targets).expect("steps");
        }
        assert_eq!(
            bits(&whole.model().expect("reads")),
            bits(&second.model().expect("reads")),
            "{name}"
        );
        let (whole, second) =
            (whole.checkpoint().expect("reads"), second.checkpoint().expect("reads"));
        assert_eq!(whole, second, "{name}");
    }
}

#[test]
fn carried_states_are_those_of_one_long_run() {
    let model = Model::builder(InputSpec::Dense { size: 3 })
        .layer(LayerSpec::new(Cell::Lstm, 6))
        .layer(LayerSpec::new(Cell::Gru, 5))
        .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(4) })
        .build(Init::PyTorch, 9)
        .expect("valid");
    // A learning rate of 0: the same network all along.
    let options =
        TrainerOptions { carry_states: true, learning_rate: 0.0, ..TrainerOptions::default() };
    let values: Vec<f32> = (0..2 * 12 * 3).map(input_value).collect();
    let cut = |first: usize, steps: usize| {
        let rows = (0..2).flat_map(|b| &values[(b * 12 + first) * 3..(b * 12 + first + steps) * 3]);
        Batch::dense(rows.copied().collect::<Vec<f32>>(), 2, steps, 3, Layout::BatchFirst)
            .expect("valid")
    };
    let whole = classes(&[2, 12], 4);
    let Targets::Classes(all) = &whole else { unreachable!("classes") };
    let part = |first: usize| {
        Targets::Classes(Tensor::from_fn([2, 4], |i| all.data()[i / 4 * 12 + first + i % 4]))
    };
    let want = reference::loss(&model, &cut(0, 12), &whole, &options.loss).expect("runs");
    for (name, engine) in support::quick_gpus() {
        let mut trainer = engine.trainer(&model, options.clone()).expect("trains");
        for first in [0, 4, 8] {
            trainer.step(&cut(first, 4), &part(first)).expect("steps");
        }
        let got = trainer.progress().expect("reads").mean_loss;
        assert!((f64::from(got) - want).abs() < 1e-5, "{name}: {got} {want}");
        // From zero again.
        trainer.reset_states();
        trainer.step(&cut(0, 4), &part(0)).expect("steps");
        let loss = reference::loss(&model, &cut(0, 4), &part(0), &options.loss).expect("runs");
        let got = trainer.progress().expect("reads").loss;
        assert!((f64::from(got) - loss).abs() < 1e-5, "{name}: {got} {loss}");
        let ragged = cut(0, 4).with_lengths(vec![4, 2]).expect("valid");
        let error = trainer.step(&ragged, &part(0)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}");
    }
}

#[test]
fn dropout_is_that_of_its_random_numbers_there_and_back() {
    let settings = [(Cell::RnnTanh, 0.5, 0.0), (Cell::Lstm, 0.0, 0.4), (Cell::Gru, 0.3, 0.4)];
    for (cell, dropout, recurrent_dropout) in settings {
        check_dropout(cell, dropout, recurrent_dropout);
    }
}

fn check_dropout(cell: Cell, dropout: f32, recurrent_dropout: f32) {
    let model = Model::builder(InputSpec::Dense { size: 3 })
        .layers(2, &LayerSpec::new(cell, 8).bidirectional())
        .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(2) })
        .build(Init::PyTorch, 10)
        .expect("valid");
    let (rows, steps) = (2, 4);
    let batch = dense(rows, steps, 3, Layout::BatchFirst);
    let targets = classes(&[rows, steps], 2);
    for (name, engine) in support::quick_gpus() {
        let name = format!("{name} {cell}");
        let options = TrainerOptions {
            dropout,
            recurrent_dropout,
            seed: 77,
            optimizer: Optimizer::Sgd { momentum: 0.0, nesterov: false },
            learning_rate: 1.0,
            ..TrainerOptions::default()
        };
        let run = |seed: u64| {
            let options = TrainerOptions { seed, ..options.clone() };
            let mut trainer = engine.trainer(&model, options).expect("trains");
            trainer.step(&batch, &targets).expect("steps");
            let loss = trainer.progress().expect("reads").loss;
            (loss, bits(&trainer.model().expect("reads")))
        };
        assert_eq!(run(77), run(77), "{name}");
        assert_ne!(run(77), run(78), "{name}");
        // The loss falls along the gradient of the same masks: both ways drop the same values.
        let rate = 1e-2f32;
        let small = TrainerOptions { learning_rate: rate, ..options.clone() };
        let mut trainer = engine.trainer(&model, small).expect("trains");
        trainer.step(&batch, &targets).expect("steps");
        let before = trainer.progress().expect("reads");
        let moved = trainer.model().expect("reads");
        let mut again = engine.trainer(&moved, options.clone()).expect("trains");
        again.step(&batch, &targets).expect("steps");
        let after = again.progress().expect("reads").loss;
        let fall = rate * before.gradient_norm * before.gradient_norm;
        let share = (before.loss - after) / fall;
        assert!((share - 1.0).abs() < 0.05, "{name}: fell by {share} of what the gradient says");
    }
}

#[test]
fn gradients_match_pytorch() {
    let fixtures = support::golden::training_fixtures();
    assert!(fixtures.len() >= 5, "{}", fixtures.len());
    for (name, engine) in support::quick_gpus() {
        for fixture in &fixtures {
            let name = format!("{name}: {}", fixture.name);
            let options =
                TrainerOptions { loss: fixture.loss.clone(), ..TrainerOptions::default() };
            let mut trainer = engine.trainer(&fixture.model, options).expect("trains");
            let got = trainer.gradients(&fixture.batch, &fixture.targets).expect("runs");
            let apart = (f64::from(got.loss) - fixture.value).abs() / fixture.value.abs();
            assert!(apart < TOLERANCE, "{name}: loss {} {}", got.loss, fixture.value);
            let mut compared = 0;
            for tensor in got.parameters.tensors() {
                let apart = difference(tensor.values, fixture.gradients[&tensor.name].data());
                assert!(apart < TOLERANCE, "{name}: {} differs by {apart:.2e}", tensor.name);
                compared += 1;
            }
            if let (Some(got), Some(want)) = (&got.input, fixture.gradients.get("input")) {
                let apart = difference(got.data(), want.data());
                assert!(apart < TOLERANCE, "{name}: input differs by {apart:.2e}");
            }
            assert!(compared >= 5, "{name}");
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
