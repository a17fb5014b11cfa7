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

use super::{CellSpec, Real};

pub(super) const SPEC: CellSpec =
    CellSpec { name: "lstm", gates: &["i", "f", "g", "o"], states: &["h", "c"], pointwise: true };

#[inline(always)]
pub(super) fn step<F: Real>(gx: &[F], gh: &[F], states: &mut [F]) {
    let i = (gx[0] + gh[0]).sigmoid();
    let f = (gx[1] + gh[1]).sigmoid();
    let g = (gx[2] + gh[2]).tanh();
    let o = (gx[3] + gh[3]).sigmoid();
    let c = f * states[1] + i * g;
    states[0] = o * c.tanh();
    states[1] = c;
}
