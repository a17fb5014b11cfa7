//! Weights and states stored as f16, against the f64 oracle on weights rounded the same way.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use wgpu_rnn::cell::CellOptions;
use wgpu_rnn::check::{formula_states, input_value};
use wgpu_rnn::model::{DirectionWeights, Head, Layer};
use wgpu_rnn::{
    Batch, Cell, Engine, ErrorKind, HeadSpec, Init, InputSpec, LayerSpec, Layout, Model, Precision,
    RunOptions, Strategy, Tensor, reference,
};

/// States carry 11 significant bits, and what one step rounds the next ones see; a normalisation divides
/// differences by the spread of a row.
fn tolerance(model: &Model) -> f64 {
    let is_normal = |layer: &Layer| layer.spec().options.layer_norm.is_some();
    if model.layers().iter().any(is_normal) { 2e-2 } else { 2e-3 }
}

fn half(tensor: &Tensor) -> Tensor {
    Tensor::from_fn(tensor.shape(), |i| half::f16::from_f32(tensor.data()[i]).to_f32())
}

/// The network whose matrices are what the device stores.
fn rounded(model: &Model) -> Model {
    let layers = model.layers().iter().map(|layer| {
        let directions = layer.directions().iter().map(|w| DirectionWeights {
            weight_ih: half(&w.weight_ih),
            weight_hh: half(&w.weight_hh),
            weight_hr: w.weight_hr.as_ref().map(half),
            ..w.clone()
        });
        Layer::new(layer.spec().clone(), directions.collect()).expect("same shapes")
    });
    let head = model.head().map(|head| Head { weight: half(&head.weight), ..head.clone() });
    Model::new(model.input().clone(), layers.collect(), head).expect("same shapes")
}

fn batch(rows: usize, steps: usize, width: usize, model: &Model) -> Batch {
    let values: Vec<f32> = (0..rows * steps * width).map(input_value).collect();
    let batch = Batch::dense(values, rows, steps, width, Layout::BatchFirst).expect("valid");
    let lengths: Vec<usize> = (0..rows).map(|row| steps - row % 3).collect();
    batch.with_lengths(lengths).expect("valid").with_initial(formula_states(model, rows))
}

fn furthest<'a>(
    got: impl IntoIterator<Item = &'a f32>,
    want: impl IntoIterator<Item = &'a f64>,
) -> f64 {
    let differences = got.into_iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs());
    // NaN is kept: it is no difference that passes.
    differences.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}

/// Networks, and the drivers that take them.
fn networks() -> Vec<(Model, Vec<Strategy>)> {
    let direct = vec![Strategy::StepPerDispatch, Strategy::Resident];
    let every: Vec<Strategy> = Strategy::DRIVERS.into();
    let step = vec![Strategy::StepPerDispatch];
    let dense = || Model::builder(InputSpec::Dense { size: 5 });
    let head = || HeadSpec::new(7);
    let clipped = CellOptions { clip: Some(0.75), ..CellOptions::default() };
    let normal = CellOptions { layer_norm: Some(1e-5), ..CellOptions::default() };
    let layer = |cell| LayerSpec::new(cell, 18);
    let lstm = || layer(Cell::Lstm);
    [
        (dense().layers(2, &layer(Cell::RnnTanh)).head(head()), direct.clone()),
        (dense().layers(2, &lstm()).head(head()), every),
        (dense().layer(layer(Cell::Gru).bidirectional()), direct.clone()),
        (dense().layer(LayerSpec { options: clipped, ..lstm() }.bidirectional()), direct),
        (dense().layer(layer(Cell::GruResetBefore)), step.clone()),
        (dense().layer(lstm().projection(6)), step.clone()),
        (dense().layer(LayerSpec { options: normal, ..lstm() }), step),
    ]
    .into_iter()
    .map(|(builder, drivers)| (builder.build(Init::PyTorch, 7).expect("valid"), drivers))
    .collect()
}

