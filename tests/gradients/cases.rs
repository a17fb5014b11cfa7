//! Networks with everything that enters them, in pieces that a difference can change.

use crate::support::compare::first_fault;
use wgpu_rnn::model::{DirectionWeights, Layer};
use wgpu_rnn::reference::{self, Gradients};
use wgpu_rnn::train::{CrossEntropy, Loss, Targets};
use wgpu_rnn::{
    Activation, Batch, Cell, CellFunction, CellOptions, Direction, HeadSpec, HeadSteps, Init,
    Input, InputSpec, LayerSpec, Layout, Model, States, Tensor,
};

/// Fixtures that `tests/golden/gradients.py` writes.
pub(crate) const FIXTURES: usize = 7;

/// Rows of every batch: a full one, one without a step, one in between.
pub(crate) const LENGTHS: [usize; 3] = [4, 0, 3];
pub(crate) const STEPS: usize = 4;
pub(crate) const OUTPUTS: usize = 3;
pub(crate) const VOCAB: usize = 5;

/// The step of a difference; every weight, input and state is a multiple of it, so that both sides of a
/// difference are exact in f32.
pub(crate) const STEP: f32 = 1.0 / 16384.0;

/// A network and everything that enters it, in pieces that a difference can change.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) model: Model,
    /// `[B, T, I]` or `[T, B, I]`; empty for tokens.
    pub(crate) values: Vec<f32>,
    pub(crate) layout: Layout,
    pub(crate) states: Option<States>,
    pub(crate) targets: Targets,
    pub(crate) loss: Loss,
}

/// Numbers in −1 … 1 that differ from place to place, multiples of [`STEP`].
pub(crate) fn number(seed: usize, index: usize) -> f32 {
    let mixed = (index * 7919 + seed * 104_729 + 12_345) % 65_521 * 31_337 % 65_521;
    let whole = u16::try_from(mixed).expect("below 65521");
    ((f32::from(whole) / 32_760.0 - 1.0) / STEP).round() * STEP
}

pub(crate) fn numbers(seed: usize, shape: &[usize]) -> Tensor {
    Tensor::from_fn(shape, |index| number(seed, index))
}

impl Case {
    pub(crate) fn new(name: String, model: &Model, loss: Loss, seed: usize) -> Self {
        let count = model.layers().len();
        let mut model = model.clone();
        let tensors = model.tensors().len();
        for place in 0..tensors {
            model = changed(&model, place, |values| {
                values.iter_mut().for_each(|v| *v = (*v / STEP).round() * STEP);
            });
        }
        let width = model.input().spec().width();
        let targets = targets(&model, &loss, seed + 1);
        let states = seed.is_multiple_of(2).then(|| {
            let mut states = States::zeros(&model, LENGTHS.len());
            for layer in 0..count {
                states.h[layer] = numbers(seed + 2 + layer, states.h[layer].shape());
                states.c[layer] =
                    states.c[layer].as_ref().map(|c| numbers(seed + 9 + layer, c.shape()));
            }
            states
        });
        let layout = if seed.is_multiple_of(3) { Layout::TimeMajor } else { Layout::BatchFirst };
        let is_dense = matches!(model.input(), Input::Dense { .. });
        let values = if is_dense {
            numbers(seed, &[LENGTHS.len(), STEPS, width])
        } else {
            Tensor::zeros([0])
        };
        Self { name, model, values: values.into_data(), layout, states, targets, loss }
    }

    pub(crate) fn batch(&self) -> Batch {
        let (rows, width) = (LENGTHS.len(), self.model.input().spec().width());
        let batch = if self.values.is_empty() {
            let ids: Vec<u32> = (0..12).map(|i| (i * 3 + 1) % 5).collect();
            Batch::tokens(ids, rows, STEPS, self.layout)
        } else {
            Batch::dense(self.values.clone(), rows, STEPS, width, self.layout)
        };
        let batch = batch.expect("a batch").with_lengths(LENGTHS).expect("lengths");
        match &self.states {
            Some(states) => batch.with_initial(states.clone()),
            None => batch,
        }
    }

