//! Whole runs and single strategies, in time steps per second, on every device of this machine.
//!
//! ```text
//! cargo bench --bench forward                     # everything
//! cargo bench --bench forward -- lstm             # one cell
//! cargo bench --bench forward -- "llvmpipe.*step" # one device and strategy
//! ```
//! "run" is a whole [`LoadedModel::run_blocking`]: upload, compute, readback. "recurrence" reads only
//! final states back. Every result is compared with the f64 oracle before it is timed.
#![allow(clippy::print_stderr, reason = "a bench says what it leaves out")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgpu_rnn::check::{compare_output, input_value};
use wgpu_rnn::{
    Batch, Cell, DeviceChoice, Engine, EngineOptions, Init, InputSpec, LayerSpec, Layout,
    LoadedModel, Model, RunOptions, Strategy, reference,
};

/// One shape: I features, H units, B sequences, T time steps.
struct Shape {
    cell: Cell,
    input: usize,
    hidden: usize,
    batch: usize,
    steps: usize,
    bidirectional: bool,
}

const SHAPES: [Shape; 5] = [
    Shape {
        cell: Cell::RnnTanh,
        input: 64,
        hidden: 128,
        batch: 1,
        steps: 200,
        bidirectional: false,
    },
    Shape {
        cell: Cell::RnnTanh,
        input: 128,
        hidden: 256,
        batch: 64,
        steps: 32,
        bidirectional: false,
    },
    Shape { cell: Cell::Lstm, input: 80, hidden: 256, batch: 8, steps: 32, bidirectional: true },
    Shape { cell: Cell::Lstm, input: 512, hidden: 512, batch: 16, steps: 8, bidirectional: false },
    Shape { cell: Cell::Gru, input: 128, hidden: 256, batch: 64, steps: 32, bidirectional: false },
];

impl Shape {
    fn name(&self) -> String {
        let Self { cell, input, hidden, batch, steps, bidirectional } = self;
        let direction = if *bidirectional { "-bi" } else { "" };
        format!("{cell}{direction}-I{input}-H{hidden}-B{batch}-T{steps}")
    }

    fn model(&self) -> Model {
        let layer = LayerSpec::new(self.cell, self.hidden);
        let layer = if self.bidirectional { layer.bidirectional() } else { layer };
        Model::builder(InputSpec::Dense { size: self.input })
            .layer(layer)
            .build(Init::PyTorch, 1)
            .expect("a valid network")
    }

    fn batch(&self) -> Batch {
        let values: Vec<f32> = (0..self.batch * self.steps * self.input).map(input_value).collect();
        Batch::dense(values, self.batch, self.steps, self.input, Layout::BatchFirst)
            .expect("a valid batch")
    }
}

fn engines() -> Vec<(String, Engine)> {
    let mut engines = vec![("cpu".to_owned(), Engine::cpu())];
    for report in pollster::block_on(Engine::adapters()) {
        let options =
            EngineOptions { device: DeviceChoice::Index(report.index), ..EngineOptions::default() };
        match pollster::block_on(Engine::with_options(&options)) {
            Ok(engine) => {
                for strategy in [Strategy::StepPerDispatch, Strategy::Resident] {
                    let backend = &engine.info().backend;
                    let name = format!("{} {backend} {}", report.info.name, strategy.name());
                    engines.push((name, engine.with_strategy(strategy)));
                }
            }
            Err(error) => eprintln!("n/a: {error}"),
        }
    }
    engines
}

/// Loads a shape, or says why the strategy refuses it; a wrong result ends the bench.
fn load(name: &str, engine: &Engine, shape: &Shape) -> Option<LoadedModel> {
    let (model, batch) = (shape.model(), shape.batch());
    let loaded = engine.load(&model).expect("loads");
    match loaded.run_blocking(&batch) {
        Ok(output) => {
            let want = reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
            assert_eq!(compare_output(&output, &want).fault, None, "{name}");
            Some(loaded)
        }
        Err(error) => {
            eprintln!("{name} {}: n/a ({error})", shape.name());
            None
        }
    }
}

fn forward(criterion: &mut Criterion) {
    for (name, engine) in engines() {
        let mut group = criterion.benchmark_group(name.replace(['/', ','], " "));
        for shape in &SHAPES {
            let Some(loaded) = load(&name, &engine, shape) else { continue };
            let batch = shape.batch();
            group.throughput(Throughput::Elements((shape.batch * shape.steps) as u64));
            group.bench_with_input(BenchmarkId::new("run", shape.name()), &batch, |b, batch| {
                b.iter(|| black_box(loaded.run_blocking(batch).expect("runs")));
            });
            let states = RunOptions { output: false, ..RunOptions::default() };
            group.bench_with_input(
                BenchmarkId::new("recurrence", shape.name()),
                &batch,
                |b, batch| {
                    b.iter(|| black_box(loaded.run_blocking_with(batch, &states).expect("runs")));
                },
            );
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = forward
}
criterion_main!(benches);
