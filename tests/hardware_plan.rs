//! What the planner makes for hardware, run on the adapters that are there: kernels and tile sizes that a
//! software adapter's own plan never has.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use wgpu_rnn::check::{compare_output, input_value};
use wgpu_rnn::kernel::Kernel;
use wgpu_rnn::{
    Activation, Batch, Cell, DeviceChoice, Engine, EngineOptions, HeadSpec, HeadSteps, Init,
    InputSpec, LayerSpec, Layout, Model, RunOptions, reference,
};

/// One engine per adapter that plans as for hardware, with poisoned memory.
fn engines() -> Vec<(String, Engine)> {
    let usable = pollster::block_on(Engine::adapters());
    let of = |report: wgpu_rnn::AdapterReport, checked: bool| {
        let options = EngineOptions {
            device: DeviceChoice::Index(report.index),
            checked_shaders: Some(checked),
            poison_memory: true,
            plan_as_hardware: true,
            ..EngineOptions::default()
        };
        let engine = pollster::block_on(Engine::with_options(&options)).expect("opens");
        (format!("{} ({}), checked {checked}", report.info.name, report.info.backend), engine)
    };
    // Mesa's GL takes many seconds to compile a block of products.
    let runs = |report: &wgpu_rnn::AdapterReport| {
        report.unusable.is_none() && report.info.backend != wgpu_rnn::wgpu::Backend::Gl
    };
    let usable = usable.into_iter().filter(runs);
    usable.flat_map(|report| [of(report.clone(), true), of(report, false)]).collect()
}

fn matches(name: &str, engine: &Engine, model: &Model, batch: &Batch) {
    let want = reference::run::<f64>(model, batch, &RunOptions::default()).expect("runs");
    let got = engine.load(model).expect("loads").run_blocking(batch).expect("runs");
    if let Some(fault) = compare_output(&got, &want).fault {
        panic!("{name}: {fault}");
    }
}

#[test]
fn blocks_of_a_product_match_the_oracle_at_every_edge() {
    // Rows around a block of 128, columns around one of 64, inputs around sixteen.
    let shapes = [(64, 2, 16, 32), (127, 1, 17, 33), (43, 3, 3, 64), (5, 52, 18, 65)];
    for (name, engine) in engines() {
        for (rows, steps, inputs, hidden) in shapes {
            let model = Model::builder(InputSpec::Dense { size: inputs })
                .layer(LayerSpec::new(Cell::RnnTanh, hidden).bidirectional())
                .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(hidden + 3) })
                .build(Init::PyTorch, 5)
                .expect("valid");
            let values: Vec<f32> = (0..rows * steps * inputs).map(input_value).collect();
            let batch =
                Batch::dense(values, rows, steps, inputs, Layout::BatchFirst).expect("valid");
            let lengths: Vec<usize> = (0..rows).map(|row| steps - row % (steps + 1)).collect();
            let batch = batch.with_lengths(lengths).expect("valid");
            let plan = engine.load(&model).expect("loads").plan(rows, steps).expect("plans");
            let plan = plan.expect("on a GPU");
            let products = plan.calls.iter().filter(|c| c.variant.kernel == Kernel::GemmBlock);
            assert!(products.count() >= 2, "{name}: no block for {rows} rows of {hidden}");
            matches(&format!("{name} B={rows} H={hidden}"), &engine, &model, &batch);
        }
    }
}

#[test]
fn gathered_rows_and_final_states_take_blocks_too() {
    for (name, engine) in engines() {
        for steps in [HeadSteps::Last, HeadSteps::Final] {
            let head = HeadSpec { steps, ..HeadSpec::new(40).activation(Activation::Softmax) };
            let model = Model::builder(InputSpec::Embedding { vocab: 50, size: 12 })
                .layer(LayerSpec::new(Cell::Gru, 20))
                .head(head)
                .build(Init::PyTorch, 6)
                .expect("valid");
            let tokens: Vec<u32> = (0..130u32 * 2).map(|i| i * 7 % 50).collect();
            let batch = Batch::tokens(tokens, 130, 2, Layout::TimeMajor).expect("valid");
            let lengths: Vec<usize> = (0..130).map(|row| row % 3).collect();
            matches(&name, &engine, &model, &batch.with_lengths(lengths).expect("valid"));
        }
    }
}
