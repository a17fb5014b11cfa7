//! Applications that own the device: borrowed handles, a caller's encoder, a caller's buffers.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use wgpu_rnn::check::{ATOL, RTOL, cases, compare_output, formula_states, input_value};
use wgpu_rnn::wgpu;
use wgpu_rnn::{
    Activation, Batch, Cell, Engine, EngineOptions, ErrorKind, HeadSpec, Init, InputSpec,
    LayerSpec, Layout, Model, Output, RunOptions, SessionOptions, Strategy, Tensor, reference,
};

struct App {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// A device as a graphics application would open it: our limits merged into its own.
fn apps(limits: impl Fn() -> wgpu::Limits) -> Vec<App> {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::all());
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| v == "1");
    assert!(!(required && adapters.is_empty()), "REQUIRE_GPU=1 and no adapter");
    if adapters.is_empty() {
        println!("skipped (no adapter)");
    }
    adapters
        .into_iter()
        .map(|adapter| {
            let descriptor = wgpu::DeviceDescriptor {
                required_limits: limits(),
                ..wgpu::DeviceDescriptor::default()
            };
            let (device, queue) =
                pollster::block_on(adapter.request_device(&descriptor)).expect("opens");
            App { name: format!("{:?}", adapter.get_info().name), device, queue }
        })
        .collect()
}

impl App {
    fn engine(&self) -> Engine {
        self.engine_with(Strategy::Auto)
    }

    /// An engine on the application's device whose own buffers start as NaN.
    fn engine_with(&self, strategy: Strategy) -> Engine {
        let options = EngineOptions { poison_memory: true, strategy, ..EngineOptions::default() };
        Engine::from_device_with(self.device.clone(), self.queue.clone(), &options)
            .expect("meets the limits")
    }

    fn upload(&self, bytes: &[u8]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer(bytes.len() as u64, usage);
        self.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    fn buffer(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// An output buffer with a guard word behind it, all NaN.
    fn output(&self, bytes: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer(bytes + 16, usage);
        let words = usize::try_from(bytes / 4).expect("small") + 4;
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&vec![f32::NAN; words]));
        buffer
    }

    fn read(&self, buffer: &wgpu::Buffer) -> Vec<f32> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.buffer(buffer.size(), usage);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, Some(buffer.size()));
        self.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |result| result.expect("maps"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("polls");
        let values = bytemuck::cast_slice(&staging.get_mapped_range(..).expect("mapped")).to_vec();
        staging.unmap();
        values
    }
}

#[track_caller]
fn assert_matches(what: &str, got: &[f32], want: &[f64]) {
    assert!(got.len() >= want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let diff = (f64::from(*got) - want).abs();
        assert!(diff <= ATOL + RTOL * want.abs(), "{what}: element {index}: {got} against {want}");
    }
    // The guard words are untouched.
    assert!(got[want.len()..].iter().all(|v| v.is_nan()), "{what}: wrote past the end");
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(input_value).collect()
}

const B: usize = 3;
const T: usize = 6;

#[test]
fn encode_records_into_a_callers_encoder_and_submits_nothing() {
    for app in apps(Engine::required_limits) {
        for (input, layout) in
            [(8, Layout::TimeMajor), (5, Layout::TimeMajor), (8, Layout::BatchFirst)]
        {
            let model = Model::builder(InputSpec::Dense { size: input })
                .layers(2, &LayerSpec::new(Cell::Lstm, 7).bidirectional())
                .head(HeadSpec::new(5).activation(Activation::Softmax))
                .build(Init::PyTorch, 1)
                .expect("valid");
            let engine = app.engine();
            let loaded = engine.load(&model).expect("loads");
            let options = SessionOptions {
                input_layout: layout,
                output_layout: layout,
                ..SessionOptions::default()
            };
            let session = loaded.session(B, T, options).expect("fits");
            let data = values(B * T * input);
            let x = app.upload(bytemuck::cast_slice(&data));
            assert_eq!(session.input_bytes(), x.size());
            let y = app.output(session.output_bytes());
            let mut encoder = app.device.create_command_encoder(&Default::default());
            session.encode(&mut encoder, &x, &y).expect("records");
            // Twice in one frame is allowed: the second overwrites the first with the same.
            session.encode(&mut encoder, &x, &y).expect("records");
            assert_eq!(engine.counters().submits, 0, "encode must not submit");
            app.queue.submit([encoder.finish()]);
            let batch = Batch::dense(data, B, T, input, layout).expect("valid");
            let want = reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
            let what = format!("{} I={input} {layout:?}", app.name);
            assert_matches(&what, &app.read(&y), want.output.data());
        }
    }
}

