//! What a recurrent cell is: its gates, its states and its point-wise step.
//!
//! Takes pre-activations and states, gives new states. One file per cell holds the equation, the
//! gate order and its source, and `step` in plain Rust: the twin of `shaders/cell/<name>.wgsl`;
//! [`back`] is the same step backwards, for training.
//! The table [`Cell::spec`] is the only list of cells; drivers, tests and benches read it.

pub mod activation;
mod function;
mod gru;
pub(crate) mod lstm;
mod options;
mod rnn;

pub use activation::Real;
pub use function::CellFunction;
pub use options::{CellOptions, Custom, Own, Rules};

/// The kind of a recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cell {
    /// Elman RNN with tanh: `h = tanh(gx + gh)`.
    RnnTanh,
    /// Elman RNN with ReLU: `h = max(gx + gh, 0)`.
    RnnRelu,
    /// Long short-term memory, gates i, f, g, o.
    Lstm,
    /// Gated recurrent unit, reset applied after the matrix product (PyTorch, cuDNN, Keras default).
    Gru,
    /// Gated recurrent unit, reset applied to the state before the matrix product (the original
    /// paper; ONNX `linear_before_reset = 0`).
    GruResetBefore,
}

/// What the rest of the crate needs to know of a cell.
#[derive(Clone, Copy, Debug)]
pub struct CellSpec {
    /// The name in metadata and on the command line.
    pub name: &'static str,
    /// Gate names in weight order; their number is G.
    pub gates: &'static [&'static str],
    /// State names, the output state first; their number is S.
    pub states: &'static [&'static str],
    /// The cell's own functions f, g, h, as far as it has places for them.
    pub functions: &'static [CellFunction],
    /// Tells whether `step` needs nothing but the two products `W_ih·x` and `W_hh·h`.
    ///
    /// Where it is false, a part of the step depends on a product of a value computed in the same
    /// step, and a driver of its own does that.
    pub pointwise: bool,
}

impl Cell {
    /// Every cell, in the order in which help texts and tests list them.
    pub const ALL: [Self; 5] =
        [Self::RnnTanh, Self::RnnRelu, Self::Lstm, Self::Gru, Self::GruResetBefore];

    /// Returns the row of the cell table.
    pub const fn spec(self) -> &'static CellSpec {
        match self {
            Self::RnnTanh => &rnn::TANH,
            Self::RnnRelu => &rnn::RELU,
            Self::Lstm => &lstm::SPEC,
            Self::Gru => &gru::SPEC,
            Self::GruResetBefore => &gru::SPEC_RESET_BEFORE,
        }
    }

    /// Returns the name used in metadata and on the command line.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns the number of gates G: weight rows per unit.
    pub const fn gates(self) -> usize {
        self.spec().gates.len()
    }

    /// Returns the number of states S: 2 for LSTM (h and c), else 1.
    pub const fn states(self) -> usize {
        self.spec().states.len()
    }

    /// Tells whether the cell carries a cell state `c` beside `h`.
    pub const fn has_c(self) -> bool {
        self.states() == 2
    }

    /// Finds a cell by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cell| cell.name() == name)
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Computes one unit's step of a point-wise cell.
///
/// `gx` and `gh` hold G pre-activations each (input side and hidden side, biases included, PyTorch
/// gate order); `states` holds S values `[h]` or `[h, c]` and receives the new ones.
///
/// `rules` is what the layer adds ([`Own`] for nothing).
///
/// [`Cell::GruResetBefore`] is taken too: `gh`'s last entry must then be the candidate's hidden
/// product, `W_hn·(r⊙h) + b_hn`, for which [`reset_gate`] gives `r`.
///
/// # Panics
/// When a slice is shorter than G or S.
#[inline(always)]
pub fn step<F: Real, R: Rules<F>>(cell: Cell, rules: &R, gx: &[F], gh: &[F], states: &mut [F]) {
    match cell {
        Cell::RnnTanh => rnn::step_tanh(rules, gx, gh, states),
        Cell::RnnRelu => rnn::step_relu(rules, gx, gh, states),
        Cell::Lstm => lstm::step(rules, gx, gh, states),
        Cell::Gru => gru::step(rules, gx, gh, states),
        Cell::GruResetBefore => gru::step_reset_before(rules, gx, gh, states),
    }
}

