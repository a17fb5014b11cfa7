//! Strategies: random networks and random batches, as small descriptions that shrink and print well.
//!
//! Structure is drawn by proptest; weights and inputs follow from a drawn seed by formula, so that a
//! failing case prints in a few lines. A description may wish for what a cell has no place for; what
//! [`wgpu_rnn::cell::CellOptions`] would refuse is left out, which shrinks better than retrying.

use proptest::collection::vec;
use proptest::prelude::*;
use wgpu_rnn::cell::{CellFunction, CellOptions};
use wgpu_rnn::model::{DirectionWeights, ModelInfo, Unit, Vocabulary};
use wgpu_rnn::{
    Activation, Batch, Cell, Direction, HeadSpec, HeadSteps, Init, Input, InputSpec, Layer,
    LayerSpec, Layout, Model, RunOptions, States, Tensor, ZeroLength,
};

/// A network with one batch.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) network: Network,
    pub(crate) sequences: Sequences,
    pub(crate) options: RunOptions,
}

impl Case {
    pub(crate) fn model(&self) -> Model {
        self.network.model()
    }

    pub(crate) fn batch(&self, model: &Model) -> Batch {
        self.sequences.batch(model)
    }
}

/// A network without its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) input: InputSpec,
    pub(crate) layers: Vec<LayerSpec>,
    pub(crate) head: Option<HeadSpec>,
    /// Every weight is PyTorch's first draw from `seed` times this.
    pub(crate) gain: f32,
    pub(crate) seed: u64,
}

impl Network {
    /// Draws the weights; scales and shifts of layer normalisations are nobody's default.
    pub(crate) fn model(&self) -> Model {
        let mut builder = Model::builder(self.input);
        for layer in &self.layers {
            builder = builder.layer(layer.clone());
        }
        if let Some(head) = self.head {
            builder = builder.head(head);
        }
        let drawn = builder.build(Init::PyTorch, self.seed).expect("a drawn network is valid");
        let gain = self.gain;
        with_weights(&drawn, |place, tensor| {
            for (index, value) in tensor.data_mut().iter_mut().enumerate() {
                *value = match place {
                    Place::Scale => 1.0 + 0.5 * noise(self.seed, index),
                    Place::Shift => 0.3 * noise(self.seed ^ 0x5417, index),
                    Place::Weight => *value * gain,
                };
            }
        })
    }
}

/// A batch without its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Sequences {
    pub(crate) lengths: Vec<usize>,
    /// Steps beyond the longest row.
    pub(crate) padding: usize,
    /// Otherwise every row has T steps.
    pub(crate) ragged: bool,
    pub(crate) layout: Layout,
    pub(crate) initial: bool,
    pub(crate) seed: u64,
}

impl Sequences {
    pub(crate) fn steps(&self) -> usize {
        self.lengths.iter().max().copied().unwrap_or(0) + self.padding
    }

    pub(crate) fn batch(&self, model: &Model) -> Batch {
        self.batch_with(model, |place| noise(self.seed, place) * 2.0)
    }

    /// As [`Sequences::batch`], with what stands beyond each row's length replaced.
    pub(crate) fn dirty_batch(&self, model: &Model) -> Batch {
        let (rows, steps, width) = (self.lengths.len(), self.steps(), width(model));
        self.batch_with(model, |place| {
            let step = place / width;
            let (b, t) = match self.layout {
                Layout::BatchFirst => (step / steps, step % steps),
                Layout::TimeMajor => (step % rows, step / rows),
            };
            let garbage = [f32::NAN, f32::INFINITY, 1e30, -3.0][place % 4];
            let beyond = self.ragged && t >= self.lengths[b];
            if beyond { garbage } else { noise(self.seed, place) * 2.0 }
        })
    }

