//! Streams: what a run gives, in order, a bounded number at a time, with typed errors.

mod support;

use std::future::Future as _;
use std::task::{Context, Poll, Waker};

use wgpu_rnn::check::input_value;
use wgpu_rnn::{
    Batch, Cell, Engine, ErrorKind, HeadSpec, Init, InputSpec, LayerSpec, Layout, LoadedModel,
    Model, Output, RunOptions, Strategy, Stream, StreamOptions, wgpu,
};

fn model() -> Model {
    Model::builder(InputSpec::Dense { size: 5 })
        .layer(LayerSpec::new(Cell::Lstm, 7).bidirectional())
        .layer(LayerSpec::new(Cell::Gru, 6))
        .head(HeadSpec::new(3))
        .build(Init::PyTorch, 1)
        .expect("valid")
}

/// Batch number `n`: every one has other values, and in turn other shapes, lengths and states.
fn batch(loaded: &LoadedModel, n: usize) -> Batch {
    let (rows, steps) = ([3, 3, 2, 3][n % 4], [9, 10, 6, 10][n % 4]);
    let values: Vec<f32> = (0..rows * steps * 5).map(|i| input_value(i + 1000 * n)).collect();
    let batch = Batch::dense(values, rows, steps, 5, Layout::BatchFirst).expect("valid");
    match n % 4 {
        1 => batch.with_lengths([10, 0, 4]).expect("valid"),
        3 => {
            let states = loaded.run_blocking(&batch).expect("runs").states;
            batch.with_initial(states)
        }
        _ => batch,
    }
}

fn runs(loaded: &LoadedModel, count: usize) -> (Vec<Batch>, Vec<Output>) {
    let batches: Vec<Batch> = (0..count).map(|n| batch(loaded, n)).collect();
    let outputs = batches.iter().map(|b| loaded.run_blocking(b).expect("runs")).collect();
    (batches, outputs)
}

fn open(loaded: &LoadedModel, depth: usize) -> Stream {
    loaded.stream(StreamOptions { depth, ..StreamOptions::default() }).expect("opens")
}

#[test]
fn a_stream_gives_what_runs_give_in_order() {
    for (name, engine) in support::engines() {
        let loaded = engine.load(&model()).expect("loads");
        let (batches, want) = runs(&loaded, 9);
        for depth in [1, 2, 3, 16] {
            let mut stream = open(&loaded, depth);
            let mut got = Vec::new();
            for (n, batch) in batches.iter().enumerate() {
                let output = stream.push_blocking(batch).expect("runs");
                assert_eq!(output.is_some(), n >= depth, "{name}, depth {depth}, batch {n}");
                assert!(stream.in_flight() <= depth, "{name}, depth {depth}");
                got.extend(output);
            }
            got.extend(stream.finish_blocking().expect("runs"));
            assert_eq!(got, want, "{name}, depth {depth}");
        }
    }
}

#[test]
fn an_async_stream_gives_the_same() {
    for (name, engine) in support::engines() {
        let loaded = engine.load(&model()).expect("loads");
        let (batches, want) = runs(&loaded, 5);
        let got: wgpu_rnn::Result<Vec<Output>> = pollster::block_on(async {
            let mut stream = open(&loaded, 2);
            let mut got = Vec::new();
            for batch in &batches {
                got.extend(stream.push(batch).await?);
            }
            got.extend(stream.pop().await?);
            got.extend(stream.finish().await?);
            Ok(got)
        });
        assert_eq!(got.expect("runs"), want, "{name}");
    }
}

/// A future that is dropped while it waits for the device loses neither batches nor results.
#[test]
fn a_dropped_push_loses_nothing() {
    for (name, engine) in support::quick_gpus() {
        let loaded = engine.load(&model()).expect("loads");
        let (batches, want) = runs(&loaded, 5);
        let mut stream = open(&loaded, 1);
        let mut got = Vec::new();
        for batch in &batches {
            let once = {
                let mut push = std::pin::pin!(stream.push(batch));
                push.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            };
            // A push that was not done has submitted nothing, and is made again.
            got.extend(match once {
                Poll::Ready(output) => output.expect("runs"),
                Poll::Pending => stream.push_blocking(batch).expect("runs"),
            });
        }
        got.extend(stream.finish_blocking().expect("runs"));
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn a_refused_batch_leaves_the_others_in_the_stream() {
    for (name, engine) in support::engines() {
        let loaded = engine.load(&model()).expect("loads");
        let (batches, want) = runs(&loaded, 3);
        let misfit = Batch::dense(vec![0.0; 8], 1, 2, 4, Layout::BatchFirst).expect("valid");
        let mut stream = open(&loaded, 2);
        let mut got = Vec::new();
        for batch in &batches {
            got.extend(stream.push_blocking(batch).expect("runs"));
            let error = stream.push_blocking(&misfit).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Shape, "{name}: {error}");
        }
        got.extend(stream.finish_blocking().expect("runs"));
        assert_eq!(got, want, "{name}");
    }
    let loaded = Engine::cpu().load(&model()).expect("loads");
    for depth in [0, 17] {
        let options = StreamOptions { depth, ..StreamOptions::default() };
        let error = loaded.stream(options).expect_err("refused");
        let want = format!("stream: expected a depth of 1 to 16, got {depth}");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Limit, want));
    }
}

