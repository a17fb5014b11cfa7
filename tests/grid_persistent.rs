//! The loop over the whole device, whose workgroups wait for one another: results where they run side by side,
//! and a batch that runs again where they do not.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wgpu_rnn::check::{compare_output, input_value};
use wgpu_rnn::kernel::Kernel;
use wgpu_rnn::{
    Batch, Cell, CellOptions, DeviceChoice, Engine, EngineOptions, ErrorKind, GridPersistent, Init,
    InputSpec, LayerSpec, Layout, LoadedModel, Model, RunOptions, SessionOptions, States, Strategy,
    StreamOptions, reference, wgpu,
};

/// One test at a time: workgroups that wait for one another need the cores of a software adapter.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One engine per Vulkan adapter that takes `groups` workgroups to run side by side.
fn engines(groups: u32) -> Vec<(String, Engine)> {
    let of = |report: wgpu_rnn::AdapterReport| {
        let options = EngineOptions {
            device: DeviceChoice::Index(report.index),
            strategy: Strategy::GridPersistent,
            grid_persistent: GridPersistent::Assume(groups),
            poison_memory: true,
            ..EngineOptions::default()
        };
        let engine = pollster::block_on(Engine::with_options(&options)).expect("opens");
        (format!("{} ({})", report.info.name, report.info.backend), engine)
    };
    let adapters = pollster::block_on(Engine::adapters());
    let runs = |report: &wgpu_rnn::AdapterReport| {
        report.unusable.is_none() && report.info.backend == wgpu::Backend::Vulkan
    };
    let engines: Vec<_> = adapters.into_iter().filter(runs).map(of).collect();
    if engines.is_empty() {
        println!("skipped (no Vulkan adapter)");
    }
    engines
}

/// A network of one layer and a batch for it; rows end at different steps.
fn setting(spec: LayerSpec, rows: usize, steps: usize) -> (Model, Batch) {
    let inputs = 5;
    let model = Model::builder(InputSpec::Dense { size: inputs })
        .layer(spec)
        .build(Init::PyTorch, 3)
        .expect("valid");
    let values: Vec<f32> = (0..rows * steps * inputs).map(input_value).collect();
    let batch = Batch::dense(values, rows, steps, inputs, Layout::BatchFirst).expect("valid");
    let lengths: Vec<usize> = (0..rows).map(|row| steps - row * 3 % (steps + 1)).collect();
    let batch = batch.with_lengths(lengths).expect("valid");
    let mut states = States::zeros(&model, rows);
    let mut fill = |tensor: &mut wgpu_rnn::Tensor<f32>| {
        let values = tensor.data_mut().iter_mut().enumerate();
        values.for_each(|(i, value)| *value = input_value(i + 7));
    };
    states.h.iter_mut().for_each(&mut fill);
    states.c.iter_mut().flatten().for_each(&mut fill);
    (model, batch.with_initial(states))
}

fn matches(name: &str, loaded: &LoadedModel, batch: &Batch) {
    let want = reference::run::<f64>(loaded.model(), batch, &RunOptions::default()).expect("runs");
    let got = loaded.run_blocking(batch).expect("runs");
    if let Some(fault) = compare_output(&got, &want).fault {
        panic!("{name}: {fault}");
    }
}

