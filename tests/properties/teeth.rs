//! Proof that the laws bite: what is broken on purpose must be seen in most of the cases drawn.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use wgpu_rnn::cell::CellFunction;
use wgpu_rnn::model::{DirectionWeights, LayerNorm};
use wgpu_rnn::{
    Batch, Cell, HeadSteps, Layer, LayerSpec, Layout, Model, RunOptions, Tensor, reference,
};

use super::draw::{self, Case};
use super::laws::{self, Answer, Runner, Verdict};

/// Cases that a mistake is tried on.
const CASES: usize = 60;

/// Counts in how many of [`CASES`] cases that fit `applies` the law objects, and asks for `percent`
/// of them.
#[track_caller]
fn assert_bites(
    what: &str,
    percent: usize,
    law: fn(&Runner, &Case, f64) -> Verdict,
    applies: impl Fn(&Case) -> bool,
    broken: impl Fn(&Model, &Batch, &RunOptions) -> Answer + 'static,
) {
    let config = Config { rng_seed: RngSeed::Fixed(2), ..Config::default() };
    let mut draws = TestRunner::new(config);
    let (strategy, runner) = (draw::case(), Runner::broken(what, broken));
    let (mut tried, mut seen) = (0, 0);
    for _ in 0..20_000 {
        let case = strategy.new_tree(&mut draws).expect("a case").current();
        let steps = case.sequences.lengths.iter().filter(|length| **length > 1).count();
        // With one row of two steps a mistake has somewhere to show.
        let shows = steps > 0 && applies(&case);
        let Some(wobble) = shows.then(|| laws::wobble(&case)).flatten() else { continue };
        tried += 1;
        seen += usize::from(law(&runner, &case, wobble).is_err());
        if tried == CASES {
            break;
        }
    }
    assert_eq!(tried, CASES, "{what}: too few cases that it applies to");
    assert!(seen * 100 >= percent * tried, "{what}: seen in {seen} of {tried} cases only");
    println!("{what}: seen in {seen} of {tried} cases");
}

fn oracle(model: &Model, batch: &Batch, options: &RunOptions) -> Answer {
    reference::run::<f64>(model, batch, options).expect("the batch fits")
}

/// Tries the main law on a model whose layers are changed.
#[track_caller]
fn assert_change_is_seen(
    what: &str,
    percent: usize,
    applies: fn(&LayerSpec) -> bool,
    change: fn(&mut LayerSpec, &mut [DirectionWeights]),
) {
    let any = move |case: &Case| case.network.layers.iter().any(applies);
    let changed = move |model: &Model, batch: &Batch, options: &RunOptions| {
        let layers = model.layers().iter().map(|layer| {
            let (mut spec, mut directions) = (layer.spec().clone(), layer.directions().to_vec());
            if applies(&spec) {
                change(&mut spec, &mut directions);
            }
            Layer::new(spec, directions).expect("same shapes")
        });
        let model = Model::new(model.input().clone(), layers.collect(), model.head().cloned());
        oracle(&model.expect("same shapes"), batch, options)
    };
    assert_bites(what, percent, laws::equals_the_oracle, any, changed);
}

fn swap_gates(tensor: &mut Tensor, gates: usize, a: usize, b: usize) {
    let block = tensor.len() / gates;
    for index in 0..block {
        tensor.data_mut().swap(a * block + index, b * block + index);
    }
}

#[test]
fn swapped_gates_are_seen() {
    assert_change_is_seen(
        "two gates swapped",
        85,
        // f is not read with input_forget, and layer normalisation may scale it away.
        |spec| spec.cell.gates() > 1,
        |spec, directions| {
            let gates = spec.cell.gates();
            let (a, b) = (0, gates - 1);
            for weights in directions {
                swap_gates(&mut weights.weight_ih, gates, a, b);
                swap_gates(&mut weights.weight_hh, gates, a, b);
            }
        },
    );
}

#[test]
fn swapped_directions_are_seen() {
    assert_change_is_seen(
        "directions swapped",
        90,
        |spec| spec.direction.count() == 2,
        |_, directions| directions.reverse(),
    );
}

fn drop_peephole(directions: &mut [DirectionWeights], gate: usize) {
    for peephole in directions.iter_mut().filter_map(|weights| weights.peephole.as_mut()) {
        let hidden = peephole.len() / 3;
        peephole.data_mut()[gate * hidden..(gate + 1) * hidden].fill(0.0);
    }
}

