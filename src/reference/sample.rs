//! One token drawn from a row of scores, as `shaders/sample.wgsl` draws it, in f64.
//!
//! The token is the i with the largest `(s_i − max s)/T − ln e_i`, `e_i = −ln(1 − v_i)` with v_i uniform: it comes
//! with probability q_i/Σq (Gumbel; see Maddison, Tarlow and Minka, "A* sampling", 2014). Random numbers depend on
//! seed, number of the token and place alone (`train::random`).

use crate::batch::Sampling;
use crate::train::random::philox;

/// Draws token `number` from `values`, probabilities or scores; `None` when one is NaN or there are none.
///
/// Equal values stand by their place. The device computes in f32: where the two largest of all differ by less
/// than its rounding, it may draw the other.
pub fn sample(
    sampling: &Sampling,
    values: &[f32],
    are_probabilities: bool,
    number: u32,
) -> Option<u32> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let score = |value: f32| match are_probabilities {
        true => f64::from(value).ln(),
        false => f64::from(value),
    };
    let mut list: Vec<(u32, f64)> = (0u32..).zip(values).map(|(i, v)| (i, score(*v))).collect();
    list.sort_by(|a, b| (b.1 + 0.0).total_cmp(&(a.1 + 0.0)).then(a.0.cmp(&b.0)));
    let (first, largest) = *list.first()?;
    if sampling.temperature == 0.0 {
        return Some(first);
    }
    list.truncate(sampling.top_k.unwrap_or(usize::MAX));
    for (_, score) in &mut list {
        let is_largest = score.total_cmp(&largest).is_eq();
        *score =
            if is_largest { 0.0 } else { (*score - largest) / f64::from(sampling.temperature) };
    }
    if sampling.top_p < 1.0 {
        let sum: f64 = list.iter().map(|(_, heat)| heat.exp()).sum();
        let mut reached = 0.0;
        let enough = list.iter().position(|(_, heat)| {
            reached += heat.exp();
            reached >= f64::from(sampling.top_p) * sum
        });
        list.truncate(enough.map_or(list.len(), |last| last + 1));
    }
    let drawn =
        list.iter().map(|(i, heat)| (*i, heat - exponential(sampling.seed, number, *i).ln()));
    drawn.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(i, _)| i)
}

/// `−ln(1 − v)` of a uniform v of 47 bits.
fn exponential(seed: u64, number: u32, place: u32) -> f64 {
    let low = u32::try_from(seed & 0xffff_ffff).unwrap_or(0);
    let high = u32::try_from(seed >> 32).unwrap_or(0);
    let bits = philox([place, number, 1, 0], [low, high]);
    let fine = (f64::from(bits[1] >> 8) + 0.5) / 16_777_216.0;
    let v = (f64::from(bits[0] >> 9) + fine) / 8_388_608.0;
    -(-v.min(0.999_999_94)).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f32; 4] = [0.1, 0.5, 0.15, 0.25];

    fn shares(values: &[f32], are_probabilities: bool, sampling: Sampling) -> [f64; 4] {
        let mut counts = [0.0; 4];
        for number in 0..20_000 {
            let token = sample(&sampling, values, are_probabilities, number).expect("a token");
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
        let plain = Sampling { seed: 5, ..Sampling::default() };
        assert_near(shares(&P, true, plain), [0.1, 0.5, 0.15, 0.25]);
        let logs = P.map(|p| p.ln() + 3.0);
        assert_near(shares(&logs, false, plain), [0.1, 0.5, 0.15, 0.25]);
        let cold = Sampling { temperature: 0.5, ..plain };
        let sum = 0.01 + 0.25 + 0.0225 + 0.0625;
        assert_near(shares(&P, true, cold), [0.01 / sum, 0.25 / sum, 0.0225 / sum, 0.0625 / sum]);
    }

    #[test]
    fn the_likeliest_are_kept() {
        let plain = Sampling { seed: 5, ..Sampling::default() };
        let two = [0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0];
        assert_near(shares(&P, true, Sampling { top_k: Some(2), ..plain }), two);
        assert_near(shares(&P, true, Sampling { top_p: 0.7, ..plain }), two);
        let first = [0.0, 1.0, 0.0, 0.0];
        assert_near(shares(&P, true, Sampling { temperature: 0.0, ..plain }), first);
        assert_near(shares(&P, true, Sampling { top_p: 0.3, ..plain }), first);
        assert_eq!(sample(&plain, &[0.0, f32::NAN], false, 0), None);
    }
}
