//! What frameworks add to a cell beside its equation, and how a step applies it.
//!
//! [`CellOptions`] is the description that a layer carries: other functions per gate and direction,
//! clipping, peepholes, coupled gates, layer normalisation. [`Rules`] is the same at one unit, in
//! the form that the cells' `step` functions call: [`Own`] for a cell as its paper has it, which
//! compiles to nothing, and [`Custom`] for everything else.
//!
//! ```text
//! functions      RNN h = f(·)      GRU r, z = f(·), n = g(·)      LSTM i, f, o = f(·), g = g(·), h = o·h(c)
//! clip           f and g see min(max(x, −clip), clip) in place of x                   (ONNX)
//! peephole       LSTM: i and f add p_i·c_{t-1}, p_f·c_{t-1}; o adds p_o·c_t           (ONNX; Gers 2000)
//! input_forget   LSTM: f = 1 − i                                                      (ONNX)
//! cell_clip      LSTM: c_t := min(max(c_t, low), high), before h is computed          (cuDNN, TensorFlow)
//! layer_norm     gx := LN(W_ih·x) + b_ih, gh := LN(W_hh·h) + b_hh, each over its G·H values;
//!                LSTM: h = o·h(LN(c))         (Ba et al. 2016; PyTorch's LayerNormLSTMCell example)
//!                LN(v) = (v − mean v) / √(var v + ε) ⊙ weight + bias, var with 1/n
//! ```
//! ONNX's text lets `clip` act on the input of h too ("the input of activations"); onnxruntime and
//! OpenVINO leave the cell state alone, and so do we (`conformance/FINDINGS.md`, measured).

use super::function::bound;
use super::{Cell, CellFunction, Real};
use crate::error::{Error, Result};

/// What frameworks add to a cell. The default adds nothing.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CellOptions {
    /// Per direction the functions f, g, h (RNN: f; GRU: f, g; LSTM: f, g, h); empty for the cell's
    /// own.
    pub functions: Vec<Vec<CellFunction>>,
    /// Bounds the input of f and g, biases and peepholes included, to ±clip (ONNX `clip`); the
    /// cell state that h sees is not bounded. Default none.
    pub clip: Option<f32>,
    /// LSTM: bounds the cell state to `[low, high]` (cuDNN's `cudnnRNNSetClip`, TensorFlow's
    /// `cell_clip`). Default none.
    pub cell_clip: Option<[f32; 2]>,
    /// LSTM: gates i, f and o see the cell state. Default false.
    pub peephole: bool,
    /// LSTM: the forget gate is 1 − i; its own weights are not read. Default false.
    pub input_forget: bool,
    /// Normalises both products and the LSTM's cell state; the value is ε. Default none.
    pub layer_norm: Option<f32>,
}

impl CellOptions {
    /// Tells whether the cell is as its paper has it.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the functions f, g, h of a direction; those that the cell has no place for repeat f.
    pub fn functions_of(&self, cell: Cell, direction: usize) -> [CellFunction; 3] {
        let list = self.functions.get(direction).map_or(cell.spec().functions, Vec::as_slice);
        let at = |place: usize| list.get(place).copied().unwrap_or(CellFunction::Tanh);
        [at(0), at(1), at(2)]
    }

    /// Checks the options against a cell with `directions` directions.
    ///
    /// # Errors
    /// `Shape` when a number of functions or a bound does not fit; `Unsupported` when the cell has
    /// no place for an option. `what` names the layer.
    pub(crate) fn check(
        &self,
        what: &str,
        cell: Cell,
        directions: usize,
        projected: bool,
    ) -> Result<()> {
        self.check_functions(what, cell, directions)?;
        if let Some(clip) = self.clip
            && !(clip.is_finite() && clip >= 0.0)
        {
            return Err(Error::shape(format!("{what} clip: expected at least 0, got {clip}")));
        }
        if let Some([low, high]) = self.cell_clip
            && !(low.is_finite() && high.is_finite() && low <= high)
        {
            return Err(Error::shape(format!(
                "{what} cell_clip: expected [low, high] with low <= high, got [{low}, {high}]"
            )));
        }
        if let Some(epsilon) = self.layer_norm
            && !(epsilon.is_finite() && epsilon > 0.0)
        {
            return Err(Error::shape(format!(
                "{what} layer_norm: expected a positive epsilon, got {epsilon}"
            )));
        }
        let lstm_only = [
            ("peephole", self.peephole),
            ("input_forget", self.input_forget),
            ("cell_clip", self.cell_clip.is_some()),
        ];
        if let Some((name, _)) = lstm_only.iter().find(|(_, on)| *on && cell != Cell::Lstm) {
            return Err(Error::unsupported(format!(
                "{what} {name}: expected lstm, got {cell} (only the LSTM has a cell state)"
            )));
        }
        if self.layer_norm.is_some() && (cell == Cell::GruResetBefore || projected) {
            let got = if projected { "a projection" } else { cell.name() };
            return Err(Error::unsupported(format!(
                "{what} layer_norm: expected a cell with one product per step, got {got}"
            )));
        }
        Ok(())
    }

