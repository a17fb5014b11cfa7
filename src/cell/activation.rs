//! Sigmoid, tanh and friends: the Rust twin of `shaders/lib/activation.wgsl`.
//!
//! The f64 forms use the standard library and serve the oracle. The f32 forms follow the shader's
//! formulas and are written without branches, so that the compiler turns a loop over them into
//! vector code; they are what the CPU path runs. Both are finite for every finite input and pass
//! NaN on.
//!
//! `#[inline(always)]` here and on the cells' steps is for the CPU path: a loop compiled for AVX2 or
//! AVX-512 vectorises over a formula only when the formula is inside it.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A floating-point type in which a network can be evaluated: f32 or f64.
pub trait Real:
    Copy
    + Default
    + PartialOrd
    + std::fmt::Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Send
    + Sync
    + 'static
{
    /// One.
    const ONE: Self;
    /// Widens an f32 weight or input.
    fn from_f32(value: f32) -> Self;
    /// Widens to f64.
    fn to_f64(self) -> f64;
    /// Computes eˣ.
    fn exp(self) -> Self;
    /// Computes the natural logarithm.
    fn ln(self) -> Self;
    /// Computes the square root.
    fn sqrt(self) -> Self;
    /// Computes the hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Computes the logistic function 1 / (1 + e⁻ˣ).
    fn sigmoid(self) -> Self;
    /// Computes eˣ − 1 for x ≤ 0 without losing digits near 0.
    fn exp_m1(self) -> Self;
    /// Computes ln(1 + eˣ).
    fn softplus(self) -> Self;
    /// Computes x / (1 + |x|); ±1 for ±infinity.
    fn softsign(self) -> Self;
    /// Computes max(x, 0), and NaN for NaN.
    #[inline(always)]
    fn relu(self) -> Self {
        if self < Self::default() { Self::default() } else { self }
    }
}

impl Real for f64 {
    const ONE: Self = 1.0;
    fn from_f32(value: f32) -> Self {
        Self::from(value)
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn exp(self) -> Self {
        Self::exp(self)
    }
    fn ln(self) -> Self {
        Self::ln(self)
    }
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }
    fn tanh(self) -> Self {
        Self::tanh(self)
    }
    fn sigmoid(self) -> Self {
        let e = Self::exp(-self.abs());
        let r = 1.0 / (1.0 + e);
        if self < 0.0 { e * r } else { r }
    }
    fn exp_m1(self) -> Self {
        Self::exp_m1(self)
    }
    fn softplus(self) -> Self {
        let tail = Self::ln_1p(Self::exp(-self.abs()));
        if self > 0.0 { self + tail } else { tail }
    }
    fn softsign(self) -> Self {
        if self.is_infinite() { self.signum() } else { self / (1.0 + self.abs()) }
    }
}

impl Real for f32 {
    const ONE: Self = 1.0;
    fn from_f32(value: f32) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        exp_f32(self)
    }
    fn ln(self) -> Self {
        Self::ln(self)
    }
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        tanh_f32(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        sigmoid_f32(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        // eˣ − 1 = 2t / (1 − t) with t = tanh(x/2); for x ≤ 0 nothing cancels.
        let t = tanh_f32(0.5 * self);
        2.0 * t / (1.0 - t)
    }
    #[inline(always)]
    fn softplus(self) -> Self {
        softplus_f32(self)
    }
    #[inline(always)]
    fn softsign(self) -> Self {
        softsign_f32(self)
    }
}

/// Below this |x| the quotient form of tanh loses digits to cancellation, and the series is used.
const TANH_SERIES_BELOW: f32 = 0.3;

/// Computes tanh in f32: relative error below 4e-7 over the whole range (`tests` below).
#[inline(always)]
pub fn tanh_f32(x: f32) -> f32 {
    let a = x.abs();
    let e = exp_f32(-2.0 * a);
    let quotient = (1.0 - e) / (1.0 + e);
    let q = x * x;
    // Taylor series of tanh, terms up to x⁹.
    let series =
        a * (1.0 + q * (-1.0 / 3.0 + q * (2.0 / 15.0 + q * (-17.0 / 315.0 + q * (62.0 / 2835.0)))));
    let r = if a < TANH_SERIES_BELOW { series } else { quotient };
    if x.is_nan() { x } else { r.copysign(x) }
}

/// Computes the logistic function in f32 without overflow on either side.
#[inline(always)]
pub fn sigmoid_f32(x: f32) -> f32 {
    let e = exp_f32(-x.abs());
    let r = 1.0 / (1.0 + e);
    if x < 0.0 { e * r } else { r }
}

