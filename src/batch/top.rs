//! The k largest values of every output row, in place of the whole row.
//!
//! Its own file because it is a result of its own: the GPU kernel (`shaders/top.wgsl`), the CPU path and
//! the oracle (`reference::top`) give the same.

use super::{Batch, RunOptions};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::tensor::Tensor;

/// The largest values of every output row, the largest first.
///
/// The order is that of the logits `W_y·h + b_y`, which every g keeps; equal logits stand by their
/// place. A row with a NaN among its logits has [`Top::NO_INDEX`] in every place, and NaN values. A
/// row whose softmax is not defined for another reason (a logit of +infinity, or none but −infinity)
/// has its places, and NaN values.
#[derive(Clone, Debug, PartialEq)]
pub struct Top<F = f32> {
    /// Places in the output row, `[B, T, k]`, `[T, B, k]` or `[B, k]` as [`crate::Output::output`]
    /// would be laid out. [`Top::NO_INDEX`] beyond a sequence's length.
    pub indices: Tensor<u32>,
    /// The values there, g applied: probabilities for softmax, their logarithms for log-softmax. The pad
    /// value beyond a sequence's length.
    pub values: Tensor<F>,
}

impl Top<f32> {
    /// Stands where a row has no place to name: beyond a sequence's length, and where a logit is NaN.
    pub const NO_INDEX: u32 = u32::MAX;
    /// The most values of a row that can be asked for: a kernel keeps so many in registers.
    pub const MOST: usize = 16;
}

/// Checks that the largest values asked for exist.
///
/// # Errors
/// `Unsupported` without an output layer, without an output to read back, or for more than
/// [`Top::MOST`]; `Shape` when k is 0 or beyond O.
pub(crate) fn check_top(model: &Model, options: &RunOptions) -> Result<()> {
    let Some(k) = options.top else { return Ok(()) };
    let Some(head) = model.head() else {
        return Err(Error::unsupported(
            "top: expected a network with an output layer, got one without (its output is the state)",
        ));
    };
    if !options.output {
        return Err(Error::unsupported(
            "top: expected the output to be read back, got output = false",
        ));
    }
    let width = head.output_size();
    if k == 0 || k > width {
        return Err(Error::shape(format!("top: expected 1 to O = {width} values a row, got {k}")));
    }
    if k > Top::MOST {
        let most = Top::MOST;
        return Err(Error::unsupported(format!(
            "top: expected at most {most} values a row, got {k} (read the whole output)"
        )));
    }
    Ok(())
}

/// The shape of a batch's output with `width` values a row.
pub(crate) fn output_shape(model: &Model, batch: &Batch, width: usize) -> Vec<usize> {
    let rows = batch.batch_size();
    if model.is_per_sequence() {
        vec![rows, width]
    } else {
        batch.layout().shape(batch.steps(), rows, width).to_vec()
    }
}

/// Makes the result that a run fills: no place, and the pad value, everywhere.
pub(crate) fn empty_top<F: Copy>(model: &Model, batch: &Batch, k: usize, pad: F) -> Top<F> {
    let shape = output_shape(model, batch, k);
    Top {
        indices: Tensor::from_fn(shape.clone(), |_| Top::NO_INDEX),
        values: Tensor::from_fn(shape, |_| pad),
    }
}
