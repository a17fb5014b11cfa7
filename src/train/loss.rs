//! The losses, and what each divides by.
//!
//! ```text
//! CrossEntropy         Σ ((1 − ε)·w_y·l_y + ε/O·Σ_k w_k·l_k) / Σ w_y     l_k = −ln softmax(z)_k
//! BinaryCrossEntropy   Σ (ln(1 + eᶻ) − y·z) / (N·O)
//! Mse, L1              Σ (v − y)² / (N·O), Σ |v − y| / (N·O)
//! Huber                Σ (e²/2 for |e| < δ, else δ·(|e| − δ/2)) / (N·O)    e = v − y
//! OutputGradient       Σ v·y                                             y = ∂L/∂v of a loss L that the caller knows
//! Ctc                  Σ_b (−ln p(labels of b) / max(1, number of labels of b)) / B'
//! ```
//! z are the logits `W·h + b` of the output layer, v = g(z); N is the number of valid output rows, and
//! B' of the sequences with a valid step. Padding counts nowhere.
//! Source: PyTorch `F.cross_entropy`, `F.binary_cross_entropy_with_logits`, `F.mse_loss`,
//! `F.l1_loss`, `F.huber_loss`, `F.ctc_loss`, reduction "mean"; Graves et al. (2006) for CTC.

use super::{Targets, valid_rows};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::model::{Activation, HeadSteps, Model};

/// What training makes small.
#[derive(Clone, Debug, PartialEq)]
pub enum Loss {
    /// Softmax cross-entropy from logits, the mean over the valid steps that are not ignored,
    /// weighted by class (PyTorch `nn.CrossEntropyLoss`). The output layer's function is none,
    /// softmax or log-softmax, and is left out.
    CrossEntropy(CrossEntropy),
    /// Binary cross-entropy with logits, the mean over valid steps and outputs (PyTorch
    /// `nn.BCEWithLogitsLoss`). The output layer's function is none or sigmoid, and is left out.
    BinaryCrossEntropy,
    /// Squared error, the mean over valid steps and outputs (PyTorch `nn.MSELoss`).
    Mse,
    /// Absolute error, the mean over valid steps and outputs (PyTorch `nn.L1Loss`).
    L1,
    /// Squared up to δ and linear beyond, the mean over valid steps and outputs (PyTorch
    /// `nn.HuberLoss`).
    Huber {
        /// δ, where the two meet; positive.
        delta: f32,
    },
    /// A loss of the caller's own: targets are its gradient with respect to the outputs v of the network, y = ∂L/∂v,
    /// which backpropagation starts from as it is. What is reported as loss is Σ v·y. The outputs come from
    /// [`crate::Trainer::run`], in the layout of the batch; targets are batch-first.
    OutputGradient,
    /// Connectionist temporal classification from logits (PyTorch `nn.CTCLoss`, reduction "mean",
    /// `zero_infinity = false`): per sequence −ln of the probability of its labels, divided by their
    /// number; then the mean over sequences. The output layer's function is none, softmax or
    /// log-softmax, and is left out.
    ///
    /// A sequence too short for its labels (it needs one step a label, and one between equal
    /// neighbours) has probability zero: the loss is infinite and the gradients are NaN, as PyTorch's.
    Ctc {
        /// The class that stands for no label.
        blank: u32,
    },
}

/// Options of the cross-entropy; the default has none of them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CrossEntropy {
    /// The weight of every class, O finite numbers of at least 0. Default one each.
    pub class_weights: Option<Vec<f32>>,
    /// ε in [0, 1): the part of the target that is spread evenly over all classes. Default 0.
    pub label_smoothing: f32,
    /// A step whose target is this class counts nowhere; it may lie outside `0..O`. Default none.
    pub ignore_index: Option<i64>,
}

impl CrossEntropy {
    /// Returns the weight of a class, 1 without weights.
    pub(crate) fn weight(&self, class: usize) -> f64 {
        let weight = |list: &Vec<f32>| list.get(class).copied().map_or(0.0, f64::from);
        self.class_weights.as_ref().map_or(1.0, weight)
    }

    /// Returns the target of a step as an index, or `None` for a step that is ignored.
    pub(crate) fn class(&self, target: i64) -> Option<usize> {
        if self.ignore_index == Some(target) { None } else { usize::try_from(target).ok() }
    }
}