    /// Tokens are made from the same numbers; a number beyond ±2 is no token of any vocabulary.
    fn batch_with(&self, model: &Model, value: impl Fn(usize) -> f32) -> Batch {
        let (rows, steps, width) = (self.lengths.len(), self.steps(), width(model));
        let values: Vec<f32> = (0..rows * steps * width).map(value).collect();
        let batch = match model.input().spec().vocab() {
            None => Batch::dense(values, rows, steps, width, self.layout),
            Some(vocab) => {
                let tokens: Vec<u32> = values.iter().map(|v| token(*v, vocab)).collect();
                Batch::tokens(tokens, rows, steps, self.layout)
            }
        };
        let mut batch = batch.expect("a drawn batch is valid");
        if self.ragged {
            batch = batch.with_lengths(self.lengths.clone()).expect("lengths fit");
        }
        if self.initial { batch.with_initial(states(model, rows, self.seed)) } else { batch }
    }
}

/// Numbers per step in a batch's array.
fn width(model: &Model) -> usize {
    let spec = model.input().spec();
    if spec.vocab().is_some() { 1 } else { spec.width() }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn token(value: f32, vocab: usize) -> u32 {
    if !(-2.0..=2.0).contains(&value) {
        return u32::MAX;
    }
    let vocab = u32::try_from(vocab).expect("small");
    (((value + 2.0) * 1024.0) as u32) % vocab
}

fn states(model: &Model, rows: usize, seed: u64) -> States {
    let mut states = States::zeros(model, rows);
    let tensors = states.h.iter_mut().chain(states.c.iter_mut().flatten());
    for (number, tensor) in tensors.enumerate() {
        for (index, value) in tensor.data_mut().iter_mut().enumerate() {
            *value = noise(seed ^ 0x57A7E, index + 4096 * number);
        }
    }
    states
}

/// A number in [−1, 1) that depends on `seed` and `index` alone (Steele et al. 2014, SplitMix64).
#[expect(clippy::cast_precision_loss, reason = "24 bits fit f32 exactly")]
pub(crate) fn noise(seed: u64, index: usize) -> f32 {
    let mut z = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

/// What a tensor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Weight,
    /// Scale of a layer normalisation.
    Scale,
    /// Shift of a layer normalisation.
    Shift,
}

/// Copies a model with every tensor changed in place.
pub(crate) fn with_weights(model: &Model, mut change: impl FnMut(Place, &mut Tensor)) -> Model {
    let mut input = model.input().clone();
    if let Input::Embedding { table } = &mut input {
        change(Place::Weight, table);
    }
    let mut head = model.head().cloned();
    if let Some(head) = &mut head {
        change(Place::Weight, &mut head.weight);
        head.bias.iter_mut().for_each(|bias| change(Place::Weight, bias));
    }
    let layers = model.layers().iter().map(|layer| {
        let mut directions = layer.directions().to_vec();
        directions.iter_mut().for_each(|weights| each_tensor(weights, &mut change));
        Layer::new(layer.spec().clone(), directions).expect("same shapes")
    });
    let mut copy = Model::new(input, layers.collect(), head).expect("same shapes");
    copy.info = model.info.clone();
    copy
}

fn each_tensor(weights: &mut DirectionWeights, change: &mut impl FnMut(Place, &mut Tensor)) {
    change(Place::Weight, &mut weights.weight_ih);
    change(Place::Weight, &mut weights.weight_hh);
    let optional =
        [&mut weights.bias_ih, &mut weights.bias_hh, &mut weights.weight_hr, &mut weights.peephole];
    optional.into_iter().flatten().for_each(|tensor| change(Place::Weight, tensor));
    if let Some(norm) = &mut weights.layer_norm {
        change(Place::Scale, &mut norm.ih_weight);
        change(Place::Scale, &mut norm.hh_weight);
        norm.c_weight.iter_mut().for_each(|scale| change(Place::Scale, scale));
        change(Place::Shift, &mut norm.ih_bias);
        change(Place::Shift, &mut norm.hh_bias);
        norm.c_bias.iter_mut().for_each(|shift| change(Place::Shift, shift));
    }
}

/// Draws a network with a batch.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    (network(), sequences(), run_options()).prop_map(|(network, sequences, options)| Case {
        network,
        sequences,
        options,
    })
}

