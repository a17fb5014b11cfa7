//! Optimizers and learning-rate schedules, by PyTorch's names and formulas.

use crate::error::{Error, Result};

/// Which optimizer, with its constants (`torch.optim`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent: `m = μ·m + g; p −= lr·m`, with Nesterov `p −= lr·(g + μ·m)`.
    Sgd {
        /// μ; 0 for none.
        momentum: f32,
        /// Nesterov's form.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba 2015); weight decay is added to the gradient.
    Adam {
        /// β1, β2.
        betas: [f32; 2],
        /// ε.
        epsilon: f32,
    },
    /// Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019).
    AdamW {
        /// β1, β2.
        betas: [f32; 2],
        /// ε.
        epsilon: f32,
    },
    /// RMSprop: `v = α·v + (1 − α)·g²; p −= lr·g/(√v + ε)`.
    RmsProp {
        /// α.
        alpha: f32,
        /// ε.
        epsilon: f32,
    },
}

impl Optimizer {
    /// Returns an optimizer with PyTorch's constants: `sgd` (no momentum), `adam`, `adamw`, `rmsprop`.
    pub fn from_name(name: &str) -> Option<Self> {
        let (betas, epsilon) = ([0.9, 0.999], 1e-8);
        Some(match name {
            "sgd" => Self::Sgd { momentum: 0.0, nesterov: false },
            "adam" => Self::Adam { betas, epsilon },
            "adamw" => Self::AdamW { betas, epsilon },
            "rmsprop" => Self::RmsProp { alpha: 0.99, epsilon },
            _ => return None,
        })
    }

    /// Returns the name used on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sgd { .. } => "sgd",
            Self::Adam { .. } => "adam",
            Self::AdamW { .. } => "adamw",
            Self::RmsProp { .. } => "rmsprop",
        }
    }

    /// Checks the constants.
    ///
    /// # Errors
    /// `Shape` for a momentum, β or α outside of 0 to below 1, an ε that is no positive number, and for
    /// Nesterov without momentum.
    pub fn check(&self) -> Result<()> {
        let fraction = |what: &str, value: f32| {
            if (0.0..1.0).contains(&value) {
                return Ok(());
            }
            Err(Error::shape(format!("optimizer {what}: expected 0 to below 1, got {value}")))
        };
        let positive = |value: f32| {
            if value.is_finite() && value > 0.0 {
                return Ok(());
            }
            Err(Error::shape(format!("optimizer epsilon: expected above 0, got {value}")))
        };
        match *self {
            Self::Sgd { momentum, nesterov } => {
                fraction("momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(Error::shape(
                        "optimizer momentum: expected above 0 with Nesterov, got 0",
                    ));
                }
                Ok(())
            }
            Self::Adam { betas, epsilon } | Self::AdamW { betas, epsilon } => {
                fraction("beta1", betas[0])?;
                fraction("beta2", betas[1])?;
                positive(epsilon)
            }
            Self::RmsProp { alpha, epsilon } => {
                fraction("alpha", alpha)?;
                positive(epsilon)
            }
        }
    }
}

/// λ of an optimizer for every group of parameters.
///
/// ```
/// use wgpu_rnn::train::WeightDecay;
/// assert_eq!(WeightDecay::from(0.01), WeightDecay::weights(0.01));
/// let alone = WeightDecay { recurrent: 0.1, ..WeightDecay::default() };
/// assert_eq!(alone.biases, 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct WeightDecay {
    /// Of the embedding.
    pub embedding: f32,
    /// Of W_ih of every layer.
    pub input: f32,
    /// Of W_hh, and of the projection W_hr, of every layer.
    pub recurrent: f32,
    /// Of the output layer's weight.
    pub output: f32,
    /// Of every bias. Peepholes never decay.
    pub biases: f32,
}

impl WeightDecay {
    /// The same λ for all weights, and none for biases.
    pub const fn weights(lambda: f32) -> Self {
        Self { embedding: lambda, input: lambda, recurrent: lambda, output: lambda, biases: 0.0 }
    }

    /// The same λ for weights and biases, as PyTorch has it without parameter groups.
    pub const fn all(lambda: f32) -> Self {
        Self { biases: lambda, ..Self::weights(lambda) }
    }

