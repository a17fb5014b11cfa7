//! The case table.

use super::Case;
use crate::batch::{Batch, Layout, RunOptions, States, ZeroLength};
use crate::cell::{Cell, CellFunction, CellOptions};
use crate::error::Result;
use crate::model::{
    Activation, Direction, HeadSpec, HeadSteps, Init, InputSpec, LayerSpec, Model, ModelBuilder,
};
use crate::tensor::Tensor;

/// A formula for inputs: no two neighbours alike, of order one, exact in f32.
#[expect(clippy::cast_precision_loss, reason = "the remainder is below 2^24")]
pub fn input_value(index: usize) -> f32 {
    let mixed = index.wrapping_mul(2_654_435_761) >> 7;
    ((mixed % 2001) as f32 - 1000.0) / 512.0
}

/// Lists every case.
///
/// # Panics
/// Never: the table's own networks are valid, which a test shows.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cell in Cell::ALL {
        cell_cases(cell, &mut cases);
    }
    projection_cases(&mut cases);
    token_cases(&mut cases);
    head_cases(&mut cases);
    top_cases(&mut cases);
    stack_cases(&mut cases);
    option_cases(&mut cases);
    function_cases(&mut cases);
    rule_cases(&mut cases);
    norm_cases(&mut cases);
    equal_stack_cases(&mut cases);
    cases
}

/// The shape of a case's batch.
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    steps: usize,
    layout: Layout,
    lengths: Option<fn(usize, usize) -> usize>,
    initial: bool,
}

const PLAIN: Shape =
    Shape { batch: 5, steps: 7, layout: Layout::BatchFirst, lengths: None, initial: false };

/// Lengths that hit 0, 1, T and what lies between, in no order.
fn ragged(row: usize, steps: usize) -> usize {
    match row % 5 {
        0 => steps / 2,
        1 => steps,
        2 => 0,
        3 => 1.min(steps),
        _ => (row * 7) % (steps + 1),
    }
}

const RAGGED: Shape = Shape { lengths: Some(ragged), initial: true, ..PLAIN };

fn dense(size: usize) -> ModelBuilder {
    Model::builder(InputSpec::Dense { size })
}

fn add(cases: &mut Vec<Case>, name: String, builder: ModelBuilder, shape: Shape) {
    add_with(cases, name, builder, shape, RunOptions::default());
}

fn add_with(
    cases: &mut Vec<Case>,
    name: String,
    builder: ModelBuilder,
    shape: Shape,
    options: RunOptions,
) {
    // A table whose own row is invalid loses that row; a test counts them.
    if let Ok((model, batch)) = make(builder, shape, cases.len()) {
        cases.push(Case { name, model, batch, options });
    }
}

fn make(builder: ModelBuilder, shape: Shape, seed: usize) -> Result<(Model, Batch)> {
    let Shape { batch: rows, steps, layout, .. } = shape;
    let model = with_formula_norms(builder.build(Init::PyTorch, seed as u64 + 1)?)?;
    let input = model.input().spec();
    let mut batch = match input.vocab() {
        Some(vocab) => {
            let tokens: Vec<u32> = (0..rows * steps)
                .map(|i| u32::try_from(i.wrapping_mul(2_654_435_761) % vocab).unwrap_or(0))
                .collect();
            Batch::tokens(tokens, rows, steps, layout)?
        }
        None => {
            let count = rows * steps * input.width();
            let values: Vec<f32> = (0..count).map(input_value).collect();
            Batch::dense(values, rows, steps, input.width(), layout)?
        }
    };
    if let Some(length) = shape.lengths {
        batch = batch.with_lengths((0..rows).map(|row| length(row, steps)).collect::<Vec<_>>())?;
    }
    if shape.initial {
        batch = batch.with_initial(formula_states(&model, rows));
    }
    Ok((model, batch))
}

/// Replaces the scales and shifts of layer normalisations, drawn as ones and zeros, by a formula.
///
/// # Errors
/// Never for a valid model.
pub fn with_formula_norms(model: Model) -> Result<Model> {
    let value = |index: usize, offset: f32| Some(offset + 0.25 * input_value(index));
    let layers = model.layers().iter().enumerate().map(|(l, layer)| {
        let mut directions = layer.directions().to_vec();
        for (d, weights) in directions.iter_mut().enumerate() {
            let Some(norm) = &mut weights.layer_norm else { continue };
            let fill = |tensor: &mut Tensor, place: usize, offset: f32| {
                let start = 7919 * (place + 6 * (d + 2 * l)) + 13;
                let values = (start..).filter_map(|index| value(index, offset));
                tensor.data_mut().iter_mut().zip(values).for_each(|(into, v)| *into = v);
            };
            fill(&mut norm.ih_weight, 0, 1.0);
            fill(&mut norm.ih_bias, 1, 0.0);
            fill(&mut norm.hh_weight, 2, 1.0);
            fill(&mut norm.hh_bias, 3, 0.0);
            norm.c_weight.iter_mut().for_each(|tensor| fill(tensor, 4, 1.0));
            norm.c_bias.iter_mut().for_each(|tensor| fill(tensor, 5, 0.0));
        }
        crate::model::Layer::new(layer.spec().clone(), directions)
    });
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let info = model.info.clone();
    let mut model = Model::new(model.input().clone(), layers, model.head().cloned())?;
    model.info = info;
    Ok(model)
}

