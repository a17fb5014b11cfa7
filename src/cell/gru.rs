//! The gated recurrent unit, in both reset conventions.
//!
//! ```text
//! r = σ(gx_r + gh_r)   z = σ(gx_z + gh_z)
//! reset after:   n = tanh(gx_n + r·(W_hn·h_{t-1} + b_hn))
//! reset before:  n = tanh(gx_n +    W_hn·(r⊙h_{t-1}) + b_hn)
//! h_t = (1 − z)·n + z·h_{t-1}
//! ```
//! Gate order r, z, n (PyTorch `nn.GRU`, cuDNN 0 = r). ONNX and Keras store z, r, h. "Reset after"
//! is PyTorch, cuDNN, Keras 3's default and ONNX `linear_before_reset = 1`; "reset before" is ONNX's
//! default and Cho et al. (2014).
//! Twin: `shaders/cell/gru.wgsl`, and `shaders/recur_reset_before.wgsl` for the second product.

use super::{CellFunction, CellSpec, Real, Rules};

pub(super) const SPEC: CellSpec = CellSpec {
    name: "gru",
    gates: &["r", "z", "n"],
    states: &["h"],
    functions: &[CellFunction::Sigmoid, CellFunction::Tanh],
    pointwise: true,
};
pub(super) const SPEC_RESET_BEFORE: CellSpec =
    CellSpec { name: "gru-reset-before", pointwise: false, ..SPEC };

/// Computes the reset gate `r` of one unit from its two pre-activations.
#[inline(always)]
pub fn reset_gate<F: Real, R: Rules<F>>(rules: &R, gx_r: F, gh_r: F) -> F {
    rules.f(gx_r + gh_r, F::sigmoid)
}

#[inline(always)]
pub(super) fn step<F: Real, R: Rules<F>>(rules: &R, gx: &[F], gh: &[F], states: &mut [F]) {
    let r = reset_gate(rules, gx[0], gh[0]);
    let n = rules.g(gx[2] + r * gh[2], F::tanh);
    blend(rules, gx, gh, n, states);
}

#[inline(always)]
pub(super) fn step_reset_before<F: Real, R: Rules<F>>(
    rules: &R,
    gx: &[F],
    gh: &[F],
    states: &mut [F],
) {
    let n = rules.g(gx[2] + gh[2], F::tanh);
    blend(rules, gx, gh, n, states);
}

#[inline(always)]
fn blend<F: Real, R: Rules<F>>(rules: &R, gx: &[F], gh: &[F], n: F, states: &mut [F]) {
    let z = rules.f(gx[1] + gh[1], F::sigmoid);
    states[0] = (F::ONE - z) * n + z * states[0];
}
