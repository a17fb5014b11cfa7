//! The results of a run, and what a run computes and reads back.

use super::top::{Top, empty_top, output_shape};
use super::{Batch, States};
use crate::model::Model;
use crate::tensor::Tensor;

/// What final states a sequence of zero length has; its output is the pad value in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ZeroLength {
    /// The initial state, as after no step. For streaming.
    #[default]
    CarryInitial,
    /// Zero, as ONNX Runtime's CPU gives it. For ONNX models.
    Zeros,
}

/// What a run computes and reads back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunOptions {
    /// Read the output back. Default true; `false` saves the transfer when only states are wanted.
    pub output: bool,
    /// Read the final states back. Default true.
    pub states: bool,
    /// What stands in the output beyond a sequence's length. Default 0.
    pub pad_value: f32,
    /// Final states of zero-length sequences.
    pub zero_length: ZeroLength,
    /// Give the k largest values of every output row ([`Output::top`]) in place of the whole row, which
    /// is then neither written nor read back: 8·k bytes a row. 1 to [`Top::MOST`]. Default none.
    pub top: Option<usize>,
}

impl Default for RunOptions {
    fn default() -> Self {
        let zero_length = ZeroLength::default();
        Self { output: true, states: true, pad_value: 0.0, zero_length, top: None }
    }
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Output {
    /// `[B, T, O]` or `[T, B, O]` as the batch is laid out, or `[B, O]` for a last-step head; empty
    /// when [`RunOptions::output`] is off or [`RunOptions::top`] is set.
    pub output: Tensor,
    /// The largest values of every row, where [`RunOptions::top`] asks for them.
    pub top: Option<Top>,
    /// Final states; empty when [`RunOptions::states`] is off.
    pub states: States,
}

impl Output {
    /// Returns the final h of all layers as PyTorch's `h_n [L·D, B, R]`.
    pub fn h_n(&self) -> Option<Tensor> {
        self.states.stacked_h()
    }

    /// Returns the final c of all LSTM layers as PyTorch's `c_n [L·D, B, H]`.
    pub fn c_n(&self) -> Option<Tensor> {
        self.states.stacked_c()
    }
}

/// Makes the empty results that a run of `batch` through `model` fills, padded with the pad value.
pub(crate) fn empty_output(model: &Model, batch: &Batch, options: &RunOptions) -> Output {
    let output = if options.output && options.top.is_none() {
        let shape = output_shape(model, batch, model.output_size());
        Tensor::from_fn(shape, |_| options.pad_value)
    } else {
        Tensor::zeros([0])
    };
    let top = options.top.map(|k| empty_top(model, batch, k, options.pad_value));
    let rows = batch.batch_size();
    let states = if options.states { States::zeros(model, rows) } else { States::default() };
    Output { output, top, states }
}
