//! The weights of one network on the device.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use super::Gpu;
use super::pack::{self, Columns};
use crate::error::{Error, Result};
use crate::kernel::Precision;
use crate::model::{DirectionWeights, Input, Layer, LayerSpec, Model};
use crate::plan::{
    HYPER_WORDS, PART_ALIGN, PARTS_OF_A_NORM, Parameter, TrainBuffer, WeightId, joins, padded,
    stacks,
};
use crate::tensor::Tensor;

/// Buffers by what they hold.
///
/// The arrays of a stack of equal layers lie joined in one buffer, of which each layer binds its part.
#[derive(Debug)]
pub(crate) struct Weights {
    parts: HashMap<WeightId, Part>,
    /// What training keeps beside them.
    training: HashMap<TrainBuffer, wgpu::Buffer>,
}

/// Where a weight lies.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    /// Its copy in a texture, made at first use.
    texture: OnceLock<wgpu::TextureView>,
}

impl Part {
    /// A buffer of its own.
    pub(super) fn whole(buffer: wgpu::Buffer) -> Self {
        let bytes = buffer.size();
        Self { buffer, at: 0, bytes, texture: OnceLock::new() }
    }
}

/// What goes to the device, with what waits to be joined.
struct Upload<'a> {
    gpu: &'a Gpu,
    parts: HashMap<WeightId, Part>,
    stacks: Vec<Range<usize>>,
    waiting: HashMap<WeightId, Vec<f32>>,
    precision: Precision,
}

impl Weights {
    /// Packs and uploads every weight of a model.
    ///
    /// # Errors
    /// `Limit` when one exceeds what the device can bind; `Device` when memory runs out.
    pub(crate) fn upload(gpu: &Gpu, model: &Model, precision: Precision) -> Result<Self> {
        let layers: Vec<LayerSpec> = model.layers().iter().map(|l| l.spec().clone()).collect();
        let mut stacks = stacks(&layers);
        let most = gpu.caps.max_binding.min(gpu.caps.max_buffer);
        stacks.retain(|stack| joins(&layers[stack.clone()], most));
        let mut upload =
            Upload { gpu, parts: HashMap::new(), stacks, waiting: HashMap::new(), precision };
        gpu.scoped("weights", || {
            let mut columns = Columns::plain(model.input().spec().width());
            if let Input::Embedding { table } = model.input() {
                upload.put(WeightId::Embedding, pack::pad_rows(table.data(), columns.width))?;
            }
            for (index, layer) in model.layers().iter().enumerate() {
                let one_hot = index == 0 && matches!(model.input(), Input::OneHot { .. });
                upload.put_layer(index, layer, columns, one_hot)?;
                let spec = layer.spec();
                columns = Columns { blocks: spec.direction.count(), width: spec.state_size() };
                if let Some(place) = upload.stacks.iter().position(|stack| stack.end == index + 1) {
                    let stack = upload.stacks.swap_remove(place);
                    upload.join(stack)?;
                }
            }
            if let Some(head) = model.head() {
                let packed = pack::gate_matrix(&[&head.weight], 1, columns);
                upload.put(WeightId::HeadWeight, packed)?;
                let packed = pack::gate_bias(&[head.bias.as_ref()], 1, head.output_size());
                upload.put(WeightId::HeadBias, packed)?;
            }
            Ok(())
        })?;
        Ok(Self { parts: upload.parts, training: HashMap::new() })
    }

    /// Makes the buffers of training: gradients, the moments that an optimizer keeps, its numbers.
    ///
    /// # Errors
    /// `Device` when memory runs out.
    pub(crate) fn prepare_training(&mut self, gpu: &Gpu, parameters: &[Parameter]) -> Result<()> {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let parts = parameters.len() as u64 * u64::from(PARTS_OF_A_NORM);
        let fixed = [
            (TrainBuffer::Hyper, HYPER_WORDS as u64 * 4),
            (TrainBuffer::Progress, 32),
            (TrainBuffer::Squares, parts * 4),
        ];
        let own = parameters.iter().flat_map(|Parameter { id, bytes, .. }| {
            [TrainBuffer::Gradient(*id), TrainBuffer::First(*id), TrainBuffer::Second(*id)]
                .map(|buffer| (buffer, *bytes))
        });
        let all: Vec<_> = fixed.into_iter().chain(own).collect();
        gpu.scoped("training", || {
            for (id, bytes) in all {
                self.training.insert(id, gpu.buffer(&format!("{id:?}"), bytes, usage));
            }
            Ok(())
        })
    }

