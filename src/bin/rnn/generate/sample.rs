//! One token drawn from scores: temperature, the K likeliest, the fewest that reach P.
//!
//! ```text
//! q_i = p_i^(1/T) / Σ p_j^(1/T)
//! ```
//! over the K largest p; then over the fewest of those, the largest first, whose q reach P together.

use wgpu_rnn::{Activation, Model, Result};

use crate::failure::shape_error;
use crate::random::Random;

/// What an output value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A probability.
    Probability,
    /// Its logarithm, up to a constant.
    Score,
}

impl Form {
    /// Tells what the outputs of `model` are.
    pub(super) fn of(model: &Model) -> Self {
        match model.head().map(|head| head.activation) {
            Some(Activation::Softmax) => Self::Probability,
            _ => Self::Score,
        }
    }
}

/// Draws tokens.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    /// What the values are.
    pub(super) form: Form,
    /// T; 0 takes the likeliest.
    pub(super) temperature: f64,
    /// K.
    pub(super) top_k: Option<usize>,
    /// P; 1 for all.
    pub(super) top_p: f64,
    /// The stream of random numbers.
    pub(super) random: Random,
}

impl Sampler {
    /// Draws one of `tokens` by their `values`.
    ///
    /// # Errors
    /// `Shape` when a value is NaN.
    pub(super) fn draw(&mut self, tokens: &[u32], values: &[f32]) -> Result<u32> {
        if let Some(at) = values.iter().position(|value| value.is_nan()) {
            let token = tokens.get(at).copied().unwrap_or(0);
            return Err(shape_error(format!(
                "output: expected a score for every token, got NaN for token {token}"
            )));
        }
        let score = |value: f32| match self.form {
            Form::Probability => f64::from(value).ln(),
            Form::Score => f64::from(value),
        };
        let mut list: Vec<(u32, f64)> =
            tokens.iter().zip(values).map(|(token, value)| (*token, score(*value))).collect();
        // Equal scores stand by their token, as in the largest values of a device.
        list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let first = list.first().copied().unwrap_or((0, 0.0));
        if self.temperature <= 0.0 {
            return Ok(first.0);
        }
        list.truncate(self.top_k.unwrap_or(usize::MAX));
        for (_, score) in &mut list {
            *score = ((*score - first.1) / self.temperature).exp();
        }
        let sum: f64 = list.iter().map(|(_, weight)| weight).sum();
        let mut reached = 0.0;
        let enough = list.iter().position(|(_, weight)| {
            reached += weight;
            reached >= self.top_p * sum
        });
        list.truncate(enough.map_or(list.len(), |last| last + 1));
        let kept: f64 = list.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.unit() * kept;
        let drawn = list.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        Ok(drawn.map_or(first.0, |(token, _)| *token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    const P: [f32; 4] = [0.1, 0.5, 0.15, 0.25];

    fn shares(form: Form, values: &[f32], change: impl Fn(&mut Sampler)) -> [f64; 4] {
        let random = Random::new(5, Purpose::Text);
        let mut sampler = Sampler { form, temperature: 1.0, top_k: None, top_p: 1.0, random };
        change(&mut sampler);
        let mut counts = [0.0; 4];
        for _ in 0..20_000 {
            let token = sampler.draw(&[0, 1, 2, 3], values).expect("a token");
            counts[usize::try_from(token).expect("small")] += 1.0 / 20_000.0;
        }
        counts
    }

    #[track_caller]
    fn assert_near(got: [f64; 4], want: [f64; 4]) {
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 0.012, "{got} {want}");
        }
    }

    #[test]
    fn tokens_come_as_often_as_their_probabilities_say() {
        assert_near(shares(Form::Probability, &P, |_| {}), [0.1, 0.5, 0.15, 0.25]);
        let logs = P.map(|p| p.ln() + 3.0);
        assert_near(shares(Form::Score, &logs, |_| {}), [0.1, 0.5, 0.15, 0.25]);
        let cold = shares(Form::Probability, &P, |s| s.temperature = 0.5);
        let sum = 0.01 + 0.25 + 0.0225 + 0.0625;
        assert_near(cold, [0.01 / sum, 0.25 / sum, 0.0225 / sum, 0.0625 / sum]);
    }

    #[test]
    fn the_likeliest_are_kept() {
        let two = [0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0];
        assert_near(shares(Form::Probability, &P, |s| s.top_k = Some(2)), two);
        assert_near(shares(Form::Probability, &P, |s| s.top_p = 0.7), two);
        assert_near(shares(Form::Probability, &P, |s| s.temperature = 0.0), [0.0, 1.0, 0.0, 0.0]);
        assert_near(shares(Form::Probability, &P, |s| s.top_p = 0.3), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_score_that_is_no_number_is_refused() {
        let random = Random::new(5, Purpose::Text);
        let form = Form::Score;
        let mut sampler = Sampler { form, temperature: 1.0, top_k: None, top_p: 1.0, random };
        let error = sampler.draw(&[4, 7], &[0.0, f32::NAN]).expect_err("NaN");
        assert!(error.to_string().contains("got NaN for token 7"), "{error}");
    }
}
