//! A plan in words.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{ConstantsSource, LoadedModel, run};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::plan::{Plan, RunShape};

impl LoadedModel {
    /// Returns the plan that a run of this shape uses; `None` on the CPU path, which has none.
    ///
    /// # Errors
    /// As [`LoadedModel::explain`].
    pub fn plan(&self, batch: usize, steps: usize) -> Result<Option<Arc<Plan>>> {
        let loaded = self.inner();
        loaded.on_gpu().map(|(gpu, _)| run::plan(loaded, gpu, (batch, steps), None)).transpose()
    }

    /// Describes the plan for a shape: strategy per layer, dispatches, bytes, and why a faster path
    /// was refused.
    ///
    /// # Errors
    /// `Limit` when the shape is too large for the device in one run; `Unsupported` when the strategy
    /// asked for does not take a layer.
    pub fn explain(&self, batch: usize, steps: usize) -> Result<String> {
        let loaded = self.inner();
        let info = loaded.engine.info();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "device      {} ({}; {})", info.name, info.backend, info.reason);
        let _ = writeln!(text, "shape       B = {batch}, T = {steps}");
        let Some((gpu, _)) = loaded.on_gpu() else {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let _ =
                writeln!(text, "strategy    CPU path, {threads} threads over tiles of sequences");
            return Ok(text);
        };
        let _ = writeln!(text, "speeds      {}", speeds(gpu));
        let plan = run::plan(loaded, gpu, (batch, steps), None)?;
        let _ = writeln!(text, "precision   {}", plan.request.precision.name());
        for (index, (choice, spec)) in plan.choices.iter().zip(&loaded.network.layers).enumerate() {
            let _ = writeln!(
                text,
                "layer {index:<5} {} {}x{}: {}",
                spec.cell,
                spec.direction.count(),
                spec.hidden_size,
                choice.reason
            );
            let input = match choice.input_kernel {
                "" => "input projection within the diagonals".to_owned(),
                kernel => format!("input projection by {kernel}"),
            };
            let _ = writeln!(
                text,
                "            workgroup {}x{}, {} rows an invocation; {input}",
                choice.workgroup[0],
                choice.workgroup[1],
                choice.rows.rows()
            );
        }
        if let Some(head) = &plan.head {
            let _ = writeln!(text, "output      {}", head.reason);
        }
        let length = u32::try_from(steps).unwrap_or(u32::MAX);
        let shape = RunShape::new(&vec![length; batch]);
        let submits = plan.submit_cuts(&shape, gpu.caps.flops_per_submit).len() + 1;
        let _ = writeln!(text, "dispatches  {} in {submits} submit(s)", plan.dispatches(&shape));
        text.push_str(&memory(&plan));
        if let Some(limit) = info.loop_limit {
            let _ = writeln!(
                text,
                "loop limit  the driver ends loops after {limit} iterations; kept below"
            );
        }
        Ok(text)
    }
}

/// Lists what a plan takes of the device's memory.
pub(super) fn memory(plan: &Plan) -> String {
    let (bytes, count) = (plan.bytes(), plan.buffers.len());
    let mut text = format!(
        "memory      {bytes} bytes with uploads and readback, of these in {count} buffers\n"
    );
    // Writing to a String cannot fail.
    for buffer in &plan.buffers {
        let _ = writeln!(text, "            {:>12}  {}", buffer.bytes, buffer.label);
    }
    for texture in &plan.textures {
        let (bytes, label) = (texture.bytes(), &texture.label);
        let _ = writeln!(text, "            {bytes:>12}  {label} (a texture)");
    }
    text
}

/// Says where the speeds that predictions use come from, and the ones that matter most.
fn speeds(gpu: &Gpu) -> String {
    let constants = &gpu.caps.constants;
    let source = match gpu.caps.constants_source {
        ConstantsSource::Calibrated => "calibrated",
        ConstantsSource::Assumed => "assumed by kind of device (Engine::calibrate measures them)",
    };
    format!(
        "{source}: {:.3} GFLOP/s, cache {:.3} GB/s, memory {:.3} GB/s, dispatch {:.3} us",
        constants.flops / 1e9,
        constants.cache_bytes / 1e9,
        constants.memory_bytes / 1e9,
        constants.dispatch * 1e6
    )
}
