//! The losses of [`crate::train`] in f64, each with its derivative.
//!
//! What a row of the output layer contributes stands at its function; `src/train/loss.rs` has the
//! reductions. Naive, as all of the oracle.

use super::backward;
use crate::batch::Batch;
use crate::cell::Real;
use crate::error::Result;
use crate::model::{Activation, Model};
use crate::train::{CrossEntropy, Loss, Targets, valid_rows};

/// One list of rows per sequence: `[B][len][width]`, or `[B][0 or 1][width]` with one row a sequence.
pub(super) type Rows = Vec<Vec<Vec<f64>>>;

/// Computes the loss of `batch` through `model`, both in f64, every option of a layer included.
///
/// 0 for a batch without a valid step. Infinite for CTC where a sequence is too short for its labels.
///
/// # Errors
/// `Shape` when the batch does not fit the model; as [`Targets::check`].
pub fn loss(model: &Model, batch: &Batch, targets: &Targets, loss: &Loss) -> Result<f64> {
    batch.check_fits(model)?;
    targets.check(loss, model, batch)?;
    let logits = backward::logits(model, batch);
    Ok(evaluate(model, batch, targets, loss, &logits).0)
}

/// Returns the loss and its derivative with respect to the logits (without an output layer: with
/// respect to the recurrent output). The targets have been checked.
pub(super) fn evaluate(
    model: &Model,
    batch: &Batch,
    targets: &Targets,
    loss: &Loss,
    logits: &Rows,
) -> (f64, Rows) {
    let mut total = 0.0;
    let mut slopes = logits.clone();
    if let (Loss::Ctc { blank }, Targets::Labels(labels)) = (loss, targets) {
        for (sequence, labels) in slopes.iter_mut().zip(labels).filter(|(s, _)| !s.is_empty()) {
            total += ctc(sequence, labels, *blank);
        }
    } else {
        let activation = model.head().map_or(Activation::None, |head| head.activation);
        for (b, t, index) in valid_rows(model, batch) {
            // With one row a sequence that row is the first.
            let row = &mut slopes[b][if model.is_per_sequence() { 0 } else { t }];
            total += match (loss, targets) {
                (Loss::CrossEntropy(options), Targets::Classes(classes)) => {
                    cross_entropy(options, classes.data()[index], row)
                }
                (_, Targets::Values(values)) => value_row(loss, activation, row, values.row(index)),
                _ => 0.0,
            };
        }
    }
    let denominator = loss.denominator(model, batch, targets);
    slopes.iter_mut().flatten().flatten().for_each(|slope| *slope /= denominator);
    (total / denominator, slopes)
}

/// Puts the derivative in place of the logits z and returns the sum over classes, with
/// a_k = (1 − ε)·w_y·[k = y] + ε/O·w_k:
///
/// ```text
/// l = −Σ a_k·ln p_k     p = softmax(z)     ∂l/∂z_k = p_k·Σ a_j − a_k
/// ```
fn cross_entropy(options: &CrossEntropy, target: i64, z: &mut [f64]) -> f64 {
    let Some(class) = options.class(target) else {
        z.fill(0.0);
        return 0.0;
    };
    let smoothing = f64::from(options.label_smoothing);
    let spread = smoothing / count(z.len());
    let shares: Vec<f64> = (0..z.len())
        .map(|k| {
            let own = if k == class { 1.0 - smoothing } else { 0.0 };
            (own + spread) * options.weight(k)
        })
        .collect();
    let sum: f64 = shares.iter().sum();
    super::activate(Activation::LogSoftmax, z);
    let mut loss = 0.0;
    for (z, share) in z.iter_mut().zip(shares) {
        // A class without a share adds nothing, not 0·∞.
        if share > 0.0 {
            loss -= share * *z;
        }
        *z = Real::exp(*z) * sum - share;
    }
    loss
}

/// Puts the derivative in place of the logits z and returns the sum over outputs, with v = g(z) and
/// e = v − y:
///
/// ```text
/// binary cross-entropy   l = ln(1 + eᶻ) − y·z             ∂l/∂z = σ(z) − y
/// mse                    l = e²                           ∂l/∂v = 2·e
/// l1                     l = |e|                          ∂l/∂v = sign e, 0 at 0
/// huber                  l = e²/2 for |e| < δ,            ∂l/∂v = e,
///                            else δ·(|e| − δ/2)                   else δ·sign e
/// output gradient        l = v·y                          ∂l/∂v = y
/// ```
fn value_row(loss: &Loss, activation: Activation, z: &mut [f64], targets: &[f32]) -> f64 {
    let targets = targets.iter().copied().map(f64::from);
    if *loss == Loss::BinaryCrossEntropy {
        let terms = z.iter_mut().zip(targets).map(|(z, y)| {
            let term = z.softplus() - y * *z;
            *z = z.sigmoid() - y;
            term
        });
        return terms.sum();
    }
    let mut values = z.to_vec();
    super::activate(activation, &mut values);
    let (mut total, mut slopes) = (0.0, Vec::with_capacity(z.len()));
    for (v, y) in values.iter().zip(targets) {
        let (term, slope) = match loss {
            Loss::OutputGradient => (v * y, y),
            _ => of_error(loss, v - y),
        };
        total += term;
        slopes.push(slope);
    }
    backward::activation(activation, z, &values, &slopes);
    total
}

