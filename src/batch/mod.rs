//! Sequences that go through a network together: ragged or padded, dense or tokens.
//!
//! Takes what callers have (batch-first or time-major arrays, lists of sequences of different
//! lengths), checks it, and gives the engine one view: row `b`, time step `t`. `states` holds initial
//! and final states, `output` the results and options of a run, `top` the largest values of its rows,
//! `sampling` how tokens are drawn from them; [`bucket`] groups sequences of similar
//! length so that little padding is computed.

mod output;
mod sampling;
mod states;
mod top;

pub(crate) use output::empty_output;
pub use output::{Output, RunOptions, ZeroLength};
pub use sampling::Sampling;
pub(crate) use sampling::gives_probabilities;
pub use states::States;
pub use top::Top;
pub(crate) use top::{check_top, empty_top, output_shape};

use crate::error::{Error, Result};
use crate::model::{InputSpec, Model};

/// The order of the first two axes of inputs and outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// `[B, T, …]`, PyTorch's `batch_first=True`.
    #[default]
    BatchFirst,
    /// `[T, B, …]`.
    TimeMajor,
}

impl Layout {
    /// Orders an array shape.
    pub const fn shape(self, steps: usize, batch: usize, features: usize) -> [usize; 3] {
        match self {
            Self::BatchFirst => [batch, steps, features],
            Self::TimeMajor => [steps, batch, features],
        }
    }

    /// Returns the row-major index of row `b`, step `t` among `steps` × `batch`.
    pub const fn index(self, b: usize, t: usize, batch: usize, steps: usize) -> usize {
        match self {
            Self::BatchFirst => b * steps + t,
            Self::TimeMajor => t * batch + b,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Dense { values: Vec<f32>, features: usize },
    Tokens(Vec<u32>),
}

/// A batch of sequences with optional lengths and initial states.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    data: Data,
    layout: Layout,
    steps: usize,
    batch: usize,
    lengths: Option<Vec<usize>>,
    initial: Option<States>,
}

impl Batch {
    /// Wraps dense features: `values` is row-major `[B, T, I]` or `[T, B, I]` after `layout`.
    ///
    /// # Errors
    /// `Shape` when the number of values is not `batch · steps · features`, or `features` is 0.
    pub fn dense(
        values: impl Into<Vec<f32>>,
        batch: usize,
        steps: usize,
        features: usize,
        layout: Layout,
    ) -> Result<Self> {
        let values = values.into();
        let shape = layout.shape(steps, batch, features);
        check_count("input", &shape, values.len())?;
        if features == 0 {
            return Err(Error::shape(format!("input: expected at least 1 feature, got {shape:?}")));
        }
        Ok(Self::new(Data::Dense { values, features }, batch, steps, layout))
    }

    /// Wraps token ids: `tokens` is row-major `[B, T]` or `[T, B]` after `layout`.
    ///
    /// # Errors
    /// `Shape` when the number of tokens is not `batch · steps`.
    pub fn tokens(
        tokens: impl Into<Vec<u32>>,
        batch: usize,
        steps: usize,
        layout: Layout,
    ) -> Result<Self> {
        let tokens = tokens.into();
        let shape = layout.shape(steps, batch, 1);
        check_count("tokens", &shape[..2], tokens.len())?;
        Ok(Self::new(Data::Tokens(tokens), batch, steps, layout))
    }

    /// Pads dense sequences of different lengths; each is row-major `[len, I]`. Batch-first.
    ///
    /// # Errors
    /// `Shape`, naming the sequence whose number of values is no multiple of `features`.
    pub fn ragged(sequences: &[impl AsRef<[f32]>], features: usize) -> Result<Self> {
        if features == 0 {
            return Err(Error::shape("input: expected at least 1 feature, got 0"));
        }
        let mut lengths = Vec::with_capacity(sequences.len());
        for (b, sequence) in sequences.iter().enumerate() {
            let count = sequence.as_ref().len();
            if count % features != 0 {
                return Err(Error::shape(format!(
                    "sequence {b}: expected a multiple of {features} values, got {count}"
                )));
            }
            lengths.push(count / features);
        }
        let steps = lengths.iter().copied().max().unwrap_or(0);
        let values = pad(sequences, steps * features);
        Self::dense(values, sequences.len(), steps, features, Layout::BatchFirst)?
            .with_lengths(lengths)
    }

