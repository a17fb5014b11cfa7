//! The functions a cell may apply to its gates: the eleven of the ONNX recurrent operators.
//!
//! ```text
//! relu              max(x, 0)                 affine            α·x + β
//! tanh              tanh x                    leaky-relu        x for x ≥ 0, α·x below
//! sigmoid           1 / (1 + e⁻ˣ)             thresholded-relu  x for x > α, else 0
//! softsign          x / (1 + |x|)             scaled-tanh       α·tanh(β·x)
//! softplus          ln(1 + eˣ)                hard-sigmoid      min(max(α·x + β, 0), 1)
//!                                             elu               x for x ≥ 0, α·(eˣ − 1) below
//! ```
//! Finite for every finite input where the exact value is an f32; NaN stays NaN.
//! Source: ONNX operators RNN, GRU, LSTM, attribute `activations`.
//! Twin: `shaders/lib/function.wgsl`; measured on every device by `tests/activations.rs`.

use super::Real;

/// A function of one value, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellFunction {
    /// max(x, 0).
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
    /// α·x + β.
    Affine {
        /// α, ONNX default 1.
        alpha: f32,
        /// β, ONNX default 0.
        beta: f32,
    },
    /// x for x ≥ 0, α·x below.
    LeakyRelu {
        /// α, ONNX default 0.01.
        alpha: f32,
    },
    /// x for x > α, else 0.
    ThresholdedRelu {
        /// α, ONNX default 1.
        alpha: f32,
    },
    /// α·tanh(β·x).
    ScaledTanh {
        /// α.
        alpha: f32,
        /// β.
        beta: f32,
    },
    /// min(max(α·x + β, 0), 1).
    HardSigmoid {
        /// α, ONNX default 0.2.
        alpha: f32,
        /// β, ONNX default 0.5.
        beta: f32,
    },
    /// x for x ≥ 0, α·(eˣ − 1) below.
    Elu {
        /// α, ONNX default 1.
        alpha: f32,
    },
    /// x / (1 + |x|).
    Softsign,
    /// ln(1 + eˣ).
    Softplus,
}

impl CellFunction {
    /// One of each kind, with parameters that are nobody's default; a kind's place is its code in
    /// the shaders.
    pub const ALL: [Self; 11] = [
        Self::Relu,
        Self::Tanh,
        Self::Sigmoid,
        Self::Affine { alpha: 0.75, beta: 0.125 },
        Self::LeakyRelu { alpha: 0.0625 },
        Self::ThresholdedRelu { alpha: 0.25 },
        Self::ScaledTanh { alpha: 1.5, beta: 0.625 },
        Self::HardSigmoid { alpha: 0.3, beta: 0.4 },
        Self::Elu { alpha: 0.7 },
        Self::Softsign,
        Self::Softplus,
    ];

    /// Returns the name used in metadata and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Affine { .. } => "affine",
            Self::LeakyRelu { .. } => "leaky-relu",
            Self::ThresholdedRelu { .. } => "thresholded-relu",
            Self::ScaledTanh { .. } => "scaled-tanh",
            Self::HardSigmoid { .. } => "hard-sigmoid",
            Self::Elu { .. } => "elu",
            Self::Softsign => "softsign",
            Self::Softplus => "softplus",
        }
    }

    /// Returns α and β where the function takes them.
    pub const fn parameters(self) -> [Option<f32>; 2] {
        match self {
            Self::Relu | Self::Tanh | Self::Sigmoid | Self::Softsign | Self::Softplus => {
                [None, None]
            }
            Self::LeakyRelu { alpha } | Self::ThresholdedRelu { alpha } | Self::Elu { alpha } => {
                [Some(alpha), None]
            }
            Self::Affine { alpha, beta }
            | Self::ScaledTanh { alpha, beta }
            | Self::HardSigmoid { alpha, beta } => [Some(alpha), Some(beta)],
        }
    }

    /// Makes the function of a name with its parameters, or `None` for an unknown name or where a
    /// parameter that the function takes is missing or one it does not take is given.
    pub fn from_parts(name: &str, alpha: Option<f32>, beta: Option<f32>) -> Option<Self> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name)?;
        let made = match (kind, alpha, beta) {
            (Self::LeakyRelu { .. }, Some(alpha), None) => Self::LeakyRelu { alpha },
            (Self::ThresholdedRelu { .. }, Some(alpha), None) => Self::ThresholdedRelu { alpha },
            (Self::Elu { .. }, Some(alpha), None) => Self::Elu { alpha },
            (Self::Affine { .. }, Some(alpha), Some(beta)) => Self::Affine { alpha, beta },
            (Self::ScaledTanh { .. }, Some(alpha), Some(beta)) => Self::ScaledTanh { alpha, beta },
            (Self::HardSigmoid { .. }, Some(alpha), Some(beta)) => {
                Self::HardSigmoid { alpha, beta }
            }
            (kind, None, None) if kind.parameters() == [None, None] => kind,
            _ => return None,
        };
        Some(made)
    }

    /// Returns the number that stands for the function in `shaders/lib/function.wgsl`.
    pub const fn code(self) -> u32 {
        match self {
            Self::Relu => 0,
            Self::Tanh => 1,
            Self::Sigmoid => 2,
            Self::Affine { .. } => 3,
            Self::LeakyRelu { .. } => 4,
            Self::ThresholdedRelu { .. } => 5,
            Self::ScaledTanh { .. } => 6,
            Self::HardSigmoid { .. } => 7,
            Self::Elu { .. } => 8,
            Self::Softsign => 9,
            Self::Softplus => 10,
        }
    }

    /// Computes the function.
    #[inline(always)]
    pub fn apply<F: Real>(self, x: F) -> F {
        let zero = F::default();
        match self {
            Self::Relu => x.relu(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
            Self::Affine { alpha, beta } => F::from_f32(alpha) * x + F::from_f32(beta),
            Self::LeakyRelu { alpha } => {
                if x < zero {
                    F::from_f32(alpha) * x
                } else {
                    x
                }
            }
            // Written so that NaN, which compares false, stays.
            Self::ThresholdedRelu { alpha } => {
                if x <= F::from_f32(alpha) {
                    zero
                } else {
                    x
                }
            }
            Self::ScaledTanh { alpha, beta } => F::from_f32(alpha) * (F::from_f32(beta) * x).tanh(),
            Self::HardSigmoid { alpha, beta } => {
                bound(F::from_f32(alpha) * x + F::from_f32(beta), zero, F::ONE)
            }
            Self::Elu { alpha } => {
                if x < zero {
                    F::from_f32(alpha) * x.exp_m1()
                } else {
                    x
                }
            }
            Self::Softsign => x.softsign(),
            Self::Softplus => x.softplus(),
        }
    }
}

