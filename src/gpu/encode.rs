//! A plan into commands: no submit, no map, no wait.

use super::{Gpu, Weights, Workspace};
use crate::error::Result;
use crate::plan::{Op, RunShape};

/// The caller's buffers of an embedded run, with the bytes of each that are bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct External<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) input: (&'a wgpu::Buffer, u64),
    pub(crate) output: (&'a wgpu::Buffer, u64),
}

/// Records the operations `range` of a plan, all dispatches in one pass.
///
/// # Errors
/// `Device` when a bind group for a caller's buffer is refused.
pub(crate) fn encode(
    gpu: &Gpu,
    workspace: &Workspace,
    encoder: &mut wgpu::CommandEncoder,
    shape: &RunShape,
    range: std::ops::Range<usize>,
    with_states: bool,
    external: Option<External<'_>>,
) -> Result<()> {
    let late = late_groups(gpu, workspace, external)?;
    let groups: Vec<Option<&wgpu::BindGroup>> =
        workspace.groups.iter().zip(&late).map(|(a, b)| a.as_ref().or(b.as_ref())).collect();
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some("wgpu-rnn"),
        timestamp_writes: None,
    });
    for op in &workspace.plan.ops[range] {
        match op {
            Op::Dispatch { for_states: true, .. } if !with_states => {}
            Op::Dispatch { call, grid, .. } => {
                if let Some([x, y, z]) = shape.workgroups(*grid, 0) {
                    pass.set_pipeline(&workspace.pipelines[*call].pipeline);
                    // Outside of a run of steps, a kernel that takes the step's index gets 0.
                    let offsets: &[u32] =
                        if workspace.pipelines[*call].takes_step { &[0] } else { &[] };
                    pass.set_bind_group(0, groups[*call], offsets);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
            Op::Steps { calls, first, count, lag } => {
                let end = shape.end(*first, *count, *lag);
                for s in *first..end {
                    let offset = (s - first) * gpu.caps.uniform_align;
                    for (call, grid) in calls {
                        if let Some([x, y, z]) = shape.workgroups(*grid, s) {
                            pass.set_pipeline(&workspace.pipelines[*call].pipeline);
                            pass.set_bind_group(0, groups[*call], &[offset]);
                            pass.dispatch_workgroups(x, y, z);
                        }
                    }
                }
            }
            Op::MaySubmit { .. } => {}
        }
    }
    Ok(())
}

fn late_groups(
    gpu: &Gpu,
    workspace: &Workspace,
    external: Option<External<'_>>,
) -> Result<Vec<Option<wgpu::BindGroup>>> {
    workspace
        .groups
        .iter()
        .enumerate()
        .map(|(index, group)| match (group, external) {
            (None, Some(e)) => workspace.group(gpu, e.weights, index, Some(e)).map(Some),
            _ => Ok(None),
        })
        .collect()
}
