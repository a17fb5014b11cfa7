//! Strategies measured against each other, and what runs do with the outcome.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use wgpu_rnn::check::{compare_output, input_value};
use wgpu_rnn::plan::steps_capacity;
use wgpu_rnn::{
    Batch, Cell, Engine, ErrorKind, HeadSpec, Init, InputSpec, LayerSpec, Layout, Model,
    RunOptions, SessionOptions, Strategy, reference,
};

fn model() -> Model {
    Model::builder(InputSpec::Dense { size: 5 })
        .layer(LayerSpec::new(Cell::RnnTanh, 24))
        .head(HeadSpec::new(3))
        .build(Init::PyTorch, 1)
        .expect("valid")
}

#[test]
fn tuning_times_two_strategies_and_runs_use_the_faster() {
    let (rows, steps) = (3, 37);
    let values: Vec<f32> = (0..rows * steps * 5).map(input_value).collect();
    let batch = Batch::dense(values, rows, steps, 5, Layout::BatchFirst).expect("valid");
    // A form of the shaders changes nothing here, and the runner-up may take seconds to compile.
    for (name, engine) in support::quick_gpus().filter(|(name, _)| name.contains("trusted")) {
        let loaded = engine.load(&model()).expect("loads");
        let tuning = loaded.autotune(rows, steps).expect("tunes");
        assert_eq!((tuning.batch, tuning.steps), (rows, steps_capacity(steps)), "{name}");
        assert_eq!(tuning.trials.len(), 2, "{name}: {tuning:?}");
        assert_eq!(tuning.trials[0].0, Strategy::Auto, "{name}");
        assert!(tuning.trials.iter().all(|(_, seconds)| *seconds > 0.0), "{name}: {tuning:?}");
        let least = tuning.trials.iter().map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
        let chosen = tuning.trials.iter().find(|(strategy, _)| *strategy == tuning.strategy);
        assert!(chosen.is_some_and(|(_, seconds)| *seconds <= least), "{name}: {tuning:?}");

        // Whatever won, another shape keeps the planner's choice, and this one takes what it is told.
        loaded.set_tuned(rows, steps, Strategy::StepPerDispatch).expect("takes the network");
        let strategy = |steps: usize| {
            let plan = loaded.plan(rows, steps).expect("plans").expect("on a GPU");
            plan.request.strategy
        };
        assert_eq!(strategy(steps), Strategy::StepPerDispatch, "{name}");
        assert_eq!(strategy(4 * steps), Strategy::Auto, "{name}");
        let session = loaded.session(rows, steps, SessionOptions::default()).expect("fits");
        assert_eq!(session.plan().request.strategy, Strategy::StepPerDispatch, "{name}");
        let want = reference::run::<f64>(&model(), &batch, &RunOptions::default()).expect("runs");
        let got = loaded.run_blocking(&batch).expect("runs");
        assert_eq!(compare_output(&got, &want).fault, None, "{name}");
        let refused = loaded.set_tuned(rows, steps, Strategy::Wavefront).expect_err("one layer");
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{name}");
        assert_eq!(strategy(steps), Strategy::StepPerDispatch, "{name}");

        // A strategy that was asked for stays.
        let asked = engine.with_strategy(Strategy::Resident).load(&model()).expect("loads");
        let tuning = asked.autotune(rows, steps).expect("measures");
        assert_eq!(tuning.strategy, Strategy::Resident, "{name}");
        assert_eq!(tuning.trials.len(), 1, "{name}");
    }
}

#[test]
fn the_cpu_path_and_empty_shapes_are_refused() {
    let loaded = Engine::cpu().load(&model()).expect("loads");
    assert_eq!(loaded.autotune(1, 1).expect_err("no GPU").kind(), ErrorKind::Unsupported);
    for (name, engine) in support::quick_gpus() {
        let loaded = engine.load(&model()).expect("loads");
        for (rows, steps) in [(0, 4), (4, 0)] {
            let error = loaded.autotune(rows, steps).expect_err("empty");
            assert_eq!(error.kind(), ErrorKind::Shape, "{name}");
        }
    }
}
