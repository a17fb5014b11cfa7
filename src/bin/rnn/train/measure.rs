//! How well a network does on what is held out, from the outputs that it gives: loss, accuracy, errors.
//!
//! Measured with the network as it will be saved, without dropout, on the device that trains it.

use std::ops::Range;

use wgpu_rnn::train::Targets;
use wgpu_rnn::{Activation, Batch, Engine, Model, Result, Tensor};

use super::args::{IGNORED, Task};
use super::batches::{Batches, Form, Pair};
use super::data::Held;
use crate::failure::shape_error;

/// What is measured on, as batches.
#[derive(Debug)]
pub(super) struct Probe {
    pairs: Vec<Pair>,
    carries: bool,
    /// The first target row that counts.
    from: usize,
    per_sequence: bool,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// The mean loss.
    pub(super) loss: f64,
    /// The part of classes that were the likeliest, for classes.
    pub(super) accuracy: Option<f64>,
    /// The root of the mean squared error of every output, for numbers; normalised as they are.
    pub(super) rmse: Vec<f64>,
    /// The mean absolute error of every output, for numbers.
    pub(super) mae: Vec<f64>,
}

/// Sums over rows.
#[derive(Debug, Default)]
struct Sums {
    rows: f64,
    loss: f64,
    correct: f64,
    squares: Vec<f64>,
    absolutes: Vec<f64>,
}

impl Probe {
    /// Prepares what is held out.
    ///
    /// # Errors
    /// `Shape` when it does not make batches, or has nothing to measure on.
    pub(super) fn new(held: &Held, form: Form) -> Result<Self> {
        let (pairs, carries) = Batches::measured(held, form)?;
        // Row t of the targets is row t + 1 of the series.
        let from = held.from.saturating_sub(1);
        let probe = Self { pairs, carries, from, per_sequence: form.per_sequence };
        let counts = |targets: &Targets, at: usize| match targets {
            Targets::Classes(classes) => classes.data()[at] != IGNORED,
            _ => true,
        };
        let any = |(batch, targets): &Pair| {
            let rows = (0..batch.batch_size()).flat_map(|row| probe.rows(batch, row));
            rows.into_iter().any(|at| counts(targets, at))
        };
        if !probe.pairs.iter().any(any) {
            return Err(shape_error("--validate: expected at least 1 target to measure on, got 0"));
        }
        Ok(probe)
    }

    /// Returns the rows of the output that count, of a sequence.
    fn rows(&self, batch: &Batch, row: usize) -> Range<usize> {
        let (first, length) = match (self.per_sequence, batch.length(row)) {
            (true, length) => (row, length.min(1)),
            (false, length) => (row * batch.steps(), length),
        };
        first + self.from.min(length)..first + length
    }

    /// Measures `model`.
    ///
    /// # Errors
    /// What a run gives.
    pub(super) fn measure(&self, engine: &Engine, model: &Model) -> Result<Measured> {
        let loaded = engine.load(&scores(model)?)?;
        let mut sums = Sums::default();
        let mut states = None;
        for (batch, targets) in &self.pairs {
            let output = match states.take().filter(|_| self.carries) {
                Some(states) => loaded.run_blocking(&batch.clone().with_initial(states))?,
                None => loaded.run_blocking(batch)?,
            };
            states = Some(output.states);
            for row in 0..batch.batch_size() {
                for at in self.rows(batch, row) {
                    sums.add(output.output.row(at), targets, at);
                }
            }
        }
        Ok(sums.finish())
    }
}

/// A network of classes with the logarithms of their probabilities as outputs.
fn scores(model: &Model) -> Result<Model> {
    let mut head = model.head().cloned();
    if let Some(head) = &mut head
        && head.activation == Activation::Softmax
    {
        head.activation = Activation::LogSoftmax;
    }
    model.clone().with_head(head)
}

impl Sums {
    fn add(&mut self, output: &[f32], targets: &Targets, at: usize) {
        match targets {
            Targets::Classes(classes) if classes.data()[at] == IGNORED => return,
            Targets::Classes(classes) => self.add_class(output, classes.data()[at]),
            Targets::Values(values) => self.add_values(output, values, at),
            Targets::Labels(_) => {}
        }
        self.rows += 1.0;
    }

    fn add_class(&mut self, scores: &[f32], class: i64) {
        let class = usize::try_from(class).unwrap_or(usize::MAX);
        let score = scores.get(class).copied().unwrap_or(f32::NAN);
        self.loss -= f64::from(score);
        let likeliest = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        if likeliest == Some(class) {
            self.correct += 1.0;
        }
    }

    fn add_values(&mut self, output: &[f32], targets: &Tensor, at: usize) {
        let width = output.len();
        self.squares.resize(width, 0.0);
        self.absolutes.resize(width, 0.0);
        for (place, (got, want)) in output.iter().zip(targets.row(at)).enumerate() {
            let error = f64::from(*got) - f64::from(*want);
            self.squares[place] += error * error;
            self.absolutes[place] += error.abs();
        }
    }

    fn finish(self) -> Measured {
        let rows = self.rows.max(1.0);
        if self.squares.is_empty() {
            let accuracy = Some(self.correct / rows);
            return Measured { loss: self.loss / rows, accuracy, ..Measured::default() };
        }
        let outputs = self.squares.iter().map(|_| 1.0).sum::<f64>();
        Measured {
            loss: self.squares.iter().sum::<f64>() / (rows * outputs),
            accuracy: None,
            rmse: self.squares.iter().map(|sum| (sum / rows).sqrt()).collect(),
            mae: self.absolutes.iter().map(|sum| sum / rows).collect(),
        }
    }
}

/// Tells whether people read the accuracy of a task, and not the perplexity.
pub(super) const fn shows_accuracy(task: Task) -> bool {
    matches!(task, Task::Classify | Task::Tag)
}

/// Writes a loss with what people read beside it: perplexity, root of the squared error.
pub(super) fn describe(task: Task, loss: f64) -> String {
    match task {
        Task::LanguageModel => format!("{loss:.4} (perplexity {:.2})", loss.exp()),
        Task::Classify | Task::Tag => format!("{loss:.4}"),
        Task::Forecast | Task::Regress => format!("{loss:.5}"),
    }
}
