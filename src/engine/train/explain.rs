//! A training step in words.

use std::fmt::Write as _;

use crate::engine::explain::memory;
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
    for (index, choice) in plan.choices.iter().enumerate() {
        let reason = &choice.reason;
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
    text.push_str(&memory(plan));
    let bytes_of = |part: &str| {
        let named = plan.buffers.iter().filter(|buffer| buffer.label.starts_with(part));
        named.map(|buffer| buffer.bytes).sum::<u64>()
    };
    let kept: u64 = plan
        .buffers
        .iter()
        .filter(|buffer| buffer.label.ends_with(", kept") && buffer.label.starts_with("gates_h"))
        .map(|buffer| buffer.bytes)
        .sum();
    let again = bytes_of("gates_h") - kept;
    if kept > 0 {
        let _ = writeln!(
            text,
            "kept        {kept} bytes of what W_hh gave at each step; TrainerOptions::recompute would keep none, for \
             one more product with W_hh and one layer's worth of it at a time"
        );
    }
    if again > 0 {
        let is_asked = plan.request.train.is_some_and(|train| train.recompute);
        let why = if is_asked {
            "as TrainerOptions::recompute asks"
        } else {
            "since cells with options and with reset before the product cannot keep it"
        };
        let _ = writeln!(
            text,
            "again       {again} bytes of what W_hh gave at each step are computed again, layer after layer, for one \
             more product with W_hh, {why}"
        );
    }
    let states = ["cell states before", "states before", "masked states before"]
        .map(bytes_of)
        .iter()
        .sum::<u64>();
    let _ = writeln!(
        text,
        "            {states} bytes of states before each step are gathered again, layer after layer"
    );
    text
}