fn of_error(loss: &Loss, e: f64) -> (f64, f64) {
    match loss {
        Loss::L1 if e == 0.0 => (0.0, 0.0),
        Loss::L1 => (e.abs(), e.signum()),
        Loss::Huber { delta } => {
            let delta = f64::from(*delta);
            if e.abs() >= delta {
                (delta * (e.abs() - 0.5 * delta), delta * e.signum())
            } else {
                (0.5 * e * e, e)
            }
        }
        _ => (e * e, 2.0 * e),
    }
}

/// Puts the derivative in place of one sequence's logits `[len][O]` and returns its loss, both divided
/// by the number of labels (at least 1).
///
/// With blanks between, before and after the labels (places s = 0 … 2·L, of class k(s)):
///
/// ```text
/// α_t(s) = p_t(k(s))·(α_{t-1}(s) + α_{t-1}(s − 1) + α_{t-1}(s − 2))     what leads to s, t included
/// β_t(s) = Σ over s' = s, s + 1, s + 2 of p_{t+1}(k(s'))·β_{t+1}(s')     what leads on, t excluded
/// p = α_{T-1}(2L) + α_{T-1}(2L − 1)     l = −ln p
/// ∂l/∂z_t(k) = softmax(z_t)_k − Σ over s of class k of α_t(s)·β_t(s) / p
/// ```
/// in logarithms; the step by two is for labels that differ from the label before. Source: Graves et
/// al. (2006), equations 6 to 16. With p = 0 the loss is infinite and the derivative NaN.
fn ctc(z: &mut [Vec<f64>], labels: &[u32], blank: u32) -> f64 {
    z.iter_mut().for_each(|row| super::activate(Activation::LogSoftmax, row));
    let index = |class: u32| usize::try_from(class).unwrap_or(usize::MAX);
    let mut places = vec![index(blank)];
    for label in labels {
        places.extend([index(*label), index(blank)]);
    }
    let lattice = Lattice { log_p: z, places: &places };
    let (alpha, beta) = (lattice.alpha(), lattice.beta());
    let end = alpha.last().map_or(&[][..], |row| &row[row.len().saturating_sub(2)..]);
    let log_p = log_sum(end);
    let divisor = count(labels.len().max(1));
    for (t, row) in z.iter_mut().enumerate() {
        let mut posterior = vec![0.0; row.len()];
        for (s, &class) in places.iter().enumerate() {
            posterior[class] += Real::exp(alpha[t][s] + beta[t][s] - log_p);
        }
        for (z, posterior) in row.iter_mut().zip(posterior) {
            *z = (Real::exp(*z) - posterior) / divisor;
        }
        // −∞ − (−∞) above is NaN only for the classes of the labels; PyTorch has it in the whole row.
        if log_p == f64::NEG_INFINITY {
            row.fill(f64::NAN);
        }
    }
    -log_p / divisor
}

struct Lattice<'a> {
    /// ln p_t(k), `[T][O]`.
    log_p: &'a [Vec<f64>],
    /// k(s).
    places: &'a [usize],
}

impl Lattice<'_> {
    /// Tells whether an alignment may go from place s − 2 to s.
    fn skips_to(&self, s: usize) -> bool {
        s >= 2 && s % 2 == 1 && self.places[s] != self.places[s - 2]
    }

    fn alpha(&self) -> Vec<Vec<f64>> {
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(self.log_p.len());
        for log_p in self.log_p {
            let row = (0..self.places.len()).map(|s| {
                let before = rows.last().map_or_else(
                    || if s < 2 { 0.0 } else { f64::NEG_INFINITY },
                    |last| {
                        let first = if self.skips_to(s) { s - 2 } else { s.saturating_sub(1) };
                        log_sum(&last[first..=s])
                    },
                );
                before + log_p[self.places[s]]
            });
            let row = row.collect();
            rows.push(row);
        }
        rows
    }

    fn beta(&self) -> Vec<Vec<f64>> {
        let (steps, places) = (self.log_p.len(), self.places.len());
        let end = |s: usize| if s + 2 >= places { 0.0 } else { f64::NEG_INFINITY };
        let mut rows = vec![(0..places).map(end).collect::<Vec<f64>>(); steps];
        for t in (0..steps.saturating_sub(1)).rev() {
            for s in 0..places {
                let last = if s + 2 < places && self.skips_to(s + 2) { s + 2 } else { s + 1 };
                let onward: Vec<f64> = (s..=last.min(places - 1))
                    .map(|next| rows[t + 1][next] + self.log_p[t + 1][self.places[next]])
                    .collect();
                rows[t][s] = log_sum(&onward);
            }
        }
        rows
    }
}

/// Computes ln Σ eᵛ; −∞ for no values, NaN with a NaN among them.
fn log_sum(values: &[f64]) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + values.iter().map(|v| Real::exp(*v - max)).sum::<f64>().ln()
}

#[expect(clippy::cast_precision_loss, reason = "numbers of classes and labels are below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}