/// Initial states by formula.
pub fn formula_states(model: &Model, batch: usize) -> States {
    let mut states = States::zeros(model, batch);
    let tensors = states.h.iter_mut().chain(states.c.iter_mut().flatten());
    for (number, tensor) in tensors.enumerate() {
        for (index, value) in tensor.data_mut().iter_mut().enumerate() {
            *value = 0.5 * input_value(index + 977 * (number + 1));
        }
    }
    states
}

fn cell_cases(cell: Cell, cases: &mut Vec<Case>) {
    let layer = |hidden| LayerSpec::new(cell, hidden);
    let one = Shape { batch: 1, steps: 1, ..PLAIN };
    add(cases, format!("{cell} T=1 B=1 H=1 I=1"), dense(1).layer(layer(1)), one);
    for direction in [Direction::Forward, Direction::Reverse, Direction::Bidirectional] {
        let spec = layer(5).direction(direction);
        let name = direction.name();
        add(cases, format!("{cell} {name} full"), dense(3).layer(spec.clone()), PLAIN);
        add(cases, format!("{cell} {name} ragged, states in"), dense(3).layer(spec), RAGGED);
    }
    let even = Shape { batch: 9, steps: 12, layout: Layout::TimeMajor, ..RAGGED };
    add(
        cases,
        format!("{cell} 2 layers bidirectional, time-major, ragged"),
        dense(8).layers(2, &layer(16).bidirectional()),
        even,
    );
    add(
        cases,
        format!("{cell} 2 layers bidirectional H=13"),
        dense(6).layers(2, &layer(13).bidirectional()),
        RAGGED,
    );
    add(
        cases,
        format!("{cell} without bias"),
        dense(3).layer(layer(6).bias(false).bidirectional()),
        RAGGED,
    );
    // More units than a workgroup has lanes.
    let wide = Shape { batch: 3, steps: 4, ..RAGGED };
    add(cases, format!("{cell} H=300"), dense(10).layer(layer(300)), wide);
    let many = Shape { batch: 70, steps: 9, ..RAGGED };
    add(cases, format!("{cell} B=70 ragged"), dense(4).layer(layer(20).bidirectional()), many);
    let long = Shape { batch: 2, steps: 400, ..RAGGED };
    add(cases, format!("{cell} T=400"), dense(2).layer(layer(8)), long);
}

fn projection_cases(cases: &mut Vec<Case>) {
    let layer = |hidden, proj| LayerSpec::new(Cell::Lstm, hidden).projection(proj);
    add(cases, "lstm projection".into(), dense(3).layer(layer(12, 5)), PLAIN);
    add(
        cases,
        "lstm projection 2 layers bidirectional ragged".into(),
        dense(3).layers(2, &layer(11, 6).bidirectional()),
        RAGGED,
    );
    add(
        cases,
        "lstm projection H=130 P=70 reverse".into(),
        dense(3).layer(layer(130, 70).direction(Direction::Reverse)),
        RAGGED,
    );
}

fn token_cases(cases: &mut Vec<Case>) {
    let inputs = [
        ("embedding", InputSpec::Embedding { vocab: 11, size: 6 }),
        ("one-hot", InputSpec::OneHot { vocab: 11 }),
    ];
    for (name, input) in inputs {
        for cell in [Cell::RnnTanh, Cell::Lstm, Cell::GruResetBefore] {
            let builder = Model::builder(input)
                .layer(LayerSpec::new(cell, 9).bidirectional())
                .head(HeadSpec::new(11).activation(Activation::Softmax));
            add(cases, format!("{cell} {name} softmax"), builder, RAGGED);
        }
    }
}

fn head_cases(cases: &mut Vec<Case>) {
    for activation in Activation::ALL {
        let name = activation.name();
        for (kind, steps) in [
            ("every step", HeadSteps::Every),
            ("last step", HeadSteps::Last),
            ("final states", HeadSteps::Final),
        ] {
            let head = HeadSpec { steps, ..HeadSpec::new(7).activation(activation) };
            let builder = dense(3).layer(LayerSpec::new(Cell::Gru, 6).bidirectional()).head(head);
            add(cases, format!("head {name} {kind}"), builder, RAGGED);
        }
    }
    let wide = HeadSpec::new(301).activation(Activation::LogSoftmax);
    let builder =
        dense(3).layer(LayerSpec::new(Cell::RnnTanh, 6)).head(HeadSpec { bias: false, ..wide });
    let time_major = Shape { layout: Layout::TimeMajor, ..RAGGED };
    add(cases, "head log-softmax O=301 without bias".into(), builder, time_major);
}