/// Rounds to f32, for constants and tests.
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}

pub use gru::{reset_back, reset_gate};

/// What a step backwards gives at one unit: derivatives of a loss, one number each.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Back<F> {
    /// With respect to `gx`, G entries in gate order; the rest is zero.
    pub gx: [F; 4],
    /// With respect to `gh`, G entries in gate order; the rest is zero.
    pub gh: [F; 4],
    /// With respect to `h_{t-1}`, the direct part alone (the GRU's z·dh, else zero): what goes
    /// through `gh` takes the product `W_hhᵀ·dgh`, which is the driver's.
    pub h: F,
    /// With respect to `c_{t-1}`; zero for cells without one.
    pub c: F,
    /// With respect to the peephole weights p_i, p_f, p_o of the unit; the caller sums them.
    pub peephole: [F; 3],
}

/// Computes one unit's step of a point-wise cell backwards: the derivatives of a loss with respect to
/// what entered [`step`], by the chain rule. The formulas stand at each cell's `back`.
///
/// `gx`, `gh` (G entries each) and `before` (`[h, c]`) are what the step was given; `after` is the
/// derivative with respect to the `[h, c]` that it made, each the sum over everything that reads it.
/// `peephole` is zero for cells without. The step has no other options than peepholes.
///
/// For [`Cell::GruResetBefore`] the reset gate's entries are zero: [`reset_back`] gives them.
///
/// # Panics
/// When a slice is shorter than G.
pub fn back<F: Real>(
    cell: Cell,
    peephole: [F; 3],
    gx: &[F],
    gh: &[F],
    before: [F; 2],
    after: [F; 2],
) -> Back<F> {
    let ([h, c], [dh, dc]) = (before, after);
    match cell {
        Cell::RnnTanh => rnn::back_tanh(gx, gh, dh),
        Cell::RnnRelu => rnn::back_relu(gx, gh, dh),
        Cell::Lstm => lstm::back(peephole, gx, gh, c, dh, dc),
        Cell::Gru => gru::back(gx, gh, h, dh),
        Cell::GruResetBefore => gru::back_reset_before(gx, gh, h, dh),
    }
}

/// Computes the step of every unit of one row: [`step`] over slices, `L` units at a time.
///
/// `gx` and `gh` are `[G, n]`, `h` and `c` `[n]` (`c` is untouched by cells without one), n a
/// multiple of L. Blocks are copied into arrays of a constant length first: the compiler then knows
/// that nothing overlaps, and turns the loop over a block into vector code.
#[inline(always)]
pub(crate) fn step_row<const L: usize>(
    cell: Cell,
    gx: &[f32],
    gh: &[f32],
    h: &mut [f32],
    c: &mut [f32],
) {
    // Each call names its cell, so that `step`'s own match is gone from the loop.
    match cell {
        Cell::RnnTanh => step_blocks::<L, 1>(Cell::RnnTanh, gx, gh, h, c),
        Cell::RnnRelu => step_blocks::<L, 1>(Cell::RnnRelu, gx, gh, h, c),
        Cell::Lstm => step_blocks::<L, 4>(Cell::Lstm, gx, gh, h, c),
        Cell::Gru => step_blocks::<L, 3>(Cell::Gru, gx, gh, h, c),
        Cell::GruResetBefore => step_blocks::<L, 3>(Cell::GruResetBefore, gx, gh, h, c),
    }
}