#[test]
fn lengths_and_states_take_effect_at_the_next_submit() {
    for app in apps(Engine::required_limits) {
        let model = Model::builder(InputSpec::Dense { size: 4 })
            .layer(LayerSpec::new(Cell::Gru, 6).bidirectional())
            .build(Init::PyTorch, 2)
            .expect("valid");
        let engine = app.engine();
        let loaded = engine.load(&model).expect("loads");
        let session = loaded.session(B, T, SessionOptions::default()).expect("fits");
        let data = values(B * T * 4);
        let (x, y) = (app.upload(bytemuck::cast_slice(&data)), app.output(session.output_bytes()));
        let states = formula_states(&model, B);
        // Not sorted: the caller's order is kept.
        let lengths = [2, 6, 0];
        session.set_lengths(&lengths).expect("fits");
        session.set_states(Some(&states)).expect("fits");
        session.submit(&x, &y).expect("submits");
        let batch = Batch::dense(data, B, T, 4, Layout::TimeMajor)
            .and_then(|batch| batch.with_lengths(lengths))
            .expect("valid")
            .with_initial(states);
        let want = reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
        assert_matches(&app.name, &app.read(&y), want.output.data());
    }
}

/// Heads, projections, stacks of cells: a session against the oracle, states included.
#[test]
fn sessions_match_the_oracle_on_the_case_table() {
    for app in apps(wgpu::Limits::default) {
        let mut compared = 0;
        // What a session does beside a run differs by layout and lengths, not by cell: on a software adapter, which
        // compiles for long, every second case will do.
        let every = if app.engine().info().is_software { 2 } else { 1 };
        for case in cases().into_iter().step_by(every) {
            let (rows, steps) = (case.batch.batch_size(), case.batch.steps());
            let is_default = case.options == RunOptions::default();
            if rows == 0 || steps == 0 || !is_default || case.name.contains("H=2100") {
                continue;
            }
            let loaded = app.engine().load(&case.model).expect("loads");
            let layout = case.batch.layout();
            let options = SessionOptions {
                input_layout: layout,
                output_layout: layout,
                ..SessionOptions::default()
            };
            let session = loaded.session(rows, steps, options).expect("fits");
            session
                .set_lengths(&(0..rows).map(|b| case.batch.length(b)).collect::<Vec<_>>())
                .expect("fits");
            session.set_states(case.batch.initial()).expect("fits");
            let (x, y) =
                (app.upload(&input_bytes(&case.batch)), app.output(session.output_bytes()));
            session.submit(&x, &y).expect("submits");
            let want =
                reference::run::<f64>(&case.model, &case.batch, &case.options).expect("runs");
            let states = pollster::block_on(session.read_states()).expect("reads");
            let shape = want.output.shape().to_vec();
            let values = app.read(&y)[..want.output.len()].to_vec();
            let output =
                Output { output: Tensor::new(shape, values).expect("fits"), top: None, states };
            let difference = compare_output(&output, &want);
            assert_eq!(difference.fault, None, "{} {}", app.name, case.name);
            compared += 1;
        }
        assert!(compared > 80, "{compared}");
    }
}

/// The batch's input as a caller's buffer holds it.
fn input_bytes(batch: &Batch) -> Vec<u8> {
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let places = (0..rows * steps).map(|i| match batch.layout() {
        Layout::BatchFirst => (i / steps, i % steps),
        Layout::TimeMajor => (i % rows, i / rows),
    });
    let mut bytes = Vec::new();
    for (b, t) in places {
        match batch.token(b, t) {
            Some(token) => bytes.extend_from_slice(&token.to_le_bytes()),
            None => bytes.extend_from_slice(bytemuck::cast_slice(batch.features(b, t))),
        }
    }
    bytes
}

