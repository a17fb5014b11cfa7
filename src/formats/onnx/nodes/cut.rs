//! Operators that cut and join axes: Concat, Slice, Split, ReverseSequence.

use super::plumbing::{not_a_view, shape_of};
use super::recurrent_parts::is_whole;
use crate::error::{Error, Result};
use crate::formats::onnx::read::{Call, Reader, axis_of};
use crate::formats::onnx::size::Size;
use crate::formats::onnx::tensor::Array;
use crate::formats::onnx::value::{Filling, Place, Value, View};

pub(super) fn concat(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let axis = call.attributes.int("axis")?;
    let axis = axis.ok_or_else(|| Error::format("axis: expected one, got none"))?;
    let values: Vec<Value> = call.inputs.iter().flatten().cloned().collect();
    let first = values.first().ok_or_else(|| Error::format("expected inputs, got none"))?;
    if let [only] = values.as_slice() {
        return Ok(vec![only.clone()]);
    }
    let axis = axis_of(axis, shape_of(reader, first)?.len())?;
    let shapes = values.iter().map(|v| shape_of(reader, v)).collect::<Result<Vec<_>>>()?;
    let fits = |shape: &Vec<Size>| {
        shape.len() == shapes[0].len()
            && (0..shape.len()).all(|a| a == axis || shape[a] == shapes[0][a])
    };
    if !shapes.iter().all(fits) {
        return Err(Error::unsupported(
            "expected equal sizes of the other axes, got others (or sizes of different names)",
        ));
    }
    join(reader, axis, &values).map(|value| vec![value])
}

fn join(reader: &mut Reader, axis: usize, values: &[Value]) -> Result<Value> {
    let views: Option<Vec<(usize, &[View])>> = values.iter().map(Value::views).collect();
    if let Some(views) = views {
        if views.iter().any(|(joint, parts)| parts.len() > 1 && *joint != axis) {
            return Err(not_a_view(&values[0]));
        }
        let parts = views.iter().flat_map(|(_, parts)| parts.iter().cloned()).collect();
        return Ok(reader.atoms.join(axis, parts));
    }
    let sizes: Option<Vec<(Vec<Size>, bool)>> = values.iter().map(Value::as_sizes).collect();
    if let Some(sizes) = sizes {
        let list: Vec<Size> = sizes.into_iter().flat_map(|(sizes, _)| sizes).collect();
        if list.len() > 256 {
            return Err(Error::limit("expected a short list of sizes, got a long one"));
        }
        return Ok(Value::sizes(list, false));
    }
    let arrays = values.iter().map(|v| reader.array(v)).collect::<Result<Option<Vec<_>>>>()?;
    if let Some(arrays) = arrays {
        let parts: Vec<&Array> = arrays.iter().map(|array| &**array).collect();
        reader.spend(parts.iter().try_fold(0usize, |n, part| n.checked_add(part.count())))?;
        return Array::joined(&parts, axis)
            .map(Value::constant)
            .ok_or_else(|| not_a_view(&values[0]));
    }
    join_fills(axis, values).ok_or_else(|| {
        let kinds: Vec<&str> = values.iter().map(Value::describe).collect();
        Error::unsupported(format!("expected arrays of one kind, got {}", kinds.join(", ")))
    })
}

/// Joins repeated constants of one filling (the zero states of two directions).
fn join_fills(axis: usize, values: &[Value]) -> Option<Value> {
    let (mut total, mut first) = (Size::constant(0), None);
    for value in values {
        let Value::Fill { filling: filling @ Filling::Array(array), shape } = value else {
            return None;
        };
        let known = first.get_or_insert((filling, shape));
        if known.0 != filling || array.shape()[axis] != 1 {
            return None;
        }
        total = total.add(&shape[axis])?;
    }
    let (filling, shape) = first?;
    let mut shape = shape.clone();
    shape[axis] = total;
    Some(Value::Fill { filling: filling.clone(), shape })
}

/// From here on an end stands for the end of the axis: exporters write the largest i32 or i64.
const FAR: i64 = i32::MAX as i64;

/// One axis of a `Slice`.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) axis: usize,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

