//! What must hold of any correct engine, whatever the numbers: on every device and strategy.

mod support;

use wgpu_rnn::check::{Case, cases, compare_output, formula_states, input_value};
use wgpu_rnn::{
    Batch, Cell, Direction, HeadSpec, Init, InputSpec, Layer, LayerSpec, Layout, LoadedModel,
    Model, Output, RunOptions, States, reference,
};

const INPUT: usize = 3;

/// Networks that the laws are tried on.
fn models() -> Vec<(String, Model)> {
    let mut models = Vec::new();
    for cell in Cell::ALL {
        let layers = LayerSpec::new(cell, 9).bidirectional();
        let builder = Model::builder(InputSpec::Dense { size: INPUT }).layers(2, &layers);
        models.push((cell.to_string(), builder.build(Init::PyTorch, 5).expect("valid")));
    }
    let projected = LayerSpec::new(Cell::Lstm, 10).projection(6).bidirectional();
    let builder = Model::builder(InputSpec::Dense { size: INPUT })
        .layers(2, &projected)
        .head(HeadSpec::new(4));
    models.push(("lstm projection + head".into(), builder.build(Init::PyTorch, 5).expect("valid")));
    models
}

fn for_each(mut law: impl FnMut(&str, &LoadedModel, &Model)) {
    for (device, engine) in support::engines() {
        for (name, model) in models() {
            let loaded = engine.load(&model).expect("loads");
            law(&format!("{device} / {name}"), &loaded, &model);
        }
    }
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(input_value).collect()
}

const LENGTHS: [usize; 5] = [4, 7, 0, 1, 6];
const STEPS: usize = 7;

fn ragged(model: &Model) -> Batch {
    Batch::dense(values(5 * STEPS * INPUT), 5, STEPS, INPUT, Layout::BatchFirst)
        .and_then(|batch| batch.with_lengths(LENGTHS))
        .expect("a valid batch")
        .with_initial(formula_states(model, 5))
}

fn run(loaded: &LoadedModel, batch: &Batch) -> Output {
    loaded.run_blocking(batch).expect("runs")
}

#[track_caller]
fn assert_close(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        // Written so that NaN fails, and so does an infinity on one side.
        let is_close = b.is_finite() && (a - b).abs() <= 2e-6 + 2e-6 * b.abs();
        assert!(is_close || a.to_bits() == b.to_bits(), "{what}: element {index}: {a} against {b}");
    }
}

#[track_caller]
fn assert_same_output(what: &str, a: &Output, b: &Output) {
    assert_close(&format!("{what}: output"), a.output.data(), b.output.data());
    assert_same_states(what, &a.states, &b.states);
}

#[track_caller]
fn assert_same_states(what: &str, a: &States, b: &States) {
    for (a, b) in a.h.iter().zip(&b.h) {
        assert_close(&format!("{what}: h_n"), a.data(), b.data());
    }
    for (a, b) in a.c.iter().flatten().zip(b.c.iter().flatten()) {
        assert_close(&format!("{what}: c_n"), a.data(), b.data());
    }
}

#[test]
fn a_batch_equals_its_rows_run_alone() {
    for_each(|name, loaded, model| {
        let batch = ragged(model);
        let all = run(loaded, &batch);
        let width = model.output_size();
        for (b, len) in LENGTHS.into_iter().enumerate() {
            let alone = run(loaded, &batch.select(&[b]));
            let row = &all.output.data()[b * STEPS * width..][..len * width];
            assert_close(&format!("{name}: row {b}"), alone.output.data(), row);
            assert_same_states(
                &format!("{name}: row {b}"),
                &alone.states,
                &all.states.select(&[b]),
            );
        }
    });
}

#[test]
fn permuting_sequences_permutes_results() {
    for_each(|name, loaded, model| {
        let batch = ragged(model);
        let order = [3, 0, 4, 2, 1];
        let straight = run(loaded, &batch);
        let permuted = run(loaded, &batch.select(&order));
        let size = STEPS * model.output_size();
        for (at, &b) in order.iter().enumerate() {
            assert_close(
                &format!("{name}: row {b}"),
                &permuted.output.data()[at * size..][..size],
                &straight.output.data()[b * size..][..size],
            );
        }
        assert_same_states(name, &permuted.states, &straight.states.select(&order));
    });
}

#[test]
fn the_same_run_twice_is_bit_equal() {
    for_each(|name, loaded, model| {
        let batch = ragged(model);
        let bits =
            |output: &Output| output.output.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&run(loaded, &batch)), bits(&run(loaded, &batch)), "{name}");
    });
}

