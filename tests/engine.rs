//! The engine's promises: one submit, no reallocation, typed errors, defined results for bad input.

mod support;

use wgpu_rnn::check::{compare_output, input_value};
use wgpu_rnn::{
    Batch, Cell, ConstantsSource, DeviceChoice, Engine, EngineOptions, ErrorKind, HeadSpec, Init,
    InputSpec, LayerSpec, Layout, Model, RunOptions, SessionOptions, States, Strategy, Tensor,
    reference,
};

fn lstm(input: usize, hidden: usize) -> Model {
    Model::builder(InputSpec::Dense { size: input })
        .layers(2, &LayerSpec::new(Cell::Lstm, hidden).bidirectional())
        .head(HeadSpec::new(3))
        .build(Init::PyTorch, 1)
        .expect("valid")
}

fn dense(batch: usize, steps: usize, features: usize) -> Batch {
    let values: Vec<f32> = (0..batch * steps * features).map(input_value).collect();
    Batch::dense(values, batch, steps, features, Layout::BatchFirst).expect("valid")
}

#[test]
fn a_thousand_steps_record_one_submit_and_one_readback() {
    for (name, engine) in support::gpus() {
        for strategy in [Strategy::StepPerDispatch, Strategy::Resident, Strategy::Auto] {
            let engine = engine.with_strategy(strategy);
            let loaded = engine.load(&lstm(4, 8)).expect("loads");
            loaded.run_blocking(&dense(2, 1000, 4)).expect("runs");
            let counters = engine.counters();
            assert_eq!((counters.submits, counters.readbacks), (1, 1), "{name} {strategy:?}");
        }
    }
}

/// A watchdog budget so small that every chunk is a submit of its own changes nothing but the count.
#[test]
fn runs_cut_into_submits_give_the_same() {
    for report in pollster::block_on(Engine::adapters()) {
        let options = EngineOptions {
            device: DeviceChoice::Index(report.index),
            flops_per_submit: Some(10_000),
            poison_memory: true,
            ..EngineOptions::default()
        };
        if report.unusable.is_some() {
            continue;
        }
        let engine = pollster::block_on(Engine::with_options(&options)).expect("opens");
        let mut runs = vec![(Strategy::StepPerDispatch, 8), (Strategy::Resident, 8)];
        if report.info.backend != wgpu_rnn::wgpu::Backend::Gl {
            // Wide enough for inputs in textures, where there are any; chunks share a copy of them.
            runs.extend([(Strategy::StepTile, 34), (Strategy::ResidentTile, 34)]);
        }
        for (strategy, hidden) in runs {
            let engine = engine.with_strategy(strategy);
            let model = lstm(4, hidden);
            let loaded = engine.load(&model).expect("loads");
            if let Err(error) = loaded.plan(3, 40) {
                assert!(error.to_string().contains("subgroups"), "{}: {error}", report.info.name);
                continue;
            }
            let batch = dense(3, 40, 4).with_lengths([40, 0, 23]).expect("valid");
            let output = loaded.run_blocking(&batch).expect("runs");
            let want = reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
            let difference = compare_output(&output, &want);
            assert_eq!(difference.fault, None, "{} {strategy:?}", report.info.name);
            let submits = engine.counters().submits;
            assert!(submits > 10, "{submits}");
        }
    }
}

/// What was made on the device: buffers, bind groups, pipelines, workspaces.
fn made(engine: &Engine) -> [u64; 4] {
    let counters = engine.counters();
    [counters.buffers, counters.bind_groups, counters.pipelines, counters.workspaces]
}