fn run_options() -> impl Strategy<Value = RunOptions> {
    let pad = prop_oneof![3 => Just(0.0f32), 1 => -9.0f32..9.0];
    (pad, any::<bool>()).prop_map(|(pad_value, zeros)| RunOptions {
        pad_value,
        zero_length: if zeros { ZeroLength::Zeros } else { ZeroLength::CarryInitial },
        ..RunOptions::default()
    })
}

fn sequences() -> impl Strategy<Value = Sequences> {
    let lengths = vec(prop_oneof![1 => Just(0usize), 6 => 0usize..=9], 0..=6);
    let padding = prop_oneof![3 => Just(0usize), 1 => 1usize..=2];
    (lengths, padding, prop::bool::weighted(0.8), any::<bool>(), any::<bool>(), 0u64..1 << 16)
        .prop_map(|(lengths, padding, ragged, time_major, initial, seed)| Sequences {
            lengths,
            padding,
            ragged,
            layout: if time_major { Layout::TimeMajor } else { Layout::BatchFirst },
            initial,
            seed,
        })
}

/// Draws a network.
pub(crate) fn network() -> impl Strategy<Value = Network> {
    (input(), vec(layer(), 1..=3), prop::option::of(head()), 0.5f32..2.0, 0u64..1 << 16)
        .prop_map(|(input, layers, head, gain, seed)| Network { input, layers, head, gain, seed })
}

fn input() -> impl Strategy<Value = InputSpec> {
    prop_oneof![
        4 => (1usize..=6).prop_map(|size| InputSpec::Dense { size }),
        1 => (1usize..=7).prop_map(|vocab| InputSpec::OneHot { vocab }),
        1 => (1usize..=7, 1usize..=5).prop_map(|(vocab, size)| InputSpec::Embedding { vocab, size }),
    ]
}

fn head() -> impl Strategy<Value = HeadSpec> {
    let activation = prop::sample::select(&Activation::ALL[..]);
    (1usize..=6, activation, prop::sample::select(&HeadSteps::ALL[..]), any::<bool>()).prop_map(
        |(output_size, activation, steps, bias)| HeadSpec { output_size, activation, steps, bias },
    )
}

fn layer() -> impl Strategy<Value = LayerSpec> {
    let directions = [Direction::Forward, Direction::Reverse, Direction::Bidirectional];
    let size = prop_oneof![6 => 1usize..=9, 1 => 10usize..=21];
    (
        prop::sample::select(&Cell::ALL[..]),
        size,
        prop::sample::select(directions.to_vec()),
        prop::bool::weighted(0.8),
        prop::option::weighted(0.3, 1usize..=9),
        prop::option::weighted(0.7, options()),
    )
        .prop_map(|(cell, hidden, direction, bias, projection, wish)| {
            let projection = if cell == Cell::Lstm { projection.unwrap_or(0) } else { 0 };
            let spec = LayerSpec::new(cell, hidden)
                .direction(direction)
                .bias(bias)
                .projection(projection.min(hidden));
            let options = wish.map(|wish| possible(&wish, &spec)).unwrap_or_default();
            spec.options(options)
        })
}

/// Leaves out what the cell has no place for.
pub(crate) fn possible(wish: &CellOptions, spec: &LayerSpec) -> CellOptions {
    let lstm = spec.cell == Cell::Lstm;
    let places = spec.cell.spec().functions.len();
    let functions = wish.functions.iter().take(spec.direction.count());
    let normal = spec.cell != Cell::GruResetBefore && spec.proj_size == 0;
    CellOptions {
        functions: functions.map(|list| list[..places].to_vec()).collect(),
        clip: wish.clip,
        cell_clip: wish.cell_clip.filter(|_| lstm),
        peephole: wish.peephole && lstm,
        input_forget: wish.input_forget && lstm,
        layer_norm: wish.layer_norm.filter(|_| normal),
    }
}

