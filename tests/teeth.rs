//! Proof that the checks bite: every mistake made on purpose must be caught by the comparator that
//! the case table uses.

use wgpu_rnn::check::{Case, Tolerance, cases, compare, compare_output};
use wgpu_rnn::model::{DirectionWeights, Layer};
use wgpu_rnn::{Cell, CellFunction, CellOptions, Engine, Model, Output, Tensor, reference};

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"))
}

/// Runs the oracle on the true model and the engine on a changed one: the comparator must object.
#[track_caller]
fn assert_caught(what: &str, case: &Case, change: impl Fn(&mut DirectionWeights)) {
    let want = reference::run::<f64>(&case.model, &case.batch, &case.options).expect("runs");
    let wrong = changed(&case.model, &change);
    let output = run(&wrong, case);
    let difference = compare_output(&output, &want);
    assert!(difference.fault.is_some(), "{what} went unseen in {}", case.name);
    let right = compare_output(&run(&case.model, case), &want);
    assert_eq!(right.fault, None, "the unchanged model must pass");
}

fn run(model: &Model, case: &Case) -> Output {
    let loaded = Engine::cpu().load(model).expect("loads");
    loaded.run_blocking_with(&case.batch, &case.options).expect("runs")
}

fn changed(model: &Model, change: impl Fn(&mut DirectionWeights)) -> Model {
    let layers = model
        .layers()
        .iter()
        .map(|layer| {
            let mut directions = layer.directions().to_vec();
            directions.iter_mut().for_each(&change);
            Layer::new(layer.spec().clone(), directions).expect("same shapes")
        })
        .collect();
    Model::new(model.input().clone(), layers, model.head().cloned()).expect("same shapes")
}

fn swap_rows(tensor: &mut Tensor, a: usize, b: usize, count: usize) {
    let width = tensor.shape().get(1).copied().unwrap_or(1);
    for i in 0..count * width {
        tensor.data_mut().swap(a * width + i, b * width + i);
    }
}

#[test]
fn swapped_gates_are_caught() {
    for name in ["lstm forward full", "gru forward full", "gru-reset-before forward full"] {
        let case = case(name);
        let hidden = case.model.layers()[0].spec().hidden_size;
        let gates = case.model.layers()[0].spec().cell.gates();
        for a in 0..gates {
            for b in a + 1..gates {
                assert_caught(&format!("gates {a} and {b} swapped"), &case, |weights| {
                    swap_rows(&mut weights.weight_ih, a * hidden, b * hidden, hidden);
                    swap_rows(&mut weights.weight_hh, a * hidden, b * hidden, hidden);
                });
            }
        }
    }
}

#[test]
fn dropped_biases_are_caught() {
    for name in ["rnn-tanh forward full", "lstm forward full", "gru forward full"] {
        let case = case(name);
        assert_caught("b_ih dropped", &case, |weights| {
            weights.bias_ih.as_mut().expect("bias").data_mut().fill(0.0);
        });
        assert_caught("b_hh dropped", &case, |weights| {
            weights.bias_hh.as_mut().expect("bias").data_mut().fill(0.0);
        });
    }
}

#[test]
fn biases_added_up_are_caught_in_gru() {
    let case = case("gru forward full");
    assert_caught("b_hh folded into b_ih", &case, |weights| {
        let hidden = weights.bias_hh.take().expect("bias");
        let sum = weights.bias_ih.as_mut().expect("bias");
        sum.data_mut().iter_mut().zip(hidden.data()).for_each(|(a, b)| *a += b);
        weights.bias_hh = Some(Tensor::zeros(hidden.shape()));
    });
}

#[test]
fn transposed_recurrent_weights_are_caught() {
    for name in ["rnn-tanh forward full", "rnn-relu forward full", "lstm forward full"] {
        let case = case(name);
        assert_caught("W_hh transposed gate by gate", &case, |weights| {
            let hidden = weights.weight_hh.shape()[1];
            let old = weights.weight_hh.clone();
            for (index, value) in weights.weight_hh.data_mut().iter_mut().enumerate() {
                let (gate, r, c) =
                    (index / (hidden * hidden), (index / hidden) % hidden, index % hidden);
                *value = old.data()[gate * hidden * hidden + c * hidden + r];
            }
        });
    }
}

#[test]
fn reset_conventions_are_told_apart() {
    let after = case("gru forward full");
    let before = case("gru-reset-before forward full");
    let mut spec = after.model.layers()[0].spec().clone();
    spec.cell = before.model.layers()[0].spec().cell;
    let layer = Layer::new(spec, after.model.layers()[0].directions().to_vec()).expect("fits");
    let other = Model::new(after.model.input().clone(), vec![layer], None).expect("fits");
    let want = reference::run::<f64>(&after.model, &after.batch, &after.options).expect("runs");
    assert!(compare_output(&run(&other, &after), &want).fault.is_some());
}