    fn check_functions(&self, what: &str, cell: Cell, directions: usize) -> Result<()> {
        if self.functions.is_empty() {
            return Ok(());
        }
        let count = cell.spec().functions.len();
        let fits = self.functions.len() == directions
            && self.functions.iter().all(|list| list.len() == count);
        if !fits {
            let got: Vec<usize> = self.functions.iter().map(Vec::len).collect();
            return Err(Error::shape(format!(
                "{what} functions: expected {directions} lists of {count} for {cell}, got lists of \
                 {got:?}"
            )));
        }
        for function in self.functions.iter().flatten() {
            if function.parameters().into_iter().flatten().any(|p| !p.is_finite()) {
                return Err(Error::shape(format!(
                    "{what} functions: expected finite parameters, got {function}"
                )));
            }
        }
        Ok(())
    }
}

/// What a step applies at one unit beside the cell's equation.
pub trait Rules<F: Real> {
    /// Applies f; `own` is the cell's own.
    fn f(&self, x: F, own: fn(F) -> F) -> F;
    /// Applies g.
    fn g(&self, x: F, own: fn(F) -> F) -> F;
    /// Applies h.
    fn h(&self, x: F, own: fn(F) -> F) -> F;
    /// Adds what gate `gate` (0 = i, 1 = f, 2 = o) sees of the cell state.
    fn see(&self, gate: usize, x: F, c: F) -> F;
    /// Returns the forget gate: its own value, or 1 − i.
    fn forget(&self, own: F, i: F) -> F;
    /// Bounds the cell state.
    fn cell(&self, c: F) -> F;
}

/// The cell as its paper has it.
#[derive(Clone, Copy, Debug)]
pub struct Own;

impl<F: Real> Rules<F> for Own {
    #[inline(always)]
    fn f(&self, x: F, own: fn(F) -> F) -> F {
        own(x)
    }
    #[inline(always)]
    fn g(&self, x: F, own: fn(F) -> F) -> F {
        own(x)
    }
    #[inline(always)]
    fn h(&self, x: F, own: fn(F) -> F) -> F {
        own(x)
    }
    #[inline(always)]
    fn see(&self, _: usize, x: F, _: F) -> F {
        x
    }
    #[inline(always)]
    fn forget(&self, own: F, _: F) -> F {
        own
    }
    #[inline(always)]
    fn cell(&self, c: F) -> F {
        c
    }
}

/// A cell with options.
#[derive(Clone, Copy, Debug)]
pub struct Custom<F> {
    /// f, g, h.
    pub functions: [CellFunction; 3],
    /// Bound of the input of f and g.
    pub clip: Option<F>,
    /// Bounds of the cell state.
    pub cell_clip: Option<[F; 2]>,
    /// Peephole weights p_i, p_f, p_o of the unit.
    pub peephole: Option<[F; 3]>,
    /// f = 1 − i.
    pub input_forget: bool,
}

impl<F: Real> Custom<F> {
    /// Makes the rules of one direction, without peepholes.
    pub fn new(cell: Cell, options: &CellOptions, direction: usize) -> Self {
        Self {
            functions: options.functions_of(cell, direction),
            clip: options.clip.map(F::from_f32),
            cell_clip: options.cell_clip.map(|bounds| bounds.map(F::from_f32)),
            peephole: None,
            input_forget: options.input_forget,
        }
    }

    #[inline(always)]
    fn clipped(&self, x: F) -> F {
        self.clip.map_or(x, |clip| bound(x, -clip, clip))
    }
}

impl<F: Real> Rules<F> for Custom<F> {
    #[inline(always)]
    fn f(&self, x: F, _: fn(F) -> F) -> F {
        self.functions[0].apply(self.clipped(x))
    }
    #[inline(always)]
    fn g(&self, x: F, _: fn(F) -> F) -> F {
        self.functions[1].apply(self.clipped(x))
    }
    #[inline(always)]
    fn h(&self, x: F, _: fn(F) -> F) -> F {
        self.functions[2].apply(x)
    }
    #[inline(always)]
    fn see(&self, gate: usize, x: F, c: F) -> F {
        self.peephole.map_or(x, |weights| x + weights[gate] * c)
    }
    #[inline(always)]
    fn forget(&self, own: F, i: F) -> F {
        if self.input_forget { F::ONE - i } else { own }
    }
    #[inline(always)]
    fn cell(&self, c: F) -> F {
        self.cell_clip.map_or(c, |[low, high]| bound(c, low, high))
    }
}
