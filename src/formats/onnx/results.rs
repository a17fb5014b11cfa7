//! From the results of a run to arrays under the names of the graph's outputs.

use super::OnnxModel;
use super::fold::Stride;
use super::interface::{Read, Strides};
use super::tensor::{Array, narrow};
use super::value::{Source, View};
use crate::batch::{Batch, Layout, Output};
use crate::error::{Error, Result};
use crate::model::Head;
use crate::reference;
use crate::tensor::Tensor;

/// Makes the graph's outputs.
pub(super) fn results(
    model: &OnnxModel,
    batch: &Batch,
    output: &Output,
) -> Result<Vec<(String, Array)>> {
    let reader = Results { model, batch, output, padded: padded(model, batch, &output.output)? };
    model
        .outputs
        .iter()
        .zip(&model.plan.reads)
        .map(|(port, read)| {
            let array = reader.output(read).map_err(|e| e.in_context(&port.name))?;
            Ok((port.name.clone(), array))
        })
        .collect()
}

/// Puts in the padding what ONNX has there: Y is zero, and an output layer is applied to that zero.
fn padded(model: &OnnxModel, batch: &Batch, output: &Tensor) -> Result<Option<Tensor>> {
    if batch.lengths().is_none() || output.is_empty() {
        return Ok(None);
    }
    let network = &model.model;
    let (rows, steps, width) = (batch.batch_size(), batch.steps(), network.output_size());
    let per_sequence = network.is_per_sequence();
    let count = if per_sequence { rows } else { rows * steps };
    if output.len() != count * width {
        return Err(Error::shape(format!(
            "output: expected {} values, got {}",
            count * width,
            output.len()
        )));
    }
    let row = network.head().map_or_else(|| vec![0.0; width], of_zero);
    let mut padded = output.clone();
    for b in 0..rows {
        let len = batch.length(b);
        let places = match per_sequence {
            true if len == 0 => b..b + 1,
            true => continue,
            false => len..steps,
        };
        for place in places {
            let index = match per_sequence {
                true => place,
                false => batch.layout().index(b, place, rows, steps),
            };
            padded.data_mut()[index * width..(index + 1) * width].copy_from_slice(&row);
        }
    }
    Ok(Some(padded))
}

/// Computes `g(b)`.
fn of_zero(head: &Head) -> Vec<f32> {
    let mut row: Vec<f64> = match &head.bias {
        Some(bias) => bias.data().iter().map(|value| f64::from(*value)).collect(),
        None => vec![0.0; head.output_size()],
    };
    reference::activate(head.activation, &mut row);
    row.into_iter().map(narrow).collect()
}

struct Results<'a> {
    model: &'a OnnxModel,
    batch: &'a Batch,
    output: &'a Output,
    padded: Option<Tensor>,
}

impl Results<'_> {
    fn output(&self, read: &Read) -> Result<Array> {
        let parts = read.parts.iter().map(|part| self.part(part)).collect::<Result<Vec<_>>>()?;
        match parts.as_slice() {
            [only] => Ok(only.clone()),
            parts => Array::joined(&parts.iter().collect::<Vec<_>>(), read.axis)
                .ok_or_else(|| Error::shape("expected parts that fit together")),
        }
    }

    fn part(&self, view: &View) -> Result<Array> {
        let wrong = || {
            Error::shape(
                "expected the results of a run of this model and batch, with output and states",
            )
        };
        let (tensor, strides) = self.source(view.source).ok_or_else(wrong)?;
        let mut shape = Vec::with_capacity(view.axes.len());
        for axis in &view.axes {
            shape.push(strides.length(axis).ok_or_else(wrong)?);
        }
        let (axes, offset): (Vec<Stride>, isize) =
            strides.along(view.axes.iter().flatten(), &view.fixed).ok_or_else(wrong)?;
        let values = super::fold::strided(tensor.data(), &axes, offset).ok_or_else(wrong)?;
        Ok(Array::F32(Tensor::new(shape, values)?))
    }

    /// Finds the array that holds a quantity, and where its values stand.
    fn source(&self, source: Source) -> Option<(&Tensor, Strides)> {
        let plan = &self.model.plan;
        let (steps, rows) = (self.batch.steps(), self.batch.batch_size());
        let layer = |node: usize| plan.nodes.iter().position(|own| *own == node);
        let (time, batch) = (&plan.feed.time, &plan.feed.batch);
        match source {
            Source::H(node) | Source::C(node) => {
                let layer = layer(node)?;
                let tensor = match source {
                    Source::H(_) => self.output.states.h.get(layer)?,
                    _ => self.output.states.c.get(layer)?.as_ref()?,
                };
                let [directions, units] = &plan.layer_axes[layer];
                let spec = self.model.model.layers()[layer].spec();
                let shape = [spec.direction.count(), rows, spec.hidden_size];
                let strides = Strides::of([directions, batch, units], &shape)?;
                (tensor.shape() == shape).then_some((tensor, strides))
            }
            Source::Y(_) | Source::Linear(_) => {
                let tensor = self.padded.as_ref().unwrap_or(&self.output.output);
                let spec = self.model.model.layers().last()?.spec();
                let (inner, sizes) = match source {
                    Source::Y(node) => {
                        let axes = &plan.layer_axes[layer(node)?];
                        (vec![&axes[0], &axes[1]], vec![spec.direction.count(), spec.hidden_size])
                    }
                    _ => (vec![&plan.head_axis], vec![self.model.model.output_size()]),
                };
                let (outer, lens) = match self.batch.layout() {
                    _ if self.model.model.is_per_sequence() => (vec![batch], vec![rows]),
                    Layout::BatchFirst => (vec![batch, time], vec![rows, steps]),
                    Layout::TimeMajor => (vec![time, batch], vec![steps, rows]),
                };
                let shape = [lens, sizes].concat();
                let strides = Strides::of(outer.into_iter().chain(inner), &shape)?;
                (tensor.len() == shape.iter().product::<usize>()).then_some((tensor, strides))
            }
            Source::Input(_) | Source::Rows(_) => None,
        }
    }
}
