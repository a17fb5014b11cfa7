//! How a network is trained, and the numbers of a step.

use crate::error::{Error, Result};
use crate::plan::{DECAYS_AT, HYPER_WORDS};
use crate::train::random::philox;
use crate::train::{CrossEntropy, Loss, Optimizer, WeightDecay};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerOptions {
    /// What is minimised. Default: softmax cross-entropy.
    pub loss: Loss,
    /// How parameters follow their gradients. Default: Adam.
    pub optimizer: Optimizer,
    /// The learning rate. Default 10⁻³.
    pub learning_rate: f32,
    /// λ of the optimizer, by group of parameters. Default 0; a number is that of all weights and not of biases.
    pub weight_decay: WeightDecay,
    /// The largest norm of all gradients together; a larger one is scaled down. Default none.
    pub clip_norm: Option<f32>,
    /// Bounds every value of a gradient to ±this, after `clip_norm`. Default none.
    pub clip_value: Option<f32>,
    /// Probability with which a value between two layers is dropped while training; those that pass are divided
    /// by one minus it. Default 0.
    pub dropout: f32,
    /// Probability with which a value of h is dropped on its way to the next step, the same values at all steps of
    /// a sequence (Gal and Ghahramani 2016). Default 0.
    pub recurrent_dropout: f32,
    /// Of dropout. Default 0.
    pub seed: u64,
    /// Computes the recurrent product of all steps again for backpropagation, in place of keeping what it gave: one more
    /// product for the memory of a layer's gates ([`crate::Trainer::explain`] prints both). Layers with peepholes or with
    /// reset before the product always do. Default false.
    pub recompute: bool,
    /// Starts every step with the states that the last one ended with, which cuts the gradient there (truncated
    /// backpropagation through time). Batches then have no lengths; one with initial states of its own, or with
    /// another number of sequences, starts anew. Default false.
    pub carry_states: bool,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self {
            loss: Loss::CrossEntropy(CrossEntropy::default()),
            optimizer: Optimizer::Adam { betas: [0.9, 0.999], epsilon: 1e-8 },
            learning_rate: 1e-3,
            weight_decay: WeightDecay::default(),
            clip_norm: None,
            clip_value: None,
            dropout: 0.0,
            recurrent_dropout: 0.0,
            seed: 0,
            recompute: false,
            carry_states: false,
        }
    }
}

impl TrainerOptions {
    pub(super) fn check(&self) -> Result<()> {
        self.optimizer.check()?;
        self.weight_decay.check()?;
        let numbers = [
            ("learning_rate", Some(self.learning_rate), 0.0),
            ("clip_norm", self.clip_norm, f32::MIN_POSITIVE),
            ("clip_value", self.clip_value, f32::MIN_POSITIVE),
        ];
        for (what, value, least) in numbers {
            if let Some(value) = value.filter(|v| !(v.is_finite() && *v >= least)) {
                let bound = if least > 0.0 { "above 0" } else { "at least 0" };
                return Err(Error::shape(format!(
                    "training {what}: expected {bound}, got {value}"
                )));
            }
        }
        for (what, p) in [("dropout", self.dropout), ("recurrent_dropout", self.recurrent_dropout)]
        {
            if !(0.0..1.0).contains(&p) {
                return Err(Error::shape(format!(
                    "training {what}: expected 0 to below 1, got {p}"
                )));
            }
        }
        Ok(())
    }

    /// Numbers of step `t`, counted from 1, as `shaders/train/optimize.wgsl` reads them.
    pub(super) fn hyper(&self, t: u64) -> [f32; HYPER_WORDS] {
        let (first, second, epsilon, nesterov) = match self.optimizer {
            Optimizer::Sgd { momentum, nesterov } => (momentum, 0.0, 0.0, nesterov),
            Optimizer::Adam { betas: [b1, b2], epsilon }
            | Optimizer::AdamW { betas: [b1, b2], epsilon } => (b1, b2, epsilon, false),
            Optimizer::RmsProp { alpha, epsilon } => (0.0, alpha, epsilon, false),
        };
        let power = i32::try_from(t).unwrap_or(i32::MAX);
        let mut hyper = [0.0; HYPER_WORDS];
        hyper[..10].copy_from_slice(&[
            self.learning_rate,
            first,
            second,
            epsilon,
            0.0,
            bias_correction(first, power),
            bias_correction(second, power),
            f32::from(u8::from(nesterov)),
            self.clip_norm.unwrap_or(0.0),
            self.clip_value.unwrap_or(0.0),
        ]);
        [hyper[10], hyper[12]] = step_seed(self.seed, t);
        [hyper[11], hyper[13]] = [self.dropout, self.recurrent_dropout];
        hyper[DECAYS_AT..DECAYS_AT + 5].copy_from_slice(&self.weight_decay.in_order());
        hyper
    }
}

/// Halves of what the random numbers of step `t` start from, as numbers.
#[expect(clippy::cast_precision_loss, reason = "16 bits fit f32")]
fn step_seed(seed: u64, t: u64) -> [f32; 2] {
    let halves =
        |word: u64| [word & 0xffff_ffff, word >> 32].map(|half| u32::try_from(half).unwrap_or(0));
    let [low, high] = halves(t);
    let word = philox([low, high, 0, 0], halves(seed))[0];
    [(word & 0xffff) as f32, (word >> 16) as f32]
}

/// 1 − β^t.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn bias_correction(beta: f32, t: i32) -> f32 {
    (1.0 - f64::from(beta).powi(t)) as f32
}
