//! From arrays under the names of the graph's inputs to a [`Batch`].

use std::collections::{HashMap, HashSet};

use super::OnnxModel;
use super::fold::{strided, to_real, to_whole};
use super::interface::{Dim, Plan, Strides};
use super::nodes::{Initial, Lengths};
use super::tensor::Array;
use super::value::{Factor, Source, View};
use crate::batch::{Batch, Layout, States};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Makes the batch; lists every array that is missing, surplus or misshapen.
pub(super) fn feed(model: &OnnxModel, arrays: &[(String, Array)]) -> Result<Batch> {
    let given = check(model, arrays)?;
    let feeder = Feeder::new(model, &given)?;
    let batch = feeder.sequences()?;
    let batch = feeder.with_lengths(batch)?;
    feeder.with_states(batch)
}

/// The graph inputs that the network reads.
fn used(plan: &Plan) -> HashSet<usize> {
    let input = |view: &View| match view.source {
        Source::Input(input) => Some(input),
        _ => None,
    };
    let mut used = HashSet::from([plan.feed.input]);
    if let Lengths::Input(view) = &plan.lengths {
        used.extend(input(view));
    }
    for initial in plan.h_0.iter().chain(&plan.c_0).flatten() {
        if let Initial::Input(views) = initial {
            used.extend(views.iter().filter_map(input));
        }
    }
    used
}

/// Finds the array of every input.
fn check<'a>(model: &OnnxModel, arrays: &'a [(String, Array)]) -> Result<Vec<Option<&'a Array>>> {
    let (plan, ports) = (&model.plan, &model.inputs);
    let used = used(plan);
    let mut faults = Vec::new();
    let mut given: Vec<Option<&Array>> = vec![None; ports.len()];
    let names = || ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
    for (name, array) in arrays {
        match ports.iter().position(|port| port.name == *name) {
            None => faults.push(format!("{name}: expected one of {}, got this name", names())),
            Some(place) if given[place].is_some() => {
                faults.push(format!("{name}: expected one array, got two"));
            }
            Some(place) => given[place] = Some(array),
        }
    }
    let mut sizes: HashMap<&str, (usize, &str)> = HashMap::new();
    for (place, port) in ports.iter().enumerate() {
        let Some(array) = given[place] else {
            if used.contains(&place) {
                faults.push(format!("{}: expected {}, got nothing", port.name, port.axes()));
            }
            continue;
        };
        let (shape, real) = (array.shape(), plan.input_axes[place].1);
        if matches!(array, Array::F32(_)) != real {
            let kinds = if real { ["real", "whole"] } else { ["whole", "real"] };
            faults.push(format!(
                "{}: expected {} numbers, got {} ones",
                port.name, kinds[0], kinds[1]
            ));
        }
        let fits =
            |(dim, size): (&Dim, &usize)| matches!(dim, Dim::Named(_)) || *dim == Dim::Known(*size);
        if shape.len() != port.shape.len() || !port.shape.iter().zip(shape).all(fits) {
            faults.push(format!("{}: expected {}, got {shape:?}", port.name, port.axes()));
            continue;
        }
        for (dim, size) in port.shape.iter().zip(shape) {
            let Dim::Named(name) = dim else { continue };
            let (known, first) = *sizes.entry(name).or_insert((*size, &port.name));
            if name != "?" && known != *size {
                faults.push(format!(
                    "{}: expected {name} = {known} as in {first}, got {size}",
                    port.name
                ));
            }
        }
    }
    if faults.is_empty() {
        return Ok(given);
    }
    let plural = if faults.len() == 1 { "" } else { "s" };
    let lines = faults.join("\n  ");
    Err(Error::shape(format!("inputs: {} fault{plural}\n  {lines}", faults.len())))
}

struct Feeder<'a> {
    model: &'a OnnxModel,
    given: &'a [Option<&'a Array>],
    steps: usize,
    rows: usize,
}