/// Draws options for any cell; [`possible`] fits them to one.
fn options() -> impl Strategy<Value = CellOptions> {
    let functions = prop_oneof![
        1 => Just(Vec::new()),
        1 => vec(vec(function(), 3), 2),
    ];
    let cell_clip = (-1.5f32..0.3, 0.0f32..2.0).prop_map(|(low, width)| [low, low + width]);
    (
        functions,
        prop::option::weighted(0.4, prop_oneof![1 => Just(0.0f32), 9 => 0.05f32..2.0]),
        prop::option::weighted(0.4, cell_clip),
        any::<bool>(),
        prop::bool::weighted(0.3),
        prop::option::weighted(0.4, prop::sample::select(vec![1e-5f32, 1e-3, 0.1])),
    )
        .prop_map(|(functions, clip, cell_clip, peephole, input_forget, layer_norm)| {
            CellOptions { functions, clip, cell_clip, peephole, input_forget, layer_norm }
        })
}

/// Draws a function with parameters of order one.
fn function() -> impl Strategy<Value = CellFunction> {
    prop_oneof![
        Just(CellFunction::Tanh),
        Just(CellFunction::Sigmoid),
        Just(CellFunction::Relu),
        Just(CellFunction::Softsign),
        Just(CellFunction::Softplus),
        (-1.2f32..1.2, -0.5f32..0.5).prop_map(|(alpha, beta)| CellFunction::Affine { alpha, beta }),
        (-0.5f32..0.5).prop_map(|alpha| CellFunction::LeakyRelu { alpha }),
        (-0.5f32..1.0).prop_map(|alpha| CellFunction::ThresholdedRelu { alpha }),
        (-1.5f32..1.5, -1.5f32..1.5)
            .prop_map(|(alpha, beta)| CellFunction::ScaledTanh { alpha, beta }),
        (-0.5f32..0.5, 0.0f32..1.0)
            .prop_map(|(alpha, beta)| CellFunction::HardSigmoid { alpha, beta }),
        (-1.0f32..1.5).prop_map(|alpha| CellFunction::Elu { alpha }),
    ]
}

/// Draws the texts of a model; the vocabulary fits `network`.
pub(crate) fn info(network: &Network) -> impl Strategy<Value = ModelInfo> + use<> {
    let vocab = network.input.vocab();
    let name = || prop::sample::select(vec!["", "a", "net.rnn", "rnn_2", "x.y.z"]);
    let text = || prop::sample::select(vec!["", "plain", "\"quoted\" \\ {}", "ünï ☃\n\ttab"]);
    (
        (any::<bool>(), name(), name(), name()),
        (text(), text(), any::<bool>()),
        vec(text(), 0..3),
        vec(text(), 0..3),
    )
        .prop_map(move |(names, texts, columns, outputs)| {
            let (with_vocabulary, recurrent, head, embedding) = names;
            let tokens = || vocab.map(|n| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>());
            let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            ModelInfo {
                vocabulary: tokens()
                    .filter(|_| with_vocabulary)
                    .and_then(|tokens| Vocabulary::new(Unit::Word, tokens).ok()),
                columns: owned(columns),
                outputs: owned(outputs),
                forecast: texts.2,
                description: texts.0.into(),
                command: texts.1.into(),
                guesses: Vec::new(),
                recurrent_name: if recurrent == "a" { ".".into() } else { recurrent.into() },
                // Modules that hold tensors of one name must not share their own.
                head_name: if head.is_empty() { String::new() } else { format!("h.{head}") },
                embedding_name: if embedding.is_empty() {
                    String::new()
                } else {
                    format!("e.{embedding}")
                },
            }
        })
}
