//! States from step to step, on the device, and rows of states on the host.

use crate::gpu::{Gpu, Workspace};
use crate::plan::{Plan, padded};
use crate::tensor::Tensor;

/// States between steps, on the device.
#[derive(Debug)]
pub(super) struct Carried {
    /// Sequences.
    pub(super) rows: usize,
    /// h and c of every layer, padded `[D, B, R]`.
    pub(super) layers: Vec<(wgpu::Buffer, Option<wgpu::Buffer>)>,
}

impl Carried {
    pub(super) fn new(gpu: &Gpu, plan: &Plan, rows: usize) -> Self {
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = |id: usize| gpu.buffer("carried states", plan.buffers[id].bytes, usage);
        let layers = plan.layers.iter().map(|l| (buffer(l.h_0), l.c_0.map(buffer))).collect();
        Self { rows, layers }
    }

    /// The states before the first dispatch.
    pub(super) fn encode_start(&self, workspace: &Workspace, encoder: &mut wgpu::CommandEncoder) {
        for ((h, c), layer) in self.layers.iter().zip(&workspace.plan.layers) {
            encoder.copy_buffer_to_buffer(h, 0, &workspace.buffers[layer.h_0], 0, Some(h.size()));
            if let (Some(c), Some(id)) = (c, layer.c_0) {
                encoder.copy_buffer_to_buffer(c, 0, &workspace.buffers[id], 0, Some(c.size()));
            }
        }
    }

    /// The states after the last.
    pub(super) fn encode_end(&self, workspace: &Workspace, encoder: &mut wgpu::CommandEncoder) {
        for ((h, c), layer) in self.layers.iter().zip(&workspace.plan.layers) {
            encoder.copy_buffer_to_buffer(&workspace.buffers[layer.h_n], 0, h, 0, Some(h.size()));
            if let Some(c) = c {
                let cells = &workspace.buffers[layer.cells];
                encoder.copy_buffer_to_buffer(cells, layer.cells_at, c, 0, Some(c.size()));
            }
        }
    }
}

/// Puts padded states `[D, B, R]` in place.
pub(super) fn put_states(into: &mut Tensor, padded_rows: &[f32]) {
    let width = into.shape()[2];
    let rows = padded_rows.chunks(padded(width));
    for (target, source) in into.data_mut().chunks_mut(width.max(1)).zip(rows) {
        target.copy_from_slice(&source[..width]);
    }
}

/// Puts padded rows `[D, B, width]` in the caller's rows.
pub(super) fn take_rows(into: &mut Tensor, values: &[f32], rows: &[usize]) {
    let (directions, batch, width) = (into.shape()[0], into.shape()[1], into.shape()[2]);
    for d in 0..directions {
        for (column, &b) in rows.iter().enumerate() {
            let source = &values[(d * batch + column) * padded(width)..][..width];
            into.data_mut()[(d * batch + b) * width..][..width].copy_from_slice(source);
        }
    }
}
