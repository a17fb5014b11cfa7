//! The cases of training: networks, batches with lengths and states, losses with targets.

use wgpu_rnn::check::input_value;
use wgpu_rnn::train::{CrossEntropy, Loss, Targets};
use wgpu_rnn::{
    Activation, Batch, Cell, CellOptions, Direction, HeadSpec, HeadSteps, Init, InputSpec,
    LayerSpec, Layout, Model, States, Tensor,
};

/// One case: a network, a batch with lengths and states, a loss with targets.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) batch: Batch,
    pub(crate) loss: Loss,
    pub(crate) targets: Targets,
}

pub(crate) fn dense(rows: usize, steps: usize, inputs: usize, layout: Layout) -> Batch {
    let values: Vec<f32> = (0..rows * steps * inputs).map(input_value).collect();
    Batch::dense(values, rows, steps, inputs, layout).expect("valid")
}

fn with_states(model: &Model, batch: Batch) -> Batch {
    let mut states = States::zeros(model, batch.batch_size());
    for tensor in states.h.iter_mut().chain(states.c.iter_mut().flatten()) {
        let values = tensor.data_mut().iter_mut().enumerate();
        values.for_each(|(i, value)| *value = input_value(i + 11));
    }
    batch.with_initial(states)
}

/// Lengths around the longest, one of them 0.
pub(crate) fn lengths(rows: usize, steps: usize) -> Vec<usize> {
    (0..rows).map(|row| [steps, 0, 1, steps - 1, steps / 2][row % 5]).collect()
}

pub(crate) fn classes(shape: &[usize], count: usize) -> Targets {
    let class = |i: usize| i64::try_from(i * 7 % count).expect("small");
    Targets::Classes(Tensor::from_fn(shape, class))
}

/// Values from 0 to 1.
pub(crate) fn values(shape: &[usize]) -> Targets {
    let value = |i: usize| f32::from(u8::try_from(i * 5 % 8).expect("small")) / 7.0;
    Targets::Values(Tensor::from_fn(shape, value))
}

fn case(name: &str, model: Model, batch: Batch, loss: Loss, targets: Targets) -> Case {
    Case { name: name.into(), model, batch, loss, targets }
}

/// Every cell, both directions, stacks, every kind of input and output layer, every loss.
pub(crate) fn cases() -> Vec<Case> {
    [cells(), inputs_and_heads(), losses(), lstm_options(), others()].concat()
}

/// Every cell, in stacks and both directions.
fn cells() -> Vec<Case> {
    let mut list = Vec::new();
    let cells = [Cell::RnnTanh, Cell::RnnRelu, Cell::Lstm, Cell::Gru, Cell::GruResetBefore];
    for (index, cell) in cells.into_iter().enumerate() {
        use Direction::{Bidirectional, Forward, Reverse};
        let shapes = [
            (1, 10, Forward),
            (1, 6, Bidirectional),
            (2, 5, Reverse),
            (2, 7, Bidirectional),
            (3, 4, Forward),
        ];
        for (layers, hidden, direction) in shapes {
            let spec = LayerSpec::new(cell, hidden).direction(direction);
            let model = Model::builder(InputSpec::Dense { size: 5 })
                .layers(layers, &spec)
                .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(6) })
                .build(Init::PyTorch, 20 + index as u64)
                .expect("valid");
            let batch = dense(6, 9, 5, Layout::BatchFirst).with_lengths(lengths(6, 9));
            let batch = with_states(&model, batch.expect("valid"));
            let loss = Loss::CrossEntropy(CrossEntropy::default());
            let name = format!("{cell} {layers} layers, {direction:?}");
            list.push(case(&name, model, batch, loss, classes(&[6, 9], 6)));
        }
    }
    list
}

/// Tokens, and every place of an output layer.
fn inputs_and_heads() -> Vec<Case> {
    let mut list = Vec::new();
    let heads = [
        (HeadSteps::Every, Activation::Softmax),
        (HeadSteps::Last, Activation::None),
        (HeadSteps::Final, Activation::LogSoftmax),
    ];
    for (steps, activation) in heads {
        for input in [InputSpec::Embedding { vocab: 9, size: 6 }, InputSpec::OneHot { vocab: 9 }] {
            let model = Model::builder(input)
                .layer(LayerSpec::new(Cell::Gru, 8).bidirectional())
                .layer(LayerSpec::new(Cell::Lstm, 5).bidirectional())
                .head(HeadSpec { steps, activation, ..HeadSpec::new(7) })
                .build(Init::PyTorch, 31)
                .expect("valid");
            let tokens: Vec<u32> = (0..5u32 * 8).map(|i| i * i % 9).collect();
            let batch = Batch::tokens(tokens, 5, 8, Layout::TimeMajor).expect("valid");
            let batch = batch.with_lengths(lengths(5, 8)).expect("valid");
            let options = CrossEntropy {
                class_weights: Some(vec![1.0, 0.5, 2.0, 0.0, 1.5, 1.0, 0.25]),
                label_smoothing: 0.1,
                ignore_index: Some(3),
            };
            let shape: &[usize] = if steps == HeadSteps::Every { &[5, 8] } else { &[5] };
            let name = format!("{input:?} {steps:?}");
            let loss = Loss::CrossEntropy(options);
            list.push(case(&name, model, batch, loss, classes(shape, 7)));
        }
    }
    list
}

