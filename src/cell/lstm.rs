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

use super::{Back, CellFunction, CellSpec, Real, Rules};

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

/// Computes the step backwards. With a the pre-activations, peepholes p included, and dc what comes
/// from the step after:
///
/// ```text
/// da_o = dh·tanh(c_t)·o(1 − o)
/// dc_t = dc + dh·o(1 − tanh²(c_t)) + p_o·da_o
/// da_i = dc_t·g·i(1 − i)     da_f = dc_t·c_{t-1}·f(1 − f)     da_g = dc_t·i(1 − g²)
/// dgx = dgh = da             dc_{t-1} = dc_t·f + p_i·da_i + p_f·da_f
/// dp_i = da_i·c_{t-1}        dp_f = da_f·c_{t-1}              dp_o = da_o·c_t
/// ```
pub(super) fn back<F: Real>(
    peephole: [F; 3],
    gx: &[F],
    gh: &[F],
    before: F,
    dh: F,
    dc: F,
) -> Back<F> {
    let slope = |s: F| s * (F::ONE - s);
    let i = (gx[0] + gh[0] + peephole[0] * before).sigmoid();
    let f = (gx[1] + gh[1] + peephole[1] * before).sigmoid();
    let g = (gx[2] + gh[2]).tanh();
    let c = f * before + i * g;
    let o = (gx[3] + gh[3] + peephole[2] * c).sigmoid();
    let tanh_c = c.tanh();
    let da_o = dh * tanh_c * slope(o);
    let dc = dc + dh * o * (F::ONE - tanh_c * tanh_c) + peephole[2] * da_o;
    let da_i = dc * g * slope(i);
    let da_f = dc * before * slope(f);
    let da_g = dc * i * (F::ONE - g * g);
    let da = [da_i, da_f, da_g, da_o];
    Back {
        gx: da,
        gh: da,
        h: F::default(),
        c: dc * f + peephole[0] * da_i + peephole[1] * da_f,
        peephole: [da_i * before, da_f * before, da_o * c],
    }
}
