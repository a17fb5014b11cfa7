//! A plan into commands: no submit, no map, no wait.

use super::{Gpu, Workspace};
use crate::plan::{Op, RunShape};

/// Records the operations `range` of a plan, all dispatches in one pass; `late` holds the bind groups
/// of calls that bind a caller's buffer, where there are any.
pub(crate) fn encode(
    gpu: &Gpu,
    workspace: &Workspace,
    encoder: &mut wgpu::CommandEncoder,
    shape: &RunShape,
    range: std::ops::Range<usize>,
    with_states: bool,
    late: &[Option<wgpu::BindGroup>],
) {
    let pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some("wgpu-rnn"),
        timestamp_writes: None,
    });
    let mut recorder = Recorder { workspace, late, pass, current: None };
    for op in &workspace.plan.ops[range] {
        match op {
            Op::Dispatch { for_states: true, .. } if !with_states => {}
            // Outside of a run of steps, a kernel that takes the step's index gets 0.
            Op::Dispatch { call, grid, .. } => {
                recorder.dispatch(*call, shape.workgroups(*grid, 0), 0)
            }
            Op::Steps { calls, first, count } => {
                let end = (first + count).min(shape.max_len());
                for s in *first..end {
                    let offset = (s - first) * gpu.caps.uniform_align;
                    for (call, grid) in calls {
                        recorder.dispatch(*call, shape.workgroups(*grid, s), offset);
                    }
                }
            }
            Op::MaySubmit { .. } => {}
        }
    }
}

/// A pass with what is set in it. Nothing is allocated or looked up per dispatch.
struct Recorder<'a> {
    workspace: &'a Workspace,
    late: &'a [Option<wgpu::BindGroup>],
    pass: wgpu::ComputePass<'a>,
    /// The call whose pipeline and bind group are set.
    current: Option<usize>,
}

impl Recorder<'_> {
    #[inline]
    fn dispatch(&mut self, call: usize, groups: Option<[u32; 3]>, offset: u32) {
        let Some([x, y, z]) = groups else { return };
        let pipeline = &self.workspace.pipelines[call];
        let is_set = self.current == Some(call);
        if !is_set {
            self.pass.set_pipeline(&pipeline.pipeline);
            self.current = Some(call);
        }
        if !is_set || pipeline.takes_step {
            let own = self.workspace.groups[call].as_ref();
            let group = own.or_else(|| self.late.get(call).and_then(Option::as_ref));
            let offsets: &[u32] = if pipeline.takes_step { &[offset] } else { &[] };
            self.pass.set_bind_group(0, group, offsets);
        }
        self.pass.dispatch_workgroups(x, y, z);
    }
}
