//! What the outputs of a batch are compared with, and the check that it fits.

use super::{Loss, valid_rows};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::tensor::Tensor;

/// The targets of a batch. Batch-first whatever the layout of the batch; what stands beyond a
/// sequence's length is never read.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Class ids, row-major `[B, T]` for a network with an output per step, `[B]` for one per
    /// sequence. For [`Loss::CrossEntropy`].
    Classes(Tensor<i64>),
    /// Values `[B, T, O]` or `[B, O]`; O is the width of the recurrent output without an output layer.
    /// For [`Loss::BinaryCrossEntropy`] (0 to 1), [`Loss::Mse`], [`Loss::L1`], [`Loss::Huber`] and
    /// [`Loss::OutputGradient`].
    Values(Tensor<f32>),
    /// The labels of every sequence, without blanks. For [`Loss::Ctc`].
    Labels(Vec<Vec<u32>>),
}

impl Targets {
    /// Checks the loss against `model`, and the targets against all three.
    ///
    /// # Errors
    /// `Unsupported` when the loss is not defined for the output layer of `model`. `Shape` when the
    /// kind or the shape does not fit, a class or label is out of range (a class may be `ignore_index`),
    /// a value for binary cross-entropy is not between 0 and 1, or a number of the loss is out of range;
    /// names the place.
    pub fn check(&self, loss: &Loss, model: &Model, batch: &Batch) -> Result<()> {
        loss.check(model)?;
        let mut shape = vec![batch.batch_size(), batch.steps()];
        shape.truncate(if model.is_per_sequence() { 1 } else { 2 });
        match (self, loss) {
            (Self::Classes(classes), Loss::CrossEntropy(_)) => {
                check_shape("classes", &shape, classes.shape())?;
                check_classes(classes, loss, model, batch)
            }
            (
                Self::Values(values),
                Loss::BinaryCrossEntropy
                | Loss::Mse
                | Loss::L1
                | Loss::Huber { .. }
                | Loss::OutputGradient,
            ) => {
                shape.push(model.output_size());
                check_shape("values", &shape, values.shape())?;
                check_values(values, loss, model, batch)
            }
            (Self::Labels(labels), Loss::Ctc { blank }) => {
                check_labels(labels, *blank, model.output_size(), batch)
            }
            _ => {
                let expected = match loss {
                    Loss::CrossEntropy(_) => "classes",
                    Loss::Ctc { .. } => "labels",
                    _ => "values",
                };
                Err(Error::shape(format!(
                    "targets: expected {expected} for {}, got {}",
                    loss.name(),
                    self.kind()
                )))
            }
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Classes(_) => "classes",
            Self::Values(_) => "values",
            Self::Labels(_) => "labels",
        }
    }
}

fn check_shape(what: &str, expected: &[usize], got: &[usize]) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::shape(format!("target {what}: expected {expected:?} (batch first), got {got:?}")))
}

fn check_classes(classes: &Tensor<i64>, loss: &Loss, model: &Model, batch: &Batch) -> Result<()> {
    let Loss::CrossEntropy(options) = loss else { return Ok(()) };
    let outputs = model.output_size();
    for (b, t, index) in valid_rows(model, batch) {
        let class = classes.data()[index];
        let is_ignored = options.ignore_index == Some(class);
        if !is_ignored && usize::try_from(class).map_or(true, |class| class >= outputs) {
            let ignored = options.ignore_index.map_or_else(String::new, |i| format!(" or {i}"));
            return Err(Error::shape(format!(
                "target classes: expected 0 to {}{ignored}, got {class} in row {b}, step {t}",
                outputs - 1
            )));
        }
    }
    Ok(())
}

fn check_values(values: &Tensor<f32>, loss: &Loss, model: &Model, batch: &Batch) -> Result<()> {
    if *loss != Loss::BinaryCrossEntropy {
        return Ok(());
    }
    for (b, t, index) in valid_rows(model, batch) {
        if let Some(value) = values.row(index).iter().find(|v| !(0.0..=1.0).contains(*v)) {
            return Err(Error::shape(format!(
                "target values: expected 0 to 1 for {}, got {value} in row {b}, step {t}",
                loss.name()
            )));
        }
    }
    Ok(())
}

fn check_labels(labels: &[Vec<u32>], blank: u32, outputs: usize, batch: &Batch) -> Result<()> {
    if labels.len() != batch.batch_size() {
        return Err(Error::shape(format!(
            "target labels: expected one list per sequence = {}, got {}",
            batch.batch_size(),
            labels.len()
        )));
    }
    for (b, list) in labels.iter().enumerate().filter(|(b, _)| batch.length(*b) > 0) {
        let is_label = |l: u32| l != blank && usize::try_from(l).is_ok_and(|l| l < outputs);
        if let Some((place, label)) = list.iter().enumerate().find(|(_, l)| !is_label(**l)) {
            return Err(Error::shape(format!(
                "target labels: expected classes below {outputs} other than the blank {blank}, got \
                 {label} in row {b}, place {place}"
            )));
        }
    }
    Ok(())
}
