//! A training step in words.

use std::fmt::Write as _;

use crate::engine::explain::memory;
use crate::plan::{Parameter, Plan, RunShape};

/// What a training step takes on the device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepMemory {
    /// Everything but `parameters`.
    pub step: u64,
    /// Parameters, gradients and two moments of each.
    pub parameters: u64,
    /// Of `step`: what W_hh gave at every time step, kept for backpropagation, which
    /// [`crate::TrainerOptions::recompute`] would not keep.
    pub kept: u64,
    /// Of `step`: the same of one layer at a time, computed again by one more product with W_hh.
    pub again: u64,
}

impl StepMemory {
    pub(super) fn of(plan: &Plan, parameters: &[Parameter]) -> Self {
        let is_kept = |label: &str| label.starts_with("gates_h") && label.ends_with(", kept");
        let kept = bytes_of(plan, is_kept);
        Self {
            step: plan.bytes(),
            parameters: 4 * own_bytes(parameters),
            kept,
            again: bytes_of(plan, |label| label.starts_with("gates_h")) - kept,
        }
    }
}

fn own_bytes(parameters: &[Parameter]) -> u64 {
    parameters.iter().map(|parameter| parameter.bytes).sum()
}

fn bytes_of(plan: &Plan, takes: impl Fn(&str) -> bool) -> u64 {
    let named = plan.buffers.iter().filter(|buffer| takes(&buffer.label));
    named.map(|buffer| buffer.bytes).sum()
}

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
    let own = own_bytes(parameters);
    let _ = writeln!(
        text,
        "parameters  {own} bytes, and as many for gradients and each of two moments"
    );
    text.push_str(&memory(plan));
    let StepMemory { kept, again, .. } = StepMemory::of(plan, parameters);
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
        .map(|part| bytes_of(plan, |label| label.starts_with(part)))
        .iter()
        .sum::<u64>();
    let _ = writeln!(
        text,
        "            {states} bytes of states before each step are gathered again, layer after layer"
    );
    text
}