/// Losses of values, with the functions of an output layer that they allow.
fn losses() -> Vec<Case> {
    let mut list = Vec::new();
    let losses = [
        (Loss::BinaryCrossEntropy, Activation::Sigmoid),
        (Loss::Mse, Activation::None),
        (Loss::Mse, Activation::Tanh),
        (Loss::L1, Activation::Sigmoid),
        (Loss::Huber { delta: 0.3 }, Activation::Relu),
        (Loss::Huber { delta: 0.3 }, Activation::None),
    ];
    for (loss, activation) in losses {
        let steps = if activation == Activation::Tanh { HeadSteps::Last } else { HeadSteps::Every };
        let model = Model::builder(InputSpec::Dense { size: 3 })
            .layer(LayerSpec::new(Cell::Lstm, 9))
            .head(HeadSpec { steps, activation, ..HeadSpec::new(3) })
            .build(Init::PyTorch, 41)
            .expect("valid");
        let batch = dense(4, 6, 3, Layout::TimeMajor).with_lengths(lengths(4, 6)).expect("valid");
        let shape: &[usize] = if steps == HeadSteps::Every { &[4, 6, 3] } else { &[4, 3] };
        let name = format!("{} {activation:?}", loss.name());
        list.push(case(&name, model, batch, loss, values(shape)));
    }
    list
}

/// Peepholes and projections.
fn lstm_options() -> Vec<Case> {
    let mut list = Vec::new();
    let peepholes = CellOptions { peephole: true, ..CellOptions::default() };
    let with_peepholes = LayerSpec { options: peepholes, ..LayerSpec::new(Cell::Lstm, 9) };
    let projected = LayerSpec::new(Cell::Lstm, 9).projection(5).bidirectional();
    let both = LayerSpec { options: with_peepholes.options.clone(), ..projected.clone() };
    for (what, spec) in [("peepholes", with_peepholes), ("projection", projected), ("both", both)] {
        let model = Model::builder(InputSpec::Dense { size: 3 })
            .layers(2, &spec)
            .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(4) })
            .build(Init::PyTorch, 47)
            .expect("valid");
        let batch = dense(5, 7, 3, Layout::BatchFirst).with_lengths(lengths(5, 7)).expect("valid");
        let batch = with_states(&model, batch);
        let loss = Loss::CrossEntropy(CrossEntropy::default());
        list.push(case(what, model, batch, loss, classes(&[5, 7], 4)));
    }
    list
}

/// CTC, no output layer, the reverse direction without biases.
fn others() -> Vec<Case> {
    let mut list = Vec::new();
    let model = Model::builder(InputSpec::Dense { size: 3 })
        .layer(LayerSpec::new(Cell::Lstm, 8).bidirectional())
        .head(HeadSpec { steps: HeadSteps::Every, ..HeadSpec::new(6) })
        .build(Init::PyTorch, 48)
        .expect("valid");
    let batch = dense(4, 12, 3, Layout::TimeMajor).with_lengths(vec![12, 0, 7, 9]).expect("valid");
    let labels = vec![vec![1, 1, 3, 5], vec![2], vec![], vec![4, 0, 4, 1, 3]];
    list.push(case("ctc", model, batch, Loss::Ctc { blank: 2 }, Targets::Labels(labels)));
    let model = Model::builder(InputSpec::Dense { size: 3 })
        .layer(LayerSpec::new(Cell::Gru, 5).bidirectional())
        .build(Init::PyTorch, 43)
        .expect("valid");
    let batch = dense(4, 6, 3, Layout::BatchFirst).with_lengths(lengths(4, 6)).expect("valid");
    list.push(case("no output layer", model, batch, Loss::Mse, values(&[4, 6, 10])));
    let direction = Direction::Reverse;
    let spec = LayerSpec { bias: false, direction, ..LayerSpec::new(Cell::Lstm, 6) };
    let model = Model::builder(InputSpec::Dense { size: 2 })
        .layer(spec)
        .head(HeadSpec { steps: HeadSteps::Final, bias: false, ..HeadSpec::new(3) })
        .build(Init::PyTorch, 44)
        .expect("valid");
    let batch = dense(70, 3, 2, Layout::BatchFirst);
    let loss = Loss::CrossEntropy(CrossEntropy::default());
    list.push(case("reverse without biases, 70 rows", model, batch, loss, classes(&[70], 3)));
    list
}