    /// Embedding, input, recurrent, output, biases.
    pub(crate) const fn in_order(&self) -> [f32; 5] {
        [self.embedding, self.input, self.recurrent, self.output, self.biases]
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// `Shape` for one that is negative or not finite.
    pub fn check(&self) -> Result<()> {
        let names = ["embedding", "input", "recurrent", "output", "biases"];
        for (name, value) in names.into_iter().zip(self.in_order()) {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::shape(format!(
                    "weight_decay of {name}: expected at least 0, got {value}"
                )));
            }
        }
        Ok(())
    }
}

impl From<f32> for WeightDecay {
    fn from(lambda: f32) -> Self {
        Self::weights(lambda)
    }
}

/// How the learning rate changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Schedule {
    /// It does not.
    #[default]
    Constant,
    /// Times `gamma` every `every` steps (PyTorch's `StepLR`).
    Step {
        /// Steps between changes.
        every: u64,
        /// The factor.
        gamma: f64,
    },
    /// Linear warm-up from 0, then half a cosine down to 0 at the last step.
    Cosine {
        /// Steps of the warm-up.
        warm_up: u64,
    },
    /// Up from lr/25 to lr over the first `rise` of all steps, then down to lr/250 000, both along
    /// cosines (PyTorch's `OneCycleLR` with its default factors).
    OneCycle {
        /// The part of all steps that it rises in, PyTorch's `pct_start`: 0.3.
        rise: f64,
    },
}

impl Schedule {
    /// Returns what the learning rate is multiplied by at step `step`, counted from 0, of `total`.
    #[expect(clippy::cast_precision_loss, reason = "steps stay far below 2^53")]
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let cosine = |from: f64, to: f64, part: f64| {
            to + (from - to) / 2.0 * (1.0 + (std::f64::consts::PI * part.clamp(0.0, 1.0)).cos())
        };
        let (at, all) = (step as f64, total.max(1) as f64);
        match *self {
            Self::Constant => 1.0,
            Self::Step { every, gamma } => gamma.powf((step / every.max(1)) as f64),
            Self::Cosine { warm_up } if step < warm_up => (at + 1.0) / (warm_up as f64 + 1.0),
            Self::Cosine { warm_up } => {
                let warm_up = warm_up as f64;
                cosine(1.0, 0.0, (at - warm_up) / (all - warm_up).max(1.0))
            }
            Self::OneCycle { rise } => {
                // PyTorch: the rise ends at step rise·total − 1, the fall at total − 1.
                let peak = rise * all - 1.0;
                if at <= peak {
                    cosine(1.0 / 25.0, 1.0, at / peak.max(f64::MIN_POSITIVE))
                } else {
                    cosine(1.0, 1.0 / 250_000.0, (at - peak) / (all - 1.0 - peak).max(1.0))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }

    #[test]
    fn schedules_go_where_they_say() {
        close(Schedule::Constant.factor(7, 10), 1.0);
        close(Schedule::Step { every: 3, gamma: 0.5 }.factor(7, 10), 0.25);
        let cosine = Schedule::Cosine { warm_up: 4 };
        close(cosine.factor(0, 20), 0.2);
        close(cosine.factor(4, 20), 1.0);
        close(cosine.factor(12, 20), 0.5);
        assert!(cosine.factor(19, 20) < 0.02);
        // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10, pct_start=0.3)
        let cycle = Schedule::OneCycle { rise: 0.3 };
        close(cycle.factor(0, 10), 0.04);
        close(cycle.factor(1, 10), 0.52);
        close(cycle.factor(2, 10), 1.0);
        close(cycle.factor(9, 10), 4e-6);
    }

    #[test]
    fn constants_out_of_range_are_refused() {
        for name in ["sgd", "adam", "adamw", "rmsprop"] {
            let optimizer = Optimizer::from_name(name).expect("known");
            assert_eq!(optimizer.name(), name);
            optimizer.check().expect("valid");
        }
        for bad in [
            Optimizer::Sgd { momentum: 1.0, nesterov: false },
            Optimizer::Sgd { momentum: 0.0, nesterov: true },
            Optimizer::Adam { betas: [0.9, f32::NAN], epsilon: 1e-8 },
            Optimizer::RmsProp { alpha: 0.9, epsilon: 0.0 },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