/// The largest values of a row: every place of an output layer, every g, few and many columns.
fn top_cases(cases: &mut Vec<Case>) {
    let top = |k| RunOptions { top: Some(k), pad_value: -1.5, ..RunOptions::default() };
    for (activation, steps, k) in [
        (Activation::None, HeadSteps::Every, 1),
        (Activation::Softmax, HeadSteps::Every, 5),
        (Activation::LogSoftmax, HeadSteps::Last, 3),
        (Activation::Sigmoid, HeadSteps::Final, 7),
        (Activation::Tanh, HeadSteps::Last, 2),
        (Activation::Relu, HeadSteps::Every, 4),
    ] {
        let head = HeadSpec { steps, ..HeadSpec::new(7).activation(activation) };
        let builder = dense(3).layer(LayerSpec::new(Cell::Gru, 6).bidirectional()).head(head);
        let name = format!("top {k} of head {} {steps:?}", activation.name());
        add_with(cases, name, builder, RAGGED, top(k));
    }
    let wide = HeadSpec::new(301).activation(Activation::Softmax);
    let builder = dense(3).layer(LayerSpec::new(Cell::RnnTanh, 6)).head(wide);
    let time_major = Shape { layout: Layout::TimeMajor, ..RAGGED };
    add_with(cases, "top 16 of head softmax O=301".into(), builder, time_major, top(16));
}

fn stack_cases(cases: &mut Vec<Case>) {
    let mixed = dense(4)
        .layer(LayerSpec::new(Cell::Lstm, 10).bidirectional())
        .layer(LayerSpec::new(Cell::Gru, 7))
        .layer(LayerSpec::new(Cell::RnnRelu, 5).direction(Direction::Reverse))
        .layer(LayerSpec::new(Cell::GruResetBefore, 6).bidirectional())
        .layer(LayerSpec::new(Cell::Lstm, 9).projection(3));
    add(cases, "stack of five cells and sizes".into(), mixed, RAGGED);
    // More weight in the state than one sequence of it in 16 KiB of workgroup memory.
    let big = dense(2).layer(LayerSpec::new(Cell::RnnTanh, 2100));
    add(cases, "rnn-tanh H=2100".into(), big, Shape { batch: 1, steps: 2, ..PLAIN });
}

/// Stacks that a wavefront takes.
fn equal_stack_cases(cases: &mut Vec<Case>) {
    for cell in [Cell::RnnTanh, Cell::RnnRelu, Cell::Lstm, Cell::Gru] {
        let builder = dense(3).layers(3, &LayerSpec::new(cell, 13));
        add(cases, format!("{cell} 3 equal layers ragged"), builder, RAGGED);
    }
    let reverse = LayerSpec::new(Cell::Lstm, 40).direction(Direction::Reverse);
    let many = Shape { batch: 9, steps: 12, layout: Layout::TimeMajor, ..RAGGED };
    add(cases, "lstm 2 equal layers reverse B=9".into(), dense(5).layers(2, &reverse), many);
    let head = HeadSpec { steps: HeadSteps::Final, ..HeadSpec::new(5) };
    let tokens = Model::builder(InputSpec::Embedding { vocab: 11, size: 6 })
        .layers(2, &LayerSpec::new(Cell::Gru, 9))
        .head(head.activation(Activation::Softmax));
    add(cases, "gru 2 equal layers, tokens, final states".into(), tokens, RAGGED);
    let long = Shape { batch: 2, steps: 150, ..RAGGED };
    let deep = dense(2).layers(5, &LayerSpec::new(Cell::RnnTanh, 8).bias(false));
    add(cases, "rnn-tanh 5 equal layers T=150".into(), deep, long);
}

fn option_cases(cases: &mut Vec<Case>) {
    let builder = || dense(3).layers(2, &LayerSpec::new(Cell::Lstm, 5).bidirectional());
    let zeros = RunOptions { zero_length: ZeroLength::Zeros, ..RunOptions::default() };
    add_with(cases, "zero length gives zero states".into(), builder(), RAGGED, zeros);
    let pad = RunOptions { pad_value: -7.5, ..RunOptions::default() };
    add_with(cases, "pad value".into(), builder(), RAGGED, pad);
    let empty = Shape { batch: 0, ..PLAIN };
    add(cases, "empty batch".into(), builder(), empty);
    let no_steps = Shape { steps: 0, initial: true, ..PLAIN };
    add(cases, "no time steps".into(), builder(), no_steps);
}