    /// Takes first (0) or second (1) moments from weights that lie the same way.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(crate) fn restore_moments(&self, gpu: &Gpu, moments: &Self, which: usize) -> Result<()> {
        gpu.scoped("moments", || {
            let mut encoder =
                gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for (buffer, target) in &self.training {
                let id = match (buffer, which) {
                    (TrainBuffer::First(id), 0) | (TrainBuffer::Second(id), 1) => *id,
                    _ => continue,
                };
                let source = moments.get(id)?;
                let bytes = source.bytes.min(target.size());
                encoder.copy_buffer_to_buffer(&source.buffer, source.at, target, 0, Some(bytes));
            }
            gpu.queue.submit([encoder.finish()]);
            Ok(())
        })
    }

    /// Returns a weight's copy in a texture, made at first use: weights that are trained have none.
    ///
    /// # Errors
    /// As [`Weights::get`]; `Device` when memory runs out, and the next call tries again.
    pub(crate) fn texture(&self, gpu: &Gpu, id: WeightId) -> Result<&wgpu::TextureView> {
        let part = self.get(id)?;
        if part.texture.get().is_none() {
            let label = format!("{id:?}");
            let made = gpu.scoped_within(&label, || Ok(gpu.texture_of(&label, part)))?;
            // Where two threads made one, the first stays.
            let _ = part.texture.set(made);
        }
        let missing = || gpu.device_error(format!("{id:?}: expected a texture, got none"));
        part.texture.get().ok_or_else(missing)
    }

    /// Tells whether nothing will write these weights.
    pub(crate) fn are_fixed(&self) -> bool {
        self.training.is_empty()
    }

    /// Returns a buffer of training.
    pub(crate) fn training(&self, id: TrainBuffer) -> Option<&wgpu::Buffer> {
        self.training.get(&id)
    }

    /// Returns the buffer of a weight.
    ///
    /// # Errors
    /// `Weights` when the model has none: a plan for another model.
    pub(crate) fn get(&self, id: WeightId) -> Result<&Part> {
        self.parts.get(&id).ok_or_else(|| {
            Error::weights(format!("{id:?}: expected a buffer, got none (plan of another model)"))
        })
    }
}