#[test]
fn workgroups_side_by_side_give_what_the_oracle_gives() {
    let _turn = alone();
    // Two workgroups: what a machine of two cores runs side by side. One block takes 32 units.
    let shapes = [
        (Cell::RnnTanh, 50, 3, false),
        (Cell::RnnRelu, 18, 5, true),
        (Cell::Lstm, 37, 2, false),
        (Cell::Gru, 33, 1, false),
        (Cell::Lstm, 20, 6, true),
    ];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (name, engine) in engines(2) {
        for (cell, hidden, rows, both) in shapes {
            let spec = LayerSpec::new(cell, hidden);
            let spec = if both { spec.bidirectional() } else { spec };
            let (model, batch) = setting(spec, rows, 11);
            // A busy machine may take a core away; results hold either way.
            let started = Instant::now();
            let mut went_through = false;
            while !went_through && started.elapsed() < Duration::from_secs(30) {
                let loaded = engine.load(&model).expect("loads");
                let plan = loaded.plan(rows, 11).expect("plans").expect("on a GPU");
                let uses = plan.calls.iter().filter(|c| c.variant.kernel == Kernel::RecurGrid);
                assert_eq!(uses.count(), 1, "{name} {cell}");
                let before = engine.counters().reruns;
                matches(&format!("{name} {cell} {hidden}"), &loaded, &batch);
                went_through = engine.counters().reruns == before;
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(went_through || cores < 2, "{name} {cell} {hidden}: gave up for 30 s");
        }
    }
}

#[test]
fn one_workgroup_waits_for_itself_alone_and_never_gives_up() {
    let _turn = alone();
    for (name, engine) in engines(1) {
        for cell in [Cell::RnnTanh, Cell::Lstm, Cell::Gru] {
            let (model, batch) = setting(LayerSpec::new(cell, 30), 7, 40);
            let loaded = engine.load(&model).expect("loads");
            matches(&format!("{name} {cell}"), &loaded, &batch);
        }
        assert_eq!(engine.counters().reruns, 0, "{name}");
    }
}

#[test]
fn what_waits_in_vain_runs_again() {
    let _turn = alone();
    for (name, engine) in engines(300) {
        if !engine.info().is_software {
            println!("skipped {name}: its workgroups may run side by side");
            continue;
        }
        // 256 workgroups on a few cores.
        let (model, batch) = setting(LayerSpec::new(Cell::RnnTanh, 2048), 2, 6);
        let loaded = engine.load(&model).expect("loads");
        let plan = loaded.plan(2, 6).expect("plans").expect("on a GPU");
        assert!(plan.choices[0].grid.is_some_and(|grid| grid.blocks == 256), "{name}");
        matches(&name, &loaded, &batch);
        assert_eq!(engine.counters().reruns, 1, "{name}");
        // From then on another strategy runs at once.
        matches(&name, &loaded, &batch);
        assert_eq!(engine.counters().reruns, 1, "{name}");

        let mut stream =
            engine.load(&model).expect("loads").stream(StreamOptions::default()).expect("opens");
        stream.push_blocking(&batch).expect("pushes");
        let streamed = stream.finish_blocking().expect("finishes");
        let want = reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
        assert!(compare_output(&streamed[0], &want).fault.is_none(), "{name}: stream");
        assert_eq!(engine.counters().reruns, 2, "{name}");

        let session = engine.load(&model).expect("loads");
        let session = session.session(2, 6, SessionOptions::default()).expect("makes");
        let device = engine.device().expect("on a GPU");
        let buffer = |size| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let (input, output) = (buffer(session.input_bytes()), buffer(session.output_bytes()));
        session.submit_and_wait(&input, &output).expect("submits");
        assert!(pollster::block_on(session.gave_up()).expect("reads"), "{name}");
    }
}

#[test]
fn without_permission_or_with_options_it_is_refused_with_the_reason() {
    let _turn = alone();
    for (name, engine) in engines(2) {
        let options = CellOptions { clip: Some(1.0), ..CellOptions::default() };
        let spec = LayerSpec { options, ..LayerSpec::new(Cell::Lstm, 8) };
        for (spec, words) in [
            (spec, "a layer without options"),
            (LayerSpec::new(Cell::Lstm, 8).projection(4), "a layer without projection"),
            (LayerSpec::new(Cell::Lstm, 600), "in registers of 2 workgroups"),
        ] {
            let (model, batch) = setting(spec, 1, 2);
            let error = engine.load(&model).expect("loads").run_blocking(&batch);
            let error = error.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}");
            assert!(error.to_string().contains(words), "{name}: {error}");
        }
    }
    for (name, engine) in support::gpus() {
        let engine = engine.with_strategy(Strategy::GridPersistent);
        let (model, batch) = setting(LayerSpec::new(Cell::Lstm, 8), 1, 2);
        let error = engine.load(&model).expect("loads").run_blocking(&batch).expect_err("refused");
        assert!(error.to_string().contains("EngineOptions::grid_persistent"), "{name}: {error}");
    }
}
