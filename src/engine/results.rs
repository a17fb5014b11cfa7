//! Results from the device: what is read back, and how it comes into the caller's order.

use super::loaded::Loaded;
use super::part::{Part, PartResult, Reading};
use super::run::Outline;
use crate::batch::{Output, States, Top};
use crate::gpu::{STAMP_BYTES, Span, Workspace};
use crate::plan::{GIVEN_UP_BYTES, Plan, padded};
use crate::tensor::Tensor;

/// What comes back, and where it lies in the staging buffer.
#[derive(Debug)]
pub(super) struct ReadLayout {
    /// (buffer, place in it, bytes) in staging order.
    copies: Vec<(usize, u64, u64)>,
    output_values: usize,
    /// Whether the word of [`Plan::gives_up`] comes after them.
    gives_up: bool,
    /// Whether two time stamps come last.
    stamps: bool,
}

impl ReadLayout {
    pub(super) fn new(plan: &Plan, part: &Part, reading: Reading) -> Self {
        let rows = part.rows.len();
        let output = &plan.output;
        let output_rows = if output.last_only { rows } else { part.steps * rows };
        let output_values =
            if reading.output { output_rows * output.blocks * output.block_stride } else { 0 };
        let gives_up = plan.gives_up.is_some();
        let mut layout =
            Self { copies: Vec::new(), output_values, gives_up, stamps: reading.stamps };
        if reading.output {
            layout.copies.push((output.buffer, 0, output_values as u64 * 4));
        }
        if reading.states {
            layout.add_states(plan);
        }
        layout.copies.extend(plan.gives_up.map(|buffer| (buffer, 0, GIVEN_UP_BYTES)));
        layout
    }

    /// Final states only.
    pub(super) fn of_states(plan: &Plan) -> Self {
        let mut layout =
            Self { copies: Vec::new(), output_values: 0, gives_up: false, stamps: false };
        layout.add_states(plan);
        layout
    }

    fn add_states(&mut self, plan: &Plan) {
        for buffers in &plan.layers {
            self.copies.push((buffers.h_n, 0, plan.buffers[buffers.h_n].bytes));
            if let Some(c_0) = buffers.c_0 {
                self.copies.push((buffers.cells, buffers.cells_at, plan.buffers[c_0].bytes));
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.result_bytes() + if self.stamps { STAMP_BYTES } else { 0 }
    }

    fn result_bytes(&self) -> u64 {
        // Mapping nothing is refused; sixteen bytes are not.
        self.copies.iter().map(|(_, _, bytes)| bytes).sum::<u64>().max(16)
    }

    /// Takes the time stamps out, where they were read.
    pub(super) fn span(&self, values: &[f32]) -> Option<Span> {
        let words = usize::try_from(self.result_bytes() / 4).ok()?;
        values.get(words..).and_then(Span::from_words).filter(|_| self.stamps)
    }

    /// Only the word of [`Plan::gives_up`].
    pub(super) fn of_word(buffer: usize) -> Self {
        let copies = vec![(buffer, 0, GIVEN_UP_BYTES)];
        Self { copies, output_values: 0, gives_up: true, stamps: false }
    }

    /// Tells whether workgroups waited in vain, so that the results are to be thrown away.
    pub(super) fn has_given_up(&self, values: &[f32]) -> bool {
        let end = usize::try_from(self.result_bytes() / 4).unwrap_or(0);
        let word = end.checked_sub(4).and_then(|at| values.get(at));
        self.gives_up && word.is_none_or(|word| word.to_bits() != 0)
    }

    /// How many of the values read are output rows; they come first.
    pub(super) fn output_values(&self) -> usize {
        self.output_values
    }

    pub(super) fn encode(
        &self,
        workspace: &Workspace,
        encoder: &mut wgpu::CommandEncoder,
        staging: &wgpu::Buffer,
    ) {
        let mut offset = 0;
        for (buffer, at, bytes) in &self.copies {
            if *bytes > 0 {
                let source = &workspace.buffers[*buffer];
                encoder.copy_buffer_to_buffer(source, *at, staging, offset, Some(*bytes));
            }
            offset += bytes;
        }
        let stamps = workspace.transfers.as_ref().and_then(|t| t.stamps.as_ref());
        if let (true, Some(stamps)) = (self.stamps, stamps) {
            stamps.encode(encoder, staging, self.result_bytes());
        }
    }

    pub(super) fn states(&self, loaded: &Loaded, rows: usize, values: &[f32]) -> States {
        let mut rest = &values[self.output_values..];
        let mut states = States::zeros(&loaded.model, rows);
        for (h, c) in states.h.iter_mut().zip(&mut states.c) {
            rest = take_rows(h, rest);
            if let Some(c) = c {
                rest = take_rows(c, rest);
            }
        }
        states
    }
}

/// Fills a tight `[D, B, W]` from padded rows and returns what follows them.
fn take_rows<'a>(tensor: &mut Tensor, values: &'a [f32]) -> &'a [f32] {
    let width = tensor.shape().last().copied().unwrap_or(1).max(1);
    let stride = padded(width);
    let count = tensor.len() / width;
    for (target, source) in tensor.data_mut().chunks_mut(width).zip(values.chunks(stride)) {
        target.copy_from_slice(&source[..width]);
    }
    &values[(count * stride).max(4)..]
}

/// Brings padded output rows into the caller's order and layout; padding keeps the pad value.
pub(super) fn unpack(outline: &Outline, result: &PartResult, into: &mut Output) {
    let PartResult { values, plan, .. } = result;
    let out = &plan.output;
    let stride = out.blocks * out.block_stride;
    let row_of = |source: usize| &values[source * stride..(source + 1) * stride];
    if let Some(top) = &mut into.top {
        for_each_row(outline, result, |source, target| unpack_top(row_of(source), target, top));
    } else if !into.output.is_empty() {
        let width = out.blocks * out.width;
        for_each_row(outline, result, |source, target| {
            let row = row_of(source);
            let target = &mut into.output.data_mut()[target * width..(target + 1) * width];
            for (block, tight) in target.chunks_mut(out.width).enumerate() {
                tight.copy_from_slice(&row[block * out.block_stride..][..out.width]);
            }
        });
    }
}

/// Puts a row of the device, k places as u32 and then k values, at row `target` of the result.
fn unpack_top(row: &[f32], target: usize, into: &mut Top) {
    let k = row.len() / 2;
    let places = target * k..(target + 1) * k;
    into.values.data_mut()[places.clone()].copy_from_slice(&row[k..]);
    let indices = &mut into.indices.data_mut()[places];
    indices.iter_mut().zip(row).for_each(|(index, word)| *index = word.to_bits());
}

/// Calls `visit(row of the part's values, row of the result)` for every output row.
fn for_each_row(outline: &Outline, result: &PartResult, mut visit: impl FnMut(usize, usize)) {
    let PartResult { part, values, plan, .. } = result;
    if values.is_empty() {
        return;
    }
    if plan.output.last_only {
        for (column, &b) in part.rows.iter().enumerate() {
            let len = outline.lengths[b];
            if len > part.first && len <= part.first + part.steps {
                visit(column, b);
            }
        }
        return;
    }
    let Outline { lengths, layout, steps } = outline;
    part.for_each_step(|at, b, t| visit(at, layout.index(b, t, lengths.len(), *steps)));
}
