//! A training step in words.

use std::fmt::Write as _;

use crate::plan::{Parameter, Plan, RunShape};

/// Describes a plan: forward drivers, dispatches, bytes, and what is computed again.
pub(super) fn text(
    plan: &Plan,
    parameters: &[Parameter],
    (batch, steps): (usize, usize),
) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "shape       B = {batch}, T = {steps}");
    let is_masked = plan.request.train.is_some_and(|train| train.recurrent_dropout);
    for (index, choice) in plan.choices.iter().enumerate() {
        let reason = match is_masked {
            true => {
                "one dispatch per time step, which drops states as it reads them (recurrent dropout)"
            }
            false => choice.reason.as_str(),
        };
        let _ = writeln!(text, "layer {index:<5} forward {reason}");
    }
    let length = u32::try_from(steps).unwrap_or(u32::MAX);
    let shape = RunShape::new(&vec![length; batch]);
    let _ = writeln!(text, "dispatches  {} in one step", plan.dispatches(&shape));
    let own: u64 = parameters.iter().map(|parameter| parameter.bytes).sum();
    let _ = writeln!(
        text,
        "parameters  {own} bytes, and as many for gradients and each of two moments"
    );
    let _ = writeln!(text, "memory      {} bytes in {} buffers", plan.bytes(), plan.buffers.len());
    for buffer in &plan.buffers {
        let _ = writeln!(text, "            {:>12}  {}", buffer.bytes, buffer.label);
    }
    let again: u64 = plan
        .buffers
        .iter()
        .filter(|buffer| {
            buffer.label.starts_with("gates_h") || buffer.label.contains("before steps")
        })
        .map(|buffer| buffer.bytes)
        .sum();
    let _ = writeln!(
        text,
        "again       {again} bytes are computed again after the forward part, for one more product with W_hh, so that \
         it runs on any driver and keeps nothing but its input gates"
    );
    text
}
