//! Operators that make shapes and constants: Shape, Constant, ConstantOfShape, Expand.

use super::plumbing::{not_a_view, shape_of};
use crate::error::{Error, Result};
use crate::formats::onnx::read::{Call, Reader};
use crate::formats::onnx::size::Size;
use crate::formats::onnx::tensor::{self, Array};
use crate::formats::onnx::value::{Filling, Value};
use crate::tensor::Tensor;

/// The most axes of a shape that is made.
const MOST_AXES: usize = 16;

pub(super) fn shape(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let start = call.attributes.int("start")?.unwrap_or(0);
    let end = call.attributes.int("end")?;
    let shape = shape_of(reader, call.input(0)?)?;
    let rank = i64::try_from(shape.len()).unwrap_or(i64::MAX);
    // Both are clamped, as the operator says.
    let clamp = |place: i64| {
        let place = if place < 0 { place.saturating_add(rank) } else { place };
        usize::try_from(place.clamp(0, rank)).unwrap_or(0)
    };
    let (start, end) = (clamp(start), end.map_or(shape.len(), clamp));
    let sizes = shape.get(start..end.max(start)).unwrap_or_default().to_vec();
    Ok(vec![Value::sizes(sizes, false)])
}

pub(super) fn constant(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let attributes = &mut call.attributes;
    if let Some(proto) = attributes.tensor("value")? {
        return Ok(vec![Value::constant(tensor::read(proto, reader.folder())?)]);
    }
    let array = if let Some(value) = attributes.float("value_float")? {
        Array::F32(Tensor::new([], vec![value])?)
    } else if let Some(value) = attributes.int("value_int")? {
        Array::I64(Tensor::new([], vec![value])?)
    } else if let Some(values) = attributes.floats("value_floats")? {
        Array::F32(Tensor::new([values.len()], values.to_vec())?)
    } else if let Some(values) = attributes.ints("value_ints")? {
        Array::I64(Tensor::new([values.len()], values.to_vec())?)
    } else {
        return Err(Error::unsupported("value: expected numbers, got none (or texts)"));
    };
    Ok(vec![Value::constant(array)])
}

pub(super) fn sizes_of(what: &str, value: &Value) -> Result<Vec<Size>> {
    let sizes = value.as_sizes().map(|(sizes, _)| sizes).filter(|s| s.len() <= MOST_AXES);
    sizes.ok_or_else(|| {
        Error::unsupported(format!("{what}: expected a shape, got {}", value.describe()))
    })
}

pub(super) fn constant_of_shape(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let element = match call.attributes.tensor("value")? {
        None => Array::F32(Tensor::new([1], vec![0.0])?),
        Some(proto) => tensor::read(proto, reader.folder())?,
    };
    let shape = sizes_of("shape", call.input(0)?)?;
    let one = element.reshaped(vec![1; shape.len()]);
    let one = one.ok_or_else(|| Error::format("value: expected one number, got others"))?;
    fill(reader, one, shape).map(|value| vec![value])
}

/// Repeats an array; small lists of whole numbers, out of which shapes are made, are made at once.
fn fill(reader: &mut Reader, array: Array, shape: Vec<Size>) -> Result<Value> {
    let listed = array.whole().is_some() && shape.len() <= 1;
    let value = Value::Fill { filling: Filling::Array(array.into()), shape };
    if listed && let Some(array) = reader.array(&value)? {
        return Ok(Value::Const(array));
    }
    Ok(value)
}

pub(super) fn expand(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let asked = sizes_of("shape", call.input(1)?)?;
    let value = call.input(0)?;
    let own = shape_of(reader, value)?;
    let rank = own.len().max(asked.len());
    let one = Size::constant(1);
    let at = |sizes: &[Size], axis: usize| {
        (axis + sizes.len()).checked_sub(rank).map_or(one.clone(), |axis| sizes[axis].clone())
    };
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        let (have, want) = (at(&own, axis), at(&asked, axis));
        shape.push(match (have.is_one(), want.is_one()) {
            (_, true) => have,
            (true, false) => want,
            (false, false) if have == want => have,
            (false, false) => {
                return Err(Error::unsupported(format!(
                    "shape: expected the size of axis {axis} or 1, got another size"
                )));
            }
        });
    }
    if shape == own {
        return Ok(vec![value.clone()]);
    }
    let padded = |array: &Array| {
        let mut axes = vec![1; rank - array.shape().len()];
        axes.extend_from_slice(array.shape());
        array.reshaped(axes)
    };
    let result = match value {
        Value::Const(array) | Value::Fill { filling: Filling::Array(array), .. } => {
            let array = padded(array).ok_or_else(|| not_a_view(value))?;
            fill(reader, array, shape)?
        }
        Value::Fill { filling: filling @ Filling::Size(_), .. } => {
            Value::Fill { filling: filling.clone(), shape }
        }
        Value::Sizes { values, .. } if values.len() == 1 => {
            Value::Fill { filling: Filling::Size(values[0].clone()), shape }
        }
        _ => {
            return Err(Error::unsupported(format!(
                "expected a constant to be repeated, got {}",
                value.describe()
            )));
        }
    };
    Ok(vec![result])
}