#[test]
fn every_driver_matches_the_oracle_on_rounded_weights() {
    for (name, engine) in support::quick_gpus() {
        for (model, drivers) in networks() {
            let batch = batch(5, 12, 5, &model);
            let options = RunOptions::default();
            let want = reference::run::<f64>(&rounded(&model), &batch, &options).expect("runs");
            let exact = reference::run::<f64>(&model, &batch, &options).expect("runs");
            for strategy in drivers {
                // Software adapters compile long shaders for seconds.
                if !strategy.compiles_fast() && (name.contains("(gl)") || name.contains("checked"))
                {
                    continue;
                }
                let engine = engine.with_strategy(strategy).with_precision(Precision::F16);
                let loaded = engine.load(&model).expect("loads");
                let got = match loaded.run_blocking(&batch) {
                    Ok(output) => output,
                    Err(error) if error.kind() == ErrorKind::Unsupported => {
                        assert!(!strategy.compiles_fast(), "{name} {strategy:?}: {error}");
                        continue;
                    }
                    Err(error) => panic!("{name} {strategy:?}: {error}"),
                };
                let what = format!("{name} {strategy:?} {}", model.layers()[0].spec().cell);
                let off = furthest(got.output.data(), want.output.data());
                assert!(off < tolerance(&model), "{what}: {off:e}");
                for (h, want) in got.states.h.iter().zip(&want.h) {
                    let off = furthest(h.data(), want.data());
                    assert!(off < tolerance(&model), "{what}: h_n {off:e}");
                    // Stored as f16, so of its values.
                    let stored =
                        |v: &f32| half::f16::from_f32(*v).to_f32().to_bits() == v.to_bits();
                    assert!(h.data().iter().all(stored), "{what}: h_n is no f16");
                }
                // f16 is in use: f32 comes far closer to the network as it was given.
                let error = furthest(got.output.data(), exact.output.data());
                assert!(error > 1e-5, "{what}: {error:e} is what f32 gives");
            }
        }
    }
}

#[test]
fn states_beyond_f16_become_infinite_and_nan_stays() {
    let model = Model::builder(InputSpec::Dense { size: 2 })
        .layer(LayerSpec::new(Cell::RnnRelu, 4))
        .build(Init::PyTorch, 1)
        .expect("valid");
    let spec = model.layers()[0].spec().clone();
    let weights = DirectionWeights {
        // Unit 0 doubles itself, unit 1 takes the input.
        weight_ih: Tensor::new([4, 2], vec![0., 0., 1., 0., 0., 0., 0., 1.]).expect("shape"),
        weight_hh: Tensor::from_fn(&[4, 4], |i| if i == 0 { 2.0 } else { 0.0 }),
        bias_ih: Some(Tensor::zeros([4])),
        bias_hh: Some(Tensor::zeros([4])),
        ..DirectionWeights::default()
    };
    let layer = Layer::new(spec, vec![weights]).expect("valid");
    let model = Model::new(model.input().clone(), vec![layer], None).expect("valid");
    let mut states = formula_states(&model, 1);
    states.h[0].data_mut().copy_from_slice(&[1.0, 0.0, 0.0, 0.0]);
    let batch = |nan: Option<usize>| {
        let mut values = vec![0.0f32; 20 * 2];
        nan.into_iter().for_each(|place| values[place] = f32::NAN);
        let batch = Batch::dense(values, 1, 20, 2, Layout::BatchFirst).expect("valid");
        batch.with_initial(states.clone())
    };
    for (name, engine) in support::quick_gpus() {
        for strategy in [Strategy::StepPerDispatch, Strategy::Resident] {
            let engine = engine.with_strategy(strategy).with_precision(Precision::F16);
            let loaded = engine.load(&model).expect("loads");
            let at = |batch: &Batch, step: usize| {
                loaded.run_blocking(batch).expect("runs").output.data()[step * 4]
            };
            let largest = at(&batch(None), 14);
            assert!((largest - 32768.0).abs() < 1e-3, "{name}: {largest}");
            // 2^16 is beyond f16.
            let beyond = at(&batch(None), 15);
            assert!(beyond.is_infinite() && beyond > 0.0, "{name}: {beyond}");
            assert!(at(&batch(Some(3)), 1).is_nan(), "{name} {strategy:?}");
        }
    }
}

#[test]
fn weights_beyond_f16_and_the_cpu_path_are_refused() {
    let model = Model::builder(InputSpec::Dense { size: 1 })
        .layer(LayerSpec::new(Cell::RnnTanh, 1))
        .build(Init::PyTorch, 1)
        .expect("valid");
    let error = Engine::cpu().with_precision(Precision::F16).load(&model).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("expected f32 on the CPU path"), "{error}");
    let layer = &model.layers()[0];
    let mut weights = layer.directions()[0].clone();
    weights.weight_ih.data_mut()[0] = 7e4;
    let layer = Layer::new(layer.spec().clone(), vec![weights]).expect("valid");
    let model = Model::new(model.input().clone(), vec![layer], None).expect("valid");
    for (name, engine) in support::quick_gpus() {
        assert!(engine.load(&model).is_ok(), "{name}");
        let error = engine.with_precision(Precision::F16).load(&model).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::Weights, "{name}");
        assert!(error.to_string().contains("65504"), "{name}: {error}");
    }
}
