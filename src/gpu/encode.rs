//! A plan into commands: no submit, no map, no wait.

use std::ops::Range;

use super::{Gpu, Workspace};
use crate::plan::{Op, RunShape};

/// What is recorded of a plan, and how.
pub(crate) struct Recording<'a> {
    /// How long the sequences are.
    pub(crate) shape: &'a RunShape,
    /// Which operations.
    pub(crate) ops: Range<usize>,
    /// Whether final states are wanted.
    pub(crate) with_states: bool,
    /// Bind groups of calls that bind a caller's buffer, where there are any.
    pub(crate) late: &'a [Option<wgpu::BindGroup>],
    /// Whether the workspace's time stamps are written.
    pub(crate) with_stamps: bool,
}

/// Records operations of a plan, all dispatches in one pass.
pub(crate) fn encode(
    gpu: &Gpu,
    workspace: &Workspace,
    encoder: &mut wgpu::CommandEncoder,
    recording: Recording<'_>,
) {
    let Recording { shape, ops, with_states, late, with_stamps } = recording;
    let stamps = workspace.transfers.as_ref().and_then(|t| t.stamps.as_ref());
    let is_last = ops.end == workspace.plan.ops.len();
    let pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some("wgpu-rnn"),
        timestamp_writes: stamps
            .filter(|_| with_stamps)
            .and_then(|stamps| stamps.writes(ops.start == 0, is_last)),
    });
    let mut recorder = Recorder { workspace, late, pass, current: None };
    for op in &workspace.plan.ops[ops] {
        match op {
            Op::Dispatch { for_states: true, .. } if !with_states => {}
            // Outside of a run of steps, a kernel that takes the step's index gets 0.
            Op::Dispatch { call, grid, .. } => {
                recorder.dispatch(*call, shape.workgroups(*grid, 0), 0)
            }
            Op::Steps { calls, first, count, lag } => {
                let end = shape.end(*first, *count, *lag);
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
