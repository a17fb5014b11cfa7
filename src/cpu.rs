//! The CPU path.
use crate::batch::{Batch, Output, RunOptions, States};
use crate::error::Result;
use crate::model::Model;

/// Runs `batch` through `model` on this machine's processors.
pub(crate) fn run(model: &Model, batch: &Batch, options: &RunOptions) -> Result<Output> {
    let r = crate::reference::run::<f32>(model, batch, options)?;
    Ok(Output { output: r.output, states: States { h: r.h, c: r.c } })
}