impl Upload<'_> {
    /// Bytes of a value of a weight: matrices are stored in the precision asked for, the rest as f32.
    fn value_bytes(&self, id: WeightId) -> u64 {
        match id {
            WeightId::InputWeight(_)
            | WeightId::RecurWeight(_)
            | WeightId::Projection(_)
            | WeightId::HeadWeight
            | WeightId::StackInput(_)
            | WeightId::StackRecur(_) => self.precision.bytes().into(),
            WeightId::InputBias(_)
            | WeightId::RecurBias(_)
            | WeightId::CellParams(_)
            | WeightId::InputNorm(_)
            | WeightId::StackBias(_)
            | WeightId::Embedding
            | WeightId::HeadBias => 4,
        }
    }

    /// Tells whether a weight is joined with those of its stack.
    fn waits(&self, id: WeightId) -> bool {
        let is_in = |index: usize, skip: usize| {
            self.stacks.iter().any(|stack| (stack.start + skip..stack.end).contains(&index))
        };
        match id {
            WeightId::RecurWeight(index) | WeightId::RecurBias(index) => is_in(index, 0),
            WeightId::InputWeight(index) | WeightId::InputBias(index) => is_in(index, 1),
            _ => false,
        }
    }

    /// Uploads the weights of a stack, joined.
    fn join(&mut self, stack: Range<usize>) -> Result<()> {
        let first = stack.start;
        let (all, upper) = (stack.clone(), first + 1..stack.end);
        let hidden = all.clone().map(WeightId::RecurBias);
        let biases = hidden.chain(upper.clone().map(WeightId::InputBias)).collect();
        self.put_joined(WeightId::StackInput(first), upper.map(WeightId::InputWeight).collect())?;
        self.put_joined(WeightId::StackRecur(first), all.map(WeightId::RecurWeight).collect())?;
        self.put_joined(WeightId::StackBias(first), biases)
    }

    fn put_joined(&mut self, whole: WeightId, ids: Vec<WeightId>) -> Result<()> {
        let mut joined: Vec<f32> = Vec::new();
        let mut places = Vec::new();
        for id in ids {
            let values = self.waiting.remove(&id).unwrap_or_default();
            let value_bytes = self.value_bytes(whole);
            let at = joined.len() as u64 * value_bytes;
            places.push((id, at, values.len() as u64 * value_bytes));
            joined.extend(&values);
            let align = usize::try_from(PART_ALIGN / value_bytes).unwrap_or(64);
            joined.resize(joined.len().next_multiple_of(align), 0.0);
        }
        self.put(whole, joined)?;
        if let Some(Part { buffer, .. }) = self.parts.get(&whole).cloned() {
            let part = |(id, at, bytes)| {
                (id, Part { buffer: buffer.clone(), at, bytes, texture: OnceLock::new() })
            };
            self.parts.extend(places.into_iter().map(part));
        }
        Ok(())
    }

    fn put_layer(
        &mut self,
        index: usize,
        layer: &Layer,
        columns: Columns,
        one_hot: bool,
    ) -> Result<()> {
        let spec = layer.spec();
        let gates = spec.cell.gates();
        let parts = layer.directions();
        let all =
            |pick: fn(&DirectionWeights) -> &Tensor| parts.iter().map(pick).collect::<Vec<_>>();
        let mut packed = pack::gate_matrix(&all(|w| &w.weight_ih), gates, columns);
        if one_hot {
            packed = without_padded_rows(&packed, columns, gates * padded(spec.hidden_size));
        }
        self.put(WeightId::InputWeight(index), packed)?;
        let packed =
            pack::gate_matrix(&all(|w| &w.weight_hh), gates, Columns::plain(spec.state_size()));
        self.put(WeightId::RecurWeight(index), packed)?;
        // A normalised product takes its bias after the normalisation, with the shift.
        let is_normalised = spec.options.layer_norm.is_some();
        let hh_bias: Vec<Option<Tensor>> = parts
            .iter()
            .map(|w| pack::shifted(w.layer_norm.as_ref().map(|n| &n.hh_bias), w.bias_hh.as_ref()))
            .collect();
        let ih_bias = parts.iter().map(|w| w.bias_ih.as_ref().filter(|_| !is_normalised));
        for (id, bias) in [
            (WeightId::InputBias(index), ih_bias.collect::<Vec<_>>()),
            (WeightId::RecurBias(index), hh_bias.iter().map(Option::as_ref).collect()),
        ] {
            self.put(id, pack::gate_bias(&bias, gates, spec.hidden_size))?;
        }
        self.put(WeightId::CellParams(index), pack::cell_params(spec, parts))?;
        if is_normalised {
            self.put(WeightId::InputNorm(index), pack::input_norm(spec, parts))?;
        }
        if spec.proj_size > 0 {
            let projections: Vec<&Tensor> =
                parts.iter().filter_map(|w| w.weight_hr.as_ref()).collect();
            let packed = pack::gate_matrix(&projections, 1, Columns::plain(spec.hidden_size));
            self.put(WeightId::Projection(index), packed)?;
        }
        Ok(())
    }

    fn put(&mut self, id: WeightId, values: Vec<f32>) -> Result<()> {
        let packed;
        let bytes: &[u8] = if self.value_bytes(id) == 2 {
            packed = half_bits(id, &values)?;
            bytemuck::cast_slice(&packed)
        } else {
            bytemuck::cast_slice(&values)
        };
        let most = self.gpu.caps.max_binding.min(self.gpu.caps.max_buffer);
        if bytes.len() as u64 > most {
            return Err(Error::limit(format!(
                "{id:?}: expected at most {most} bytes in one binding, got {}",
                bytes.len()
            )));
        }
        if self.waits(id) {
            self.waiting.insert(id, values);
            return Ok(());
        }
        // Training reads its results back from here and continues from a checkpoint.
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let buffer = self.gpu.buffer_with(&format!("{id:?}"), bytes, usage)?;
        self.parts.insert(id, Part::whole(buffer));
        Ok(())
    }
}

/// Rounds weights to f16.
///
/// # Errors
/// `Weights` when a finite one becomes infinite.
fn half_bits(id: WeightId, values: &[f32]) -> Result<Vec<u16>> {
    let halves: Vec<half::f16> = values.iter().map(|v| half::f16::from_f32(*v)).collect();
    let beyond = values.iter().zip(&halves).find(|(v, half)| v.is_finite() && !half.is_finite());
    if let Some((value, _)) = beyond {
        return Err(Error::weights(format!(
            "{id:?}: expected magnitudes of at most 65504 for f16, got {value:e} (use precision f32)"
        )));
    }
    Ok(halves.into_iter().map(half::f16::to_bits).collect())
}

/// A gathered table has one row per token: the padding rows between directions go.
fn without_padded_rows(packed: &[f32], columns: Columns, row_width: usize) -> Vec<f32> {
    packed
        .chunks(columns.padded() * row_width)
        .flat_map(|direction| &direction[..columns.width * row_width])
        .copied()
        .collect()
}
