//! What is kept of the results on their way to the output: lengths, final states, the steps that the
//! summary and the plot show, and where the first value went wrong.

use wgpu_rnn::{Model, Result, States, Tensor};

use crate::data::{Values, Wanted};

/// Results of some time steps of one sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done<'a> {
    /// The sequence's place in the input.
    pub(super) sequence: usize,
    /// The time step of the first row of `input`.
    pub(super) start: usize,
    /// Input steps.
    pub(super) input: &'a Values,
    /// Output rows `[rows, O]`, or `[rows, k]` of the largest values; one at most for networks that
    /// give one row per sequence.
    pub(super) output: &'a [f32],
    /// Places of the largest values, as `output`; else empty.
    pub(super) places: &'a [u32],
}

/// Where values were NaN or infinite.
#[derive(Clone, Debug, Default)]
pub(super) struct NonFinite {
    first: Option<(usize, usize, usize)>,
    count: usize,
}

impl NonFinite {
    fn scan(&mut self, sequence: usize, start: usize, width: usize, values: &[f32]) {
        for (index, _) in values.iter().enumerate().filter(|(_, value)| !value.is_finite()) {
            self.count += 1;
            self.first.get_or_insert((sequence, start + index / width, index % width));
        }
    }

    /// Describes the fault, naming the column, or nothing where all is finite.
    pub(super) fn describe(&self, what: &str, names: &[String]) -> Option<String> {
        let (sequence, step, column) = self.first?;
        let column = names.get(column).map_or_else(|| column.to_string(), Clone::clone);
        let values = if self.count == 1 { "value" } else { "values" };
        Some(format!(
            "{what}: {} non-finite {values}, the first in sequence {sequence}, step {step}, \
             column {column}",
            self.count
        ))
    }
}

/// The last steps of the first sequence.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// The time step of the first kept row.
    pub(super) start: usize,
    /// Kept input steps.
    pub(super) input: Values,
    /// Kept output rows.
    pub(super) output: Vec<f32>,
    keep: usize,
    features: usize,
    width: usize,
}

impl Sample {
    /// Returns how many steps are kept.
    pub(super) fn steps(&self) -> usize {
        match &self.input {
            Values::Dense(values) => values.len() / self.features,
            Values::Tokens(tokens) => tokens.len(),
        }
    }

    /// Returns the last output row, where there is one.
    pub(super) fn last_output(&self) -> Option<&[f32]> {
        self.output.chunks_exact(self.width).next_back()
    }

    fn push(&mut self, done: &Done<'_>) {
        match (&mut self.input, done.input) {
            (Values::Dense(kept), Values::Dense(new)) => kept.extend(new),
            (Values::Tokens(kept), Values::Tokens(new)) => kept.extend(new),
            _ => {}
        }
        self.output.extend(done.output);
        let surplus = self.steps().saturating_sub(self.keep);
        self.start += surplus;
        match &mut self.input {
            Values::Dense(values) => drop(values.drain(..surplus * self.features)),
            Values::Tokens(tokens) => drop(tokens.drain(..surplus)),
        }
        let rows = self.output.len() / self.width;
        self.output.drain(..rows.saturating_sub(self.keep) * self.width);
    }
}

/// Final states, one sequence after another.
#[derive(Clone, Debug)]
struct StateRows {
    /// The shapes, for one sequence.
    zeros: States,
    /// Per tensor (h of all layers, then c) and direction: rows of all sequences.
    rows: Vec<Vec<Vec<f32>>>,
}

fn tensors(states: &States) -> impl Iterator<Item = &Tensor> {
    states.h.iter().chain(states.c.iter().flatten())
}

impl StateRows {
    fn new(model: &Model) -> Self {
        let zeros = States::zeros(model, 1);
        let rows = tensors(&zeros).map(|tensor| vec![Vec::new(); tensor.shape()[0]]).collect();
        Self { zeros, rows }
    }

    fn push(&mut self, states: &States, row: usize) {
        for (tensor, directions) in tensors(states).zip(&mut self.rows) {
            let batch = tensor.shape().get(1).copied().unwrap_or(0);
            for (d, rows) in directions.iter_mut().enumerate() {
                rows.extend(tensor.row(d * batch + row));
            }
        }
    }

    fn join(self, batch: usize) -> Result<States> {
        let mut joined = self.rows.into_iter().map(|directions| directions.concat());
        let mut tensor = |zero: &Tensor| {
            let shape = [zero.shape()[0], batch, zero.shape()[2]];
            Tensor::new(shape, joined.next().unwrap_or_default())
        };
        let h = self.zeros.h.iter().map(&mut tensor).collect::<Result<_>>()?;
        let c = self.zeros.c.iter().map(|c| c.as_ref().map(&mut tensor).transpose());
        Ok(States { h, c: c.collect::<Result<_>>()? })
    }
}

/// Everything that is kept.
#[derive(Clone, Debug)]
pub(super) struct Collected {
    /// Time steps of every sequence.
    pub(super) lengths: Vec<usize>,
    /// The last steps of the first sequence.
    pub(super) sample: Sample,
    /// Faults of the input.
    pub(super) bad_input: NonFinite,
    /// Faults of the output.
    pub(super) bad_output: NonFinite,
    states: Option<StateRows>,
    features: usize,
    width: usize,
    last_step_only: bool,
}

impl Collected {
    /// Starts with nothing; rows of the output have `width` values; keeps `keep` steps of the first
    /// sequence and, if asked, final states.
    pub(super) fn new(
        model: &Model,
        wanted: &Wanted,
        width: usize,
        (keep, states): (usize, bool),
    ) -> Self {
        let features = wanted.features;
        let input = wanted.empty();
        let sample = Sample { start: 0, input, output: Vec::new(), keep, features, width };
        Self {
            lengths: Vec::new(),
            sample,
            bad_input: NonFinite::default(),
            bad_output: NonFinite::default(),
            states: states.then(|| StateRows::new(model)),
            features,
            width,
            last_step_only: model.is_per_sequence(),
        }
    }

    /// Tells whether final states are kept.
    pub(super) fn wants_states(&self) -> bool {
        self.states.is_some()
    }

    /// Takes the results of some steps.
    pub(super) fn take(&mut self, done: &Done<'_>) {
        if let Values::Dense(values) = done.input {
            self.bad_input.scan(done.sequence, done.start, self.features, values);
        }
        let steps = match done.input {
            Values::Dense(values) => values.len() / self.features,
            Values::Tokens(tokens) => tokens.len(),
        };
        let end = done.start + steps;
        let first = if self.last_step_only { end.saturating_sub(1) } else { done.start };
        self.bad_output.scan(done.sequence, first, self.width, done.output);
        if done.sequence == self.lengths.len() {
            self.lengths.push(0);
        }
        self.lengths[done.sequence] = end;
        if done.sequence == 0 {
            self.sample.push(done);
        }
    }

    /// Takes the final states of the next sequence: row `row` of `states`.
    pub(super) fn take_states(&mut self, states: &States, row: usize) {
        if let Some(rows) = &mut self.states {
            rows.push(states, row);
        }
    }

    /// Joins the final states of all sequences, where they were kept.
    ///
    /// # Errors
    /// None in practice: the rows were shaped when they came.
    pub(super) fn join_states(&mut self) -> Result<Option<States>> {
        let batch = self.lengths.len();
        self.states.take().map(|rows| rows.join(batch)).transpose()
    }
}
