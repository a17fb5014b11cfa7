//! Gradients of every kind of network against the oracle and PyTorch.

use wgpu_rnn::train::{CrossEntropy, Loss, Targets};
use wgpu_rnn::{
    Cell, DeviceChoice, Engine, EngineOptions, HeadSpec, HeadSteps, Init, InputSpec, LayerSpec,
    Layout, Model, Strategy, Tensor, TrainerOptions, reference,
};

use crate::cases::{Case, cases, classes, dense, lengths};
use crate::support;

/// In parts of an array's largest value.
const TOLERANCE: f64 = 1e-4;

/// Largest difference to the oracle, in parts of the array's largest value.
pub(crate) fn difference(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-3f64, |most, v| most.max(v.abs()));
    let apart = got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).abs() / scale);
    // NaN is not less than anything.
    apart.fold(0.0, |most, v| if v <= most { most } else { v })
}

fn check(name: &str, engine: &Engine, case: &Case) {
    check_with(name, engine, case, TrainerOptions::default());
}

fn check_with(name: &str, engine: &Engine, case: &Case, options: TrainerOptions) {
    let name = format!("{name}: {}", case.name);
    let options = TrainerOptions { loss: case.loss.clone(), ..options };
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

#[test]
fn what_is_computed_again_matches_the_oracle() {
    let list = cases();
    for (name, engine) in support::quick_gpus() {
        for case in list.iter().step_by(3) {
            let options = TrainerOptions { recompute: true, ..TrainerOptions::default() };
            check_with(&format!("{name}, again"), engine, case, options);
        }
    }
}

#[test]
fn every_driver_keeps_what_backward_needs() {
    let case = |cell: Cell| {
        let model = Model::builder(InputSpec::Dense { size: 5 })
            .layers(2, &LayerSpec::new(cell, 24).bidirectional())
            .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(4) })
            .build(Init::PyTorch, 52)
            .expect("valid");
        let batch = dense(3, 6, 5, Layout::BatchFirst).with_lengths(lengths(3, 6));
        let loss = Loss::CrossEntropy(CrossEntropy::default());
        let targets = classes(&[3, 6], 4);
        Case { name: cell.to_string(), model, batch: batch.expect("valid"), loss, targets }
    };
    let drivers = [
        Strategy::StepPerDispatch,
        Strategy::Resident,
        Strategy::Stationary,
        Strategy::StepSplit,
        Strategy::StepTile,
    ];
    for (name, engine) in support::quick_gpus() {
        for (strategy, cell) in drivers.into_iter().zip([Cell::Lstm, Cell::Gru].iter().cycle()) {
            let engine = engine.with_strategy(strategy);
            let case = case(*cell);
            let mut trainer =
                engine.trainer(&case.model, TrainerOptions::default()).expect("trains");
            if let Err(error) = trainer.gradients(&case.batch, &case.targets) {
                assert!(error.to_string().contains("subgroups"), "{name}: {error}");
                println!("skipped {name} {}: {error}", strategy.name());
                continue;
            }
            let text = trainer.explain(3, 6).expect("plans");
            assert!(text.contains("gates_h of layer 1, kept"), "{name}: {text}");
            check(&format!("{name}, {}", strategy.name()), &engine, &case);
        }
    }
}