#[test]
fn spoiled_weights_of_options_are_caught() {
    let peephole = case("lstm peephole");
    for gate in 0..3 {
        assert_caught("one peephole dropped", &peephole, |weights| {
            let values = weights.peephole.as_mut().expect("peepholes");
            let hidden = values.len() / 3;
            values.data_mut()[gate * hidden..][..hidden].fill(0.0);
        });
    }
    let norm = case("lstm layer_norm H=5");
    for place in 0..6 {
        assert_caught("one scale or shift reset", &norm, |weights| {
            let norm = weights.layer_norm.as_mut().expect("a normalisation");
            let tensor = match place {
                0 => Some(&mut norm.ih_weight),
                1 => Some(&mut norm.ih_bias),
                2 => Some(&mut norm.hh_weight),
                3 => Some(&mut norm.hh_bias),
                4 => norm.c_weight.as_mut(),
                _ => norm.c_bias.as_mut(),
            };
            let neutral = if place % 2 == 0 { 1.0 } else { 0.0 };
            tensor.expect("present").data_mut().fill(neutral);
        });
    }
}

/// Every option has a case in which leaving it out, or changing its value, is seen.
#[test]
fn spoiled_options_are_caught() {
    let spoil = |name: &str, spoil: &dyn Fn(&mut CellOptions)| {
        let case = case(name);
        let want = reference::run::<f64>(&case.model, &case.batch, &case.options).expect("runs");
        let layers = case.model.layers().iter().map(|layer| {
            let mut spec = layer.spec().clone();
            spoil(&mut spec.options);
            Layer::new(spec, layer.directions().to_vec()).expect("same shapes")
        });
        let input = case.model.input().clone();
        let wrong = Model::new(input, layers.collect(), case.model.head().cloned()).expect("fits");
        let difference = compare_output(&run(&wrong, &case), &want);
        assert!(difference.fault.is_some(), "{name}: the change went unseen");
    };
    for cell in Cell::ALL {
        spoil(&format!("{cell} clip"), &|o| o.clip = None);
        spoil(&format!("{cell} clip"), &|o| o.clip = Some(0.41));
    }
    spoil("lstm input_forget", &|o| o.input_forget = false);
    spoil("lstm cell_clip", &|o| o.cell_clip = None);
    spoil("lstm cell_clip", &|o| o.cell_clip = Some([-0.15, 0.21]));
    spoil("lstm cell_clip", &|o| o.cell_clip = Some([-0.16, 0.2]));
    spoil("lstm layer_norm H=5", &|o| o.layer_norm = Some(1e-2));
    for cell in [Cell::RnnTanh, Cell::Lstm, Cell::Gru, Cell::GruResetBefore] {
        let places = cell.spec().functions.len();
        for first in ["relu", "sigmoid", "leaky-relu", "scaled-tanh", "elu", "softplus"] {
            let name = format!("{cell} functions from {first}");
            spoil(&name, &|o| o.functions.swap(0, 1));
            for (d, place) in [(0, 0), (1, places - 1)] {
                spoil(&name, &|o| {
                    let function = &mut o.functions[d][place];
                    *function = match *function {
                        CellFunction::Affine { alpha, beta } => {
                            CellFunction::Affine { alpha, beta: beta + 0.125 }
                        }
                        CellFunction::Sigmoid => CellFunction::Softsign,
                        _ => CellFunction::Sigmoid,
                    };
                });
            }
        }
    }
}

#[test]
fn infinities_have_no_tolerance() {
    let want = Tensor::new([1], vec![f64::INFINITY]).expect("one value");
    for (got, passes) in [(f32::INFINITY, true), (f32::NEG_INFINITY, false), (0.0, false)] {
        let got = Tensor::new([1], vec![got]).expect("one value");
        assert_eq!(
            compare("output", &got, &want, Tolerance::F32).fault.is_none(),
            passes,
            "{got:?}"
        );
    }
}

/// Spoils the result itself: the comparator must object to each.
#[test]
fn spoiled_results_are_caught() {
    let case = case("lstm bidirectional ragged, states in");
    let want = reference::run::<f64>(&case.model, &case.batch, &case.options).expect("runs");
    let good = run(&case.model, &case);
    let spoil = |what: &str, spoil: &dyn Fn(&mut Output)| {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(compare_output(&bad, &want).fault.is_some(), "{what} went unseen");
    };
    let width = case.model.output_size();
    spoil("one NaN", &|o| o.output.data_mut()[0] = f32::NAN);
    spoil("one infinity", &|o| o.output.data_mut()[1] = f32::INFINITY);
    spoil("one element not written", &|o| o.output.data_mut()[width - 1] = 0.0);
    spoil("one step late", &|o| o.output.data_mut().rotate_right(width));
    spoil("padding not zero", &|o| *o.output.data_mut().last_mut().expect("some") = 1e-3);
    spoil("h_n missing", &|o| o.states.h.clear());
    spoil("c_n missing", &|o| o.states.c[0] = None);
    spoil("directions of h_n swapped", &|o| {
        let half = o.states.h[0].len() / 2;
        o.states.h[0].data_mut().rotate_left(half);
    });
    spoil("one state a little off", &|o| o.states.h[0].data_mut()[0] += 1e-4);
    assert_eq!(compare_output(&good, &want).fault, None);
}