#[test]
fn carried_states_survive_ragged_frames() {
    for app in apps(Engine::required_limits) {
        let model = Model::builder(InputSpec::Dense { size: 4 })
            .layers(2, &LayerSpec::new(Cell::Lstm, 6).projection(3))
            .build(Init::PyTorch, 8)
            .expect("valid");
        let loaded = app.engine().load(&model).expect("loads");
        let options = SessionOptions { carry_state: true, ..SessionOptions::default() };
        let session = loaded.session(B, T, options).expect("fits");
        let mut states = formula_states(&model, B);
        session.set_states(Some(&states)).expect("fits");
        // A row without steps in a frame keeps its state.
        for (frame, lengths) in [[6, 2, 0], [0, 6, 3], [1, 0, 6]].into_iter().enumerate() {
            let data: Vec<f32> = values((frame + 1) * 100)[frame * 100..][..B * T * 4].to_vec();
            session.set_lengths(&lengths).expect("fits");
            let x = app.upload(bytemuck::cast_slice(&data));
            let y = app.output(session.output_bytes());
            session.submit(&x, &y).expect("submits");
            let batch = Batch::dense(data, B, T, 4, Layout::TimeMajor)
                .and_then(|batch| batch.with_lengths(lengths))
                .expect("valid")
                .with_initial(states);
            let want = reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
            assert_matches(
                &format!("{} frame {frame}", app.name),
                &app.read(&y),
                want.output.data(),
            );
            states = pollster::block_on(session.read_states()).expect("reads");
        }
    }
}

#[test]
fn carried_states_make_frames_a_stream() {
    for app in apps(Engine::required_limits) {
        for cell in Cell::ALL {
            let model = Model::builder(InputSpec::Dense { size: 3 })
                .layers(2, &LayerSpec::new(cell, 6))
                .build(Init::PyTorch, 3)
                .expect("valid");
            // A wavefront keeps the states of its layers in arrays of the stack.
            let is_wave = cell == Cell::Lstm;
            let strategy = if is_wave { Strategy::Wavefront } else { Strategy::Auto };
            let loaded = app.engine_with(strategy).load(&model).expect("loads");
            let options = SessionOptions { carry_state: true, ..SessionOptions::default() };
            let session = loaded.session(1, 1, options).expect("fits");
            let data = values(T * 3);
            let mut got = Vec::new();
            for step in data.chunks(3) {
                let x = app.upload(bytemuck::cast_slice(step));
                let y = app.output(session.output_bytes());
                session.submit(&x, &y).expect("submits");
                got.extend_from_slice(&app.read(&y)[..6]);
            }
            let batch = Batch::dense(data, 1, T, 3, Layout::TimeMajor).expect("valid");
            let want = reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
            assert_matches(&format!("{} {cell}", app.name), &got, want.output.data());
        }
    }
}

#[test]
fn tokens_outside_the_vocabulary_give_nan_not_garbage() {
    for app in apps(Engine::required_limits) {
        for input in [InputSpec::OneHot { vocab: 9 }, InputSpec::Embedding { vocab: 9, size: 5 }] {
            for layout in [Layout::TimeMajor, Layout::BatchFirst] {
                let model = Model::builder(input)
                    .layer(LayerSpec::new(Cell::RnnTanh, 6))
                    .build(Init::PyTorch, 4)
                    .expect("valid");
                let loaded = app.engine().load(&model).expect("loads");
                let options = SessionOptions {
                    input_layout: layout,
                    output_layout: Layout::BatchFirst,
                    ..SessionOptions::default()
                };
                let session = loaded.session(2, 3, options).expect("fits");
                let tokens: [u32; 6] = match layout {
                    Layout::BatchFirst => [1, 8, 3, 2, 9, 0],
                    Layout::TimeMajor => [1, 2, 8, 9, 3, 0],
                };
                let x = app.upload(bytemuck::cast_slice(&tokens));
                let y = app.output(session.output_bytes());
                session.submit(&x, &y).expect("submits");
                let got = app.read(&y);
                let batch = Batch::tokens([1, 8, 3], 1, 3, Layout::BatchFirst).expect("valid");
                let want =
                    reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
                assert_matches(
                    &app.name,
                    &[&got[..18], &[f32::NAN; 4]].concat(),
                    want.output.data(),
                );
                // Row 1: token 2 is fine, token 9 is not, and what follows depends on it.
                assert!(got[18..24].iter().all(|v| v.is_finite()), "{}", app.name);
                assert!(got[24..36].iter().all(|v| v.is_nan()), "{}", app.name);
            }
        }
    }
}

