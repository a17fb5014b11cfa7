//! The vanilla (Elman) recurrent cell.
//!
//! ```text
//! h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)     f = tanh or ReLU
//! ```
//! One gate, one state. Source: PyTorch `nn.RNN`; Elman, "Finding structure in time" (1990).
//! Twin: `shaders/cell/rnn_tanh.wgsl`, `shaders/cell/rnn_relu.wgsl`.

use super::{Back, CellFunction, CellSpec, Real, Rules};

pub(super) const TANH: CellSpec = CellSpec {
    name: "rnn-tanh",
    gates: &["h"],
    states: &["h"],
    functions: &[CellFunction::Tanh],
    pointwise: true,
};
pub(super) const RELU: CellSpec =
    CellSpec { name: "rnn-relu", functions: &[CellFunction::Relu], ..TANH };

#[inline(always)]
pub(super) fn step_tanh<F: Real, R: Rules<F>>(rules: &R, gx: &[F], gh: &[F], states: &mut [F]) {
    states[0] = rules.f(gx[0] + gh[0], F::tanh);
}

#[inline(always)]
pub(super) fn step_relu<F: Real, R: Rules<F>>(rules: &R, gx: &[F], gh: &[F], states: &mut [F]) {
    states[0] = rules.f(gx[0] + gh[0], F::relu);
}

/// Computes the step backwards, with h = f(a), a = gx + gh:
///
/// ```text
/// da = dh·f'(a)      tanh: f' = 1 − h²      ReLU: f' = 1 for a > 0, else 0 (0 at 0, as PyTorch)
/// dgx = dgh = da
/// ```
pub(super) fn back_tanh<F: Real>(gx: &[F], gh: &[F], dh: F) -> Back<F> {
    let h = (gx[0] + gh[0]).tanh();
    through(dh * (F::ONE - h * h))
}

/// As [`back_tanh`], for ReLU.
pub(super) fn back_relu<F: Real>(gx: &[F], gh: &[F], dh: F) -> Back<F> {
    // Written so that a NaN, which compares false, lets dh through.
    through(if gx[0] + gh[0] <= F::default() { F::default() } else { dh })
}

fn through<F: Real>(da: F) -> Back<F> {
    let zero = F::default();
    Back { gx: [da, zero, zero, zero], gh: [da, zero, zero, zero], ..Back::default() }
}