#[test]
fn a_warm_stream_makes_nothing_on_the_device() {
    for (name, engine) in support::quick_gpus() {
        let engine = engine.with_strategy(Strategy::Auto);
        let loaded = engine.load(&model()).expect("loads");
        // One shape, with lengths and with states.
        let batches = [batch(&loaded, 1), batch(&loaded, 3)];
        let pass = |depth: usize| {
            let mut stream = open(&loaded, depth);
            for batch in batches.iter().cycle().take(12) {
                stream.push_blocking(batch).expect("runs");
            }
            stream.finish_blocking().expect("runs");
            let counters = engine.counters();
            [counters.buffers, counters.bind_groups, counters.pipelines, counters.workspaces]
        };
        for depth in [3, 6] {
            let warm = pass(depth);
            assert_eq!(warm[3], depth as u64, "{name}: a workspace for each place of the ring");
            assert_eq!(pass(depth), warm, "{name}, depth {depth}");
        }
    }
}

#[test]
fn options_of_a_run_hold_in_a_stream() {
    for (name, engine) in support::engines() {
        let loaded = engine.load(&model()).expect("loads");
        let run = RunOptions { states: false, pad_value: -2.0, ..RunOptions::default() };
        let ragged = batch(&loaded, 1);
        let want = loaded.run_blocking_with(&ragged, &run).expect("runs");
        let options = StreamOptions { run, ..StreamOptions::default() };
        let mut stream = loaded.stream(options).expect("opens");
        stream.push_blocking(&ragged).expect("runs");
        let empty = Batch::dense(vec![], 0, 3, 5, Layout::BatchFirst).expect("valid");
        stream.push_blocking(&empty).expect("defined");
        let got = stream.finish_blocking().expect("runs");
        assert_eq!(got[0], want, "{name}");
        assert!(got[0].output.data().contains(&-2.0), "{name}");
        assert_eq!(got[1].output.shape(), [0, 3, 3], "{name}");
    }
}

#[test]
fn a_timed_stream_tells_the_time_of_the_device() {
    for (name, engine) in support::quick_gpus() {
        let device = engine.device().expect("a GPU");
        let has_clock = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let loaded = engine.load(&model()).expect("loads");
        let (batches, want) = runs(&loaded, 6);
        let started = std::time::Instant::now();
        let options = StreamOptions { timed: true, ..StreamOptions::default() };
        let mut stream = loaded.stream(options).expect("opens");
        let mut got = Vec::new();
        for batch in &batches {
            got.extend(stream.push_blocking(batch).expect("runs"));
        }
        while let Some(output) = stream.pop_blocking().expect("runs") {
            got.push(output);
        }
        let wall = started.elapsed();
        assert_eq!(got, want, "{name}: time stamps change results");
        let time = stream.device_time();
        assert_eq!(time.is_some(), has_clock, "{name}");
        assert!(time.is_none_or(|t| !t.is_zero() && t <= wall), "{name}: {time:?} of {wall:?}");
        assert_eq!(open(&loaded, 2).device_time(), None, "{name}: not asked");
    }
}

/// Batches beyond a small device's bindings go in parts, between batches that fit.
#[test]
fn batches_in_parts_keep_their_place() {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::all());
    for adapter in pollster::block_on(instance.enumerate_adapters(backends)) {
        let descriptor = wgpu::DeviceDescriptor {
            required_limits: Engine::required_limits(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).expect("opens");
        let engine = Engine::from_device(device, queue).expect("meets the limits");
        let spec = LayerSpec::new(Cell::RnnTanh, 4);
        let model = Model::builder(InputSpec::Dense { size: 4 }).layer(spec);
        let loaded = engine.load(&model.build(Init::PyTorch, 1).expect("valid")).expect("loads");
        let of = |rows: usize, seed: usize| {
            let values: Vec<f32> = (0..rows * 40 * 4).map(|i| input_value(i + seed)).collect();
            Batch::dense(values, rows, 40, 4, Layout::TimeMajor).expect("valid")
        };
        // 2000 · 40 rows of four values are 1.28 MB, bindings of this device 1 MiB.
        let batches = [of(3, 0), of(2000, 7), of(3, 5)];
        let want: Vec<Output> =
            batches.iter().map(|batch| loaded.run_blocking(batch).expect("runs")).collect();
        assert!(engine.counters().submits > 3, "{:?}", engine.counters());
        let options = StreamOptions { timed: true, ..StreamOptions::default() };
        let mut stream = loaded.stream(options).expect("opens");
        let mut got = Vec::new();
        for batch in &batches {
            got.extend(stream.push_blocking(batch).expect("runs"));
        }
        assert_eq!(stream.device_time(), None, "parts are not timed");
        got.extend(stream.finish_blocking().expect("runs"));
        assert_eq!(got, want, "{}", engine.info().name);
    }
}
