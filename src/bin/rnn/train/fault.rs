//! Where numbers first stopped being finite.
//!
//! Between two looks at the loss lie many steps, and since the first gradient that was no number the
//! device has left the parameters alone. The steps since the last state that was kept are taken again,
//! with the same bits, one look a step.

use wgpu_rnn::{
    Activation, Batch, Checkpoint, Engine, Error, ErrorKind, Head, Model, Result, States, Tensor,
    TrainerOptions,
};

use super::batches::{Batches, Pick};

/// What the steps are taken again from.
pub(super) struct Replay<'a> {
    /// The device.
    pub(super) engine: &'a Engine,
    /// How steps are taken.
    pub(super) options: &'a TrainerOptions,
    /// The last state that was kept.
    pub(super) kept: &'a Checkpoint,
    /// The steps since, each with its number from 1 and its learning rate.
    pub(super) steps: &'a [(u64, f32, Pick)],
    /// How many of them the last look found well.
    pub(super) well: usize,
    /// What may help.
    pub(super) hint: &'a str,
}

impl Replay<'_> {
    /// Finds the step and the tensor, and says so in an error.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn explain(&self, batches: &Batches<'_>) -> Result<Error> {
        let mut trainer = self.engine.resume(self.kept, self.options.clone())?;
        for (index, (step, rate, pick)) in self.steps.iter().enumerate() {
            let (batch, targets) = batches.make(pick)?;
            trainer.set_learning_rate(*rate)?;
            if index < self.well {
                trainer.step(&batch, &targets)?;
                continue;
            }
            let before = trainer.checkpoint()?;
            trainer.progress()?;
            trainer.step(&batch, &targets)?;
            let progress = trainer.progress()?;
            if !progress.is_stopped && (progress.steps == 0 || progress.mean_loss.is_finite()) {
                continue;
            }
            if let Some((name, value)) = first_fault(&before.model, false) {
                return Ok(self.fault("weights", &format!("{value} in {name}"), *step));
            }
            let batch = match &before.states {
                Some(states) => batch.with_initial(states.clone()),
                None => batch,
            };
            if let Some((what, got)) = self.forward_fault(&before.model, &batch)? {
                return Ok(self.fault(&what, &got, *step));
            }
            let mut again = self.engine.resume(&before, self.options.clone())?;
            let gradients = again.gradients(&batch, &targets)?;
            let loss = progress.loss;
            return Ok(match first_fault(&gradients.parameters, true) {
                Some((name, value)) => {
                    let what = format!("{value} in that of {name}, the loss being {loss:?}");
                    self.fault("gradients", &what, *step)
                }
                None if loss.is_finite() => {
                    let norm = progress.gradient_norm;
                    let what =
                        format!("a norm of {norm} over all of them, the loss being {loss:?}");
                    self.fault("gradients", &what, *step)
                }
                None => self.fault("losses", &loss.to_string(), *step),
            });
        }
        let last = self.steps.last().map_or(0, |(step, ..)| *step);
        Ok(self.fault("losses", "another that did not come again", last))
    }

    /// Runs the first layer, the first two and so on, and finds the first whose output is not finite: what it is, and
    /// the number with its place. `None` where all are finite without dropout.
    fn forward_fault(&self, model: &Model, batch: &Batch) -> Result<Option<(String, String)>> {
        let parts = (1..=model.layers().len()).map(|count| (count, None));
        for (count, head) in parts.chain([(model.layers().len(), model.head().cloned())]) {
            let what = match head {
                Some(_) => "outputs of the output layer".to_owned(),
                None => format!("outputs of layer {}", count - 1),
            };
            // Its logits: softmax of one infinity is NaN everywhere.
            let head = head.map(|head| Head { activation: Activation::None, ..head });
            let part = Model::new(model.input().clone(), model.layers()[..count].to_vec(), head)?;
            let batch = match batch.initial() {
                Some(states) => batch.clone().with_initial(States {
                    h: states.h[..count].to_vec(),
                    c: states.c[..count].to_vec(),
                }),
                None => batch.clone(),
            };
            let run = self.engine.load(&part)?.run_blocking(&batch)?;
            if let Some(got) = first_of(&run.output, &batch) {
                return Ok(Some((what, got)));
            }
        }
        Ok(None)
    }

    fn fault(&self, values: &str, got: &str, step: u64) -> Error {
        let hint = self.hint;
        let message =
            format!("training: expected finite {values}, got {got} in step {step} ({hint})");
        Error::new(ErrorKind::Weights, message)
    }
}

/// Names the first number of outputs `[B, T, O]` or `[B, O]` that is not finite, by time step and then by row.
fn first_of(output: &Tensor, batch: &Batch) -> Option<String> {
    let has_steps = output.shape().len() == 3;
    let steps = if has_steps { batch.steps() } else { 1 };
    let places = (0..steps).flat_map(|t| (0..batch.batch_size()).map(move |b| (b, t)));
    places.into_iter().find_map(|(b, t)| {
        let value = output.row(b * steps + t).iter().find(|value| !value.is_finite())?;
        let at = if has_steps { format!(", time step {t}") } else { String::new() };
        Some(format!("{value} in sequence {b}{at}"))
    })
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
