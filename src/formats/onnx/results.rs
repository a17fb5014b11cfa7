//! From the results of a run to arrays under the names of the graph's outputs.

use super::OnnxModel;
use super::fold::strided;
use super::interface::{HeadPart, Read, Strides};
use super::tensor::{Array, narrow};
use super::value::{Source, View};
use crate::batch::{Batch, Layout, Output};
use crate::error::{Error, Result};
use crate::model::{Activation, Head, Model};
use crate::reference;
use crate::tensor::Tensor;

/// Makes the graph's outputs.
pub(super) fn results(
    model: &OnnxModel,
    batch: &Batch,
    output: &Output,
) -> Result<Vec<(String, Array)>> {
    let finished = finished(model, batch, &output.output)?;
    let reader = Results { model, batch, output, finished };
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

/// Puts in the padding what ONNX has there (Y is zero, and an output layer is applied to that zero),
/// and applies the functions that several output layers have of their own.
fn finished(model: &OnnxModel, batch: &Batch, output: &Tensor) -> Result<Option<Tensor>> {
    let own = |part: &&HeadPart| part.activation != Activation::None;
    let parts: Vec<&HeadPart> = model.plan.head.iter().filter(own).collect();
    if output.is_empty() || (batch.lengths().is_none() && parts.is_empty()) {
        return Ok(None);
    }
    let network = &model.model;
    let (rows, width) = (batch.batch_size(), network.output_size());
    let count = if network.is_per_sequence() { rows } else { rows * batch.steps() };
    if output.len() != count * width {
        return Err(Error::shape(format!(
            "output: expected {} values, got {}",
            count * width,
            output.len()
        )));
    }
    let mut finished = output.clone();
    pad(network, batch, &mut finished);
    for row in finished.data_mut().chunks_mut(width) {
        for part in &parts {
            let values = &mut row[part.start..part.start + part.rows];
            let mut wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            reference::activate(part.activation, &mut wide);
            values.iter_mut().zip(wide).for_each(|(value, wide)| *value = narrow(wide));
        }
    }
    Ok(Some(finished))
}

fn pad(network: &Model, batch: &Batch, output: &mut Tensor) {
    let (rows, steps, width) = (batch.batch_size(), batch.steps(), network.output_size());
    let row = network.head().map_or_else(|| vec![0.0; width], of_zero);
    let mut put = |place: usize| {
        output.data_mut()[place * width..(place + 1) * width].copy_from_slice(&row);
    };
    for b in 0..rows {
        let len = batch.length(b);
        match network.is_per_sequence() {
            true if len == 0 => put(b),
            true => {}
            false => (len..steps).for_each(|t| put(batch.layout().index(b, t, rows, steps))),
        }
    }
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
    /// The output with its padding and functions; `None` where nothing is to be done.
    finished: Option<Tensor>,
}

/// Where a quantity stands in the results: the array, where it starts, and its strides.
type Found<'a> = (&'a Tensor, usize, Strides);

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
        self.copy(view).ok_or_else(|| {
            Error::shape(
                "expected the results of a run of this model and batch, with output and states",
            )
        })
    }

    fn copy(&self, view: &View) -> Option<Array> {
        let (tensor, start, strides) = self.find(view.source)?;
        let shape: Option<Vec<usize>> = view.axes.iter().map(|axis| strides.length(axis)).collect();
        let (axes, offset) = strides.along(view.axes.iter().flatten(), &view.fixed)?;
        let offset = offset.checked_add(isize::try_from(start).ok()?)?;
        let values = strided(tensor.data(), &axes, offset)?;
        Tensor::new(shape?, values).ok().map(Array::F32)
    }

    fn find(&self, source: Source) -> Option<Found<'_>> {
        let plan = &self.model.plan;
        let layer = |node: usize| plan.nodes.iter().position(|own| *own == node);
        match source {
            Source::H(node) => {
                let layer = layer(node)?;
                self.state(layer, self.output.states.h.get(layer)?)
            }
            Source::C(node) => {
                let layer = layer(node)?;
                self.state(layer, self.output.states.c.get(layer)?.as_ref()?)
            }
            Source::Y(node) => {
                let layer = layer(node)?;
                let [directions, units] = &plan.layer_axes[layer];
                let spec = self.model.model.layers()[layer].spec();
                let (hidden, count) = (spec.hidden_size, spec.direction.count());
                let (tensor, strides) = self.rows()?;
                let step = isize::try_from(hidden).ok()?;
                Some((tensor, 0, strides.with(directions, (count, step)).with(units, (hidden, 1))))
            }
            Source::Linear(map) => {
                let part = plan.head.iter().find(|part| part.map == map)?;
                let (tensor, strides) = self.rows()?;
                Some((tensor, part.start, strides.with(&part.axis, (part.rows, 1))))
            }
            Source::Input(_) | Source::Rows(_) => None,
        }
    }

    fn state<'s>(&self, layer: usize, tensor: &'s Tensor) -> Option<Found<'s>> {
        let plan = &self.model.plan;
        let [directions, units] = &plan.layer_axes[layer];
        let spec = self.model.model.layers()[layer].spec();
        let shape = [spec.direction.count(), self.batch.batch_size(), spec.hidden_size];
        let strides = Strides::of([directions, &plan.feed.batch, units], &shape)?;
        (tensor.shape() == shape).then_some((tensor, 0, strides))
    }

    /// The output as rows, and where the row of each step and sequence stands.
    fn rows(&self) -> Option<(&Tensor, Strides)> {
        let tensor = self.finished.as_ref().unwrap_or(&self.output.output);
        let network = &self.model.model;
        let (steps, rows) = (self.batch.steps(), self.batch.batch_size());
        let (time, batch) = (&self.model.plan.feed.time, &self.model.plan.feed.batch);
        let (axes, mut shape) = match self.batch.layout() {
            _ if network.is_per_sequence() => (vec![batch], vec![rows]),
            Layout::BatchFirst => (vec![batch, time], vec![rows, steps]),
            Layout::TimeMajor => (vec![time, batch], vec![steps, rows]),
        };
        shape.push(network.output_size());
        let strides = Strides::of(axes, &shape)?;
        (tensor.len() == shape.iter().product::<usize>()).then_some((tensor, strides))
    }
}
