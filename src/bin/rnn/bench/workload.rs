//! A network with a batch shape, as data: its name, its weights and inputs, its work.

use clap::ValueEnum;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use wgpu_rnn::check::input_value;
use wgpu_rnn::plan::Work;
use wgpu_rnn::{Batch, Cell, Init, InputSpec, LayerSpec, Layout, Model, Precision, Result};

/// How long the sequences are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Lengths {
    /// All T.
    Full,
    /// One is T; the others are drawn with median T/2 and σ = 0.5, at least 1, at most T.
    LogNormal,
}

impl Lengths {
    /// Returns the name on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::LogNormal => "log-normal",
        }
    }
}

/// How the workload is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One batch again and again.
    Plain,
    /// One step at a time, each starting from the state that the one before left.
    Frames,
    /// Batches, several in flight.
    Batches,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measure {
    /// One-hot tokens in place of the input; from submit to idle.
    Recurrence,
    /// The whole network, from submit to idle.
    Layer,
    /// A run with upload and readback.
    EndToEnd,
    /// One step with upload of its input, from submit to idle.
    Frame,
    /// A batch of a stream.
    Stream,
}

impl Measure {
    /// Returns the name in tables and records.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Recurrence => "recurrence",
            Self::Layer => "layer",
            Self::EndToEnd => "end_to_end",
            Self::Frame => "frame",
            Self::Stream => "stream",
        }
    }

    /// Returns whether `--assert` compares strategies by it: the device's work alone.
    pub(super) fn is_judged(self) -> bool {
        matches!(self, Self::Layer | Self::Frame)
    }

    /// Returns whether the input is tokens, so that its projection is a row gather.
    pub(super) fn takes_tokens(self) -> bool {
        self == Self::Recurrence
    }
}

/// A network and a batch shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    /// The cell of every layer.
    pub(super) cell: Cell,
    /// I.
    pub(super) input: usize,
    /// H.
    pub(super) hidden: usize,
    /// B.
    pub(super) batch: usize,
    /// T.
    pub(super) steps: usize,
    /// L.
    pub(super) layers: usize,
    /// Whether D is 2.
    pub(super) bidirectional: bool,
    /// How long the sequences are.
    pub(super) lengths: Lengths,
    /// How it is driven.
    pub(super) kind: Kind,
}

/// Size of the vocabulary that stands in for the input.
const VOCABULARY: usize = 16;

impl Workload {
    /// Makes one full layer in one direction of shape `[I, H, B, T]`.
    pub(super) fn new(cell: Cell, [input, hidden, batch, steps]: [usize; 4]) -> Self {
        let (layers, bidirectional) = (1, false);
        let (lengths, kind) = (Lengths::Full, Kind::Plain);
        Self { cell, input, hidden, batch, steps, layers, bidirectional, lengths, kind }
    }

    /// Names it; the name tells workloads apart.
    pub(super) fn name(&self) -> String {
        let Self { cell, input, hidden, batch, steps, .. } = self;
        let mut name = format!("{cell} I={input} H={hidden} B={batch} T={steps}");
        if self.layers > 1 {
            name += &format!(" L={}", self.layers);
        }
        for (is_set, word) in [
            (self.bidirectional, " bidirectional"),
            (self.lengths == Lengths::LogNormal, " log-normal"),
            (self.kind == Kind::Frames, " frames"),
            (self.kind == Kind::Batches, " stream"),
        ] {
            name += if is_set { word } else { "" };
        }
        name
    }