    /// Pads token sequences of different lengths. Batch-first.
    ///
    /// # Errors
    /// As [`Batch::tokens`]; whether the ids are in range is checked when the batch is run.
    pub fn ragged_tokens(sequences: &[impl AsRef<[u32]>]) -> Result<Self> {
        let lengths: Vec<_> = sequences.iter().map(|s| s.as_ref().len()).collect();
        let steps = lengths.iter().copied().max().unwrap_or(0);
        Self::tokens(pad(sequences, steps), sequences.len(), steps, Layout::BatchFirst)?
            .with_lengths(lengths)
    }

    fn new(data: Data, batch: usize, steps: usize, layout: Layout) -> Self {
        Self { data, layout, steps, batch, lengths: None, initial: None }
    }

    /// Says how many time steps of each row are valid; what lies beyond is ignored.
    ///
    /// # Errors
    /// `Shape` when there is not one length a row, or one is larger than T; names the row.
    pub fn with_lengths(mut self, lengths: impl Into<Vec<usize>>) -> Result<Self> {
        let lengths = lengths.into();
        if lengths.len() != self.batch {
            return Err(Error::shape(format!(
                "lengths: expected one per sequence = {}, got {}",
                self.batch,
                lengths.len()
            )));
        }
        if let Some((row, len)) = lengths.iter().enumerate().find(|(_, len)| **len > self.steps) {
            return Err(Error::shape(format!(
                "lengths: expected at most T = {}, got {len} in row {row}",
                self.steps
            )));
        }
        self.lengths = Some(lengths);
        Ok(self)
    }

    /// Sets the states before the first step; without it they are zero.
    ///
    /// The shapes are checked against the network when the batch is run.
    #[must_use]
    pub fn with_initial(mut self, initial: States) -> Self {
        self.initial = Some(initial);
        self
    }

    /// Returns the number of sequences, B.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// Returns the number of padded time steps, T.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Returns the axis order of input and output.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the lengths, where the batch has them.
    pub fn lengths(&self) -> Option<&[usize]> {
        self.lengths.as_deref()
    }

    /// Returns the initial states, where the batch has them.
    pub fn initial(&self) -> Option<&States> {
        self.initial.as_ref()
    }

    /// Returns the number of valid time steps of row `b`.
    pub fn length(&self, b: usize) -> usize {
        self.lengths.as_ref().map_or(self.steps, |lengths| lengths[b])
    }

    /// Returns the number of valid time steps of all rows together.
    pub fn total_steps(&self) -> usize {
        (0..self.batch).map(|b| self.length(b)).sum()
    }

    /// Returns the features of row `b` at step `t`; empty for tokens.
    pub fn features(&self, b: usize, t: usize) -> &[f32] {
        match &self.data {
            Data::Dense { values, features } => {
                let start = self.layout.index(b, t, self.batch, self.steps) * features;
                &values[start..start + features]
            }
            Data::Tokens(_) => &[],
        }
    }

    /// Returns the token of row `b` at step `t`; `None` for dense input.
    pub fn token(&self, b: usize, t: usize) -> Option<u32> {
        match &self.data {
            Data::Dense { .. } => None,
            Data::Tokens(ids) => Some(ids[self.layout.index(b, t, self.batch, self.steps)]),
        }
    }

    /// Tells whether the input is tokens.
    pub fn is_tokens(&self) -> bool {
        matches!(self.data, Data::Tokens(_))
    }

