//! The weights of one network on the device.

use std::collections::HashMap;

use super::Gpu;
use super::pack::{self, Columns};
use crate::error::{Error, Result};
use crate::model::{DirectionWeights, Input, Layer, Model};
use crate::plan::{WeightId, padded};
use crate::tensor::Tensor;

/// Buffers by what they hold.
#[derive(Debug)]
pub(crate) struct Weights {
    buffers: HashMap<WeightId, wgpu::Buffer>,
}

impl Weights {
    /// Packs and uploads every weight of a model.
    ///
    /// # Errors
    /// `Limit` when one exceeds what the device can bind; `Device` when memory runs out.
    pub(crate) fn upload(gpu: &Gpu, model: &Model) -> Result<Self> {
        let mut weights = Self { buffers: HashMap::new() };
        gpu.scoped("weights", || {
            let mut columns = Columns::plain(model.input().spec().width());
            if let Input::Embedding { table } = model.input() {
                weights.put(
                    gpu,
                    WeightId::Embedding,
                    &pack::pad_rows(table.data(), columns.width),
                )?;
            }
            for (index, layer) in model.layers().iter().enumerate() {
                let one_hot = index == 0 && matches!(model.input(), Input::OneHot { .. });
                weights.put_layer(gpu, index, layer, columns, one_hot)?;
                let spec = layer.spec();
                columns = Columns { blocks: spec.direction.count(), width: spec.state_size() };
            }
            if let Some(head) = model.head() {
                let packed = pack::gate_matrix(&[&head.weight], 1, columns);
                weights.put(gpu, WeightId::HeadWeight, &packed)?;
                let packed = pack::gate_bias(&[head.bias.as_ref()], 1, head.output_size());
                weights.put(gpu, WeightId::HeadBias, &packed)?;
            }
            Ok(())
        })?;
        Ok(weights)
    }

    /// Returns the buffer of a weight.
    ///
    /// # Errors
    /// `Weights` when the model has none: a plan for another model.
    pub(crate) fn get(&self, id: WeightId) -> Result<&wgpu::Buffer> {
        self.buffers.get(&id).ok_or_else(|| {
            Error::weights(format!("{id:?}: expected a buffer, got none (plan of another model)"))
        })
    }

    fn put_layer(
        &mut self,
        gpu: &Gpu,
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
        self.put(gpu, WeightId::InputWeight(index), &packed)?;
        let packed =
            pack::gate_matrix(&all(|w| &w.weight_hh), gates, Columns::plain(spec.state_size()));
        self.put(gpu, WeightId::RecurWeight(index), &packed)?;
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
            self.put(gpu, id, &pack::gate_bias(&bias, gates, spec.hidden_size))?;
        }
        self.put(gpu, WeightId::CellParams(index), &pack::cell_params(spec, parts))?;
        if is_normalised {
            self.put(gpu, WeightId::InputNorm(index), &pack::input_norm(spec, parts))?;
        }
        if spec.proj_size > 0 {
            let projections: Vec<&Tensor> =
                parts.iter().filter_map(|w| w.weight_hr.as_ref()).collect();
            let packed = pack::gate_matrix(&projections, 1, Columns::plain(spec.hidden_size));
            self.put(gpu, WeightId::Projection(index), &packed)?;
        }
        Ok(())
    }

    fn put(&mut self, gpu: &Gpu, id: WeightId, values: &[f32]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let most = gpu.caps.max_binding.min(gpu.caps.max_buffer);
        if bytes.len() as u64 > most {
            return Err(Error::limit(format!(
                "{id:?}: expected at most {most} bytes in one binding, got {}",
                bytes.len()
            )));
        }
        let buffer = gpu.buffer_with(&format!("{id:?}"), bytes, wgpu::BufferUsages::STORAGE)?;
        self.buffers.insert(id, buffer);
        Ok(())
    }
}

/// A gathered table has one row per token: the padding rows between directions go.
fn without_padded_rows(packed: &[f32], columns: Columns, row_width: usize) -> Vec<f32> {
    packed
        .chunks(columns.padded() * row_width)
        .flat_map(|direction| &direction[..columns.width * row_width])
        .copied()
        .collect()
}
