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

use super::{Back, CellFunction, CellSpec, Real, Rules};

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

/// Computes the step backwards, reset after the product:
///
/// ```text
/// da_n = dh·(1 − z)(1 − n²)     da_z = dh·(h_{t-1} − n)·z(1 − z)     da_r = da_n·gh_n·r(1 − r)
/// dgx = (da_r, da_z, da_n)      dgh = (da_r, da_z, r·da_n)           dh_{t-1} = z·dh, and what dgh carries
/// ```
pub(super) fn back<F: Real>(gx: &[F], gh: &[F], before: F, dh: F) -> Back<F> {
    let r = (gx[0] + gh[0]).sigmoid();
    let n = (gx[2] + r * gh[2]).tanh();
    let (da_z, da_n, h) = back_blend(gx, gh, n, before, dh);
    let da_r = da_n * gh[2] * r * (F::ONE - r);
    let zero = F::default();
    Back { gx: [da_r, da_z, da_n, zero], gh: [da_r, da_z, r * da_n, zero], h, ..Back::default() }
}

/// Computes the step backwards, reset before the product, as far as it is point-wise: da_z and da_n
/// as in [`back`], with dgx_n = dgh_n = da_n. da_r is zero here: it needs the product W_hnᵀ·da_n, from
/// which [`reset_back`] gives it.
pub(super) fn back_reset_before<F: Real>(gx: &[F], gh: &[F], before: F, dh: F) -> Back<F> {
    let n = (gx[2] + gh[2]).tanh();
    let (da_z, da_n, h) = back_blend(gx, gh, n, before, dh);
    let zero = F::default();
    let da = [zero, da_z, da_n, zero];
    Back { gx: da, gh: da, h, ..Back::default() }
}

/// Computes the reset gate of one unit backwards, for the reset before the product. `dq` is what
/// arrives at q = r·h_{t-1}, that is (W_hnᵀ·da_n) at the unit:
///
/// ```text
/// da_r = dq·h_{t-1}·r(1 − r)     and the part r·dq of dh_{t-1}
/// ```
/// Returns both, in that order.
pub fn reset_back<F: Real>(gx_r: F, gh_r: F, before: F, dq: F) -> (F, F) {
    let r = (gx_r + gh_r).sigmoid();
    (dq * before * r * (F::ONE - r), dq * r)
}

/// Returns da_z, da_n and z·dh.
fn back_blend<F: Real>(gx: &[F], gh: &[F], n: F, before: F, dh: F) -> (F, F, F) {
    let z = (gx[1] + gh[1]).sigmoid();
    let da_z = dh * (before - n) * z * (F::ONE - z);
    let da_n = dh * (F::ONE - z) * (F::ONE - n * n);
    (da_z, da_n, z * dh)
}