#[test]
fn misuse_is_a_typed_error() {
    for app in apps(Engine::required_limits) {
        let model = Model::builder(InputSpec::Dense { size: 4 })
            .layer(LayerSpec::new(Cell::Gru, 6))
            .build(Init::PyTorch, 2)
            .expect("valid");
        let loaded = app.engine().load(&model).expect("loads");
        let session = loaded.session(B, T, SessionOptions::default()).expect("fits");
        let (x, y) = (app.output(session.input_bytes()), app.output(session.output_bytes()));
        let mut encoder = app.device.create_command_encoder(&Default::default());
        let small = app.buffer(16, wgpu::BufferUsages::STORAGE);
        let error = session.encode(&mut encoder, &small, &y).expect_err("too small");
        assert_eq!(error.to_string(), "input buffer: expected at least 288 bytes, got 16");
        let wrong = app.buffer(1 << 12, wgpu::BufferUsages::COPY_DST);
        let error = session.encode(&mut encoder, &x, &wrong).expect_err("not a storage buffer");
        assert_eq!(error.kind(), ErrorKind::Shape, "{error}");
        assert!(session.set_lengths(&[1, 2]).is_err());
        let error = session.set_lengths(&[1, 2, 7]).expect_err("too long");
        assert_eq!(error.to_string(), "lengths: expected at most T = 6, got 7 in row 2");
        assert!(loaded.session(0, 3, SessionOptions::default()).is_err());
    }
}

#[test]
fn a_lost_device_is_a_typed_error_that_names_the_adapter() {
    for app in apps(Engine::required_limits) {
        let model = Model::builder(InputSpec::Dense { size: 4 })
            .layer(LayerSpec::new(Cell::Gru, 6))
            .build(Init::PyTorch, 2)
            .expect("valid");
        // The application's handler; wgpu's own would end the process.
        app.device.on_uncaptured_error(std::sync::Arc::new(|_| {}));
        let loaded = app.engine().load(&model).expect("loads");
        let batch = Batch::dense(values(B * T * 4), B, T, 4, Layout::BatchFirst).expect("valid");
        loaded.run_blocking(&batch).expect("runs");
        app.device.destroy();
        let error = loaded.run_blocking(&batch).expect_err("the device is gone");
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
        assert!(error.to_string().contains(app.name.trim_matches('"')), "{error}");
        let error = pollster::block_on(loaded.run(&batch)).expect_err("the device is gone");
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    }
}

#[test]
fn a_device_below_the_limits_is_refused_by_name() {
    let low =
        || wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..Engine::required_limits() };
    for app in apps(low) {
        let error = Engine::from_device(app.device, app.queue).expect_err("too few buffers");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("max_storage_buffers_per_shader_stage"), "{error}");
    }
}

/// On a device with small bindings the engine cuts batches and time and still gives the same.
#[test]
fn large_batches_are_cut_to_the_devices_bindings() {
    for app in apps(Engine::required_limits) {
        let engine = app.engine();
        for cell in [Cell::Lstm, Cell::RnnRelu] {
            let model = Model::builder(InputSpec::Dense { size: 16 })
                .layers(2, &LayerSpec::new(cell, 20))
                .head(HeadSpec::new(2).last_step())
                .build(Init::PyTorch, 6)
                .expect("valid");
            let loaded = engine.load(&model).expect("loads");
            // Rows are cut: 1 MiB of x is 16384 rows of 16 features.
            let lengths: Vec<usize> = (0..40).map(|b| 1000 - 20 * b).collect();
            let batch = Batch::dense(values(40 * 1000 * 16), 40, 1000, 16, Layout::BatchFirst)
                .and_then(|batch| batch.with_lengths(lengths))
                .expect("valid");
            compare(&app.name, &loaded, &model, &batch);
            // Time is cut: one row alone exceeds a binding.
            let long = Batch::dense(values(20_000 * 16), 1, 20_000, 16, Layout::BatchFirst)
                .expect("valid");
            compare(&app.name, &loaded, &model, &long);
        }
        let model = Model::builder(InputSpec::Dense { size: 16 })
            .layer(LayerSpec::new(Cell::Gru, 4).bidirectional())
            .build(Init::PyTorch, 6)
            .expect("valid");
        let long =
            Batch::dense(values(20_000 * 16), 1, 20_000, 16, Layout::BatchFirst).expect("valid");
        let error = engine.load(&model).expect("loads").run_blocking(&long).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }
}

