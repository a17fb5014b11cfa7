//! Runs: the same bits twice, carried states, checkpoints, dropout, stops, refusals.

use wgpu_rnn::cell::CellOptions;
use wgpu_rnn::check::input_value;
use wgpu_rnn::train::{Loss, Optimizer, Targets};
use wgpu_rnn::{
    Batch, Cell, Checkpoint, Counters, Engine, ErrorKind, HeadSpec, HeadSteps, Init, InputSpec,
    LayerSpec, Layout, Model, States, Tensor, TrainerOptions, reference,
};

use crate::cases::{cases, classes, dense, values};
use crate::support;

/// The bits of every parameter.
fn bits(model: &Model) -> Vec<Vec<u32>> {
    let of = |t: wgpu_rnn::model::TensorRef<'_>| t.values.iter().map(|v| v.to_bits()).collect();
    model.tensors().into_iter().map(of).collect()
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
            // Two workspaces take turns; then nothing is made any more.
            for _ in 0..2 {
                trainer.step(&case.batch, &case.targets).expect("steps");
            }
            let warm = trainer.engine().counters();
            for _ in 0..3 {
                trainer.step(&case.batch, &case.targets).expect("steps");
            }
            let after = trainer.engine().counters();
            assert_eq!(after.submits, 5, "{name}: one submit a step");
            assert_eq!(after.readbacks, 0, "{name}");
            assert_eq!(Counters { submits: warm.submits, ..after }, warm, "{name}: made something");
            let text = trainer.explain(6, 9).expect("plans");
            assert!(
                text.contains("TrainerOptions::recompute")
                    && text.contains("gates_h of layer 0, kept"),
                "{text}"
            );
            // What is read back is counted.
            let loss = trainer.progress().expect("reads").mean_loss;
            assert!(loss.is_finite(), "{name}");
            assert_eq!(trainer.engine().counters().readbacks, 1, "{name}: the loss");
            let model = trainer.model().expect("reads");
            assert!(trainer.engine().counters().readbacks > 1, "{name}: the parameters");
            model
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
fn a_target_that_is_no_number_stops_updates_under_every_loss_of_numbers() {
    let model = Model::builder(InputSpec::Dense { size: 1 })
        .layer(LayerSpec::new(Cell::RnnTanh, 4))
        .head(HeadSpec::new(1))
        .build(Init::PyTorch, 6)
        .expect("valid");
    let batch = Batch::dense(vec![0.5; 6], 2, 3, 1, Layout::BatchFirst).expect("valid");
    let targets = |value: f32| {
        let at = |index: usize| if index == 4 { value } else { 1.0 };
        Targets::Values(Tensor::from_fn([2, 3, 1], at))
    };
    for (name, engine) in support::quick_gpus() {
        for loss in [Loss::Mse, Loss::L1, Loss::Huber { delta: 0.5 }] {
            let options = TrainerOptions { loss: loss.clone(), ..TrainerOptions::default() };
            let mut trainer = engine.trainer(&model, options).expect("trains");
            trainer.step(&batch, &targets(0.0)).expect("steps");
            assert!(!trainer.progress().expect("reads").is_stopped, "{name}: {loss:?}");
            trainer.step(&batch, &targets(f32::NAN)).expect("steps");
            let progress = trainer.progress().expect("reads");
            assert!(progress.is_stopped && progress.loss.is_nan(), "{name}: {loss:?} {progress:?}");
        }
    }
}

#[test]
fn states_of_another_shape_are_not_resumed() {
    let model = |hidden: usize, layers: usize| {
        Model::builder(InputSpec::Dense { size: 1 })
            .layers(layers, &LayerSpec::new(Cell::Lstm, hidden))
            .head(HeadSpec::new(1))
            .build(Init::PyTorch, 6)
            .expect("valid")
    };
    let fitting = model(4, 2);
    let options =
        TrainerOptions { loss: Loss::Mse, carry_states: true, ..TrainerOptions::default() };
    for (name, engine) in support::quick_gpus() {
        let mut trainer = engine.trainer(&fitting, options.clone()).expect("trains");
        let good = trainer.checkpoint().expect("reads");
        let mut flat = States::zeros(&fitting, 3);
        flat.h[0] = Tensor::from_fn([12], |_| 0.0);
        let others = [States::zeros(&model(3, 2), 3), States::zeros(&model(4, 1), 3), flat];
        for states in others {
            let checkpoint = Checkpoint { states: Some(states), ..good.clone() };
            let error = engine.resume(&checkpoint, options.clone()).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Shape, "{name}: {error}");
        }
        let states = Some(States::zeros(&fitting, 3));
        let checkpoint = Checkpoint { states, ..good };
        engine.resume(&checkpoint, options.clone()).expect("fits");
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
        weight_decay: 0.01.into(),
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
    let plain = |cell| LayerSpec::new(cell, 8).bidirectional();
    let peepholes = |spec: LayerSpec| LayerSpec {
        options: CellOptions { peephole: true, ..CellOptions::default() },
        ..spec
    };
    let projected = LayerSpec::new(Cell::Lstm, 9).projection(6).bidirectional();
    let settings = [
        ("rnn", plain(Cell::RnnTanh), 0.5, 0.0),
        ("lstm", plain(Cell::Lstm), 0.0, 0.4),
        ("gru", plain(Cell::Gru), 0.3, 0.4),
        ("peepholes", peepholes(plain(Cell::Lstm)), 0.0, 0.4),
        ("projection", projected.clone(), 0.0, 0.4),
        ("both", peepholes(projected), 0.3, 0.4),
        ("reset before", plain(Cell::GruResetBefore), 0.0, 0.4),
    ];
    for (what, spec, dropout, recurrent_dropout) in settings {
        check_dropout(what, &spec, dropout, recurrent_dropout);
    }
}

fn check_dropout(what: &str, spec: &LayerSpec, dropout: f32, recurrent_dropout: f32) {
    let model = Model::builder(InputSpec::Dense { size: 3 })
        .layers(2, spec)
        .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(2) })
        .build(Init::PyTorch, 10)
        .expect("valid");
    let (rows, steps) = (2, 4);
    let batch = dense(rows, steps, 3, Layout::BatchFirst);
    let targets = classes(&[rows, steps], 2);
    for (name, engine) in support::quick_gpus() {
        let name = format!("{name} {what}");
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
        // Kept or computed again: the masks are the same.
        let first = |recompute| {
            let options = TrainerOptions { recompute, ..options.clone() };
            let mut trainer = engine.trainer(&model, options).expect("trains");
            trainer.step(&batch, &targets).expect("steps");
            trainer.progress().expect("reads").gradient_norm
        };
        let (kept, again) = (first(false), first(true));
        assert!((kept - again).abs() <= 1e-5 * kept, "{name}: {kept} {again}");
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
