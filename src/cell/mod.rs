//! What a recurrent cell is: its gates, its states and its point-wise step.
//!
//! Takes pre-activations and states, gives new states. One file per cell holds the equation, the
//! gate order and its source, and `step` in plain Rust: the twin of `shaders/cell/<name>.wgsl`.
//! The table [`Cell::spec`] is the only list of cells; drivers, tests and benches read it.

pub mod activation;
mod gru;
mod lstm;
mod rnn;

pub use activation::Real;

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
/// [`Cell::GruResetBefore`] is taken too: `gh`'s last entry must then be the candidate's hidden
/// product, `W_hn·(r⊙h) + b_hn`, for which [`reset_gate`] gives `r`.
///
/// # Panics
/// When a slice is shorter than G or S.
pub fn step<F: Real>(cell: Cell, gx: &[F], gh: &[F], states: &mut [F]) {
    match cell {
        Cell::RnnTanh => rnn::step_tanh(gx, gh, states),
        Cell::RnnRelu => rnn::step_relu(gx, gh, states),
        Cell::Lstm => lstm::step(gx, gh, states),
        Cell::Gru => gru::step(gx, gh, states),
        Cell::GruResetBefore => gru::step_reset_before(gx, gh, states),
    }
}

pub use gru::reset_gate;