/// Several chunks of input gates, in both directions and on both strategies, with a 1 MiB binding.
#[test]
fn chunks_of_gates_join_in_both_directions() {
    for app in apps(Engine::required_limits) {
        for strategy in [Strategy::StepPerDispatch, Strategy::Resident] {
            for cell in [Cell::Lstm, Cell::Gru] {
                let model = Model::builder(InputSpec::Dense { size: 5 })
                    .layers(2, &LayerSpec::new(cell, 19).bidirectional())
                    .build(Init::PyTorch, 7)
                    .expect("valid");
                let loaded = app.engine_with(strategy).load(&model).expect("loads");
                let text = loaded.explain(4, 1000).expect("fits");
                assert!(text.contains(strategy.name()), "{text}");
                let batch = Batch::dense(values(4 * 1000 * 5), 4, 1000, 5, Layout::BatchFirst)
                    .and_then(|batch| batch.with_lengths([600, 1000, 1, 930]))
                    .expect("valid");
                compare(&format!("{} {strategy:?} {cell}", app.name), &loaded, &model, &batch);
            }
        }
    }
}

/// A borrowed device has no subgroups: the loop with weights in registers splits columns over slices.
#[test]
fn weights_in_registers_need_no_subgroups() {
    // Mesa's GL compiles it for half a minute.
    let is_gl = |app: &App| app.device.adapter_info().backend == wgpu::Backend::Gl;
    for app in apps(Engine::required_limits).into_iter().filter(|app| !is_gl(app)) {
        let model = Model::builder(InputSpec::Dense { size: 5 })
            .layer(LayerSpec::new(Cell::Lstm, 50).bidirectional())
            .build(Init::PyTorch, 7)
            .expect("valid");
        let loaded = app.engine_with(Strategy::Stationary).load(&model).expect("loads");
        let plan = loaded.plan(3, 20).expect("fits").expect("on a GPU");
        let shape = plan.choices[0].stationary.expect("stationary");
        assert!(shape.lanes == 1 && shape.slices > 1, "{shape:?}");
        let batch = Batch::dense(values(3 * 20 * 5), 3, 20, 5, Layout::BatchFirst)
            .and_then(|batch| batch.with_lengths([7, 20, 1]))
            .expect("valid");
        compare(&app.name, &loaded, &model, &batch);
    }
}

/// The results of a run go through one buffer; when that is too large the batch is cut.
#[test]
fn results_beyond_one_buffer_cut_the_batch() {
    for app in apps(Engine::required_limits) {
        let model = Model::builder(InputSpec::Dense { size: 4 })
            .layers(2, &LayerSpec::new(Cell::Lstm, 128))
            .build(Init::PyTorch, 7)
            .expect("valid");
        let loaded = app.engine().load(&model).expect("loads");
        let batch = Batch::dense(values(512 * 4), 512, 1, 4, Layout::BatchFirst).expect("valid");
        compare(&app.name, &loaded, &model, &batch);
    }
}

fn compare(name: &str, loaded: &wgpu_rnn::LoadedModel, model: &Model, batch: &Batch) {
    let output = loaded.run_blocking(batch).expect("runs");
    let want = reference::run::<f64>(model, batch, &RunOptions::default()).expect("runs");
    let difference = compare_output(&output, &want);
    assert_eq!(difference.fault, None, "{name}");
}
