//! Descriptions without weights: layer, input, head, and the check that they chain.
//!
//! Plain data that the plan, the initialisers and the file formats share.

use super::MAX_AXIS;
use crate::cell::{Cell, CellFunction, CellOptions};
use crate::error::{Error, Result};

/// In which order a layer reads its sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// First time step first.
    #[default]
    Forward,
    /// Last valid time step first; results stay at the time step they belong to.
    Reverse,
    /// Both, results concatenated as (forward, reverse) on the feature axis.
    Bidirectional,
}

impl Direction {
    /// Returns D: 2 for bidirectional, else 1.
    pub const fn count(self) -> usize {
        match self {
            Self::Bidirectional => 2,
            _ => 1,
        }
    }

    /// Tells whether direction `index` of the layer reads backwards.
    pub const fn is_reverse(self, index: usize) -> bool {
        matches!((self, index), (Self::Reverse, _) | (Self::Bidirectional, 1))
    }

    /// Returns the name used in metadata and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::Bidirectional => "bidirectional",
        }
    }

    /// Finds a direction by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Forward, Self::Reverse, Self::Bidirectional].into_iter().find(|d| d.name() == name)
    }
}

/// One recurrent layer without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// The cell.
    pub cell: Cell,
    /// Features that enter, I. The builder fills it in.
    pub input_size: usize,
    /// Units per direction, H.
    pub hidden_size: usize,
    /// Reading order.
    pub direction: Direction,
    /// Whether `bias_ih` and `bias_hh` exist.
    pub bias: bool,
    /// LSTM projection width P, or 0 for none; the layer's state and output then have width P.
    pub proj_size: usize,
    /// Functions per gate, clipping, peepholes, layer normalisation; default none of them.
    pub options: CellOptions,
}

impl LayerSpec {
    /// Describes a forward layer with biases and without projection.
    pub fn new(cell: Cell, hidden_size: usize) -> Self {
        Self {
            cell,
            input_size: 0,
            hidden_size,
            direction: Direction::Forward,
            bias: true,
            proj_size: 0,
            options: CellOptions::default(),
        }
    }

    /// Reads in both directions.
    #[must_use]
    pub fn bidirectional(self) -> Self {
        self.direction(Direction::Bidirectional)
    }

    /// Sets the reading order.
    #[must_use]
    pub fn direction(self, direction: Direction) -> Self {
        Self { direction, ..self }
    }

    /// Turns biases on or off.
    #[must_use]
    pub fn bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// Sets the LSTM projection width P (0: none).
    #[must_use]
    pub fn projection(self, proj_size: usize) -> Self {
        Self { proj_size, ..self }
    }

    /// Sets the options of the cell.
    #[must_use]
    pub fn options(self, options: CellOptions) -> Self {
        Self { options, ..self }
    }

    /// Sets the functions f, g, h of every direction (as many as the cell has places for).
    #[must_use]
    pub fn functions(mut self, functions: &[CellFunction]) -> Self {
        self.options.functions = vec![functions.to_vec(); self.direction.count()];
        self
    }

    /// Sets the input width; the builder does it for the layers it chains.
    #[must_use]
    pub fn input(self, input_size: usize) -> Self {
        Self { input_size, ..self }
    }

    /// Returns R, the width of the recurrent state h: P with projection, else H.
    pub fn state_size(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }

    /// Returns the width of the layer's output: R·D.
    pub fn output_size(&self) -> usize {
        self.state_size() * self.direction.count()
    }

    /// Returns G·H, the rows of the weight matrices.
    pub fn gate_rows(&self) -> usize {
        self.cell.gates() * self.hidden_size
    }

    fn check(&self, index: usize) -> Result<()> {
        check_axis(&format!("layer {index} input_size"), self.input_size)?;
        check_axis(&format!("layer {index} hidden_size"), self.hidden_size)?;
        if self.proj_size > 0 && self.cell != Cell::Lstm {
            return Err(Error::unsupported(format!(
                "layer {index} proj_size: expected 0 for {}, got {} (only LSTM has a projection)",
                self.cell, self.proj_size
            )));
        }
        self.options.check(
            &format!("layer {index}"),
            self.cell,
            self.direction.count(),
            self.proj_size > 0,
        )?;
        if self.proj_size > self.hidden_size {
            return Err(Error::shape(format!(
                "layer {index} proj_size: expected at most hidden_size = {}, got {}",
                self.hidden_size, self.proj_size
            )));
        }
        Ok(())
    }
}