pub(super) fn slice(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let starts = call.moved("starts", 1, 10)?;
    let axes = call.moved("axes", 3, 10)?;
    let steps = if call.opset >= 10 { call.integers(4)? } else { None };
    let value = call.input(0)?.clone();
    let rank = shape_of(reader, &value)?.len();
    let starts = starts.ok_or_else(|| Error::format("starts: expected some, got none"))?;
    let count = starts.len();
    let axes = axes.unwrap_or_else(|| (0..).take(count).collect());
    let steps = steps.unwrap_or_else(|| vec![1; count]);
    let ends = ends_of(reader, call, &value, &axes)?;
    if axes.len() != count || steps.len() != count || ends.len() != count {
        return Err(Error::format("expected as many ends, axes and steps as starts"));
    }
    let mut result = value;
    for i in 0..count {
        let axis = axis_of(axes[i], rank)?;
        let range = Range { axis, start: starts[i], end: ends[i], step: steps[i] };
        result = cut(reader, &result, range)?;
    }
    Ok(vec![result])
}

/// Reads the ends; an end that is the size of its axis stands for "to the end".
fn ends_of(reader: &Reader, call: &mut Call<'_>, value: &Value, axes: &[i64]) -> Result<Vec<i64>> {
    let moved = call.opset < 10;
    let sizes = match call.optional(2) {
        Some(input) if !moved => input.as_sizes().map(|(sizes, _)| sizes),
        _ => None,
    };
    if let Some(sizes) = sizes {
        let shape = shape_of(reader, value)?;
        let end = |(size, axis): (&Size, &i64)| {
            let whole = axis_of(*axis, shape.len()).is_ok_and(|axis| shape[axis] == *size);
            size.as_constant().or(whole.then_some(i64::MAX))
        };
        let ends: Option<Vec<i64>> = sizes.iter().zip(axes).map(end).collect();
        if let Some(ends) = ends.filter(|ends| ends.len() == sizes.len()) {
            return Ok(ends);
        }
    }
    let ends = call.moved("ends", 2, 10)?;
    ends.ok_or_else(|| Error::format("ends: expected some, got none"))
}

/// Cuts one axis of any value.
fn cut(reader: &mut Reader, value: &Value, range: Range) -> Result<Value> {
    let size = shape_of(reader, value)?[range.axis].clone();
    let beyond = || {
        Error::unsupported(format!(
            "axis {}: expected a part that starts and ends at known places, got {}:{}:{}",
            range.axis, range.start, range.end, range.step
        ))
    };
    // The whole axis, in order or backwards, whatever its size.
    let Some(n) = size.as_constant() else {
        if range.step == 1 && range.start == 0 && range.end >= FAR {
            return Ok(value.clone());
        }
        if range.step == -1 && range.start == -1 && range.end <= -FAR {
            return turned(reader, value, range.axis);
        }
        let (start, len) = free_part(range).ok_or_else(beyond)?;
        return cut_known(reader, value, range, start, len).ok_or_else(beyond);
    };
    let (start, len) = clamped(range, n).ok_or_else(beyond)?;
    match value {
        Value::Const(array) => {
            reader.spend(Some(array.count()))?;
            let sliced = array.sliced(range.axis, start, range.step, len);
            sliced.map(Value::constant).ok_or_else(beyond)
        }
        Value::Sizes { values, .. } => {
            let step = usize::try_from(range.step).map_err(|_| beyond())?;
            let picked = (0..len).map(|i| values[start + i * step].clone()).collect();
            Ok(Value::sizes(picked, false))
        }
        _ if range.step == 1 || len == 1 => {
            cut_known(reader, value, range, Place::At(start), len).ok_or_else(beyond)
        }
        _ if range.step == -1 && usize::try_from(n) == Ok(len) => turned(reader, value, range.axis),
        _ => Err(beyond()),
    }
}

/// Counts the places of a slice on an axis of `n`, as the operator clamps them.
fn clamped(range: Range, n: i64) -> Option<(usize, usize)> {
    let from_end = |place: i64| if place < 0 { place.saturating_add(n) } else { place };
    let (start, end) = (from_end(range.start), from_end(range.end));
    let (start, distance) = match range.step {
        0 => return None,
        1.. => {
            let start = start.clamp(0, n);
            (start, end.clamp(0, n) - start)
        }
        _ => {
            let start = start.clamp(-1, n - 1);
            (start, start - end.clamp(-1, n - 1))
        }
    };
    let step = range.step.checked_abs()?;
    let len = if distance <= 0 { 0 } else { (distance - 1) / step + 1 };
    // An empty part starts nowhere.
    Some((usize::try_from(start.max(0)).ok()?, usize::try_from(len).ok()?))
}

