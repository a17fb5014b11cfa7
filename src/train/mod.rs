//! What training needs beside a network and a batch: a loss, targets, and the checks of both.
//!
//! Pure data, shared by the oracle ([`crate::reference::gradients`]) and whatever else computes
//! gradients: `loss` holds the losses and what they divide by, `targets` what the outputs are
//! compared with. Names and reductions are PyTorch's (`F.cross_entropy`, `nn.HuberLoss`,
//! `nn.CTCLoss`, …) with reduction "mean", taken over the valid steps alone.

mod loss;
mod optimizer;
pub mod random;
mod targets;

pub use loss::{CrossEntropy, Loss};
pub use optimizer::{Optimizer, Schedule, WeightDecay};
pub use targets::Targets;

use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::model::Model;

/// Checks that the derivative of every layer is known: the cells as their papers have them, with
/// projection and peepholes.
///
/// # Errors
/// `Unsupported`, naming the layer and the option: functions other than the cell's own, `clip`,
/// `cell_clip`, `input_forget`, `layer_norm`.
pub(crate) fn check_trainable(model: &Model) -> Result<()> {
    for (index, layer) in model.layers().iter().enumerate() {
        let spec = layer.spec();
        let options = &spec.options;
        let own = |cell: Cell| cell.spec().functions;
        let faults = [
            ("functions", options.functions.iter().any(|list| list != own(spec.cell))),
            ("clip", options.clip.is_some()),
            ("cell_clip", options.cell_clip.is_some()),
            ("input_forget", options.input_forget),
            ("layer_norm", options.layer_norm.is_some()),
        ];
        if let Some((name, _)) = faults.into_iter().find(|(_, is_set)| *is_set) {
            return Err(Error::unsupported(format!(
                "layer {index} {name}: expected the cell's own for gradients, got another (peepholes \
                 and projections are the options that can be trained)"
            )));
        }
    }
    Ok(())
}

/// Lists the valid output rows as `(b, t, index)`: index is the row-major place among `[B, T]`, or
/// among `[B]` for a network with one output per sequence, whose t is the last valid step.
pub(crate) fn valid_rows(
    model: &Model,
    batch: &crate::batch::Batch,
) -> impl Iterator<Item = (usize, usize, usize)> {
    let (is_per_sequence, steps) = (model.is_per_sequence(), batch.steps());
    let lengths: Vec<usize> = (0..batch.batch_size()).map(|b| batch.length(b)).collect();
    lengths.into_iter().enumerate().flat_map(move |(b, len)| {
        let first = if is_per_sequence { len.saturating_sub(1) } else { 0 };
        (first..len).map(move |t| (b, t, if is_per_sequence { b } else { b * steps + t }))
    })
}