#[test]
fn a_second_run_of_the_same_shape_makes_nothing_on_the_device() {
    for (name, engine) in support::gpus() {
        for strategy in [Strategy::Auto, Strategy::StepPerDispatch] {
            let engine = engine.with_strategy(strategy);
            let loaded = engine.load(&lstm(4, 8)).expect("loads");
            let first = loaded.run_blocking(&dense(3, 61, 4)).expect("runs");
            let warm = made(&engine);
            assert!(warm[..2].iter().all(|count| *count > 0) && warm[3] == 1, "{name}: {warm:?}");
            // 61 to 64 steps share one plan, whatever the lengths and where the states come from.
            let ragged = dense(3, 64, 4).with_lengths([0, 64, 17]).expect("valid");
            let carried = dense(3, 63, 4).with_initial(first.states.clone());
            let states = RunOptions { output: false, ..RunOptions::default() };
            for batch in [dense(3, 64, 4), ragged, carried, dense(3, 61, 4)] {
                loaded.run_blocking(&batch).expect("runs");
                pollster::block_on(loaded.run(&batch)).expect("runs");
                loaded.run_blocking_with(&batch, &states).expect("runs");
            }
            let again = loaded.run_blocking(&dense(3, 61, 4)).expect("runs");
            assert_eq!(made(&engine), warm, "{name} {strategy:?}");
            assert_eq!(again, first, "{name} {strategy:?}: what earlier runs left behind shows");
        }
    }
}

