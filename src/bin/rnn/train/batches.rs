//! The batches of an epoch, each made when it is needed from the seed, the epoch and its place alone.

use wgpu_rnn::train::Targets;
use wgpu_rnn::{Batch, Layout, Result, Tensor};

use super::data::{Example, Held, Samples, Series, Target};
use crate::data::{Values, Wanted};
use crate::failure::shape_error;
use crate::random::{Purpose, Random};
use crate::run::to_batch;

/// Batches in whose order examples of similar length are looked for.
const POOL: usize = 16;
/// Windows of a series that start within the length of one.
const OVERLAP: usize = 16;
/// Output values of a batch that is measured, at most: 16 MB.
const MEASURED: usize = 4 << 20;

/// How examples become batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Sequences of a batch.
    pub(super) batch_size: usize,
    /// Time steps of a batch of a stream or series.
    pub(super) seq_len: usize,
    /// Dense features, or 1 for tokens.
    pub(super) features: usize,
    /// Number of tokens, where the input is tokens.
    pub(super) vocab: Option<usize>,
    /// Width of the output.
    pub(super) outputs: usize,
    /// Whether there is one target for each sequence.
    pub(super) per_sequence: bool,
    /// Starts the orders.
    pub(super) seed: u64,
}

/// Which samples a batch holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The time steps from this one on of every part of a stream.
    Steps(usize),
    /// Windows of a series by their first rows.
    Windows(Vec<usize>),
    /// Examples by their places.
    Examples(Vec<usize>),
}

/// A batch with its targets.
pub(super) type Pair = (Batch, Targets);

/// The batches of all epochs.
#[derive(Debug)]
pub(super) struct Batches<'a> {
    samples: &'a Samples,
    form: Form,
}

impl<'a> Batches<'a> {
    /// Prepares the batches of `samples`.
    ///
    /// # Errors
    /// `Shape` for fewer rows or characters than a batch needs, and for sequences without a time step.
    pub(super) fn new(samples: &'a Samples, form: Form) -> Result<Self> {
        if let Samples::Stream(tokens) = samples
            && tokens.len() <= form.batch_size
        {
            return Err(shape_error(format!(
                "--batch-size: expected fewer than the {} characters of the text, got {}",
                tokens.len(),
                form.batch_size
            )));
        }
        let batches = Self { samples, form };
        if let Samples::Examples(list) = samples
            && list.iter().all(|example| batches.length(example) == 0)
        {
            return Err(shape_error(
                "--data: expected at least 1 time step to learn from, got sequences of none",
            ));
        }
        Ok(batches)
    }

    /// Tells whether the states go on from batch to batch.
    pub(super) fn carries(&self) -> bool {
        matches!(self.samples, Samples::Stream(_))
    }

    /// Counts the batches of an epoch.
    pub(super) fn per_epoch(&self) -> usize {
        self.order(0).len()
    }

    /// Lists the batches of an epoch.
    pub(super) fn order(&self, epoch: u64) -> Vec<Pick> {
        let mut random = Random::new(self.form.seed, Purpose::Epoch(epoch));
        let (rows, steps) = (self.form.batch_size, self.form.seq_len);
        match self.samples {
            Samples::Stream(tokens) => {
                let length = (tokens.len() - 1) / rows;
                (0..length).step_by(steps).map(Pick::Steps).collect()
            }
            Samples::Series(series) => {
                let window = window(series, steps);
                let starts = series.rows - window;
                let stride = (window / OVERLAP).max(1).min(starts);
                let offset = random.below(stride);
                let mut first: Vec<usize> =
                    (0..starts / stride).map(|n| offset + n * stride).collect();
                random.shuffle(&mut first);
                first.chunks(rows).map(|part| Pick::Windows(part.to_vec())).collect()
            }
            Samples::Examples(list) => {
                let mut order: Vec<usize> = (0..list.len()).collect();
                random.shuffle(&mut order);
                let length = |index: &usize| self.length(&list[*index]);
                for pool in order.chunks_mut(rows * POOL) {
                    pool.sort_by_key(length);
                }
                let mut picks: Vec<Pick> =
                    order.chunks(rows).map(|part| Pick::Examples(part.to_vec())).collect();
                random.shuffle(&mut picks);
                picks
            }
        }
    }

