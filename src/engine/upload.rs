//! A part's lengths, input and initial states onto the device.
//!
//! Written padded into the workspace's upload buffer, one region a buffer of the plan, and copied from
//! there by the run itself.

use super::loaded::Loaded;
use super::part::Part;
use crate::batch::{Batch, States};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Workspace, pack};
use crate::kernel::Precision;
use crate::plan::padded;
use crate::tensor::Tensor;

/// Bytes of the upload buffer that belong into a buffer of the plan.
pub(super) struct Copy {
    /// Into which.
    buffer: usize,
    /// From where.
    offset: usize,
    /// How many.
    bytes: usize,
}

/// Fills the upload buffer, `more` buffers of the plan included, and tells what is to be copied.
///
/// # Errors
/// `Device` when the buffer is not mapped.
pub(super) fn fill(
    loaded: &Loaded,
    gpu: &Gpu,
    workspace: &Workspace,
    batch: &Batch,
    part: &Part,
    initial: Option<&States>,
    more: &[(usize, Vec<u8>)],
) -> Result<Vec<Copy>> {
    let missing = || Error::device("upload: expected a plan without a caller's buffers");
    let transfers = workspace.transfers.as_ref().ok_or_else(missing)?;
    let mut copies = Vec::new();
    transfers.upload.fill(gpu, |target| {
        let mut writer = Writer { workspace, target, at: 0, copies: &mut copies };
        writer.batch(loaded, batch, part);
        if let Some(states) = initial {
            writer.states(states);
        }
        for (buffer, bytes) in more {
            writer.region(*buffer, bytes.len(), |mut region| region.copy_from_slice(bytes));
        }
    })?;
    Ok(copies)
}

/// Records the copies, and zeros where the initial states of an earlier run still stand.
pub(super) fn encode(workspace: &Workspace, encoder: &mut wgpu::CommandEncoder, copies: &[Copy]) {
    let Some(transfers) = &workspace.transfers else { return };
    let plan = &workspace.plan;
    for Copy { buffer, offset, bytes } in copies {
        let (source, target) = (transfers.upload.buffer(), &workspace.buffers[*buffer]);
        encoder.copy_buffer_to_buffer(source, *offset as u64, target, 0, Some(*bytes as u64));
    }
    let states = plan.layers.iter().flat_map(|l| [Some(l.h_0), l.c_0]).flatten();
    for id in states.filter(|id| copies.iter().all(|copy| copy.buffer != *id)) {
        if !workspace.has_zero_states {
            encoder.clear_buffer(&workspace.buffers[id], 0, None);
        }
    }
}

/// Fills region after region.
struct Writer<'a> {
    workspace: &'a Workspace,
    target: wgpu::WriteOnly<'a, [u8]>,
    /// Where the next region starts.
    at: usize,
    copies: &'a mut Vec<Copy>,
}

impl Writer<'_> {
    fn batch(&mut self, loaded: &Loaded, batch: &Batch, part: &Part) {
        let plan = &self.workspace.plan;
        self.region(plan.lengths, part.lengths.len() * 4, |mut region| {
            region.copy_from_slice(bytemuck::cast_slice(&part.lengths));
        });
        let cells = part.steps * part.rows.len();
        if let Some(id) = plan.tokens {
            let mut tokens = vec![0u32; cells];
            part.for_each_step(|at, b, t| tokens[at] = batch.token(b, t).unwrap_or(0));
            self.region(id, cells * 4, |mut region| {
                region.copy_from_slice(bytemuck::cast_slice(&tokens));
            });
        }
        if let Some(id) = plan.input {
            let tight = loaded.network.input.width();
            self.region(id, cells * padded(tight) * 4, |region| {
                write_features(region, tight, batch, part);
            });
        }
    }

    fn states(&mut self, states: &States) {
        let precision = self.workspace.plan.request.precision;
        for (index, buffers) in self.workspace.plan.layers.iter().enumerate() {
            self.state(buffers.h_0, &states.h[index], precision);
            if let (Some(id), Some(c)) = (buffers.c_0, &states.c[index]) {
                self.state(id, c, Precision::F32);
            }
        }
    }

    fn state(&mut self, id: usize, tensor: &Tensor, precision: Precision) {
        let packed = pack::state_rows(tensor, precision);
        let bytes: &[u8] = bytemuck::cast_slice(&packed);
        self.region(id, bytes.len(), |mut region| region.copy_from_slice(bytes));
    }

    fn region(
        &mut self,
        buffer: usize,
        bytes: usize,
        write: impl FnOnce(wgpu::WriteOnly<'_, [u8]>),
    ) {
        let offset = self.at;
        write(self.target.slice(offset..offset + bytes));
        self.copies.push(Copy { buffer, offset, bytes });
        self.at = (offset + bytes).next_multiple_of(16);
    }
}

/// Writes features `[T, B, padded I]`, zero where a row has ended and in the padding.
fn write_features(mut region: wgpu::WriteOnly<'_, [u8]>, tight: usize, batch: &Batch, part: &Part) {
    let stride = padded(tight) * 4;
    for s in 0..part.steps {
        for (column, (&b, &len)) in part.rows.iter().zip(&part.lengths).enumerate() {
            let start = (s * part.rows.len() + column) * stride;
            let mut filled = start;
            if usize::try_from(len).is_ok_and(|len| s < len) {
                let features: &[u8] = bytemuck::cast_slice(batch.features(b, part.first + s));
                filled += features.len();
                region.slice(start..filled).copy_from_slice(features);
            }
            if filled < start + stride {
                region.slice(filled..start + stride).fill(0);
            }
        }
    }
}
