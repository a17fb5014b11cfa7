//! The CPU path against the f64 oracle, over every option, and its laws.

#[path = "support/compare.rs"]
mod compare;

use compare::{first_fault, widen};
use rayon::prelude::*;
use wgpu_rnn::{
    Activation, Batch, Cell, Direction, Engine, HeadSpec, Init, InputSpec, Layer, LayerSpec,
    Layout, Model, Output, RunOptions, States, Tensor, ZeroLength, reference,
};

const DIRECTIONS: [Direction; 3] =
    [Direction::Forward, Direction::Reverse, Direction::Bidirectional];

/// A number in [-1, 1) that depends on every bit of `index` and `seed`.
fn noise(seed: usize, index: usize) -> f32 {
    let mut x = u64::try_from(seed * 1_000_003 + index).expect("small") ^ 0x9e37_79b9_7f4a_7c15;
    for _ in 0..3 {
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

fn dense(seed: usize, rows: usize, steps: usize, features: usize, layout: Layout) -> Batch {
    let values: Vec<f32> = (0..rows * steps * features).map(|i| 2.0 * noise(seed, i)).collect();
    Batch::dense(values, rows, steps, features, layout).expect("a batch")
}

/// Lengths from zero to `steps`, both included where there are enough rows, not sorted.
fn ragged(rows: usize, steps: usize) -> Vec<usize> {
    (0..rows).map(|b| (b * 5 + steps) % (steps + 1)).collect()
}

/// Puts NaN wherever the lengths say that nothing is read.
fn poison(batch: &Batch, features: usize, lengths: &[usize]) -> Batch {
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let mut values = vec![f32::NAN; rows * steps * features];
    for (b, &length) in lengths.iter().enumerate() {
        for t in 0..length {
            let at = batch.layout().index(b, t, rows, steps) * features;
            values[at..at + features].copy_from_slice(batch.features(b, t));
        }
    }
    let batch = Batch::dense(values, rows, steps, features, batch.layout()).expect("a batch");
    batch.with_lengths(lengths).expect("lengths")
}

fn random_states(model: &Model, rows: usize, seed: usize) -> States {
    let mut states = States::zeros(model, rows);
    let tensors = states.h.iter_mut().chain(states.c.iter_mut().flatten());
    for (n, tensor) in tensors.enumerate() {
        for (i, value) in tensor.data_mut().iter_mut().enumerate() {
            *value = noise(seed + n, i);
        }
    }
    states
}

fn run(model: &Model, batch: &Batch, options: &RunOptions) -> Output {
    let loaded = Engine::cpu().load(model).expect("loads");
    loaded.run_blocking_with(batch, options).expect("runs")
}

/// Compares a run with the oracle; says what differs.
fn fault(model: &Model, batch: &Batch, options: &RunOptions) -> Option<String> {
    let got = run(model, batch, options);
    let want = reference::run::<f64>(model, batch, options).expect("the oracle runs");
    if got.output.shape() != want.output.shape() {
        return Some(format!("shape {:?}", got.output.shape()));
    }
    let compare = |what: String, got: &Tensor, want: &Tensor<f64>| {
        let fault = first_fault(&widen(got.data()), want.data(), 1e-5, 1e-5)?;
        Some(format!("{what}: {fault}"))
    };
    let mut fault = compare("output".into(), &got.output, &want.output);
    for (l, want) in want.h.iter().enumerate() {
        fault = fault.or_else(|| compare(format!("h of layer {l}"), &got.states.h[l], want));
    }
    for (l, want) in want.c.iter().enumerate() {
        assert_eq!(got.states.c[l].is_some(), want.is_some());
        let Some((got, want)) = got.states.c[l].as_ref().zip(want.as_ref()) else { continue };
        fault = fault.or_else(|| compare(format!("c of layer {l}"), got, want));
    }
    fault
}

/// One row of the table; what is not an axis of the table rotates with `n`.
fn check_case(n: usize, cell: Cell, direction: Direction, sizes: [usize; 5]) -> Option<String> {
    let [layers, rows, steps, hidden, features] = sizes;
    let proj = if cell == Cell::Lstm && n.is_multiple_of(2) { hidden.div_ceil(2) } else { 0 };
    let spec = LayerSpec::new(cell, hidden)
        .direction(direction)
        .bias(!n.is_multiple_of(3))
        .projection(proj);
    let mut builder = Model::builder(InputSpec::Dense { size: features }).layers(layers, &spec);
    let head = HeadSpec { bias: n.is_multiple_of(2), ..HeadSpec::new(1 + n % 7) }
        .activation(Activation::ALL[n % Activation::ALL.len()]);
    match n % 5 {
        0 | 1 => {}
        2 => builder = builder.head(head.last_step()),
        _ => builder = builder.head(head),
    }
    let model = builder.build(Init::PyTorch, 7).expect("a model");
    let layout = if n.is_multiple_of(2) { Layout::BatchFirst } else { Layout::TimeMajor };
    let mut batch = dense(n, rows, steps, features, layout);
    if !n.is_multiple_of(4) {
        batch = poison(&batch, features, &ragged(rows, steps));
    }
    if n % 7 < 3 {
        batch = batch.with_initial(random_states(&model, rows, n));
    }
    let options = RunOptions {
        pad_value: if n.is_multiple_of(2) { 0.0 } else { -3.5 },
        zero_length: if n.is_multiple_of(3) { ZeroLength::Zeros } else { ZeroLength::CarryInitial },
        ..RunOptions::default()
    };
    let fault = fault(&model, &batch, &options)?;
    Some(format!("{cell} {direction:?} L, B, T, H, I = {sizes:?}, variant {n}: {fault}"))
}

#[test]
fn every_network_agrees_with_the_oracle() {
    let mut cases = Vec::new();
    for cell in Cell::ALL {
        for direction in DIRECTIONS {
            for layers in [1, 2] {
                for rows in [1, 3, 17] {
                    for steps in [1, 7] {
                        for hidden in [1, 5, 16, 33] {
                            for features in [1, 6] {
                                let sizes = [layers, rows, steps, hidden, features];
                                cases.push((cases.len(), cell, direction, sizes));
                            }
                        }
                    }
                }
            }
        }
    }
    let faults: Vec<String> = cases
        .into_par_iter()
        // Two variants of each row, so that what rotates does not follow one axis.
        .flat_map(|(n, cell, direction, sizes)| {
            [n, n * 11 + 5].map(|n| check_case(n, cell, direction, sizes))
        })
        .flatten()
        .collect();
    assert!(faults.is_empty(), "{} faults, such as\n{}", faults.len(), faults[0]);
}

#[test]
fn layers_of_different_kinds_agree_with_the_oracle() {
    let model = Model::builder(InputSpec::Dense { size: 4 })
        .layer(LayerSpec::new(Cell::Lstm, 9).projection(3).bidirectional())
        .layer(LayerSpec::new(Cell::GruResetBefore, 6).direction(Direction::Reverse))
        .layer(LayerSpec::new(Cell::RnnRelu, 20).bidirectional())
        .layer(LayerSpec::new(Cell::Gru, 2))
        .head(HeadSpec::new(3).activation(Activation::LogSoftmax))
        .build(Init::Keras, 3)
        .expect("a model");
    let batch = poison(&dense(1, 9, 11, 4, Layout::TimeMajor), 4, &ragged(9, 11))
        .with_initial(random_states(&model, 9, 4));
    assert_eq!(fault(&model, &batch, &RunOptions::default()), None);
}

#[test]
fn long_sequences_cross_chunks_in_both_directions() {
    // 4·176 gate columns: 69 packed rows a chunk, and 13 rows a step.
    let model = Model::builder(InputSpec::Dense { size: 3 })
        .layer(LayerSpec::new(Cell::Lstm, 170).bidirectional())
        .build(Init::PyTorch, 3)
        .expect("a model");
    let lengths: Vec<usize> = (0..13).map(|b| 40 - 3 * b).collect();
    let batch = poison(&dense(1, 13, 40, 3, Layout::BatchFirst), 3, &lengths);
    assert_eq!(fault(&model, &batch, &RunOptions::default()), None);
}

#[test]
fn tokens_agree_with_the_oracle() {
    // The last table is too large to be folded into the input weights.
    let inputs = [
        (InputSpec::Embedding { vocab: 11, size: 3 }, 5),
        (InputSpec::OneHot { vocab: 11 }, 5),
        (InputSpec::Embedding { vocab: 3000, size: 2 }, 100),
    ];
    for (input, hidden) in inputs {
        for cell in Cell::ALL {
            for direction in DIRECTIONS {
                let model = Model::builder(input)
                    .layers(2, &LayerSpec::new(cell, hidden).direction(direction))
                    .build(Init::PyTorch, 3)
                    .expect("a model");
                let vocab = u32::try_from(input.vocab().expect("tokens")).expect("small");
                let tokens: Vec<u32> = (0..20).map(|i| (i * i * 7 + 3) % vocab).collect();
                let batch = Batch::tokens(tokens, 5, 4, Layout::TimeMajor)
                    .and_then(|batch| batch.with_lengths(vec![2, 4, 0, 1, 3]))
                    .expect("a batch");
                let fault = fault(&model, &batch, &RunOptions::default());
                assert_eq!(fault, None, "{input:?} {cell} {direction:?}");
            }
        }
    }
}

#[test]
fn empty_batches_and_empty_sequences_are_legal() {
    for head in [None, Some(HeadSpec::new(2)), Some(HeadSpec::new(2).last_step())] {
        for layout in [Layout::BatchFirst, Layout::TimeMajor] {
            let mut builder = Model::builder(InputSpec::Dense { size: 3 })
                .layers(2, &LayerSpec::new(Cell::Lstm, 4).bidirectional());
            if let Some(head) = head {
                builder = builder.head(head);
            }
            let model = builder.build(Init::PyTorch, 1).expect("a model");
            for (rows, steps) in [(0, 0), (0, 5), (3, 0)] {
                let batch =
                    dense(0, rows, steps, 3, layout).with_initial(random_states(&model, rows, 1));
                assert_eq!(fault(&model, &batch, &RunOptions::default()), None);
            }
        }
    }
}

#[test]
fn what_is_switched_off_is_empty_and_the_rest_is_unchanged() {
    let (model, batch) = network(Cell::Gru);
    let whole = run(&model, &batch, &RunOptions::default());
    let no_output = run(&model, &batch, &RunOptions { output: false, ..RunOptions::default() });
    assert!(no_output.output.is_empty());
    assert_eq!(no_output.states, whole.states);
    let no_states = run(&model, &batch, &RunOptions { states: false, ..RunOptions::default() });
    assert_eq!(no_states.states, States::default());
    assert_eq!(no_states.output, whole.output);
}

/// A bidirectional network of two layers with a ragged batch of 17 rows.
fn network(cell: Cell) -> (Model, Batch) {
    let model = Model::builder(InputSpec::Dense { size: 5 })
        .layers(2, &LayerSpec::new(cell, 37).bidirectional())
        .head(HeadSpec::new(3))
        .build(Init::PyTorch, 21)
        .expect("a model");
    let batch = poison(&dense(8, 17, 9, 5, Layout::BatchFirst), 5, &ragged(17, 9));
    let batch = batch.with_initial(random_states(&model, 17, 5));
    (model, batch)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_batch_is_bit_equal_to_its_rows_alone() {
    for cell in Cell::ALL {
        let (model, batch) = network(cell);
        let whole = run(&model, &batch, &RunOptions::default());
        for b in 0..batch.batch_size() {
            let alone = run(&model, &batch.select(&[b]), &RunOptions::default());
            let start = b * batch.steps() * 3;
            let row = &whole.output.data()[start..start + alone.output.len()];
            assert_eq!(bits(alone.output.data()), bits(row), "{cell} row {b}");
            assert_eq!(alone.states, whole.states.select(&[b]), "{cell} row {b}");
        }
    }
}

#[test]
fn threads_and_repetition_change_no_bit() {
    for cell in Cell::ALL {
        let (model, batch) = network(cell);
        let first = run(&model, &batch, &RunOptions::default());
        for threads in [1, 2, 5] {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let again = pool.install(|| run(&model, &batch, &RunOptions::default()));
            assert_eq!(bits(again.output.data()), bits(first.output.data()), "{threads} threads");
            assert_eq!(again.states, first.states);
        }
    }
}

#[test]
fn a_sequence_is_its_first_part_then_the_rest_from_its_state() {
    for cell in Cell::ALL {
        let model = Model::builder(InputSpec::Dense { size: 2 })
            .layers(2, &LayerSpec::new(cell, 19))
            .build(Init::PyTorch, 2)
            .expect("a model");
        let whole = dense(3, 4, 9, 2, Layout::TimeMajor);
        let part = |steps: std::ops::Range<usize>| {
            let places = steps.clone().flat_map(|t| (0..4).map(move |b| (b, t)));
            let values: Vec<f32> =
                places.flat_map(|(b, t)| whole.features(b, t).to_vec()).collect();
            Batch::dense(values, 4, steps.len(), 2, Layout::TimeMajor).expect("a batch")
        };
        let want = run(&model, &whole, &RunOptions::default());
        let first = run(&model, &part(0..4), &RunOptions::default());
        let rest = part(4..9).with_initial(first.states);
        let rest = run(&model, &rest, &RunOptions::default());
        let joined: Vec<f32> =
            first.output.data().iter().chain(rest.output.data()).copied().collect();
        assert_eq!(bits(&joined), bits(want.output.data()), "{cell}");
        assert_eq!(rest.states, want.states, "{cell}");
    }
}

#[test]
fn nan_in_the_input_is_visible_from_there_on_and_nowhere_else() {
    for cell in Cell::ALL {
        let model = Model::builder(InputSpec::Dense { size: 2 })
            .layer(LayerSpec::new(cell, 19))
            .build(Init::PyTorch, 2)
            .expect("a model");
        for poison in [f32::NAN, f32::INFINITY] {
            let mut values: Vec<f32> = (0..3 * 5 * 2).map(|i| noise(1, i)).collect();
            // Row 1, step 2.
            values[(5 + 2) * 2] = poison;
            let batch = Batch::dense(values, 3, 5, 2, Layout::BatchFirst).expect("a batch");
            let got = run(&model, &batch, &RunOptions::default());
            for b in 0..3 {
                for t in 0..5 {
                    let row = got.output.row(b * 5 + t);
                    let hit = b == 1 && t >= 2;
                    if poison.is_nan() {
                        assert!(row.iter().all(|v| v.is_nan() == hit), "{cell} row {b} step {t}");
                    } else if !hit {
                        assert!(row.iter().all(|v| v.is_finite()), "{cell} row {b} step {t}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_comparison_notices_swapped_gates_a_dropped_bias_and_a_wrong_direction() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::GruResetBefore] {
        let (model, batch) = network(cell);
        let want = reference::run::<f64>(&model, &batch, &RunOptions::default()).expect("runs");
        let mutants: [fn(&Layer) -> Layer; 3] = [swap_gates, drop_bias, swap_directions];
        for (n, mutate) in mutants.into_iter().enumerate() {
            let layers = vec![mutate(&model.layers()[0]), model.layers()[1].clone()];
            let mutant =
                Model::new(model.input().clone(), layers, model.head().cloned()).expect("a model");
            let got = run(&mutant, &batch, &RunOptions::default());
            let fault = first_fault(&widen(got.output.data()), want.output.data(), 1e-5, 1e-5);
            assert!(fault.is_some(), "{cell} mutant {n}");
        }
    }
}

fn swap_gates(layer: &Layer) -> Layer {
    let (mut directions, hidden) = (layer.directions().to_vec(), layer.spec().hidden_size);
    let block = hidden * directions[0].weight_hh.shape()[1];
    let (first, second) = directions[0].weight_hh.data_mut().split_at_mut(block);
    first.swap_with_slice(&mut second[..block]);
    Layer::new(layer.spec().clone(), directions).expect("a layer")
}

fn drop_bias(layer: &Layer) -> Layer {
    let mut directions = layer.directions().to_vec();
    directions[1].bias_hh.as_mut().expect("a bias").data_mut().fill(0.0);
    Layer::new(layer.spec().clone(), directions).expect("a layer")
}

fn swap_directions(layer: &Layer) -> Layer {
    let mut directions = layer.directions().to_vec();
    directions.reverse();
    Layer::new(layer.spec().clone(), directions).expect("a layer")
}