/// Every function in every place of every cell, other ones in the reverse direction.
fn function_cases(cases: &mut Vec<Case>) {
    let all = CellFunction::ALL;
    for cell in [Cell::RnnTanh, Cell::Lstm, Cell::Gru, Cell::GruResetBefore] {
        let places = cell.spec().functions.len();
        // Six cases of two directions show the eleven functions in each place.
        for index in 0..all.len().div_ceil(2) {
            let list = |d: usize| -> Vec<CellFunction> {
                (0..places).map(|place| all[(2 * index + 3 * place + d) % all.len()]).collect()
            };
            let mut spec = LayerSpec::new(cell, 6).bidirectional();
            spec.options.functions = vec![list(0), list(1)];
            // Unbounded functions may grow from step to step; few steps keep them of order one.
            let shape = Shape { batch: 4, steps: 4, ..RAGGED };
            let name = all[2 * index].name();
            add(cases, format!("{cell} functions from {name}"), dense(3).layer(spec), shape);
        }
    }
}

/// Clipping, peepholes, coupled gates, cell-state bounds, alone and together.
fn rule_cases(cases: &mut Vec<Case>) {
    let none = CellOptions::default;
    let clip = || CellOptions { clip: Some(0.4), ..none() };
    for cell in Cell::ALL {
        let spec = LayerSpec::new(cell, 7).bidirectional().options(clip());
        add(cases, format!("{cell} clip"), dense(3).layer(spec), RAGGED);
    }
    let lstm = [
        ("peephole", CellOptions { peephole: true, ..none() }),
        ("input_forget", CellOptions { input_forget: true, ..none() }),
        ("cell_clip", CellOptions { cell_clip: Some([-0.15, 0.2]), ..none() }),
        (
            "peephole, input_forget, clip",
            CellOptions { peephole: true, input_forget: true, ..clip() },
        ),
        (
            "peephole, cell_clip, clip",
            CellOptions { peephole: true, cell_clip: Some([-0.3, 0.1]), ..clip() },
        ),
    ];
    for (name, options) in lstm {
        let spec = LayerSpec::new(Cell::Lstm, 9).options(options);
        add(cases, format!("lstm {name}"), dense(3).layer(spec.clone()), RAGGED);
        let stack = dense(3).layers(2, &spec.clone().bidirectional());
        add(cases, format!("lstm {name}, 2 layers bidirectional"), stack, RAGGED);
        let projected = dense(3).layer(spec.projection(5).direction(Direction::Reverse));
        add(cases, format!("lstm {name}, projection, reverse"), projected, RAGGED);
    }
}

/// Layer normalisation inside the cell, with and without what goes along with it.
fn norm_cases(cases: &mut Vec<Case>) {
    let norm = CellOptions { layer_norm: Some(1e-5), ..CellOptions::default() };
    for cell in [Cell::RnnTanh, Cell::RnnRelu, Cell::Lstm, Cell::Gru] {
        for hidden in [1, 5, 16, 70] {
            let spec = LayerSpec::new(cell, hidden).options(norm.clone());
            let builder = dense(3).layers(2, &spec.bidirectional());
            add(cases, format!("{cell} layer_norm H={hidden}"), builder, RAGGED);
        }
        let spec = LayerSpec::new(cell, 300).options(norm.clone()).bias(false);
        let name = format!("{cell} layer_norm H=300 reverse without bias");
        let shape = Shape { batch: 3, steps: 4, ..RAGGED };
        add(cases, name, dense(3).layer(spec.direction(Direction::Reverse)), shape);
        let embedded = Model::builder(InputSpec::Embedding { vocab: 11, size: 6 })
            .layer(LayerSpec::new(cell, 9).options(norm.clone()))
            .head(HeadSpec::new(4).final_states());
        add(cases, format!("{cell} layer_norm on an embedding"), embedded, RAGGED);
        let one_hot = Model::builder(InputSpec::OneHot { vocab: 11 })
            .layer(LayerSpec::new(cell, 9).options(norm.clone()));
        add(cases, format!("{cell} layer_norm on one-hot tokens"), one_hot, RAGGED);
    }
    let all = CellOptions {
        functions: vec![vec![
            CellFunction::HardSigmoid { alpha: 0.25, beta: 0.5 },
            CellFunction::Softsign,
            CellFunction::ScaledTanh { alpha: 1.25, beta: 0.5 },
        ]],
        clip: Some(1.5),
        cell_clip: Some([-0.5, 0.75]),
        peephole: true,
        input_forget: true,
        layer_norm: Some(1e-3),
    };
    let spec = LayerSpec::new(Cell::Lstm, 13).options(all);
    add(cases, "lstm with every option".into(), dense(5).layer(spec), RAGGED);
}
