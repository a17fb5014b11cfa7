//! Weights from the device's layout back to PyTorch's: the inverse of `pack`, for training.

use std::collections::HashMap;

use super::pack::Columns;
use crate::error::{Error, Result};
use crate::model::{DirectionWeights, Head, Input, Layer, Model};
use crate::plan::{WeightId, padded};
use crate::tensor::Tensor;

/// Puts arrays as they lie on the device in the place of a model's tensors; those that are not there are zero
/// for `zero_rest`, else stay.
///
/// # Errors
/// `Weights` when an array is too short.
pub(crate) fn model(
    model: &Model,
    arrays: &HashMap<WeightId, Vec<f32>>,
    zero_rest: bool,
) -> Result<Model> {
    let source = Source { arrays, zero_rest };
    let mut columns = Columns::plain(model.input().spec().width());
    let input = match model.input() {
        Input::Embedding { table } => {
            let row = columns.width;
            let unpack = |values: &[f32], i: usize| values[i / row * padded(row) + i % row];
            Input::Embedding { table: source.take(WeightId::Embedding, table, unpack)? }
        }
        other => other.clone(),
    };
    let mut layers = Vec::new();
    for (index, layer) in model.layers().iter().enumerate() {
        let one_hot = index == 0 && matches!(model.input(), Input::OneHot { .. });
        layers.push(source.layer(index, layer, columns, one_hot)?);
        let spec = layer.spec();
        columns = Columns { blocks: spec.direction.count(), width: spec.state_size() };
    }
    let head = match model.head() {
        None => None,
        Some(head) => {
            let place =
                Place { gates: 1, hidden: head.output_size(), columns, rows: columns.padded() };
            let weight =
                source.take(WeightId::HeadWeight, &head.weight, |v, i| place.weight(v, 0, i))?;
            let bias = source.optional(WeightId::HeadBias, head.bias.as_ref(), |v, i| v[i])?;
            Some(Head { weight, bias, ..*head })
        }
    };
    let mut unpacked = Model::new(input, layers, head)?;
    unpacked.info = model.info.clone();
    Ok(unpacked)
}

struct Source<'a> {
    arrays: &'a HashMap<WeightId, Vec<f32>>,
    zero_rest: bool,
}

/// How the tensors of one product lie on the device.
struct Place {
    gates: usize,
    hidden: usize,
    columns: Columns,
    /// Rows K of a direction.
    rows: usize,
}

impl Place {
    /// Value `i` of direction `d` of a `[G·H, K]` tensor in `[D, K, G, H]`.
    fn weight(&self, values: &[f32], d: usize, i: usize) -> f32 {
        let tight = self.columns.blocks * self.columns.width;
        let (row, k) = (i / tight, i % tight);
        let width = self.gates * padded(self.hidden);
        // One-hot rows have no padding between them: then `rows` is their number.
        let k = if self.rows == tight { k } else { self.columns.place(k) };
        values[(d * self.rows + k) * width + self.column(row)]
    }

    /// Value `i` of direction `d` of a `[G·H]` tensor in `[D, G, H]`.
    fn bias(&self, values: &[f32], d: usize, i: usize) -> f32 {
        values[d * self.gates * padded(self.hidden) + self.column(i)]
    }

    fn column(&self, row: usize) -> usize {
        row / self.hidden * padded(self.hidden) + row % self.hidden
    }
}

impl Source<'_> {
    fn layer(&self, index: usize, layer: &Layer, columns: Columns, one_hot: bool) -> Result<Layer> {
        let spec = layer.spec();
        let (gates, hidden) = (spec.cell.gates(), spec.hidden_size);
        let rows = if one_hot { columns.width } else { columns.padded() };
        let input = Place { gates, hidden, columns, rows };
        let plain = Columns::plain(spec.state_size());
        let recur = Place { gates, hidden, columns: plain, rows: plain.padded() };
        let project = Place {
            gates: 1,
            hidden: spec.state_size(),
            columns: Columns::plain(hidden),
            rows: padded(hidden),
        };
        let mut directions = Vec::new();
        for (d, old) in layer.directions().iter().enumerate() {
            let (ih, hh) = (WeightId::InputWeight(index), WeightId::RecurWeight(index));
            let (b_ih, b_hh) = (WeightId::InputBias(index), WeightId::RecurBias(index));
            let (hr, params) = (WeightId::Projection(index), WeightId::CellParams(index));
            let units = padded(hidden);
            let peephole = |v: &[f32], i: usize| {
                v[d * (16 + 3 * units) + 16 + i / hidden * units + i % hidden]
            };
            directions.push(DirectionWeights {
                weight_hr: self
                    .optional(hr, old.weight_hr.as_ref(), |v, i| project.weight(v, d, i))?,
                peephole: self.optional(params, old.peephole.as_ref(), peephole)?,
                weight_ih: self.take(ih, &old.weight_ih, |v, i| input.weight(v, d, i))?,
                weight_hh: self.take(hh, &old.weight_hh, |v, i| recur.weight(v, d, i))?,
                bias_ih: self.optional(b_ih, old.bias_ih.as_ref(), |v, i| recur.bias(v, d, i))?,
                bias_hh: self.optional(b_hh, old.bias_hh.as_ref(), |v, i| recur.bias(v, d, i))?,
                ..old.clone()
            });
        }
        Layer::new(spec.clone(), directions)
    }

    fn optional(
        &self,
        id: WeightId,
        old: Option<&Tensor>,
        at: impl Fn(&[f32], usize) -> f32,
    ) -> Result<Option<Tensor>> {
        old.map(|old| self.take(id, old, at)).transpose()
    }

    fn take(
        &self,
        id: WeightId,
        old: &Tensor,
        at: impl Fn(&[f32], usize) -> f32,
    ) -> Result<Tensor> {
        match self.arrays.get(&id) {
            Some(values) if values.len() < old.len() => Err(Error::weights(format!(
                "{id:?}: expected at least {} values from the device, got {}",
                old.len(),
                values.len()
            ))),
            Some(values) => Ok(Tensor::from_fn(old.shape(), |i| at(values, i))),
            None if self.zero_rest => Ok(Tensor::zeros(old.shape())),
            None => Ok(old.clone()),
        }
    }
}
