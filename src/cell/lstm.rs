//! Long short-term memory.
//!
//! ```text
//! i = σ(gx_i + gh_i)   f = σ(gx_f + gh_f)   g = tanh(gx_g + gh_g)   o = σ(gx_o + gh_o)
//! c_t = f·c_{t-1} + i·g
//! h_t = o·tanh(c_t)                (with projection, the driver then takes h_t := W_hr·h_t)
//! ```
//! Gate order i, f, g, o (PyTorch `nn.LSTM`, cuDNN). ONNX stores i, o, f, c; Keras i, f, c, o.
//! Source: PyTorch `nn.LSTM`; Hochreiter and Schmidhuber (1997), Gers et al. (2000).
//! Twin: `shaders/cell/lstm.wgsl`.

use super::{CellFunction, CellSpec, Real, Rules};

pub(super) const SPEC: CellSpec = CellSpec {
    name: "lstm",
    gates: &["i", "f", "g", "o"],
    states: &["h", "c"],
    functions: &[CellFunction::Sigmoid, CellFunction::Tanh, CellFunction::Tanh],
    pointwise: true,
};

#[inline(always)]
pub(super) fn step<F: Real, R: Rules<F>>(rules: &R, gx: &[F], gh: &[F], states: &mut [F]) {
    let (o, c) = gates(rules, gx, gh, states[1]);
    states[0] = output(rules, o, c);
    states[1] = c;
}

/// Computes the output gate and the new cell state.
#[inline(always)]
pub(crate) fn gates<F: Real, R: Rules<F>>(rules: &R, gx: &[F], gh: &[F], before: F) -> (F, F) {
    let i = rules.f(rules.see(0, gx[0] + gh[0], before), F::sigmoid);
    let f = rules.f(rules.see(1, gx[1] + gh[1], before), F::sigmoid);
    let g = rules.g(gx[2] + gh[2], F::tanh);
    let c = rules.cell(rules.forget(f, i) * before + i * g);
    let o = rules.f(rules.see(2, gx[3] + gh[3], c), F::sigmoid);
    (o, c)
}

/// Computes h from the output gate and the cell state (normalised, where the layer says so).
#[inline(always)]
pub(crate) fn output<F: Real, R: Rules<F>>(rules: &R, o: F, c: F) -> F {
    o * rules.h(c, F::tanh)
}
