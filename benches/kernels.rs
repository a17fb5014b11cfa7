//! Kernels alone, from submit to idle: no upload, no readback, buffers of the bench itself.
//!
//! ```text
//! cargo bench --bench kernels
//! cargo bench --bench kernels -- recur_step
//! ```
//! Each network is built so that one kernel dominates: one-hot tokens make the input projection a row
//! gather, which leaves the recurrent driver; one time step with a wide output layer leaves the
//! matrix product; a softmax over it adds the output function, in a kernel of its own or in the
//! product's. Results are compared with the f64
//! oracle before they are timed.

#![allow(clippy::print_stderr, reason = "a bench says what it leaves out")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgpu_rnn::check::{Tolerance, compare, input_value};
use wgpu_rnn::wgpu;
use wgpu_rnn::{
    Activation, Batch, Cell, Engine, EngineOptions, ErrorKind, HeadSpec, Init, InputSpec,
    LayerSpec, Layout, Model, RunOptions, Session, SessionOptions, Strategy, Tensor, reference,
};

struct Device {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

fn devices() -> Vec<Device> {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::all());
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    if adapters.is_empty() {
        eprintln!("n/a: no adapter");
    }
    let open = |adapter: wgpu::Adapter| {
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor {
            required_limits: adapter.limits(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).ok()?;
        let name = format!("{} {}", info.name, info.backend).replace(['/', ','], " ");
        Some(Device { name, device, queue })
    };
    adapters.into_iter().filter_map(open).collect()
}

/// A network in which one kernel dominates, and the strategy that picks it.
struct Bench {
    kernel: &'static str,
    strategy: Strategy,
    fuse_output: Option<bool>,
    model: Model,
    batch: Batch,
}

fn recurrent(kernel: &'static str, strategy: Strategy, cell: Cell, shape: [usize; 3]) -> Bench {
    let [hidden, batch, steps] = shape;
    let model = Model::builder(InputSpec::OneHot { vocab: 16 })
        .layer(LayerSpec::new(cell, hidden))
        .build(Init::PyTorch, 1)
        .expect("a valid network");
    let tokens: Vec<u32> = (0u32..).map(|i| i * 7 % 16).take(batch * steps).collect();
    let batch = Batch::tokens(tokens, batch, steps, Layout::TimeMajor).expect("a valid batch");
    Bench { kernel, strategy, fuse_output: None, model, batch }
}

fn output_layer(kernel: &'static str, activation: Activation, fused: bool) -> Bench {
    let (input, rows) = (256, 256);
    let model = Model::builder(InputSpec::Dense { size: input })
        .layer(LayerSpec::new(Cell::RnnTanh, 256))
        .head(HeadSpec::new(1024).activation(activation))
        .build(Init::PyTorch, 1)
        .expect("a valid network");
    let values: Vec<f32> = (0..rows * input).map(input_value).collect();
    let batch = Batch::dense(values, rows, 1, input, Layout::TimeMajor).expect("a valid batch");
    let strategy = Strategy::StepPerDispatch;
    Bench { kernel, strategy, fuse_output: Some(fused), model, batch }
}

fn benches() -> Vec<Bench> {
    let mut benches = Vec::new();
    for cell in [Cell::RnnTanh, Cell::Lstm, Cell::Gru] {
        for shape in [[64, 32, 64], [256, 8, 32]] {
            benches.push(recurrent("recur_step", Strategy::StepPerDispatch, cell, shape));
            benches.push(recurrent("recur_resident", Strategy::Resident, cell, shape));
        }
    }
    let (step, cell) = (Strategy::StepPerDispatch, Cell::GruResetBefore);
    benches.push(recurrent("recur_reset_before", step, cell, [64, 32, 64]));
    benches.push(output_layer("gemm", Activation::None, false));
    benches.push(output_layer("gemm + activate", Activation::Softmax, false));
    benches.push(output_layer("head", Activation::Softmax, true));
    benches
}

impl Device {
    fn buffer(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    fn upload(&self, batch: &Batch) -> wgpu::Buffer {
        let (rows, steps) = (batch.batch_size(), batch.steps());
        let mut bytes = Vec::new();
        for (t, b) in (0..steps).flat_map(|t| (0..rows).map(move |b| (t, b))) {
            match batch.token(b, t) {
                Some(token) => bytes.extend_from_slice(&token.to_le_bytes()),
                None => bytes.extend_from_slice(bytemuck::cast_slice(batch.features(b, t))),
            }
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer(bytes.len() as u64, usage);
        self.queue.write_buffer(&buffer, 0, &bytes);
        buffer
    }

    fn submit_and_wait(&self, session: &Session, input: &wgpu::Buffer, output: &wgpu::Buffer) {
        let index = session.submit(input, output).expect("submits");
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
        self.device.poll(wait).expect("the device answers");
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<f32> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.buffer(buffer.size(), usage);
        let mut encoder =
            self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, Some(buffer.size()));
        self.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |result| result.expect("maps"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
        bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).expect("mapped")[..])
    }
}

fn kernels(criterion: &mut Criterion) {
    for device in devices() {
        let mut group = criterion.benchmark_group(device.name.clone());
        for bench in benches() {
            let (rows, steps) = (bench.batch.batch_size(), bench.batch.steps());
            let spec = bench.model.layers()[0].spec();
            let name =
                format!("{}/{}-H{}-B{rows}-T{steps}", bench.kernel, spec.cell, spec.hidden_size);
            let (strategy, fuse_output) = (bench.strategy, bench.fuse_output);
            let options = EngineOptions { strategy, fuse_output, ..EngineOptions::default() };
            let (handle, queue) = (device.device.clone(), device.queue.clone());
            let engine =
                Engine::from_device_with(handle, queue, &options).expect("meets the limits");
            let loaded = engine.load(&bench.model).expect("loads");
            let session = match loaded.session(rows, steps, SessionOptions::default()) {
                Ok(session) => session,
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    eprintln!("{name}: n/a ({error})");
                    continue;
                }
                Err(error) => panic!("{name}: {error}"),
            };
            let input = device.upload(&bench.batch);
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
            let output = device.buffer(session.output_bytes(), usage);
            device.submit_and_wait(&session, &input, &output);
            let want = reference::run::<f64>(&bench.model, &bench.batch, &RunOptions::default())
                .expect("runs");
            let got = Tensor::new(want.output.shape(), device.read(&output)).expect("same size");
            assert_eq!(compare("output", &got, &want.output, Tolerance::F32).fault, None, "{name}");
            group.throughput(Throughput::Elements((rows * steps) as u64));
            group.bench_function(name, |b| {
                b.iter(|| device.submit_and_wait(&session, &input, &output))
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = kernels
}
criterion_main!(all);