/// Computes ln(1 + eˣ) in f32 as max(x, 0) + ln(1 + e⁻|x|): relative error below 6e-7.
#[inline(always)]
pub fn softplus_f32(x: f32) -> f32 {
    let e = exp_f32(-x.abs());
    // ln(1 + e) = 2·artanh(s), s = e / (2 + e) ≤ 1/3: the series up to s¹⁵ needs no logarithm.
    let s = e / (2.0 + e);
    let q = s * s;
    let tail = 2.0
        * s
        * (1.0
            + q * (1.0 / 3.0
                + q * (1.0 / 5.0
                    + q * (1.0 / 7.0
                        + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0 + q / 15.0)))))));
    // Where the tail is far below half a unit in the last place of x, this is x, infinity included.
    if x > 0.0 { x + tail } else { tail }
}

/// Computes x / (1 + |x|) in f32, for large |x| as 1 / (1 + 1/|x|), which stays exact at infinity.
#[inline(always)]
pub fn softsign_f32(x: f32) -> f32 {
    let a = x.abs();
    let r = if a > 1.0 { 1.0 / (1.0 + 1.0 / a) } else { a / (1.0 + a) };
    if x.is_nan() { x } else { r.copysign(x) }
}

/// Computes eˣ in f32 without branches: range reduction by ln 2 in two parts, then a polynomial.
///
/// Relative error below 3e-7 for results that are normal numbers; results below the smallest normal
/// number become 0, results beyond the largest become infinity; NaN stays NaN.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 split so that n·LN2_HI is exact for |n| < 2¹⁵ (Cody and Waite).
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // 1.5·2²³: adding it rounds to an integer that then sits in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -88.0 { -88.0 } else { clamped };
    let shifted = clamped * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HI) - n * LN2_LO;
    let p = 1.0
        + r * (1.0
            + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    // Two factors of about 2^(n/2), so that n = 128 does not overflow the exponent field early.
    let bits = shifted.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
    let half = bits >> 1;
    let scale = |k: i32| f32::from_bits(((k + 127) << 23).cast_unsigned());
    let y = p * scale(half.clamp(-126, 127)) * scale((bits - half).clamp(-126, 127));
    if x < -87.3 { 0.0 } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep() -> impl Iterator<Item = f32> {
        // Every 997th bit pattern of every finite f32, both signs.
        (0..=u32::MAX / 997).map(|i| f32::from_bits(i * 997)).filter(|x| x.is_finite())
    }

    #[test]
    fn tanh_f32_matches_f64_over_the_whole_range() {
        for x in sweep() {
            let want = f64::from(x).tanh();
            let diff = (f64::from(tanh_f32(x)) - want).abs();
            assert!(diff <= 4e-7 * want.abs() + 1e-45, "tanh({x}) differs by {diff}");
        }
    }

    #[test]
    fn sigmoid_f32_matches_f64_over_the_whole_range() {
        for x in sweep() {
            let want = Real::sigmoid(f64::from(x));
            let diff = (f64::from(sigmoid_f32(x)) - want).abs();
            assert!(diff <= 4e-7 * want + 1.3e-38, "sigmoid({x}) differs by {diff}");
        }
    }

    #[test]
    fn exp_f32_matches_f64_where_the_result_is_normal() {
        for x in sweep() {
            let want = f64::from(x).exp();
            let got = f64::from(exp_f32(x));
            if want > f64::from(f32::MAX) {
                assert!(got.is_infinite() || got > 3.0e38, "exp({x}) = {got}");
            } else {
                let diff = (got - want).abs();
                assert!(diff <= 4e-7 * want + 1.3e-38, "exp({x}) differs by {diff}");
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        assert!(tanh_f32(f32::NAN).is_nan());
        assert!(sigmoid_f32(f32::NAN).is_nan());
        assert!(exp_f32(f32::NAN).is_nan());
        assert!(Real::relu(f32::NAN).is_nan());
        assert!(Real::sigmoid(f64::NAN).is_nan());
    }

    #[test]
    fn infinities_saturate() {
        assert_eq!(tanh_f32(f32::INFINITY).to_bits(), 1f32.to_bits());
        assert_eq!(tanh_f32(f32::NEG_INFINITY).to_bits(), (-1f32).to_bits());
        assert_eq!(sigmoid_f32(f32::INFINITY).to_bits(), 1f32.to_bits());
        assert_eq!(sigmoid_f32(f32::NEG_INFINITY).to_bits(), 0f32.to_bits());
    }
}