impl Loss {
    /// Returns the name used in messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy(_) => "cross-entropy",
            Self::BinaryCrossEntropy => "binary-cross-entropy",
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::Huber { .. } => "huber",
            Self::OutputGradient => "output-gradient",
            Self::Ctc { .. } => "ctc",
        }
    }

    /// Returns what the sum over valid steps is divided by: Σ w_y for cross-entropy; valid output rows
    /// × O for the losses of values; sequences with a valid step for CTC, each of whose losses is
    /// divided by its number of labels before. 1 where that would be 0, so that a batch without a
    /// valid step has loss 0 and zero gradients. 1 for a gradient of the caller's.
    ///
    /// Targets of other shapes than [`Targets::check`] allows give a number without meaning.
    pub fn denominator(&self, model: &Model, batch: &Batch, targets: &Targets) -> f64 {
        let sum = match (self, targets) {
            (Self::CrossEntropy(options), Targets::Classes(classes)) => valid_rows(model, batch)
                .filter_map(|(_, _, index)| options.class(*classes.data().get(index)?))
                .map(|class| options.weight(class))
                .sum(),
            (Self::Ctc { .. }, _) => {
                count((0..batch.batch_size()).filter(|&b| batch.length(b) > 0).count())
            }
            (Self::OutputGradient, _) => 1.0,
            _ => count(valid_rows(model, batch).count()) * count(model.output_size()),
        };
        if sum > 0.0 { sum } else { 1.0 }
    }

    /// Checks that the loss has numbers that it can be computed with, and that it fits the output
    /// layer of `model`.
    ///
    /// # Errors
    /// `Unsupported` for an output layer, or the lack of one, that the loss is not defined for;
    /// `Shape` for a number out of range.
    pub(crate) fn check(&self, model: &Model) -> Result<()> {
        self.check_head(model)?;
        let outputs = model.output_size();
        let name = self.name();
        match self {
            Self::CrossEntropy(options) => options.check(outputs),
            Self::Huber { delta } if !(delta.is_finite() && *delta > 0.0) => {
                Err(Error::shape(format!("{name} delta: expected a positive number, got {delta}")))
            }
            Self::Ctc { blank } if usize::try_from(*blank).map_or(true, |b| b >= outputs) => {
                Err(Error::shape(format!(
                    "{name} blank: expected a class below O = {outputs}, got {blank}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn check_head(&self, model: &Model) -> Result<()> {
        use Activation::{LogSoftmax, None, Relu, Sigmoid, Softmax, Tanh};
        let name = self.name();
        let fits: &[Activation] = match self {
            Self::CrossEntropy(_) | Self::Ctc { .. } => &[None, Softmax, LogSoftmax],
            Self::BinaryCrossEntropy => &[None, Sigmoid],
            Self::Mse | Self::L1 | Self::Huber { .. } | Self::OutputGradient => {
                &[None, Sigmoid, Tanh, Relu]
            }
        };
        let is_of_values =
            matches!(self, Self::Mse | Self::L1 | Self::Huber { .. } | Self::OutputGradient);
        let Some(head) = model.head() else {
            return if is_of_values {
                Ok(())
            } else {
                Err(Error::unsupported(format!(
                    "{name}: expected a network with an output layer, whose logits it reads, got one \
                     without"
                )))
            };
        };
        if !fits.contains(&head.activation) {
            let list: Vec<_> = fits.iter().map(|g| g.name()).collect();
            return Err(Error::unsupported(format!(
                "{name}: expected an output layer with {}, got {}",
                list.join(", "),
                head.activation.name()
            )));
        }
        if matches!(self, Self::Ctc { .. }) && head.steps != HeadSteps::Every {
            return Err(Error::unsupported(format!(
                "{name}: expected an output for every step, got one for each sequence ({})",
                head.steps.name()
            )));
        }
        Ok(())
    }
}

impl CrossEntropy {
    fn check(&self, outputs: usize) -> Result<()> {
        let smoothing = self.label_smoothing;
        if !(0.0..1.0).contains(&smoothing) {
            return Err(Error::shape(format!(
                "cross-entropy label_smoothing: expected at least 0 and below 1, got {smoothing}"
            )));
        }
        let Some(weights) = &self.class_weights else { return Ok(()) };
        if weights.len() != outputs {
            return Err(Error::shape(format!(
                "cross-entropy class_weights: expected one per output = {outputs}, got {}",
                weights.len()
            )));
        }
        if let Some((k, w)) =
            weights.iter().enumerate().find(|(_, w)| !(w.is_finite() && **w >= 0.0))
        {
            return Err(Error::shape(format!(
                "cross-entropy class_weights: expected finite numbers of at least 0, got {w} for class {k}"
            )));
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of rows and outputs are below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}
