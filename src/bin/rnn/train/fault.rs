//! Where numbers first stopped being finite.

use wgpu_rnn::{Error, ErrorKind, Model, Result, Trainer};

use super::batches::{Batches, Pick};

/// Finds the step and the tensor, and says so in an error.
///
/// Since the first gradient that was no number the device has left the parameters alone, so that the
/// batches since the last look at the loss (`recent`, each with its step from 1) show it again.
///
/// # Errors
/// When the device fails.
pub(super) fn explain(
    trainer: &mut Trainer,
    batches: &Batches<'_>,
    recent: &[(u64, Pick)],
    hint: &str,
) -> Result<Error> {
    let fault = |what: String, step: u64, values: &str| {
        let message = format!("training: expected finite {values}, got {what} in step {step}");
        Error::new(ErrorKind::Weights, format!("{message} ({hint})"))
    };
    let (first, last) = match recent {
        [first, .., last] => (first.0, last.0),
        [only] => (only.0, only.0),
        [] => (0, 0),
    };
    if let Some((name, value)) = first_fault(&trainer.model()?, false) {
        return Ok(fault(format!("{value} in {name}"), first, "weights"));
    }
    for (step, pick) in recent {
        let (batch, targets) = batches.make(pick)?;
        let gradients = trainer.gradients(&batch, &targets)?;
        if let Some((name, value)) = first_fault(&gradients.parameters, true) {
            let what =
                format!("{value} in the gradient of {name}, the loss being {}", gradients.loss);
            return Ok(fault(what, *step, "gradients"));
        }
        if !gradients.loss.is_finite() {
            return Ok(fault(gradients.loss.to_string(), *step, "losses"));
        }
    }
    let message = format!(
        "training: expected finite losses, got another between steps {first} and {last} ({hint})"
    );
    Ok(Error::new(ErrorKind::Weights, message))
}

/// Names the first tensor with a number that is not finite, and that number; backpropagation comes to
/// the last tensor first.
fn first_fault(model: &Model, backwards: bool) -> Option<(String, f32)> {
    let mut tensors = model.tensors();
    if backwards {
        tensors.reverse();
    }
    tensors.into_iter().find_map(|tensor| {
        let value = tensor.values.iter().find(|value| !value.is_finite())?;
        Some((tensor.name, *value))
    })
}