#[test]
fn a_loss_of_the_callers_own_is_learnt() {
    // The squared error, computed outside: its gradient with respect to the outputs is 2·(v − y)/(N·O).
    for case in cases().iter().filter(|case| case.loss == Loss::Mse) {
        for (name, engine) in support::quick_gpus() {
            let options =
                TrainerOptions { loss: Loss::OutputGradient, ..TrainerOptions::default() };
            let mut own = engine.trainer(&case.model, options).expect("trains");
            let output = own.run(&case.batch).expect("runs").output;
            let direct = engine.load(&case.model).expect("loads").run_blocking(&case.batch);
            let direct = direct.expect("runs").output;
            let outputs: Vec<f64> = direct.data().iter().map(|v| f64::from(*v)).collect();
            assert!(difference(output.data(), &outputs) < TOLERANCE, "{name}: {}", case.name);
            let Targets::Values(wanted) = &case.targets else { unreachable!("values") };
            let denominator = case.loss.denominator(&case.model, &case.batch, &case.targets);
            // Targets are batch-first; outputs lie as the batch does.
            let place = |at: usize| match (wanted.shape(), case.batch.layout()) {
                ([rows, steps, width], Layout::TimeMajor) => {
                    let (b, t) = (at / (steps * width), at / width % steps);
                    (t * rows + b) * width + at % width
                }
                _ => at,
            };
            let slope = |at: usize| {
                let error = f64::from(output.data()[place(at)]) - f64::from(wanted.data()[at]);
                narrow(2.0 * error / denominator)
            };
            let targets = Targets::Values(Tensor::from_fn(wanted.shape().to_vec(), slope));
            let own_case = Case { loss: Loss::OutputGradient, targets, ..case.clone() };
            check(name, engine, &own_case);
            let got = own.gradients(&case.batch, &own_case.targets).expect("runs");
            let want = reference::gradients(&case.model, &case.batch, &case.targets, &case.loss);
            let want = want.expect("runs");
            for tensor in got.parameters.tensors() {
                let apart = difference(tensor.values, want.parameters[&tensor.name].data());
                assert!(apart < TOLERANCE, "{name}: {}: {} {apart:.2e}", case.name, tensor.name);
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[test]
fn computing_again_takes_less_memory() {
    let model = Model::builder(InputSpec::Dense { size: 4 })
        .layers(3, &LayerSpec::new(Cell::Lstm, 16))
        .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(4) })
        .build(Init::PyTorch, 53)
        .expect("valid");
    let Some((_, engine)) = support::quick_gpus().next() else { return };
    let memory = |recompute| {
        let options = TrainerOptions { recompute, ..TrainerOptions::default() };
        let trainer = engine.trainer(&model, options).expect("trains");
        let memory = trainer.memory(4, 32).expect("plans");
        let text = trainer.explain(4, 32).expect("plans");
        assert!(text.contains(&format!(" {} bytes", memory.step)), "{memory:?}\n{text}");
        memory
    };
    // Three layers' gates of 32 steps, or one's: 32 · 4 · 4 · 16 values of 4 bytes each.
    let layer = 32 * 4 * 4 * 16 * 4;
    let (kept, again) = (memory(false), memory(true));
    assert_eq!(kept.step - again.step, 2 * layer);
    assert_eq!([kept.kept, kept.again, again.kept, again.again], [3 * layer, 0, 0, layer]);
}

#[test]
fn gradients_match_pytorch() {
    let fixtures = support::golden::training_fixtures();
    assert!(fixtures.len() >= 7, "{}", fixtures.len());
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
            // All layers of h, and of c, in one array.
            let c: Vec<_> = got.states.c.iter().flatten().collect();
            for (what, layers) in [("h_0", got.states.h.iter().collect::<Vec<_>>()), ("c_0", c)] {
                let values: Vec<f32> = layers.iter().flat_map(|t| t.data()).copied().collect();
                let Some(want) = fixture.gradients.get(what) else {
                    assert!(values.is_empty(), "{name}: {what} without a counterpart");
                    continue;
                };
                let apart = difference(&values, want.data());
                assert!(apart < TOLERANCE, "{name}: {what} differs by {apart:.2e}");
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
fn kernels_whose_lanes_share_loads_match_the_oracle() {
    for (name, engine) in support::quick_gpus() {
        let engine = engine.with_strategy(Strategy::ResidentTile);
        for (cell, hidden, rows) in
            [(Cell::RnnTanh, 37, 3), (Cell::Lstm, 36, 18), (Cell::Gru, 33, 35)]
        {
            let model = Model::builder(InputSpec::Dense { size: 34 })
                .layers(2, &LayerSpec::new(cell, hidden).bidirectional())
                .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(40) })
                .build(Init::PyTorch, 51)
                .expect("valid");
            let Ok(plan) = engine.load(&model).expect("loads").plan(rows, 5) else {
                println!("skipped {name}: no subgroups of one size");
                continue;
            };
            assert_eq!(plan.expect("on a GPU").choices[0].strategy, Strategy::ResidentTile);
            let batch = dense(rows, 5, 34, Layout::BatchFirst).with_lengths(lengths(rows, 5));
            let loss = Loss::CrossEntropy(CrossEntropy::default());
            let targets = classes(&[rows, 5], 40);
            let batch = batch.expect("valid");
            check(
                name,
                &engine,
                &Case { name: format!("tile {cell}"), model, batch, loss, targets },
            );
        }
    }
}

#[test]
fn what_hardware_would_run_matches_the_oracle() {
    // Layers wide enough that every turn is a dispatch of its own, rows enough for products in blocks.
    let wide = |cell: Cell| {
        let model = Model::builder(InputSpec::Dense { size: 18 })
            .layer(LayerSpec::new(cell, 140).bidirectional())
            .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(40) })
            .build(Init::PyTorch, 50)
            .expect("valid");
        let batch = dense(30, 6, 18, Layout::BatchFirst).with_lengths(lengths(30, 6));
        let loss = Loss::CrossEntropy(CrossEntropy::default());
        let targets = classes(&[30, 6], 40);
        Case { name: format!("wide {cell}"), model, batch: batch.expect("valid"), loss, targets }
    };
    let wide: Vec<Case> = [Cell::RnnTanh, Cell::Lstm, Cell::Gru].map(wide).into();
    let usable = pollster::block_on(Engine::adapters());
    let runs = |report: &wgpu_rnn::AdapterReport| {
        report.unusable.is_none() && report.info.backend != wgpu_rnn::wgpu::Backend::Gl
    };
    for report in usable.into_iter().filter(runs) {
        let options = EngineOptions {
            device: DeviceChoice::Index(report.index),
            poison_memory: true,
            plan_as_hardware: true,
            ..EngineOptions::default()
        };
        let engine = pollster::block_on(Engine::with_options(&options)).expect("opens");
        for case in wide.iter().chain(&cases()) {
            check(&format!("{} as hardware", report.info.name), &engine, case);
        }
    }
}