    /// Lists what is timed.
    pub(super) fn measures(&self) -> &'static [Measure] {
        match self.kind {
            Kind::Plain => &[Measure::Recurrence, Measure::Layer, Measure::EndToEnd],
            Kind::Frames => &[Measure::Frame, Measure::EndToEnd],
            Kind::Batches => &[Measure::Layer, Measure::EndToEnd, Measure::Stream],
        }
    }

    /// Returns the lengths, the longest first; the same at every call.
    pub(super) fn sequence_lengths(&self) -> Vec<usize> {
        if self.lengths == Lengths::Full {
            return vec![self.steps; self.batch];
        }
        let mut lengths: Vec<usize> = self.drawn().collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths
    }

    /// Draws log-normal lengths.
    fn drawn(&self) -> impl Iterator<Item = usize> {
        let (mut random, steps) = (ChaCha8Rng::seed_from_u64(1), self.steps);
        std::iter::once(steps).chain((1..self.batch).map(move |_| log_normal(&mut random, steps)))
    }

    /// Returns Σ lengths without keeping them: the batch of a list may exceed any memory.
    pub(super) fn total_steps(&self) -> usize {
        match self.lengths {
            Lengths::Full => self.steps.saturating_mul(self.batch),
            Lengths::LogNormal => self.drawn().fold(0, usize::saturating_add),
        }
    }

    /// Draws the network.
    ///
    /// # Errors
    /// What [`wgpu_rnn::model::ModelBuilder::build`] refuses.
    pub(super) fn model(&self, tokens: bool) -> Result<Model> {
        let input = if tokens {
            InputSpec::OneHot { vocab: VOCABULARY }
        } else {
            InputSpec::Dense { size: self.input }
        };
        let spec = LayerSpec::new(self.cell, self.hidden);
        let spec = if self.bidirectional { spec.bidirectional() } else { spec };
        Model::builder(input).layers(self.layers, &spec).build(Init::PyTorch, 1)
    }

    /// Makes the input, `[T, B, I]` or tokens `[T, B]`, cut to the first `steps` time steps.
    ///
    /// # Errors
    /// Never for a valid workload.
    pub(super) fn input(&self, tokens: bool, steps: usize) -> Result<Batch> {
        let (rows, layout) = (self.batch, Layout::TimeMajor);
        let batch = if tokens {
            let tokens = (0u32..).map(|i| i.wrapping_mul(7) % 16).take(rows * steps);
            Batch::tokens(tokens.collect::<Vec<u32>>(), rows, steps, layout)?
        } else {
            let values = (0..rows * steps * self.input).map(input_value);
            Batch::dense(values.collect::<Vec<f32>>(), rows, steps, self.input, layout)?
        };
        if self.lengths == Lengths::Full {
            return Ok(batch);
        }
        let cut = self.sequence_lengths().into_iter().map(|length| length.min(steps));
        batch.with_lengths(cut.collect::<Vec<_>>())
    }

    /// Counts what the network computes and moves.
    pub(super) fn work(&self, model: &Model, tokens: bool, precision: Precision) -> Work {
        let total = self.total_steps();
        let layers = model.layers().iter().enumerate();
        let of = |(index, layer): (usize, &wgpu_rnn::Layer)| {
            Work::of_layer(layer.spec(), self.steps, total, tokens && index == 0)
        };
        let work = layers.map(of).fold(Work::default(), Work::then);
        let part = f64::from(precision.bytes()) / 4.0;
        Work {
            weight_bytes: work.weight_bytes * part,
            streamed_bytes: work.streamed_bytes * part,
            ..work
        }
    }

    /// Estimates operations without drawing a network; for lists and progress.
    pub(super) fn flops(&self) -> f64 {
        let [first, more] = self.products();
        let products = first + more * (as_f64(self.layers) - 1.0);
        2.0 * products * as_f64(self.total_steps())
    }

    /// Counts the matrix values of the first layer, and of each of the others.
    fn products(&self) -> [f64; 2] {
        let (directions, hidden) = (as_f64(self.directions()), as_f64(self.hidden));
        let rows = as_f64(self.cell.gates()) * hidden * directions;
        [rows * (hidden + as_f64(self.input)), rows * (hidden + hidden * directions)]
    }

    fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// Estimates the bytes on the host: input and output, and the weights with the copy that goes to the
    /// device or is packed for the CPU path, of the network itself and of the one that takes tokens. The
    /// f64 reference reads the weights where they are.
    pub(super) fn host_bytes(&self) -> u64 {
        let width = self.hidden.saturating_mul(self.directions()).saturating_add(self.input);
        let values = self.batch.saturating_mul(self.steps).saturating_mul(width);
        let [first, more] = self.products();
        let weights = first + (more + LAYER_VALUES) * (as_f64(self.layers) - 1.0);
        let networks = if self.measures().iter().any(|m| m.takes_tokens()) { 2.0 } else { 1.0 };
        bytes(4.0 * (as_f64(values) + 2.0 * networks * weights))
    }
}

