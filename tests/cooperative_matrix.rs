//! Products of 16 × 16 tiles: the kernels for cooperative matrices, with ordinary instructions in their place
//! wherever the hardware has none, and with the hardware's where it has.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use wgpu_rnn::check::{Tolerance, compare_output_within, input_value};
use wgpu_rnn::kernel::{Kernel, Variant};
use wgpu_rnn::{
    Activation, Batch, Cell, CellOptions, CooperativeMatrix, DeviceChoice, Engine, EngineOptions,
    HeadSpec, HeadSteps, Init, InputSpec, LayerSpec, Layout, Model, Precision, RunOptions, States,
    Strategy, reference, wgpu,
};

/// One engine per adapter and way to multiply tiles; Mesa's GL takes many seconds to compile one.
fn engines() -> Vec<(String, Engine)> {
    let adapters = pollster::block_on(Engine::adapters());
    let runs = |report: &wgpu_rnn::AdapterReport| {
        report.unusable.is_none() && report.info.backend != wgpu::Backend::Gl
    };
    let mut engines = Vec::new();
    for report in adapters.into_iter().filter(runs) {
        for cooperative_matrix in [CooperativeMatrix::Emulate, CooperativeMatrix::Use] {
            let options = EngineOptions {
                device: DeviceChoice::Index(report.index),
                precision: Precision::F16,
                poison_memory: true,
                cooperative_matrix,
                ..EngineOptions::default()
            };
            let engine = pollster::block_on(Engine::with_options(&options)).expect("opens");
            let name = format!("{} {cooperative_matrix:?}", report.info.name);
            // Without matrices of its own an adapter refuses the strategy.
            let probe = Model::builder(InputSpec::Dense { size: 1 })
                .layer(LayerSpec::new(Cell::RnnTanh, 1))
                .build(Init::PyTorch, 1)
                .expect("valid");
            let step = engine.with_strategy(Strategy::StepMatrix).load(&probe).expect("loads");
            match step.plan(1, 1) {
                Ok(_) => engines.push((name, engine)),
                Err(error) if cooperative_matrix == CooperativeMatrix::Use => {
                    assert!(error.to_string().contains("cooperative matrices"), "{name}: {error}");
                    println!("skipped {name}: {error}");
                }
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    if engines.is_empty() {
        println!("skipped (no adapter but GL)");
    }
    engines
}

fn batch(model: &Model, rows: usize, steps: usize, inputs: usize) -> Batch {
    let values: Vec<f32> = (0..rows * steps * inputs).map(input_value).collect();
    let batch = Batch::dense(values, rows, steps, inputs, Layout::BatchFirst).expect("valid");
    let lengths: Vec<usize> = (0..rows).map(|row| steps - row % (steps + 1)).collect();
    let mut states = States::zeros(model, rows);
    for tensor in states.h.iter_mut().chain(states.c.iter_mut().flatten()) {
        let values = tensor.data_mut().iter_mut().enumerate();
        values.for_each(|(i, value)| *value = input_value(i + 3));
    }
    batch.with_lengths(lengths).expect("valid").with_initial(states)
}

fn matches(name: &str, engine: &Engine, model: &Model, batch: &Batch, uses: &[Kernel]) {
    let loaded = engine.load(model).expect("loads");
    let plan = loaded.plan(batch.batch_size(), batch.steps()).expect("plans").expect("on a GPU");
    for kernel in uses {
        let is_there = |call: &wgpu_rnn::plan::Call| call.variant.kernel == *kernel;
        assert!(plan.calls.iter().any(is_there), "{name}: no {}", Variant::of(*kernel));
    }
    let want = reference::run::<f64>(model, batch, &RunOptions::default()).expect("runs");
    let got = loaded.run_blocking(batch).expect("runs");
    let difference = compare_output_within(&got, &want, Tolerance::of(Precision::F16));
    if let Some(fault) = difference.fault {
        panic!("{name}: {fault}");
    }
    println!("{name}: {}", difference.max_abs);
}

#[test]
fn steps_match_the_oracle_at_every_edge() {
    // Rows around tiles of 16, units around blocks of 64, inputs around groups of 16.
    let clipped = CellOptions { clip: Some(0.6), ..CellOptions::default() };
    let gru = LayerSpec::new(Cell::Gru, 17);
    let settings = [
        (LayerSpec::new(Cell::RnnTanh, 70), 18),
        (LayerSpec::new(Cell::RnnRelu, 64).bidirectional(), 16),
        (LayerSpec { options: clipped, ..gru }, 3),
        (LayerSpec::new(Cell::Gru, 33).bidirectional(), 33),
    ];
    for (name, engine) in engines() {
        let engine = engine.with_strategy(Strategy::StepMatrix);
        for (spec, rows) in &settings {
            let model = Model::builder(InputSpec::Dense { size: 5 })
                .layer(spec.clone())
                .build(Init::PyTorch, 4)
                .expect("valid");
            let name = format!("{name} {} {}", spec.cell, spec.hidden_size);
            matches(&name, &engine, &model, &batch(&model, *rows, 4, 5), &[Kernel::RecurMatrix]);
        }
    }
}

#[test]
fn products_match_the_oracle_at_every_edge() {
    for (name, engine) in engines() {
        for (rows, steps, inputs, hidden) in [(64, 2, 16, 32), (43, 3, 21, 65), (5, 40, 3, 40)] {
            let model = Model::builder(InputSpec::Dense { size: inputs })
                .layer(LayerSpec::new(Cell::RnnTanh, hidden).bidirectional())
                .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(hidden + 3) })
                .build(Init::PyTorch, 5)
                .expect("valid");
            let batch = batch(&model, rows, steps, inputs);
            matches(&format!("{name} B={rows}"), &engine, &model, &batch, &[Kernel::GemmMatrix]);
        }
        let head = HeadSpec::new(70).activation(Activation::Softmax);
        let model = Model::builder(InputSpec::Embedding { vocab: 50, size: 12 })
            .layer(LayerSpec::new(Cell::Gru, 20))
            .head(HeadSpec { steps: HeadSteps::Last, ..head })
            .build(Init::PyTorch, 6)
            .expect("valid");
        let tokens: Vec<u32> = (0..70u32 * 2).map(|i| i * 7 % 50).collect();
        let batch = Batch::tokens(tokens, 70, 2, Layout::TimeMajor).expect("valid");
        let batch =
            batch.with_lengths((0..70).map(|row| row % 3).collect::<Vec<_>>()).expect("valid");
        matches(&format!("{name} tokens"), &engine, &model, &batch, &[Kernel::GemmMatrix]);
    }
}

#[test]
fn f32_and_devices_without_matrices_refuse_the_step() {
    for (name, engine) in engines() {
        let engine = engine.with_precision(Precision::F32).with_strategy(Strategy::StepMatrix);
        let model = Model::builder(InputSpec::Dense { size: 1 })
            .layer(LayerSpec::new(Cell::RnnTanh, 4))
            .build(Init::PyTorch, 1)
            .expect("valid");
        let error = engine.load(&model).expect("loads").plan(1, 1).expect_err("refused");
        assert!(error.to_string().contains("precision f16"), "{name}: {error}");
    }
    for (name, engine) in support::gpus() {
        let engine = engine.with_precision(Precision::F16).with_strategy(Strategy::StepMatrix);
        let model = Model::builder(InputSpec::Dense { size: 1 })
            .layer(LayerSpec::new(Cell::RnnTanh, 4))
            .build(Init::PyTorch, 1)
            .expect("valid");
        let error = engine.load(&model).expect("loads").plan(1, 1).expect_err("refused");
        assert!(error.to_string().contains("cooperative matrices"), "{name}: {error}");
    }
}