/// The part of an axis of free size; both ends must be counted from the same side.
fn free_part(range: Range) -> Option<(Place, usize)> {
    if range.step != 1 {
        return None;
    }
    let (start, end) = (range.start, range.end);
    let place = |value: i64| usize::try_from(value).ok();
    if start >= 0 && end > start && end < 1 << 24 {
        return Some((Place::At(place(start)?), place(end - start)?));
    }
    let end = if end >= FAR { 0 } else { end };
    if start < 0 && end > start && end <= 0 {
        return Some((
            Place::FromEnd(place(start.checked_neg()?)?),
            place(end.checked_sub(start)?)?,
        ));
    }
    None
}

pub(super) fn cut_known(
    reader: &Reader,
    value: &Value,
    range: Range,
    start: Place,
    len: usize,
) -> Option<Value> {
    match value {
        Value::Fill { filling, shape } => {
            let filling = match (filling, start) {
                (Filling::Array(array), Place::At(start)) if array.shape()[range.axis] != 1 => {
                    Filling::Array(array.sliced(range.axis, start, 1, len)?.into())
                }
                (filling, _) => filling.clone(),
            };
            let mut shape = shape.clone();
            shape[range.axis] = Size::from_usize(len);
            Some(Value::Fill { filling, shape })
        }
        value => reader.atoms.cut_value(value.views()?, range.axis, start, len),
    }
}

/// Turns an axis round.
fn turned(reader: &Reader, value: &Value, axis: usize) -> Result<Value> {
    let turned = match value {
        Value::View(view) => reader.atoms.reversed(view, axis),
        _ => None,
    };
    turned.map(Value::View).ok_or_else(|| not_a_view(value))
}

pub(super) fn split(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let axis = call.attributes.int("axis")?.unwrap_or(0);
    let sizes = call.moved("split", 1, 13)?;
    let count = call.attributes.int("num_outputs")?;
    let value = call.input(0)?.clone();
    let shape = shape_of(reader, &value)?;
    let axis = axis_of(axis, shape.len())?;
    let outputs = i64::try_from(call.node.output.len()).unwrap_or(i64::MAX);
    let sizes = match sizes {
        Some(sizes) => sizes,
        None => {
            let n = shape[axis].as_constant().ok_or_else(|| {
                Error::unsupported(format!("axis {axis}: expected a known size, got a free one"))
            })?;
            let count = count.unwrap_or(outputs);
            if count < 1 || count != outputs {
                return Err(Error::format(format!("num_outputs: expected {outputs}, got {count}")));
            }
            // The last part is smaller where the axis does not divide.
            let each = (n - 1).div_euclid(count) + 1;
            (0..count).map(|i| each.min(n - i * each)).collect()
        }
    };
    if i64::try_from(sizes.len()) != Ok(outputs) {
        return Err(Error::format(format!("split: expected {outputs} sizes, got {sizes:?}")));
    }
    let mut start = 0i64;
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        let end = start.checked_add(size).filter(|end| size >= 0 && *end < 1 << 31);
        let end = end.ok_or_else(|| Error::format(format!("split: expected sizes, got {size}")))?;
        parts.push(cut(reader, &value, Range { axis, start, end, step: 1 })?);
        start = end;
    }
    Ok(parts)
}

/// `ReverseSequence` over the whole length, as Keras's `go_backwards` is exported.
pub(super) fn reverse_sequence(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let batch = call.attributes.int("batch_axis")?.unwrap_or(1);
    let time = call.attributes.int("time_axis")?.unwrap_or(0);
    let value = call.input(0)?;
    let shape = shape_of(reader, value)?;
    let (_, time) = (axis_of(batch, shape.len())?, axis_of(time, shape.len())?);
    let whole = is_whole(call.input(1)?, &shape[time]);
    if !whole {
        return Err(Error::unsupported(
            "sequence_lens: expected the whole length in every row, got others",
        ));
    }
    turned(reader, value, time).map(|value| vec![value])
}