impl std::fmt::Display for CellFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        match self.parameters() {
            [Some(alpha), Some(beta)] => write!(f, "({alpha}, {beta})"),
            [Some(alpha), None] => write!(f, "({alpha})"),
            _ => Ok(()),
        }
    }
}

/// Bounds a value from both sides; NaN stays NaN.
#[inline(always)]
pub(super) fn bound<F: Real>(x: F, least: F, most: F) -> F {
    let x = if x < least { least } else { x };
    if x > most { most } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_are_one_to_one() {
        for (place, function) in CellFunction::ALL.into_iter().enumerate() {
            assert_eq!(usize::try_from(function.code()).expect("small"), place);
            let [alpha, beta] = function.parameters();
            assert_eq!(CellFunction::from_parts(function.name(), alpha, beta), Some(function));
        }
        assert_eq!(CellFunction::from_parts("elu", None, None), None);
        assert_eq!(CellFunction::from_parts("tanh", Some(1.0), None), None);
        assert_eq!(CellFunction::from_parts("gelu", None, None), None);
    }

    #[test]
    fn f32_matches_f64_over_the_whole_range() {
        // Every 9973rd bit pattern of every finite f32, both signs.
        let sweep = || (0..=u32::MAX / 9973).map(|i| f32::from_bits(i * 9973));
        for function in CellFunction::ALL {
            let [alpha, beta] = function.parameters().map(|p| f64::from(p.unwrap_or(0.0)));
            for x in sweep().filter(|x| x.is_finite()) {
                let want = function.apply(f64::from(x));
                let got = f64::from(function.apply(x));
                // α·x + β may cancel; its error is relative to its terms.
                let scale = match function {
                    CellFunction::Affine { .. } | CellFunction::HardSigmoid { .. } => {
                        want.abs().max((alpha * f64::from(x)).abs().min(1.0) + beta.abs())
                    }
                    _ => want.abs(),
                };
                assert!(got.is_finite(), "{function}({x:e}) = {got}");
                assert!(
                    (got - want).abs() <= 1e-6 * scale + 1.3e-38,
                    "{function}({x:e}) = {got:e}, expected {want:e}"
                );
            }
        }
    }

    #[test]
    fn nan_stays_nan_and_infinities_go_to_their_limits() {
        for function in CellFunction::ALL {
            assert!(function.apply(f32::NAN).is_nan(), "{function}");
            assert!(function.apply(f64::NAN).is_nan(), "{function}");
            for x in [f64::INFINITY, f64::NEG_INFINITY] {
                let (wide, narrow) = (function.apply(x), function.apply(crate::cell::narrow(x)));
                assert!(!wide.is_nan(), "{function}({x})");
                let narrow = f64::from(narrow);
                let equal = (narrow - wide).abs() <= 1e-6 || narrow.to_bits() == wide.to_bits();
                assert!(equal, "{function}({x}): {narrow} and {wide}");
            }
        }
    }
}