    /// Makes a batch.
    ///
    /// # Errors
    /// `Shape`, which picks of [`Batches::order`] do not give.
    pub(super) fn make(&self, pick: &Pick) -> Result<Pair> {
        match (self.samples, pick) {
            (Samples::Stream(tokens), Pick::Steps(from)) => {
                let length = (tokens.len() - 1) / self.form.batch_size;
                let steps = self.form.seq_len.min(length - from);
                stream_pair(tokens, length, (*from, steps), self.form.batch_size)
            }
            (Samples::Series(series), Pick::Windows(first)) => {
                let window = window(series, self.form.seq_len);
                let pairs = first.iter().map(|row| (*row, *row + 1));
                series_pair(series, &pairs.collect::<Vec<_>>(), window, self.form)
            }
            (Samples::Examples(list), Pick::Examples(places)) => {
                self.examples(&places.iter().map(|index| &list[*index]).collect::<Vec<_>>())
            }
            _ => Err(shape_error("batch: expected one of these samples, got another's")),
        }
    }

    /// Lists batches that hold all samples once, in their order; the flag tells whether the states go on
    /// from one to the next.
    ///
    /// # Errors
    /// `Shape` for fewer than 2 rows or characters; as [`Batches::make`].
    pub(super) fn measured(held: &'a Held, form: Form) -> Result<(Vec<Pair>, bool)> {
        let (count, what) = match &held.samples {
            Samples::Stream(tokens) => (tokens.len(), "characters"),
            Samples::Series(series) => (series.rows, "rows"),
            Samples::Examples(_) => (2, "sequences"),
        };
        if count < 2 {
            return Err(shape_error(format!(
                "--validate: expected at least 2 {what}, one to predict the other, got {count}"
            )));
        }
        match &held.samples {
            Samples::Stream(tokens) => {
                let rows = form.batch_size.min(tokens.len() - 1);
                let length = (tokens.len() - 1) / rows;
                let steps = (MEASURED / (rows * form.outputs)).clamp(1, length);
                let pairs = (0..length).step_by(steps).map(|from| {
                    stream_pair(tokens, length, (from, steps.min(length - from)), rows)
                });
                Ok((pairs.collect::<Result<_>>()?, true))
            }
            Samples::Series(series) => {
                let pair = series_pair(series, &[(0, 1)], series.rows - 1, form)?;
                Ok((vec![pair], false))
            }
            Samples::Examples(list) => {
                let batches = Self { samples: &held.samples, form };
                let refs: Vec<&Example> = list.iter().collect();
                let pairs = refs.chunks(form.batch_size).map(|part| batches.examples(part));
                Ok((pairs.collect::<Result<_>>()?, false))
            }
        }
    }

    fn length(&self, example: &Example) -> usize {
        match &example.input {
            Values::Dense(values) => values.len() / self.form.features,
            Values::Tokens(tokens) => tokens.len(),
        }
    }

    fn examples(&self, list: &[&Example]) -> Result<Pair> {
        let form = &self.form;
        let wanted = Wanted { features: form.features, vocab: form.vocab, ..Wanted::default() };
        let inputs: Vec<&Values> = list.iter().map(|example| &example.input).collect();
        let batch = to_batch(&inputs, &wanted)?;
        let steps = if form.per_sequence { 1 } else { batch.steps() };
        let mut shape = vec![list.len(), steps];
        shape.truncate(if form.per_sequence { 1 } else { 2 });
        let (mut classes, mut values) = (Vec::new(), Vec::new());
        for (row, example) in list.iter().enumerate() {
            match &example.target {
                Target::Classes(list) => {
                    classes.extend_from_slice(list);
                    classes.resize((row + 1) * steps, 0);
                }
                Target::Values(list) => {
                    values.extend_from_slice(list);
                    values.resize((row + 1) * steps * form.outputs, 0.0);
                }
            }
        }
        let is_values = matches!(list.first(), Some(Example { target: Target::Values(_), .. }));
        let targets = if is_values {
            shape.push(form.outputs);
            Targets::Values(Tensor::new(shape, values)?)
        } else {
            Targets::Classes(Tensor::new(shape, classes)?)
        };
        Ok((batch, targets))
    }
}

/// Returns the steps of a window: as asked for, or all that a short series has.
fn window(series: &Series, steps: usize) -> usize {
    steps.min(series.rows - 1)
}