#[test]
fn padding_content_is_irrelevant() {
    for_each(|name, loaded, model| {
        let clean = ragged(model);
        let mut dirty = values(5 * STEPS * INPUT);
        for (b, len) in LENGTHS.iter().enumerate() {
            dirty[(b * STEPS + len) * INPUT..(b + 1) * STEPS * INPUT].fill(f32::NAN);
        }
        let dirty = Batch::dense(dirty, 5, STEPS, INPUT, Layout::BatchFirst)
            .and_then(|batch| batch.with_lengths(LENGTHS))
            .expect("valid")
            .with_initial(formula_states(model, 5));
        assert_same_output(name, &run(loaded, &dirty), &run(loaded, &clean));
    });
}

#[test]
fn layouts_hold_the_same_numbers() {
    for_each(|name, loaded, model| {
        let batch_first = ragged(model);
        let mut values = vec![0.0; 5 * STEPS * INPUT];
        for t in 0..STEPS {
            for b in 0..5 {
                values[(t * 5 + b) * INPUT..][..INPUT].copy_from_slice(batch_first.features(b, t));
            }
        }
        let time_major = Batch::dense(values, 5, STEPS, INPUT, Layout::TimeMajor)
            .and_then(|batch| batch.with_lengths(LENGTHS))
            .expect("valid")
            .with_initial(formula_states(model, 5));
        let (a, b) = (run(loaded, &batch_first), run(loaded, &time_major));
        assert_same_states(name, &a.states, &b.states);
        let width = model.output_size();
        assert_eq!(b.output.shape(), [STEPS, 5, width]);
        for t in 0..STEPS {
            for row in 0..5 {
                let what = format!("{name}: row {row}, step {t}");
                assert_close(&what, a.output.row(row * STEPS + t), b.output.row(t * 5 + row));
            }
        }
    });
}

#[test]
fn time_may_be_cut_where_states_are_carried() {
    for (device, engine) in support::engines() {
        for cell in Cell::ALL {
            let model = Model::builder(InputSpec::Dense { size: INPUT })
                .layers(2, &LayerSpec::new(cell, 7))
                .build(Init::PyTorch, 9)
                .expect("valid");
            let loaded = engine.load(&model).expect("loads");
            let all = values(11 * INPUT);
            let piece = |from: usize, to: usize| {
                let part = &all[from * INPUT..to * INPUT];
                Batch::dense(part, 1, to - from, INPUT, Layout::BatchFirst).expect("valid")
            };
            let whole = run(&loaded, &piece(0, 11));
            let first = run(&loaded, &piece(0, 4));
            let second = run(&loaded, &piece(4, 11).with_initial(first.states));
            let joined: Vec<f32> =
                first.output.data().iter().chain(second.output.data()).copied().collect();
            assert_close(&format!("{device} / {cell}"), &joined, whole.output.data());
            assert_same_states(&format!("{device} / {cell}"), &second.states, &whole.states);
        }
    }
}

#[test]
fn reverse_equals_forward_on_reversed_sequences() {
    for (device, engine) in support::engines() {
        for cell in Cell::ALL {
            let spec = LayerSpec::new(cell, 6);
            let build = |direction| {
                Model::builder(InputSpec::Dense { size: INPUT })
                    .layer(spec.clone().direction(direction))
                    .build(Init::PyTorch, 3)
                    .expect("valid")
            };
            let (forward, reverse) = (build(Direction::Forward), build(Direction::Reverse));
            let batch =
                Batch::dense(values(5 * STEPS * INPUT), 5, STEPS, INPUT, Layout::BatchFirst)
                    .and_then(|batch| batch.with_lengths(LENGTHS))
                    .expect("valid");
            let flipped: Vec<Vec<f32>> = (0..5)
                .map(|b| {
                    (0..LENGTHS[b]).rev().flat_map(|t| batch.features(b, t)).copied().collect()
                })
                .collect();
            let flipped = Batch::ragged(&flipped, INPUT).expect("valid");
            let a = run(&engine.load(&reverse).expect("loads"), &batch);
            let b = run(&engine.load(&forward).expect("loads"), &flipped);
            for (row, len) in LENGTHS.into_iter().enumerate() {
                for t in 0..len {
                    let mirrored = len - 1 - t;
                    let what = format!("{device} / {cell}: row {row}, step {t}");
                    let (here, there) = (row * STEPS + t, row * STEPS + mirrored);
                    assert_close(&what, a.output.row(here), b.output.row(there));
                }
            }
            assert_same_states(&format!("{device} / {cell}"), &a.states, &b.states);
        }
    }
}

#[test]
fn a_stack_equals_its_layers_chained() {
    for_each(|name, loaded, model| {
        if model.head().is_some() {
            return;
        }
        let batch = ragged(model);
        let initial = batch.initial().expect("ragged() sets them").clone();
        let whole = run(loaded, &batch);
        let mut input = batch;
        for (index, layer) in model.layers().iter().enumerate() {
            let single = loaded.engine().load(&single_layer(layer)).expect("loads");
            let chained = run(&single, &input.with_initial(layer_states(&initial, index)));
            assert_same_states(name, &chained.states, &layer_states(&whole.states, index));
            if index + 1 == model.layers().len() {
                assert_close(name, chained.output.data(), whole.output.data());
            }
            let width = layer.spec().output_size();
            input = Batch::dense(chained.output.into_data(), 5, STEPS, width, Layout::BatchFirst)
                .and_then(|batch| batch.with_lengths(LENGTHS))
                .expect("valid");
        }
    });
}

