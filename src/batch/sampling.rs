//! How a token is drawn from the scores of a step.

use crate::error::{Error, Result};
use crate::model::{Activation, Model};

/// How a token is drawn: temperature, the K likeliest, the fewest of those that reach P, in this order.
///
/// ```text
/// q_i = exp((s_i − max s)/T)
/// ```
/// with s the logits, or the logarithms of what a softmax gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// T; 0 takes the likeliest. Default 1.
    pub temperature: f32,
    /// K; `None` for all. Default `None`.
    pub top_k: Option<usize>,
    /// P, above 0 and up to 1. Default 1, which keeps all.
    pub top_p: f32,
    /// Starts the drawing; the number of a token is the rest of what its random numbers depend on.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Checks the numbers.
    ///
    /// # Errors
    /// `Shape` for a negative temperature, K of 0 or P outside (0, 1].
    pub fn check(&self) -> Result<()> {
        let refuse = |name: &str, expected: &str, got: &dyn std::fmt::Display| {
            Err(Error::shape(format!("sampling {name}: expected {expected}, got {got}")))
        };
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse("temperature", "at least 0", &self.temperature);
        }
        if self.top_k == Some(0) {
            return refuse("top_k", "at least 1", &0);
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top_p", "above 0 and up to 1", &self.top_p);
        }
        Ok(())
    }
}

/// Tells whether the outputs of `model` are probabilities, whose logarithms are the scores.
pub(crate) fn gives_probabilities(model: &Model) -> bool {
    model.head().is_some_and(|head| head.activation == Activation::Softmax)
}