/// Takes `steps` tokens from `from` on out of each of `rows` parts of a text, and those that follow them.
fn stream_pair(
    tokens: &[u32],
    length: usize,
    (from, steps): (usize, usize),
    rows: usize,
) -> Result<Pair> {
    let part = |row: usize, shift: usize| &tokens[row * length + from + shift..][..steps];
    let inputs: Vec<u32> = (0..rows).flat_map(|row| part(row, 0)).copied().collect();
    let next = (0..rows).flat_map(|row| part(row, 1)).map(|id| i64::from(*id));
    let classes = Tensor::new([rows, steps], next.collect())?;
    let batch = Batch::tokens(inputs, rows, steps, Layout::BatchFirst)?;
    Ok((batch, Targets::Classes(classes)))
}

/// Takes windows of a series: `steps` inputs and targets from a pair of first rows each.
fn series_pair(
    series: &Series,
    first: &[(usize, usize)],
    steps: usize,
    form: Form,
) -> Result<Pair> {
    let (i, o) = (form.features, form.outputs);
    let inputs = first.iter().flat_map(|(row, _)| &series.inputs[row * i..][..steps * i]);
    let targets = first.iter().flat_map(|(_, row)| &series.targets[row * o..][..steps * o]);
    let inputs: Vec<f32> = inputs.copied().collect();
    let targets = Tensor::new([first.len(), steps, o], targets.copied().collect())?;
    let batch = Batch::dense(inputs, first.len(), steps, i, Layout::BatchFirst)?;
    Ok((batch, Targets::Values(targets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(batch_size: usize, seq_len: usize) -> Form {
        let (features, outputs, seed) = (1, 5, 3);
        Form { batch_size, seq_len, features, vocab: Some(5), outputs, per_sequence: false, seed }
    }

    #[test]
    fn a_stream_is_read_on_from_batch_to_batch() {
        let tokens: Vec<u32> = (0..22).map(|n| n % 5).collect();
        let samples = Samples::Stream(tokens.clone());
        let batches = Batches::new(&samples, form(3, 4)).expect("enough");
        let order = batches.order(0);
        assert_eq!(order, [Pick::Steps(0), Pick::Steps(4)]);
        assert_eq!(batches.order(7), order);
        let mut read = vec![Vec::new(); 3];
        for pick in &order {
            let (batch, targets) = batches.make(pick).expect("a batch");
            let Targets::Classes(classes) = targets else { panic!("classes") };
            for (row, read) in read.iter_mut().enumerate() {
                for t in 0..batch.steps() {
                    let token = batch.token(row, t).expect("a token");
                    let next = classes.row(row)[t];
                    read.push(token);
                    assert_eq!(i64::from((token + 1) % 5), next);
                }
            }
        }
        assert_eq!(read.concat(), tokens[..21]);
    }

    #[test]
    fn every_example_comes_once_an_epoch_and_orders_differ() {
        let example = |n: usize| Example {
            input: Values::Tokens(vec![1; n % 4]),
            target: Target::Classes(vec![0; n % 4]),
        };
        let samples = Samples::Examples((0..50).map(example).collect());
        let batches = Batches::new(&samples, form(7, 4)).expect("enough");
        let places = |epoch| {
            let picks = batches.order(epoch).into_iter();
            let lists = picks.map(|pick| match pick {
                Pick::Examples(list) => list,
                other => panic!("{other:?}"),
            });
            lists.flatten().collect::<Vec<_>>()
        };
        assert_ne!(places(0), places(1));
        assert_eq!(places(1), places(1));
        let mut sorted = places(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(batches.per_epoch(), 8);
    }

    #[test]
    fn windows_lie_inside_and_predict_the_next_row() {
        let values: Vec<f32> = (0u8..90).map(f32::from).collect();
        let series = Series { inputs: values.clone(), targets: values, rows: 90 };
        let samples = Samples::Series(series);
        let form = Form { vocab: None, outputs: 1, ..form(4, 64) };
        let batches = Batches::new(&samples, form).expect("enough");
        for epoch in 0..20 {
            let order = batches.order(epoch);
            assert_eq!(order.len(), batches.per_epoch());
            for pick in &order {
                let (batch, targets) = batches.make(pick).expect("a batch");
                let Targets::Values(values) = targets else { panic!("values") };
                for row in 0..batch.batch_size() {
                    let (x, y) = (batch.features(row, 63)[0], values.row(row * 64 + 63)[0]);
                    assert!((x + 1.0 - y).abs() < 1e-6);
                }
            }
        }
    }
}
