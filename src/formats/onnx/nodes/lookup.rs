//! Operators that look up: Gather (a place on an axis, or rows of an embedding) and OneHot.

use std::sync::Arc;

use super::cut::{Range, cut_known};
use super::plumbing::{not_a_view, shape_of};
use crate::error::{Error, Result};
use crate::formats::onnx::read::{Call, Reader, axis_of};
use crate::formats::onnx::size::Size;
use crate::formats::onnx::tensor::Array;
use crate::formats::onnx::value::{Factor, Place, Source, Value, View};

/// What tokens are turned into.
#[derive(Clone, Debug)]
pub(in crate::formats::onnx) enum Rows {
    /// Rows of a table `[V, E]`.
    Table(Arc<Array>),
    /// One-hot vectors.
    OneHot(usize),
}

/// Tokens of a graph input, and what they are turned into.
#[derive(Clone, Debug)]
pub(in crate::formats::onnx) struct Lookup {
    pub(in crate::formats::onnx) input: usize,
    pub(in crate::formats::onnx) rows: Rows,
    /// The axis of a row.
    pub(in crate::formats::onnx) features: Vec<Factor>,
}

pub(super) fn gather(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let axis = call.attributes.int("axis")?.unwrap_or(0);
    let (value, indices) = (call.input(0)?, call.input(1)?);
    let shape = shape_of(reader, value)?;
    let axis = axis_of(axis, shape.len())?;
    if let Value::View(tokens) = indices {
        return embedding(reader, value, tokens, axis).map(|value| vec![value]);
    }
    let known = match indices {
        Value::Const(array) => array.whole().map(|whole| (whole.to_vec(), array.shape().to_vec())),
        _ => None,
    };
    let (indices, index_shape) = known.ok_or_else(|| {
        Error::unsupported(format!("indices: expected known ones, got {}", indices.describe()))
    })?;
    if value.views().is_some() || matches!(value, Value::Fill { .. }) {
        return gather_view(reader, value, axis, &indices, &index_shape).map(|value| vec![value]);
    }
    let n = shape[axis].as_usize().ok_or_else(|| not_a_view(value))?;
    let places = indices
        .iter()
        .map(|index| {
            axis_of(*index, n)
                .map_err(|_| Error::format(format!("indices: expected below {n}, got {index}")))
        })
        .collect::<Result<Vec<_>>>()?;
    let result = match value {
        Value::Sizes { values, .. } => match index_shape.len() {
            0 | 1 => {
                let picked = places.iter().map(|place| values[*place].clone()).collect();
                Some(Value::sizes(picked, index_shape.is_empty()))
            }
            _ => None,
        },
        Value::Const(array) => {
            let row = array.count().checked_div(n).unwrap_or(0);
            reader.spend(row.checked_mul(places.len()).and_then(|count| count.checked_mul(2)))?;
            array.gathered(axis, &places, &index_shape).map(Value::constant)
        }
        _ => None,
    };
    result.map(|value| vec![value]).ok_or_else(|| not_a_view(value))
}

/// Takes one place of an axis, or several one after the other.
fn gather_view(
    reader: &Reader,
    value: &Value,
    axis: usize,
    indices: &[i64],
    index_shape: &[usize],
) -> Result<Value> {
    let place = |index: i64| match usize::try_from(index) {
        Ok(place) => Some(Place::At(place)),
        Err(_) => usize::try_from(index.checked_neg()?).ok().map(Place::FromEnd),
    };
    let range = Range { axis, start: 0, end: 0, step: 1 };
    let take = |index: &i64| cut_known(reader, value, range, place(*index)?, 1);
    let picked = match indices {
        [index] => take(index),
        _ if index_shape.len() == 1 && indices.len() <= 1 << 16 && !indices.is_empty() => {
            let values: Option<Vec<Value>> = indices.iter().map(take).collect();
            values.and_then(|values| {
                let views: Option<Vec<View>> = values
                    .into_iter()
                    .map(|value| match value {
                        Value::View(view) => Some(view),
                        _ => None,
                    })
                    .collect();
                Some(reader.atoms.join(axis, views?))
            })
        }
        _ => None,
    };
    let picked = picked.ok_or_else(|| not_a_view(value))?;
    if index_shape.len() == 1 {
        return Ok(picked);
    }
    // The axis is replaced by the axes of the index, all of size one here.
    let rank = shape_of(reader, value)?.len();
    let order: Vec<Option<usize>> = (0..axis)
        .map(Some)
        .chain(index_shape.iter().map(|_| None))
        .chain((axis + 1..rank).map(Some))
        .collect();
    super::plumbing::arrange_view(&picked, &order).ok_or_else(|| not_a_view(value))
}

fn tokens_input(tokens: &View) -> Result<usize> {
    match tokens.source {
        Source::Input(input) if tokens.whole => Ok(input),
        _ => Err(Error::unsupported("indices: expected whole numbers of a graph input")),
    }
}

fn embedding(reader: &mut Reader, table: &Value, tokens: &View, axis: usize) -> Result<Value> {
    let array = reader.constant("embedding table", table)?;
    if axis != 0 || array.shape().len() != 2 {
        return Err(Error::unsupported(format!(
            "embedding: expected rows of a table [V, E], got axis {axis} of {:?}",
            array.shape()
        )));
    }
    let width = array.shape()[1];
    rows(reader, tokens, Rows::Table(array), width)
}

fn rows(reader: &mut Reader, tokens: &View, rows: Rows, width: usize) -> Result<Value> {
    let input = tokens_input(tokens)?;
    let features = reader.atoms.axis(Size::from_usize(width));
    reader.lookups.push(Lookup { input, rows, features: features.clone() });
    let mut axes = tokens.axes.clone();
    axes.push(features);
    let source = Source::Rows(reader.lookups.len() - 1);
    Ok(Value::View(View { source, axes, fixed: tokens.fixed.clone(), whole: false }))
}

pub(super) fn one_hot(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let axis = call.attributes.int("axis")?.unwrap_or(-1);
    let (indices, depth) = (call.input(0)?, call.integers(1)?);
    let values = reader.constant("values", call.input(2)?)?;
    let depth = match depth.as_deref() {
        Some([depth]) => usize::try_from(*depth).ok().filter(|depth| *depth > 0),
        _ => None,
    };
    let depth = depth.ok_or_else(|| Error::format("depth: expected a positive number"))?;
    let Value::View(tokens) = indices else { return Err(not_a_view(indices)) };
    let last = axis_of(axis, tokens.axes.len() + 1)? == tokens.axes.len();
    let plain = matches!(values.floats(), Some([off, on]) if off.to_bits() == 0 && on.to_bits() == 1f32.to_bits());
    if !last || !plain {
        return Err(Error::unsupported("expected 0 and 1 on the last axis, got others"));
    }
    rows(reader, tokens, Rows::OneHot(depth), depth).map(|value| vec![value])
}