impl<'a> Feeder<'a> {
    fn new(model: &'a OnnxModel, given: &'a [Option<&'a Array>]) -> Result<Self> {
        let feed = &model.plan.feed;
        let feeder = Self { model, given, steps: 0, rows: 0 };
        let (_, strides) = feeder.array(feed.input)?;
        let length = |axis: &[Factor]| {
            strides.length(axis).ok_or_else(|| Error::shape("input: expected smaller axes"))
        };
        Ok(Self { steps: length(&feed.time)?, rows: length(&feed.batch)?, ..feeder })
    }

    fn array(&self, input: usize) -> Result<(&'a Array, Strides)> {
        let missing = || Error::shape("input: expected an array, got nothing");
        let array = self.given.get(input).copied().flatten().ok_or_else(missing)?;
        let strides = Strides::of(&self.model.plan.input_axes[input].0, array.shape());
        Ok((array, strides.ok_or_else(missing)?))
    }

    fn name(&self, input: usize) -> &str {
        &self.model.inputs[input].name
    }

    fn outside(&self, input: usize) -> Error {
        let array = self.given.get(input).copied().flatten();
        Error::shape(format!(
            "{}: expected every place that the graph reads, got {:?}",
            self.name(input),
            array.map(Array::shape)
        ))
    }

    /// Copies a list of axes out of a graph input.
    fn copy<'f>(
        &self,
        input: usize,
        factors: impl IntoIterator<Item = &'f Factor>,
        fixed: &[(usize, super::value::Place)],
    ) -> Result<Array> {
        let (array, strides) = self.array(input)?;
        let (axes, offset) = strides.along(factors, fixed).ok_or_else(|| self.outside(input))?;
        let values = match array {
            Array::F32(tensor) => strided(tensor.data(), &axes, offset)
                .and_then(|values| Tensor::new([values.len()], values).ok().map(Array::F32)),
            Array::I64(tensor) => strided(tensor.data(), &axes, offset)
                .and_then(|values| Tensor::new([values.len()], values).ok().map(Array::I64)),
        };
        values.ok_or_else(|| self.outside(input))
    }

    fn sequences(&self) -> Result<Batch> {
        let feed = &self.model.plan.feed;
        // Row-major places decide which axis comes first, so that most inputs are copied in order.
        let axes = &self.model.plan.input_axes[feed.input].0;
        let place = |axis: &[Factor]| {
            axes.iter().position(|own| !axis.is_empty() && own.as_slice() == axis)
        };
        let batch_first = place(&feed.batch) < place(&feed.time);
        let (layout, [a, b]) = match batch_first {
            true => (Layout::BatchFirst, [&feed.batch, &feed.time]),
            false => (Layout::TimeMajor, [&feed.time, &feed.batch]),
        };
        let factors = a.iter().chain(b).chain(&feed.features);
        let values = self.copy(feed.input, factors, &feed.fixed)?;
        if feed.tokens {
            let tokens = self.tokens(&values, layout)?;
            return Batch::tokens(tokens, self.rows, self.steps, layout);
        }
        let width = self.model.model.input().spec().width();
        let (_, strides) = self.array(feed.input)?;
        if strides.length(&feed.features) != Some(width) {
            return Err(Error::shape(format!(
                "{}: expected {width} features, got {:?}",
                self.name(feed.input),
                strides.length(&feed.features)
            )));
        }
        let values = match values {
            Array::F32(tensor) => tensor.into_data(),
            Array::I64(tensor) => tensor.data().iter().map(|value| to_real(*value)).collect(),
        };
        Batch::dense(values, self.rows, self.steps, width, layout)
    }