#[test]
fn only_what_was_asked_for_comes_back() {
    for_each(|name, loaded, model| {
        let batch = ragged(model);
        let both = run(loaded, &batch);
        let ask = |output, states| {
            let options = RunOptions { output, states, ..RunOptions::default() };
            loaded.run_blocking_with(&batch, &options).expect("runs")
        };
        let output_only = ask(true, false);
        assert_close(name, output_only.output.data(), both.output.data());
        assert!(output_only.states.h.is_empty(), "{name}");
        let states_only = ask(false, true);
        assert!(states_only.output.is_empty(), "{name}");
        assert_same_states(name, &states_only.states, &both.states);
    });
}

#[test]
fn nan_in_one_sequence_stays_visible_and_stays_there() {
    for_each(|name, loaded, model| {
        let mut poisoned = values(5 * STEPS * INPUT);
        poisoned[STEPS * INPUT + 2 * INPUT] = f32::NAN; // row 1, step 2
        let poisoned = Batch::dense(poisoned, 5, STEPS, INPUT, Layout::BatchFirst).expect("valid");
        let output = run(loaded, &poisoned);
        let width = model.output_size();
        for row in 0..5 {
            let values = &output.output.data()[row * STEPS * width..][..STEPS * width];
            let has_nan = values.iter().any(|v| v.is_nan());
            assert_eq!(has_nan, row == 1, "{name}: row {row}");
        }
        // Bidirectional: the step itself is NaN in every unit of the forward part at least.
        let step = output.output.row(STEPS + 2);
        assert!(step.iter().any(|v| v.is_nan()), "{name}");
    });
}

#[test]
fn saturating_inputs_give_finite_results() {
    for_each(|name, loaded, _| {
        let huge: Vec<f32> =
            (0..2 * 5 * INPUT).map(|i| if i % 2 == 0 { 1e20 } else { -1e20 }).collect();
        let batch = Batch::dense(huge, 2, 5, INPUT, Layout::BatchFirst).expect("valid");
        let output = run(loaded, &batch);
        // ReLU passes large values on; every other cell is bounded.
        if !name.contains("relu") {
            assert!(output.output.data().iter().all(|v| v.abs() < 1e3), "{name}");
        }
        assert!(output.output.data().iter().all(|v| !v.is_nan()), "{name}");
    });
}

#[test]
fn infinite_inputs_saturate_as_in_the_oracle() {
    for_each(|name, loaded, model| {
        let mut input = values(5 * STEPS * INPUT);
        for (row, value) in [(0, f32::INFINITY), (2, f32::NEG_INFINITY)] {
            input[(row * STEPS + 3) * INPUT] = value;
        }
        let batch = Batch::dense(input, 5, STEPS, INPUT, Layout::BatchFirst).expect("valid");
        let want = reference::run::<f64>(model, &batch, &RunOptions::default()).expect("runs");
        assert_eq!(compare_output(&run(loaded, &batch), &want).fault, None, "{name}");
    });
}

#[test]
fn asynchronous_and_blocking_runs_agree_and_overlap() {
    for_each(|name, loaded, model| {
        let batch = ragged(model);
        let blocking = run(loaded, &batch);
        let both = futures::future::join(loaded.run(&batch), loaded.run(&batch));
        let (a, b) = pollster::block_on(both);
        assert_same_output(name, &a.expect("runs"), &blocking);
        assert_same_output(name, &b.expect("runs"), &blocking);
    });
}

#[test]
fn one_loaded_model_serves_many_threads() {
    for (device, engine) in support::engines() {
        let cases: Vec<Case> =
            cases().into_iter().filter(|case| case.name.contains("B=70")).collect();
        for case in cases {
            let loaded = engine.load(&case.model).expect("loads");
            let alone = run(&loaded, &case.batch);
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..3).map(|_| scope.spawn(|| run(&loaded, &case.batch))).collect();
                for thread in threads {
                    let output = thread.join().expect("no panic");
                    assert_same_output(&format!("{device} / {}", case.name), &output, &alone);
                }
            });
        }
    }
}

fn single_layer(layer: &Layer) -> Model {
    let input = wgpu_rnn::Input::Dense { size: layer.spec().input_size };
    Model::new(input, vec![layer.clone()], None).expect("valid")
}

fn layer_states(states: &States, index: usize) -> States {
    States { h: vec![states.h[index].clone()], c: vec![states.c[index].clone()] }
}