    /// Checks that the batch fits `model`: input kind and width, tokens in range, state shapes.
    ///
    /// # Errors
    /// `Shape`, naming what does not fit and where.
    pub fn check_fits(&self, model: &Model) -> Result<()> {
        let spec = model.input().spec();
        match (&self.data, spec.vocab()) {
            (Data::Dense { features, .. }, None) if *features == spec.width() => {}
            (Data::Dense { features, .. }, None) => {
                return Err(Error::shape(format!(
                    "input: expected {} features per time step, got {features}",
                    spec.width()
                )));
            }
            (Data::Dense { features, .. }, Some(vocab)) => {
                return Err(Error::shape(format!(
                    "input: expected token ids below {vocab}, got {features} dense features \
                     (this model has {})",
                    describe(&spec)
                )));
            }
            (Data::Tokens(_), None) => {
                return Err(Error::shape(format!(
                    "input: expected {} dense features per time step, got token ids",
                    spec.width()
                )));
            }
            (Data::Tokens(_), Some(vocab)) => self.check_tokens(vocab)?,
        }
        if let Some(initial) = &self.initial {
            initial.check_fits(model, self.batch)?;
        }
        Ok(())
    }

    fn check_tokens(&self, vocab: usize) -> Result<()> {
        for b in 0..self.batch {
            for t in 0..self.length(b) {
                let token = self.token(b, t).unwrap_or(0);
                if usize::try_from(token).map_or(true, |token| token >= vocab) {
                    return Err(Error::shape(format!(
                        "tokens: expected ids below {vocab}, got {token} in row {b}, step {t}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Copies the given rows, in that order, into a batch of their own.
    ///
    /// The steps are cut to the longest of the rows.
    ///
    /// # Panics
    /// When a row is not below B.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let steps = rows.iter().map(|&b| self.length(b)).max().unwrap_or(0);
        let places = || {
            let cells = move |i: usize| match self.layout {
                Layout::BatchFirst => (i / steps, i % steps),
                Layout::TimeMajor => (i % rows.len(), i / rows.len()),
            };
            (0..rows.len() * steps).map(cells).map(|(row, t)| (rows[row], t))
        };
        let data = match &self.data {
            Data::Dense { features, .. } => {
                let mut values = Vec::with_capacity(rows.len() * steps * features);
                places().for_each(|(b, t)| values.extend_from_slice(self.features(b, t)));
                Data::Dense { values, features: *features }
            }
            Data::Tokens(_) => {
                Data::Tokens(places().map(|(b, t)| self.token(b, t).unwrap_or(0)).collect())
            }
        };
        let lengths = self.lengths.as_ref().map(|l| rows.iter().map(|&b| l[b]).collect());
        let initial = self.initial.as_ref().map(|states| states.select(rows));
        Self { data, layout: self.layout, steps, batch: rows.len(), lengths, initial }
    }
}

fn describe(spec: &InputSpec) -> &'static str {
    match spec {
        InputSpec::Dense { .. } => "dense input",
        InputSpec::Embedding { .. } => "an embedding",
        InputSpec::OneHot { .. } => "one-hot input",
    }
}

fn check_count(what: &str, shape: &[usize], count: usize) -> Result<()> {
    let expected = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
    if expected == Some(count) {
        return Ok(());
    }
    let expected = expected.map_or_else(|| "too many".to_owned(), |n| n.to_string());
    Err(Error::shape(format!("{what}: expected {shape:?} = {expected} values, got {count}")))
}

fn pad<T: Copy + Default>(sequences: &[impl AsRef<[T]>], width: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(sequences.len() * width);
    for (row, sequence) in sequences.iter().enumerate() {
        values.extend_from_slice(sequence.as_ref());
        values.resize((row + 1) * width, T::default());
    }
    values
}

/// Groups sequences into batches of at most `batch_size` rows of similar length.
///
/// Returns lists of sequence indices, longest sequences first; within a list the order is by falling
/// length, and equal lengths keep their order. Every index stands in exactly one list.
///
/// ```
/// let groups = wgpu_rnn::bucket(&[3, 9, 1, 8], 2);
/// assert_eq!(groups, vec![vec![1, 3], vec![0, 2]]);
/// ```
pub fn bucket(lengths: &[usize], batch_size: usize) -> Vec<Vec<usize>> {
    by_falling_length(lengths).chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect()
}

/// Returns the row order with the longest row first; equal lengths keep their order.
pub(crate) fn by_falling_length(lengths: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&b| std::cmp::Reverse(lengths[b]));
    order
}