    pub(crate) fn value(&self) -> f64 {
        reference::loss(&self.model, &self.batch(), &self.targets, &self.loss)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    pub(crate) fn gradients(&self) -> Gradients {
        reference::gradients(&self.model, &self.batch(), &self.targets, &self.loss)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// The derivatives of `value` as central differences.
    pub(crate) fn differences(&self, value: impl Fn(&Self) -> f64) -> Gradients {
        let slope = |at: f32, set: &dyn Fn(&mut Self, f32)| {
            let moved = |to: f32| {
                let mut case = self.clone();
                set(&mut case, to);
                value(&case)
            };
            (moved(at + STEP) - moved(at - STEP)) / (2.0 * f64::from(STEP))
        };
        let tensors = self.model.tensors();
        let parameters = tensors.iter().enumerate().map(|(place, tensor)| {
            let slopes = Tensor::from_fn(tensor.shape.clone(), |i| {
                slope(tensor.values[i], &|case, to| {
                    case.model = changed(&case.model, place, |values| values[i] = to);
                })
            });
            (tensor.name.clone(), slopes)
        });
        let mut base = States::zeros(&self.model, LENGTHS.len());
        base = self.states.clone().unwrap_or(base);
        let state = |layer: usize, is_c: bool| {
            let pick = |states: &mut States| -> Option<Tensor> {
                if is_c { states.c[layer].clone() } else { Some(states.h[layer].clone()) }
            };
            let tensor = pick(&mut base.clone())?;
            Some(Tensor::from_fn(tensor.shape(), |i| {
                slope(tensor.data()[i], &|case, to| {
                    let mut states = base.clone();
                    let into =
                        if is_c { states.c[layer].as_mut() } else { Some(&mut states.h[layer]) };
                    into.expect("as above").data_mut()[i] = to;
                    case.states = Some(states);
                })
            }))
        };
        let count = self.model.layers().len();
        let width = self.model.input().spec().width();
        let input = (!self.values.is_empty()).then(|| {
            Tensor::from_fn([LENGTHS.len(), STEPS, width], |i| {
                let (b, t) = (i / width / STEPS, i / width % STEPS);
                let i = self.layout.index(b, t, LENGTHS.len(), STEPS) * width + i % width;
                slope(self.values[i], &|case, to| case.values[i] = to)
            })
        });
        Gradients {
            loss: value(self),
            parameters: parameters.collect(),
            h_0: (0..count).map(|layer| state(layer, false).expect("h")).collect(),
            c_0: (0..count).map(|layer| state(layer, true)).collect(),
            input,
        }
    }
}

/// Rebuilds a network with one tensor, by its place in `Model::tensors`, changed.
pub(crate) fn changed(model: &Model, place: usize, change: impl FnOnce(&mut [f32])) -> Model {
    let (mut input, mut head) = (model.input().clone(), model.head().cloned());
    let mut layers: Vec<Vec<DirectionWeights>> =
        model.layers().iter().map(|layer| layer.directions().to_vec()).collect();
    let mut list: Vec<&mut Tensor> = Vec::new();
    if let Input::Embedding { table } = &mut input {
        list.push(table);
    }
    for w in layers.iter_mut().flatten() {
        list.extend([&mut w.weight_ih, &mut w.weight_hh]);
        let optional = [&mut w.bias_ih, &mut w.bias_hh, &mut w.weight_hr, &mut w.peephole];
        list.extend(optional.into_iter().flatten());
    }
    if let Some(head) = &mut head {
        list.push(&mut head.weight);
        list.extend(head.bias.as_mut());
    }
    change(list.swap_remove(place).data_mut());
    let specs = model.layers().iter().map(|layer| layer.spec().clone());
    let layers = specs.zip(layers).map(|(spec, w)| Layer::new(spec, w).expect("same shapes"));
    Model::new(input, layers.collect(), head).expect("same shapes")
}

pub(crate) fn targets(model: &Model, loss: &Loss, seed: usize) -> Targets {
    let mut shape = vec![LENGTHS.len(), STEPS];
    shape.truncate(if model.is_per_sequence() { 1 } else { 2 });
    match loss {
        Loss::CrossEntropy(options) => {
            let ignored = options.ignore_index.unwrap_or(0);
            Targets::Classes(Tensor::from_fn(shape, |i| match (i + seed) % 4 {
                3 => ignored,
                class => i64::try_from(class).expect("small"),
            }))
        }
        Loss::Ctc { .. } => Targets::Labels(vec![vec![1, 1], vec![0], vec![2]]),
        _ => {
            shape.push(model.output_size());
            let scale = if *loss == Loss::BinaryCrossEntropy { 0.5 } else { 1.0 };
            let values = numbers(seed, &shape);
            Targets::Values(Tensor::from_fn(shape, |i| {
                let shift = if *loss == Loss::BinaryCrossEntropy { 0.5 } else { 0.0 };
                shift + scale * values.data()[i]
            }))
        }
    }
}

/// Every difference beyond `rtol` of a tensor's largest number is a fault; says which.
pub(crate) fn fault(got: &Gradients, want: &Gradients, rtol: f64) -> Option<String> {
    let tensor = |name: &str, got: &Tensor<f64>, want: &Tensor<f64>| {
        if got.shape() != want.shape() {
            return Some(format!("{name}: expected {:?}, got {:?}", want.shape(), got.shape()));
        }
        let scale = want.data().iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let fault = first_fault(got.data(), want.data(), rtol * scale + 1e-10, 0.0)?;
        Some(format!("{name}: {fault}"))
    };
    if let Some(fault) = first_fault(&[got.loss], &[want.loss], 1e-12, 1e-12) {
        return Some(format!("loss: {fault}"));
    }
    let names: Vec<_> = got.parameters.keys().collect();
    if names != want.parameters.keys().collect::<Vec<_>>() {
        return Some(format!("parameters: got {names:?}"));
    }
    let optional =
        |name: &str, got: &Option<Tensor<f64>>, want: &Option<Tensor<f64>>| match (got, want) {
            (Some(got), Some(want)) => tensor(name, got, want),
            (None, None) => None,
            _ => Some(format!("{name}: expected both or none")),
        };
    want.parameters
        .iter()
        .find_map(|(name, want)| tensor(name, &got.parameters[name], want))
        .or_else(|| got.h_0.iter().zip(&want.h_0).find_map(|(got, want)| tensor("h_0", got, want)))
        .or_else(|| {
            got.c_0.iter().zip(&want.c_0).find_map(|(got, want)| optional("c_0", got, want))
        })
        .or_else(|| optional("input", &got.input, &want.input))
}

pub(crate) fn cross_entropy() -> Loss {
    Loss::CrossEntropy(CrossEntropy::default())
}

pub(crate) fn cross_entropy_with_options() -> Loss {
    Loss::CrossEntropy(CrossEntropy {
        class_weights: Some(vec![0.5, 2.0, 1.25]),
        label_smoothing: 0.1,
        ignore_index: Some(-1),
    })
}

/// Every loss with an output layer that it is defined for; `None` for a network without.
pub(crate) fn losses() -> Vec<(Loss, Option<(Activation, HeadSteps)>)> {
    use Activation::{LogSoftmax, None as Linear, Relu, Sigmoid, Softmax, Tanh};
    use HeadSteps::{Every, Final, Last};
    let huber = Loss::Huber { delta: 0.4 };
    let ctc = Loss::Ctc { blank: 0 };
    vec![
        (cross_entropy(), Some((Linear, Every))),
        (cross_entropy_with_options(), Some((LogSoftmax, Every))),
        (cross_entropy_with_options(), Some((Softmax, Last))),
        (Loss::BinaryCrossEntropy, Some((Sigmoid, Every))),
        (Loss::BinaryCrossEntropy, Some((Linear, Final))),
        (Loss::Mse, None),
        (Loss::Mse, Some((Tanh, Final))),
        (Loss::L1, Some((Relu, Every))),
        (Loss::L1, Some((Linear, Last))),
        (huber.clone(), None),
        (huber, Some((Sigmoid, Every))),
        (ctc, Some((Softmax, Every))),
    ]
}

pub(crate) fn model(
    input: InputSpec,
    layers: &[LayerSpec],
    head: Option<(Activation, HeadSteps)>,
    seed: u64,
) -> Model {
    let mut builder = Model::builder(input);
    for layer in layers {
        builder = builder.layer(layer.clone());
    }
    if let Some((activation, steps)) = head {
        let bias = seed % 3 != 1;
        builder = builder.head(HeadSpec { output_size: OUTPUTS, activation, steps, bias });
    }
    builder.build(Init::PyTorch, seed).expect("a valid network")
}

/// Every cell × {one layer, two bidirectional layers} × every loss, inputs, states, layouts and biases
/// taken in turn.
pub(crate) fn cases() -> Vec<Case> {
    let inputs = [
        InputSpec::Dense { size: 2 },
        InputSpec::Embedding { vocab: VOCAB, size: 2 },
        InputSpec::OneHot { vocab: VOCAB },
    ];
    let mut cases = Vec::new();
    for (c, cell) in Cell::ALL.into_iter().enumerate() {
        let one = LayerSpec::new(cell, 3).bias(c != 1);
        let two = LayerSpec::new(cell, 2).bidirectional();
        for (s, layers) in [vec![one], vec![two.clone(), two]].into_iter().enumerate() {
            for (l, (loss, head)) in losses().into_iter().enumerate() {
                let seed = 7 * l + 3 * s + 5 * c;
                let input = inputs[(l + l / 3 + s + c) % 3];
                let name =
                    format!("{cell}, {} layers, {loss:?}, {head:?}, {input:?}", layers.len());
                let model = model(input, &layers, head, u64::try_from(seed).expect("small"));
                cases.push(Case::new(name, &model, loss, seed));
            }
        }
    }
    cases
}

/// Projections, peepholes, and layers of different kinds and directions.
pub(crate) fn special_cases() -> Vec<Case> {
    let dense = InputSpec::Dense { size: 2 };
    let peephole = CellOptions { peephole: true, ..CellOptions::default() };
    let lstm = LayerSpec::new(Cell::Lstm, 3);
    let functions = [CellFunction::Sigmoid, CellFunction::Tanh];
    let stacks = [
        vec![lstm.clone().projection(2)],
        vec![
            lstm.clone().projection(2).bidirectional(),
            lstm.clone().projection(1).bidirectional(),
        ],
        vec![lstm.clone().options(peephole.clone())],
        vec![lstm.clone().projection(2).options(peephole).bidirectional(), lstm],
        vec![LayerSpec::new(Cell::GruResetBefore, 2).direction(Direction::Reverse)],
        vec![
            LayerSpec::new(Cell::Gru, 2).functions(&functions),
            LayerSpec::new(Cell::RnnTanh, 2).direction(Direction::Reverse),
            LayerSpec::new(Cell::Lstm, 2).bidirectional(),
        ],
    ];
    let mut cases = Vec::new();
    for (s, layers) in stacks.iter().enumerate() {
        for (h, steps) in HeadSteps::ALL.into_iter().enumerate() {
            let seed = 11 * s + h;
            let head = Some((Activation::Tanh, steps));
            let model = model(dense, layers, head, u64::try_from(seed).expect("small"));
            cases.push(Case::new(format!("stack {s}, {steps:?}"), &model, Loss::Mse, seed));
        }
    }
    cases
}