#[inline(always)]
fn step_blocks<const L: usize, const G: usize>(
    cell: Cell,
    gx: &[f32],
    gh: &[f32],
    h: &mut [f32],
    c: &mut [f32],
) {
    let width = h.len();
    let (h, c) = (h.as_chunks_mut::<L>().0, c.as_chunks_mut::<L>().0);
    for (block, (h, c)) in h.iter_mut().zip(c).enumerate() {
        let (mut x, mut y) = ([[0.0; L]; G], [[0.0; L]; G]);
        for g in 0..G {
            x[g].copy_from_slice(&gx[g * width + block * L..][..L]);
            y[g].copy_from_slice(&gh[g * width + block * L..][..L]);
        }
        let (mut new_h, mut new_c) = (*h, *c);
        for u in 0..L {
            let (mut gate_x, mut gate_h) = ([0.0; G], [0.0; G]);
            for g in 0..G {
                gate_x[g] = x[g][u];
                gate_h[g] = y[g][u];
            }
            let mut states = [new_h[u], new_c[u]];
            step(cell, &Own, &gate_x, &gate_h, &mut states);
            new_h[u] = states[0];
            new_c[u] = states[1];
        }
        *h = new_h;
        *c = new_c;
    }
}

/// Computes `r ⊙ h` of one row: [`reset_gate`] over slices, all of one length.
#[inline(always)]
pub(crate) fn reset_row<const L: usize>(gx_r: &[f32], gh_r: &[f32], h: &[f32], out: &mut [f32]) {
    let (gx_r, gh_r) = (gx_r.as_chunks::<L>().0, gh_r.as_chunks::<L>().0);
    let blocks = gx_r.iter().zip(gh_r).zip(h.as_chunks::<L>().0);
    for (((x, y), h), out) in blocks.zip(out.as_chunks_mut::<L>().0) {
        let mut reset = [0.0; L];
        for u in 0..L {
            reset[u] = reset_gate(&Own, x[u], y[u]) * h[u];
        }
        *out = reset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights of h and c in the value that is differentiated.
    const AFTER: [f64; 2] = [0.7, -1.3];

    /// 0.7·h_t − 1.3·c_t as a function of gx, gh, h, c and peepholes, side by side.
    fn value(cell: Cell, v: &[f64; 13]) -> f64 {
        let (gx, gh) = (&v[..4], &v[4..8]);
        let rules = Custom {
            peephole: Some([v[10], v[11], v[12]]),
            ..Custom::new(cell, &CellOptions::default(), 0)
        };
        let mut states = [v[8], if cell.has_c() { v[9] } else { 0.0 }];
        step(cell, &rules, gx, gh, &mut states);
        AFTER[0] * states[0] + if cell.has_c() { AFTER[1] * states[1] } else { 0.0 }
    }

    #[test]
    fn back_is_the_derivative_of_step() {
        let at = [0.3, -0.8, 0.5, 0.9, 0.45, 0.2, -0.6, 0.1, 0.35, -0.65, 0.4, -0.3, 0.8];
        for cell in Cell::ALL {
            let peephole = [at[10], at[11], at[12]];
            let got = back(cell, peephole, &at[..4], &at[4..8], [at[8], at[9]], AFTER);
            let got: Vec<f64> =
                [&got.gx[..], &got.gh[..], &[got.h, got.c], &got.peephole[..]].concat();
            for (place, got) in got.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut v = at;
                    v[place] += by;
                    value(cell, &v)
                };
                let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((got - want).abs() < 1e-8, "{cell} at {place}: {got}, expected {want}");
            }
        }
    }

    #[test]
    fn reset_back_is_the_derivative_of_the_reset_state() {
        let (gx, gh, h, dq) = (0.4, -0.9, 0.6, 1.7);
        let (da, dh) = reset_back(gx, gh, h, dq);
        let value = |gx: f64, h: f64| dq * reset_gate(&Own, gx, gh) * h;
        let want_a = (value(gx + 1e-5, h) - value(gx - 1e-5, h)) / 2e-5;
        let want_h = (value(gx, h + 1e-5) - value(gx, h - 1e-5)) / 2e-5;
        assert!((da - want_a).abs() < 1e-9 && (dh - want_h).abs() < 1e-9);
    }

    #[test]
    fn relu_has_slope_zero_at_zero() {
        let got = back(Cell::RnnRelu, [0.0; 3], &[0.5], &[-0.5], [0.0; 2], [1.0, 0.0]);
        assert_eq!(got, Back::default());
    }
}