    /// Reads token ids; negative ones count from the end of the table, as ONNX's Gather has it.
    fn tokens(&self, values: &Array, layout: Layout) -> Result<Vec<u32>> {
        let name = self.name(self.model.plan.feed.input);
        let vocab = self.model.model.input().spec().vocab().unwrap_or(0);
        let vocab = i64::try_from(vocab).unwrap_or(i64::MAX);
        let token = |(index, value): (usize, i64)| {
            let id = if value < 0 { value.saturating_add(vocab) } else { value };
            u32::try_from(id).ok().filter(|_| id < vocab).ok_or_else(|| {
                let (row, step) = match layout {
                    Layout::BatchFirst => (index / self.steps, index % self.steps),
                    Layout::TimeMajor => (index % self.rows, index / self.rows),
                };
                Error::shape(format!(
                    "{name}: expected ids below {vocab}, got {value} in row {row}, step {step}"
                ))
            })
        };
        let cast = values.cast(false);
        cast.whole().unwrap_or_default().iter().copied().enumerate().map(token).collect()
    }

    fn with_lengths(&self, batch: Batch) -> Result<Batch> {
        let lens = match &self.model.plan.lengths {
            Lengths::Whole => return Ok(batch),
            Lengths::Known(lens) => lens.clone(),
            Lengths::Input(view) => {
                let Source::Input(input) = view.source else { return Ok(batch) };
                let values = self.copy(input, view.axes.iter().flatten(), &view.fixed)?;
                let values = match values {
                    Array::I64(tensor) => tensor.into_data(),
                    Array::F32(tensor) => tensor.data().iter().map(|v| to_whole(*v)).collect(),
                };
                let len = |(row, len): (usize, &i64)| {
                    usize::try_from(*len).ok().filter(|len| *len <= self.steps).ok_or_else(|| {
                        Error::shape(format!(
                            "{}: expected 0 to T = {}, got {len} in row {row}",
                            self.name(input),
                            self.steps
                        ))
                    })
                };
                values.iter().enumerate().map(len).collect::<Result<_>>()?
            }
        };
        batch.with_lengths(lens)
    }

    fn with_states(&self, batch: Batch) -> Result<Batch> {
        let plan = &self.model.plan;
        if plan.h_0.iter().chain(&plan.c_0).all(Option::is_none) {
            return Ok(batch);
        }
        let mut states = States::zeros(&self.model.model, self.rows);
        for (layer, initial) in plan.h_0.iter().enumerate() {
            if let Some(initial) = initial {
                self.state(initial, &mut states.h[layer])?;
            }
        }
        for (layer, initial) in plan.c_0.iter().enumerate() {
            if let (Some(initial), Some(state)) = (initial, &mut states.c[layer]) {
                self.state(initial, state)?;
            }
        }
        Ok(batch.with_initial(states))
    }

    /// Writes the state `[D, B, H]` of a layer.
    fn state(&self, initial: &Initial, into: &mut Tensor) -> Result<()> {
        let (directions, width) = (into.shape()[0], into.shape()[2]);
        match initial {
            Initial::Known(tensor) => {
                let known = tensor.shape()[1];
                if known != 1 && known != self.rows {
                    return Err(Error::shape(format!(
                        "initial state: expected B = {known} sequences, got {}",
                        self.rows
                    )));
                }
                for d in 0..directions {
                    for b in 0..self.rows {
                        let from = tensor.row(d * known + if known == 1 { 0 } else { b });
                        let start = (d * self.rows + b) * width;
                        into.data_mut()[start..start + width].copy_from_slice(from);
                    }
                }
            }
            Initial::Input(views) => {
                for (d, view) in views.iter().enumerate() {
                    let Source::Input(input) = view.source else { continue };
                    let values = self.copy(input, view.axes.iter().flatten(), &view.fixed)?;
                    let values = values.cast(true);
                    let values = values.floats().unwrap_or_default();
                    let count = self.rows * width;
                    if values.len() != count {
                        return Err(Error::shape(format!(
                            "{}: expected [B, H] = [{}, {width}] a direction, got {} values",
                            self.name(input),
                            self.rows,
                            values.len()
                        )));
                    }
                    into.data_mut()[d * count..(d + 1) * count].copy_from_slice(values);
                }
            }
        }
        Ok(())
    }
}
