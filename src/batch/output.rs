//! The results of a run, and what a run computes and reads back.

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
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { output: true, states: true, pad_value: 0.0, zero_length: ZeroLength::default() }
    }
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Output {
    /// `[B, T, O]` or `[T, B, O]` as the batch is laid out, or `[B, O]` for a last-step head; empty
    /// when [`RunOptions::output`] is off.
    pub output: Tensor,
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
    let (rows, width) = (batch.batch_size(), model.output_size());
    let output = if !options.output {
        Tensor::zeros([0])
    } else if model.is_per_sequence() {
        Tensor::from_fn([rows, width], |_| options.pad_value)
    } else {
        let shape = batch.layout().shape(batch.steps(), rows, width);
        Tensor::from_fn(shape, |_| options.pad_value)
    };
    let states = if options.states { States::zeros(model, rows) } else { States::default() };
    Output { output, states }
}