#[test]
fn a_session_binds_a_ring_of_buffers_once() {
    for (name, engine) in support::gpus() {
        let engine = engine.with_strategy(Strategy::Auto);
        let loaded = engine.load(&lstm(4, 8)).expect("loads");
        let session = loaded.session(2, 5, SessionOptions::default()).expect("fits");
        let device = engine.device().expect("a GPU");
        let buffer = |size| {
            let usage = wgpu_rnn::wgpu::BufferUsages::STORAGE;
            device.create_buffer(&wgpu_rnn::wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let ring: Vec<_> = (0..3)
            .map(|_| (buffer(session.input_bytes()), buffer(session.output_bytes())))
            .collect();
        let frame = |pair: &(_, _)| session.submit_and_wait(&pair.0, &pair.1).expect("runs");
        ring.iter().for_each(frame);
        let warm = made(&engine);
        ring.iter().chain(&ring).for_each(frame);
        assert_eq!(made(&engine), warm, "{name}");
        frame(&(buffer(session.input_bytes()), buffer(session.output_bytes())));
        assert!(made(&engine)[1] > warm[1], "{name}: other buffers need bind groups of their own");
    }
}

#[test]
fn explain_names_strategy_and_reason() {
    for (name, engine) in support::gpus().iter().filter(|(_, e)| e.info().is_software) {
        let text = engine.load(&lstm(4, 8)).expect("loads").explain(2, 100).expect("fits");
        // The choice with its time, then the others with theirs.
        assert!(text.contains("resident: ") && text.contains("a step predicted; "), "{text}");
        assert!(
            text.contains("dispatches") && text.contains("projection by gemm"),
            "{name}: {text}"
        );
        for strategy in Strategy::ALL.into_iter().filter(|s| *s != Strategy::Auto) {
            assert!(text.contains(strategy.name()), "{name}: {}: {text}", strategy.name());
        }
        let asked = engine.with_strategy(Strategy::StepPerDispatch);
        let text = asked.load(&lstm(4, 8)).expect("loads").explain(2, 100).expect("fits");
        assert!(text.contains("step: asked for, ") && text.contains("; resident "), "{text}");
    }
    let text = Engine::cpu().load(&lstm(4, 8)).expect("loads").explain(2, 100).expect("fits");
    assert!(text.contains("CPU path"), "{text}");
}

/// `rnn calibrate` measures on its own thread; applications with an executor do not.
#[test]
fn constants_measured_off_the_executor_serve_the_planner() {
    let Some((name, engine)) = support::gpus().iter().find(|(name, _)| !name.contains("(gl)"))
    else {
        return;
    };
    assert_eq!(engine.constants_source(), Some(ConstantsSource::Assumed), "{name}");
    let constants = pollster::block_on(engine.calibrate()).expect("measures");
    assert_eq!(constants.fault(), None, "{name}");
    let planned = engine.with_constants(constants).expect("sound constants");
    assert_eq!(planned.constants_source(), Some(ConstantsSource::Calibrated), "{name}");
    let text = planned.load(&lstm(4, 8)).and_then(|loaded| loaded.explain(2, 10)).expect("plans");
    assert!(text.contains("speeds      calibrated: "), "{name}: {text}");
    let refused = pollster::block_on(Engine::cpu().calibrate()).expect_err("nothing to measure");
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
}

#[test]
fn a_missing_adapter_is_named_with_those_that_are_there() {
    let names = ["no such card", ""].map(|name| DeviceChoice::Name(name.into()));
    for device in names.into_iter().chain([DeviceChoice::Index(99)]) {
        let options = EngineOptions { device, ..EngineOptions::default() };
        let error = pollster::block_on(Engine::with_options(&options)).expect_err("none");
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("adapters: "), "{error}");
    }
}

#[test]
fn kernels_that_share_by_subgroups_run_where_the_adapter_has_them() {
    for report in pollster::block_on(Engine::adapters()) {
        let info = &report.info;
        let has = report.features.contains(wgpu_rnn::wgpu::Features::SUBGROUP)
            && info.subgroup_min_size == info.subgroup_max_size;
        if report.unusable.is_some() || !has {
            continue;
        }
        let options = EngineOptions {
            device: DeviceChoice::Index(report.index),
            strategy: Strategy::StepTile,
            ..EngineOptions::default()
        };
        let engine = pollster::block_on(Engine::with_options(&options)).expect("opens");
        let model = Model::builder(InputSpec::Dense { size: 4 })
            .layer(LayerSpec::new(Cell::RnnTanh, 8))
            .build(Init::PyTorch, 1)
            .expect("valid");
        let plan = engine.load(&model).expect("loads").plan(2, 3);
        assert!(plan.is_ok(), "{}: {plan:?}", info.name);
    }
}

#[test]
fn auto_never_takes_a_software_adapter() {
    let engine = pollster::block_on(Engine::new()).expect("always something");
    assert!(!engine.info().is_software);
    if engine.info().is_cpu_path {
        assert!(engine.info().reason.starts_with("no hardware GPU"), "{}", engine.info().reason);
    }
}

#[test]
fn device_choices_parse() {
    let parse = |text: &str| text.parse::<DeviceChoice>().expect("infallible");
    assert_eq!(parse("auto"), DeviceChoice::Auto);
    assert_eq!(parse("CPU"), DeviceChoice::Cpu);
    assert_eq!(parse("gpu"), DeviceChoice::Gpu);
    assert_eq!(parse("1"), DeviceChoice::Index(1));
    assert_eq!(parse("llvmpipe"), DeviceChoice::Name("llvmpipe".into()));
}

/// Everything a caller can get wrong, with the message that it gets.
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn bad_input_is_a_clear_error() {
    let model = lstm(4, 8);
    let tokens = Model::builder(InputSpec::OneHot { vocab: 5 })
        .layer(LayerSpec::new(Cell::Gru, 3))
        .build(Init::PyTorch, 1)
        .expect("valid");
    let loaded = Engine::cpu().load(&model).expect("loads");
    let loaded_tokens = Engine::cpu().load(&tokens).expect("loads");
    let run = |batch: &Batch| loaded.run_blocking(batch).expect_err("refused").to_string();
    let states = |h: usize| States {
        h: vec![Tensor::zeros([2, 2, h]); 2],
        c: vec![Some(Tensor::zeros([2, 2, 8])); 2],
    };
    let table = [
        (run(&dense(2, 3, 5)), "input: expected 4 features per time step, got 5"),
        (
            run(&Batch::tokens([1, 2], 1, 2, Layout::BatchFirst).expect("valid")),
            "input: expected 4 dense features per time step, got token ids",
        ),
        (
            loaded_tokens.run_blocking(&dense(1, 1, 5)).expect_err("refused").to_string(),
            "input: expected token ids below 5, got 5 dense features (this model has one-hot input)",
        ),
        (
            loaded_tokens
                .run_blocking(&Batch::tokens([1, 4, 5], 1, 3, Layout::BatchFirst).expect("valid"))
                .expect_err("refused")
                .to_string(),
            "tokens: expected ids below 5, got 5 in row 0, step 2",
        ),
        (
            run(&dense(2, 3, 4).with_initial(states(7))),
            "h_0 of layer 0: expected [D, B, width] = [2, 2, 8], got [2, 2, 7]",
        ),
        (
            Batch::dense(vec![0.0; 7], 2, 3, 4, Layout::BatchFirst).expect_err("bad").to_string(),
            "input: expected [2, 3, 4] = 24 values, got 7",
        ),
        (
            Batch::dense(vec![], 0, 3, 0, Layout::BatchFirst).expect_err("bad").to_string(),
            "input: expected at least 1 feature, got [0, 3, 0]",
        ),
        (
            dense(2, 3, 4).with_lengths([1, 4]).expect_err("bad").to_string(),
            "lengths: expected at most T = 3, got 4 in row 1",
        ),
        (
            dense(2, 3, 4).with_lengths([1]).expect_err("bad").to_string(),
            "lengths: expected one per sequence = 2, got 1",
        ),
        (
            Batch::ragged(&[vec![0.0; 4], vec![0.0; 5]], 4).expect_err("bad").to_string(),
            "sequence 1: expected a multiple of 4 values, got 5",
        ),
        (
            States::from_stacked(&model, Some(&Tensor::zeros([3, 2, 8])), None)
                .expect_err("bad")
                .to_string(),
            "h_0: expected [L*D, B, width] = [4, 2, 8], got [3, 2, 8]",
        ),
        (
            Model::builder(InputSpec::Dense { size: 0 })
                .layer(LayerSpec::new(Cell::Gru, 3))
                .build(Init::PyTorch, 1)
                .expect_err("bad")
                .to_string(),
            "input size: expected 1 to 16777216, got 0",
        ),
        (
            Model::builder(InputSpec::Dense { size: 1 })
                .layer(LayerSpec::new(Cell::Gru, 3).projection(2))
                .build(Init::PyTorch, 1)
                .expect_err("bad")
                .to_string(),
            "layer 0 proj_size: expected 0 for gru, got 2 (only LSTM has a projection)",
        ),
        (
            Model::new(
                wgpu_rnn::Input::Embedding { table: Tensor::zeros([5]) },
                model.layers().to_vec(),
                None,
            )
            .expect_err("bad")
            .to_string(),
            "embedding weight: expected [V, E], got [5]",
        ),
        (
            loaded.session(1, 1, SessionOptions::default()).expect_err("no").to_string(),
            "session: expected a model on a GPU, got the CPU path (use run)",
        ),
    ];
    for (got, want) in table {
        assert_eq!(got, want);
    }
}

#[test]
fn empty_batches_give_empty_results() {
    for engine in [Engine::cpu()].into_iter().chain(support::gpus().iter().map(|(_, e)| e.clone()))
    {
        let loaded = engine.load(&lstm(4, 8)).expect("loads");
        let output = loaded.run_blocking(&dense(0, 3, 4)).expect("defined");
        assert_eq!(output.output.shape(), [0, 3, 3]);
        assert_eq!(output.states.h[1].shape(), [2, 0, 8]);
        let output = loaded.run_blocking(&dense(2, 0, 4)).expect("defined");
        assert_eq!(output.output.shape(), [2, 0, 3]);
        assert!(output.states.h[0].data().iter().all(|v| v.to_bits() == 0));
    }
}