#[test]
fn a_dropped_peephole_is_seen() {
    assert_change_is_seen(
        "peepholes dropped",
        85,
        |spec| spec.options.peephole,
        |_, directions| (0..3).for_each(|gate| drop_peephole(directions, gate)),
    );
    assert_change_is_seen(
        "o's peephole dropped",
        75,
        |spec| spec.options.peephole,
        |_, directions| drop_peephole(directions, 2),
    );
}

#[test]
fn a_changed_alpha_is_seen() {
    assert_change_is_seen(
        "every alpha changed",
        70,
        |spec| spec.options.functions.iter().flatten().any(|f| f.parameters()[0].is_some()),
        |spec, _| {
            for function in spec.options.functions.iter_mut().flatten() {
                let [alpha, beta] = function.parameters();
                let alpha = alpha.map(|alpha| alpha + 0.01);
                *function = CellFunction::from_parts(function.name(), alpha, beta).expect("fits");
            }
        },
    );
}

#[test]
fn functions_left_at_the_cells_own_are_seen() {
    assert_change_is_seen(
        "functions not read",
        90,
        |spec| {
            let own = spec.cell.spec().functions;
            spec.options.functions.first().is_some_and(|list| list.as_slice() != own)
        },
        |spec, _| spec.options.functions.clear(),
    );
}

#[test]
fn a_removed_clip_is_seen() {
    assert_change_is_seen(
        "clip removed",
        85,
        |spec| spec.options.clip.is_some_and(|clip| clip < 0.2),
        |spec, _| spec.options.clip = None,
    );
    assert_change_is_seen(
        "cell_clip removed",
        75,
        |spec| spec.options.cell_clip.is_some_and(|[low, high]| high - low < 0.3),
        |spec, _| spec.options.cell_clip = None,
    );
}

#[test]
fn an_uncoupled_forget_gate_is_seen() {
    assert_change_is_seen(
        "input_forget off",
        75,
        |spec| spec.options.input_forget,
        |spec, _| spec.options.input_forget = false,
    );
}

/// Changes every layer normalisation of a layer.
fn norms(directions: &mut [DirectionWeights], change: fn(&mut LayerNorm)) {
    directions.iter_mut().filter_map(|weights| weights.layer_norm.as_mut()).for_each(change);
}

#[test]
fn layer_normalisation_without_scale_or_shift_is_seen() {
    assert_change_is_seen(
        "layer norm shifts dropped",
        85,
        |spec| spec.options.layer_norm.is_some(),
        |_, directions| {
            norms(directions, |norm| {
                norm.ih_bias.data_mut().fill(0.0);
                norm.hh_bias.data_mut().fill(0.0);
            });
        },
    );
    assert_change_is_seen(
        "layer norm of c not scaled",
        75,
        |spec| spec.options.layer_norm.is_some() && spec.cell == Cell::Lstm,
        |_, directions| {
            norms(directions, |norm| {
                norm.c_weight.iter_mut().for_each(|scale| scale.data_mut().fill(1.0));
            });
        },
    );
    assert_change_is_seen(
        "biases under a layer norm dropped",
        85,
        |spec| spec.options.layer_norm.is_some() && spec.bias,
        |_, directions| {
            for weights in directions {
                weights.bias_ih.iter_mut().for_each(|bias| bias.data_mut().fill(0.0));
                weights.bias_hh.iter_mut().for_each(|bias| bias.data_mut().fill(0.0));
            }
        },
    );
}

#[test]
fn the_other_reset_is_seen() {
    assert_change_is_seen(
        "reset before for after",
        80,
        |spec| spec.cell == Cell::Gru && spec.options.layer_norm.is_none(),
        |spec, _| spec.cell = Cell::GruResetBefore,
    );
}

/// Says what a runner that does not read lengths sees.
fn without_lengths(batch: &Batch) -> Batch {
    let full = vec![batch.steps(); batch.batch_size()];
    batch.clone().with_lengths(full).expect("as many as before")
}

fn has_padding(case: &Case) -> bool {
    let (sequences, steps) = (&case.sequences, case.sequences.steps());
    // Bad tokens are refused, not read.
    let dense = case.network.input.vocab().is_none();
    dense && sequences.ragged && sequences.lengths.iter().any(|length| *length < steps)
}