/// What enters a network, without weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputSpec {
    /// `size` features per time step.
    Dense {
        /// Features per time step, I.
        size: usize,
    },
    /// Tokens through a table `[vocab, size]`.
    Embedding {
        /// Number of tokens, V.
        vocab: usize,
        /// Width of a table row, E.
        size: usize,
    },
    /// Tokens as one-hot vectors.
    OneHot {
        /// Number of tokens, V.
        vocab: usize,
    },
}

impl InputSpec {
    /// Returns the width that the first layer sees.
    pub const fn width(&self) -> usize {
        match *self {
            Self::Dense { size } | Self::Embedding { size, .. } => size,
            Self::OneHot { vocab } => vocab,
        }
    }

    /// Returns the number of tokens, or `None` for dense input.
    pub const fn vocab(&self) -> Option<usize> {
        match *self {
            Self::Dense { .. } => None,
            Self::Embedding { vocab, .. } | Self::OneHot { vocab } => Some(vocab),
        }
    }
}

/// The function g of the output layer, applied to each output row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    /// Identity.
    #[default]
    None,
    /// `exp(v_j − max v) / Σ exp(v_k − max v)` over the output axis.
    Softmax,
    /// Natural logarithm of softmax.
    LogSoftmax,
    /// Logistic function per element.
    Sigmoid,
    /// Hyperbolic tangent per element.
    Tanh,
    /// max(v, 0) per element.
    Relu,
}

impl Activation {
    /// Every activation, in the order of help texts.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Softmax, Self::LogSoftmax, Self::Sigmoid, Self::Tanh, Self::Relu];

    /// Returns the name used in metadata and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Softmax => "softmax",
            Self::LogSoftmax => "log-softmax",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Relu => "relu",
        }
    }

    /// Finds an activation by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }
}

/// For which time steps the output layer is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum HeadSteps {
    /// Every time step: output `[T, B, O]`.
    #[default]
    Every,
    /// The last valid step of each sequence, t = len − 1: output `[B, O]`. A reverse direction has
    /// read one step there.
    Last,
    /// The final states of the last layer, its h_n with directions side by side: output `[B, O]`. A
    /// reverse direction has read the whole sequence.
    Final,
}

impl HeadSteps {
    /// Every value, in the order of help texts.
    pub const ALL: [Self; 3] = [Self::Every, Self::Last, Self::Final];

    /// Returns the name used in metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Every => "every",
            Self::Last => "last",
            Self::Final => "final",
        }
    }

    /// Tells whether there is one output row per sequence.
    pub const fn is_per_sequence(self) -> bool {
        !matches!(self, Self::Every)
    }

    /// Finds a value by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// An output layer without its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeadSpec {
    /// Width of the output, O.
    pub output_size: usize,
    /// The function g.
    pub activation: Activation,
    /// Which time steps.
    pub steps: HeadSteps,
    /// Whether `b_y` exists.
    pub bias: bool,
}

impl HeadSpec {
    /// Describes a linear output layer with bias for every step.
    pub fn new(output_size: usize) -> Self {
        Self { output_size, activation: Activation::None, steps: HeadSteps::Every, bias: true }
    }

    /// Sets the function g.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Computes the last valid step only.
    #[must_use]
    pub fn last_step(self) -> Self {
        Self { steps: HeadSteps::Last, ..self }
    }

    /// Computes the final states only.
    #[must_use]
    pub fn final_states(self) -> Self {
        Self { steps: HeadSteps::Final, ..self }
    }
}

pub(super) fn check_axis(what: &str, size: usize) -> Result<()> {
    if size == 0 || size > MAX_AXIS {
        return Err(Error::shape(format!("{what}: expected 1 to {MAX_AXIS}, got {size}")));
    }
    Ok(())
}

/// Checks every size, and that each layer takes what the one before puts out.
pub(super) fn check_chain(input: &InputSpec, layers: &[LayerSpec]) -> Result<()> {
    check_axis("input size", input.width())?;
    if let Some(vocab) = input.vocab() {
        check_axis("vocabulary size", vocab)?;
    }
    if layers.is_empty() {
        return Err(Error::shape("layers: expected at least 1, got 0"));
    }
    let mut width = input.width();
    for (index, layer) in layers.iter().enumerate() {
        layer.check(index)?;
        if layer.input_size != width {
            let before = if index == 0 { "the input" } else { "the layer before" };
            return Err(Error::shape(format!(
                "layer {index} input_size: expected {width}, which is what {before} puts out, got {}",
                layer.input_size
            )));
        }
        width = layer.output_size();
    }
    Ok(())
}
