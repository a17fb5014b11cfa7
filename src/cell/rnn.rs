//! The vanilla (Elman) recurrent cell.
//!
//! ```text
//! h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)     f = tanh or ReLU
//! ```
//! One gate, one state. Source: PyTorch `nn.RNN`; Elman, "Finding structure in time" (1990).
//! Twin: `shaders/cell/rnn_tanh.wgsl`, `shaders/cell/rnn_relu.wgsl`.

use super::{CellFunction, CellSpec, Real, Rules};

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