/// What a layer takes on the host beside its matrices, as a count of values: 53 KiB in all of an LSTM of one
/// unit on llvmpipe, 2026-11-27.
const LAYER_VALUES: f64 = 4096.0;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive estimate, which saturates"
)]
fn bytes(estimate: f64) -> u64 {
    estimate as u64
}

/// Turns a count into a factor: counts of interest are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
pub(super) fn as_f64(count: usize) -> f64 {
    count as f64
}

/// Draws a length with median `steps`/2 and σ = 0.5, by Box and Muller.
fn log_normal(random: &mut ChaCha8Rng, steps: usize) -> usize {
    let mut unit = || (f64::from(random.next_u32()) + 0.5) / 4_294_967_296.0;
    let (radius, angle) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
    let length = 0.5 * as_f64(steps) * (0.5 * radius * angle.cos()).exp();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to [1, T] before"
    )]
    let length = length.round().clamp(1.0, as_f64(steps)) as usize;
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_normal_lengths_fall_from_the_longest() {
        let mut workload = Workload::new(Cell::Gru, [4, 4, 200, 100]);
        workload.lengths = Lengths::LogNormal;
        let lengths = workload.sequence_lengths();
        assert_eq!((lengths.len(), lengths[0]), (200, 100));
        assert!(lengths.windows(2).all(|pair| pair[0] >= pair[1]) && lengths[199] >= 1);
        assert!((40..=60).contains(&lengths[100]), "median {}", lengths[100]);
        assert_eq!(workload.sequence_lengths(), lengths);
    }

    #[test]
    fn estimates_of_any_size_saturate() {
        let most = usize::MAX;
        let huge = Workload {
            layers: most,
            bidirectional: true,
            ..Workload::new(Cell::Lstm, [most, most, most, most])
        };
        assert_eq!((huge.total_steps(), huge.host_bytes()), (most, u64::MAX));
        assert!(huge.flops() > 1e60);
        let of = |shape| Workload::new(Cell::Lstm, shape);
        let gib = |workload: Workload| workload.host_bytes() >> 30;
        assert_eq!(gib(of([4, 30_000, 1, 1])), 53, "16 bytes for each of 4·30000·30004 weights");
        assert_eq!(gib(of([4, 4, 1 << 28, 1])), 8, "8 values of each sequence");
        let deep = Workload { layers: 1 << 30, ..of([1, 1, 1, 1]) };
        assert!(gib(deep) > 4096, "a layer takes more than its weights");
    }

    #[test]
    fn host_bytes_hold_the_networks_twice() {
        let workload = Workload { layers: 3, ..Workload::new(Cell::Gru, [16, 64, 1, 1]) };
        let count = |tokens| workload.model(tokens).expect("a network").parameter_count() as u64;
        assert!(workload.host_bytes() >= 8 * (count(false) + count(true)));
    }

    #[test]
    fn flops_without_a_network_equal_those_of_its_layers() {
        let workload = Workload {
            layers: 3,
            bidirectional: true,
            lengths: Lengths::LogNormal,
            ..Workload::new(Cell::Lstm, [5, 7, 4, 9])
        };
        let model = workload.model(false).expect("a network");
        let counted = workload.work(&model, false, Precision::F32).flops();
        assert!((counted - workload.flops()).abs() < 1e-6, "{counted}");
    }
}