#[test]
fn a_runner_that_reads_padding_is_seen() {
    let reads = |model: &Model, batch: &Batch, options: &RunOptions| {
        oracle(model, &without_lengths(batch), options)
    };
    assert_bites("padding read", 95, laws::ignores_padding, has_padding, reads);
    // A row alone has no padding but what the case adds.
    let ragged = |case: &Case| {
        let lengths = &case.sequences.lengths;
        has_padding(case) && lengths.iter().any(|length| length != &lengths[0])
    };
    assert_bites("padding read", 80, laws::equals_its_rows, ragged, reads);
    assert_bites("padding read", 80, laws::mirrors, has_padding, reads);
}

#[test]
fn a_runner_that_forgets_the_states_is_seen() {
    let forgets = |model: &Model, batch: &Batch, options: &RunOptions| {
        let zeros = wgpu_rnn::States::zeros(model, batch.batch_size());
        oracle(model, &batch.clone().with_initial(zeros), options)
    };
    let forward = |case: &Case| {
        let forward = |spec: &LayerSpec| spec.direction == wgpu_rnn::Direction::Forward;
        let cut =
            usize::try_from(case.sequences.seed).expect("small") % (case.sequences.steps() + 1);
        let runs_on = |length: &usize| *length > cut || !case.sequences.ragged;
        case.network.layers.iter().all(forward)
            && cut > 0
            && cut < case.sequences.steps()
            && case.sequences.lengths.iter().any(runs_on)
    };
    assert_bites("states forgotten", 80, laws::may_be_cut_in_time, forward, forgets);
}

#[test]
fn a_runner_that_mixes_rows_is_seen() {
    let mixes = |model: &Model, batch: &Batch, options: &RunOptions| {
        let mut answer = oracle(model, batch, options);
        // The first row's final states go to every row.
        for h in &mut answer.h {
            let (row, rows) = (h.row(0).to_vec(), h.len() / h.shape()[2].max(1));
            (0..rows).for_each(|at| {
                h.data_mut()[at * row.len()..(at + 1) * row.len()].copy_from_slice(&row);
            });
        }
        answer
    };
    let several = |case: &Case| case.sequences.lengths.len() > 2;
    assert_bites("rows mixed", 80, laws::equals_its_rows, several, mixes);
    assert_bites("rows mixed", 60, laws::permutes_with_its_rows, several, mixes);
}

#[test]
fn a_runner_that_hides_nan_is_seen() {
    let hides = |model: &Model, batch: &Batch, options: &RunOptions| {
        let mut answer = oracle(model, batch, options);
        let hide = |value: &mut f64| *value = if value.is_nan() { 0.0 } else { *value };
        answer.output.data_mut().iter_mut().for_each(hide);
        answer
    };
    let poisoned = |case: &Case| {
        let sequences = &case.sequences;
        let row = usize::try_from(sequences.seed).expect("small") % sequences.lengths.len();
        let final_only = case.network.head.is_some_and(|head| head.steps == HeadSteps::Final);
        sequences.lengths[row] > 0 && !final_only && case.network.layers.len() == 1
    };
    assert_bites("NaN hidden", 95, laws::shows_nan_where_it_belongs, poisoned, hides);
    let leaks = |model: &Model, batch: &Batch, options: &RunOptions| {
        let mut answer = oracle(model, batch, options);
        if answer.output.data().iter().any(|v| v.is_nan()) {
            answer.output.data_mut().fill(f64::NAN);
        }
        answer
    };
    let several = move |case: &Case| poisoned(case) && case.sequences.lengths.len() > 1;
    assert_bites("NaN in every row", 95, laws::shows_nan_where_it_belongs, several, leaks);
}

#[test]
fn a_runner_that_takes_one_layout_for_the_other_is_seen() {
    let confuses = |model: &Model, batch: &Batch, options: &RunOptions| {
        let mut answer = oracle(model, batch, options);
        if batch.layout() == Layout::TimeMajor {
            let width = answer.output.shape().last().copied().unwrap_or(0);
            answer.output.data_mut().rotate_left(width);
        }
        answer
    };
    let applies = |case: &Case| case.sequences.lengths.len() > 1 && case.sequences.steps() > 1;
    assert_bites("layout", 85, laws::is_the_same_in_both_layouts, applies, confuses);
}
