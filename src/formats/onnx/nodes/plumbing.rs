//! Operators that move values about: Identity, Dropout, Cast, Transpose, Squeeze, Unsqueeze,
//! Reshape, Flatten.

use crate::error::{Error, Result};
use crate::formats::onnx::read::{Call, Reader, axis_of};
use crate::formats::onnx::size::{Size, product};
use crate::formats::onnx::tensor::{Array, Element};
use crate::formats::onnx::value::{Filling, Source, Value, View};
use crate::formats::onnx::views::map_views;

/// The error for a value that an operator cannot take apart.
pub(super) fn not_a_view(value: &Value) -> Error {
    Error::unsupported(format!(
        "expected axes to be moved, merged or cut whole, got a mixture of them ({})",
        value.describe()
    ))
}

pub(super) fn rank(reader: &Reader, value: &Value) -> Result<usize> {
    shape_of(reader, value).map(|shape| shape.len())
}

pub(super) fn shape_of(reader: &Reader, value: &Value) -> Result<Vec<Size>> {
    reader.atoms.shape_of(value).ok_or_else(|| not_a_view(value))
}

pub(super) fn identity(_: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    Ok(vec![call.input(0)?.clone()])
}

/// `Dropout` passes its input on, unless it says that it trains.
pub(super) fn dropout(_: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    // The ratio and the seed matter in training alone.
    call.attributes.float("ratio")?;
    call.attributes.int("seed")?;
    let trains = match call.optional(2) {
        None => false,
        Some(Value::Const(array)) => array.whole().is_none_or(|flag| flag != [0]),
        Some(_) => true,
    };
    if trains {
        return Err(Error::unsupported("training_mode: expected false, got true or no constant"));
    }
    Ok(vec![call.input(0)?.clone()])
}

pub(super) fn cast(_: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let code = call.attributes.int("to")?;
    // How overflow of 8-bit floats is treated; none of them is read.
    call.attributes.int("saturate")?;
    call.attributes.text("round_mode")?;
    let code = code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let element = Element::from_code(code)?;
    let (real, value) = (element.is_float(), call.input(0)?);
    if element == Element::Bool && !matches!(value, Value::Const(_)) {
        return Err(Error::unsupported("to: expected a number type, got bool"));
    }
    let result = match value {
        Value::Const(array) if element == Element::Bool => Value::constant(truth(array)),
        Value::Const(array) => Value::constant(array.cast(real)),
        Value::Fill { filling: Filling::Array(array), shape } => {
            Value::Fill { filling: Filling::Array(array.cast(real).into()), shape: shape.clone() }
        }
        Value::Sizes { .. } | Value::Fill { .. } if !real => value.clone(),
        Value::View(view) => Value::View(cast_view(view, real)?),
        Value::Joined { axis, parts } => {
            let parts = parts.iter().map(|part| cast_view(part, real)).collect::<Result<_>>()?;
            Value::Joined { axis: *axis, parts }
        }
        _ => return Err(Error::unsupported("expected numbers to cast, got sizes of axes")),
    };
    Ok(vec![result])
}

fn truth(array: &Array) -> Array {
    match array {
        Array::I64(tensor) => Array::I64(crate::tensor::Tensor::from_fn(tensor.shape(), |i| {
            i64::from(tensor.data()[i] != 0)
        })),
        Array::F32(tensor) => Array::I64(crate::tensor::Tensor::from_fn(tensor.shape(), |i| {
            i64::from(tensor.data()[i].abs() > 0.0)
        })),
    }
}

/// Graph inputs are converted at the border; what the network computes stays real.
fn cast_view(view: &View, real: bool) -> Result<View> {
    if !matches!(view.source, Source::Input(_)) && view.whole == real {
        return Err(Error::unsupported("expected results to stay real numbers, got a cast"));
    }
    Ok(View { whole: !real, ..view.clone() })
}

pub(super) fn transpose(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let order = call.attributes.ints("perm")?;
    let value = call.input(0)?;
    let rank = rank(reader, value)?;
    let order: Vec<usize> = match order {
        None => (0..rank).rev().collect(),
        Some(order) => {
            let axes: Vec<_> =
                order.iter().filter_map(|axis| usize::try_from(*axis).ok()).collect();
            let mut sorted = axes.clone();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..rank) || axes.len() != order.len() {
                return Err(Error::format(format!(
                    "perm: expected each of {rank} axes once, got {order:?}"
                )));
            }
            axes
        }
    };
    let places: Vec<Option<usize>> = order.iter().copied().map(Some).collect();
    arrange(reader, value, &places).map(|value| vec![value])
}

pub(super) fn squeeze(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let axes = call.moved("axes", 1, 13)?;
    let value = call.input(0)?;
    let shape = shape_of(reader, value)?;
    let gone: Vec<usize> = match &axes {
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, shape.len())).collect::<Result<_>>()?,
        None => {
            if let Some(free) = shape.iter().position(|size| size.as_constant().is_none()) {
                return Err(Error::unsupported(format!(
                    "axes: expected to be given where sizes are free, got none (axis {free} is \
                     free)"
                )));
            }
            (0..shape.len()).filter(|axis| shape[*axis].is_one()).collect()
        }
    };
    if let Some(axis) = gone.iter().find(|axis| !shape[**axis].is_one()) {
        return Err(Error::unsupported(format!(
            "axes: expected axes of size 1, got axis {axis}, which is larger or free"
        )));
    }
    let places: Vec<Option<usize>> =
        (0..shape.len()).filter(|axis| !gone.contains(axis)).map(Some).collect();
    arrange(reader, value, &places).map(|value| vec![value])
}

pub(super) fn unsqueeze(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let axes = call.moved("axes", 1, 13)?;
    let axes = axes.ok_or_else(|| Error::format("axes: expected some, got none"))?;
    let value = call.input(0)?;
    let old = rank(reader, value)?;
    let rank = old
        .checked_add(axes.len())
        .filter(|rank| *rank <= 16)
        .ok_or_else(|| Error::format("axes: expected a few, got many"))?;
    let new = axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>>>()?;
    let mut places = vec![None; rank];
    let mut next = 0;
    for (axis, place) in places.iter_mut().enumerate().filter(|(axis, _)| !new.contains(axis)) {
        *place = (next < old).then_some(next);
        if place.is_none() {
            return Err(Error::format(format!("axes: expected each once, got {axis} twice")));
        }
        next += 1;
    }
    if next != old {
        return Err(Error::format(format!("axes: expected each once, got {axes:?}")));
    }
    arrange(reader, value, &places).map(|value| vec![value])
}

/// Moves, adds or drops axes of any value: the new axis i is the old axis `places[i]`, or of size
/// one.
fn arrange(reader: &mut Reader, value: &Value, places: &[Option<usize>]) -> Result<Value> {
    let result = match value {
        Value::Const(array) => {
            reader.spend(Some(array.count()))?;
            arrange_array(array, places).map(Value::constant)
        }
        Value::Sizes { values, .. } => match places {
            [] | [_] => Some(Value::Sizes { values: values.clone(), scalar: places.is_empty() }),
            _ => None,
        },
        _ => arrange_view(value, places),
    };
    result.ok_or_else(|| not_a_view(value))
}

/// As [`arrange`], for what needs no numbers.
pub(super) fn arrange_view(value: &Value, places: &[Option<usize>]) -> Option<Value> {
    let moved = |axis: usize| places.iter().position(|place| *place == Some(axis));
    match value {
        Value::Fill { filling, shape } => {
            let one = Size::constant(1);
            let shape = places.iter().map(|p| p.map_or(one.clone(), |axis| shape[axis].clone()));
            let filling = match filling {
                Filling::Array(array) => {
                    arrange_array(array, places).map(|array| Filling::Array(array.into()))
                }
                size @ Filling::Size(_) => Some(size.clone()),
            };
            filling.map(|filling| Value::Fill { filling, shape: shape.collect() })
        }
        Value::View(_) => map_views(value, |view| view.arranged(places), 0),
        Value::Joined { axis, .. } => {
            moved(*axis).and_then(|axis| map_views(value, |view| view.arranged(places), axis))
        }
        Value::Const(_) | Value::Sizes { .. } | Value::Poison => None,
    }
}

fn arrange_array(array: &Array, places: &[Option<usize>]) -> Option<Array> {
    let shape = places.iter().map(|p| p.map_or(1, |axis| array.shape()[axis])).collect();
    let kept: Vec<usize> = places.iter().copied().flatten().collect();
    // Dropped axes have size one: at the end they change no order.
    let dropped = (0..array.shape().len()).filter(|axis| !kept.contains(axis));
    let order: Vec<usize> = kept.iter().copied().chain(dropped).collect();
    array.transposed(&order)?.reshaped(shape)
}

pub(super) fn reshape(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let keep_zero = call.attributes.flag("allowzero")?;
    let value = call.input(0)?;
    let (target, _) = call.input(1)?.as_sizes().ok_or_else(|| {
        Error::unsupported("shape: expected whole numbers made of sizes, got something else")
    })?;
    let old = shape_of(reader, value)?;
    let zero = Size::constant(0);
    let target = target
        .into_iter()
        .enumerate()
        .map(|(axis, size)| match size == zero && !keep_zero {
            true => old.get(axis).cloned().ok_or_else(|| {
                Error::format(format!("shape: expected a size for axis {axis}, got 0"))
            }),
            false => Ok(size),
        })
        .collect::<Result<Vec<_>>>()?;
    reshape_to(reader, value, &old, &target).map(|value| vec![value])
}

pub(super) fn flatten(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let axis = call.attributes.int("axis")?.unwrap_or(1);
    let value = call.input(0)?;
    let old = shape_of(reader, value)?;
    let at =
        if usize::try_from(axis) == Ok(old.len()) { old.len() } else { axis_of(axis, old.len())? };
    let side = |sizes: &[Size]| product(sizes).ok_or_else(|| not_a_view(value));
    let target = [side(&old[..at])?, side(&old[at..])?];
    reshape_to(reader, value, &old, &target).map(|value| vec![value])
}

fn reshape_to(reader: &mut Reader, value: &Value, old: &[Size], target: &[Size]) -> Result<Value> {
    let free = Size::constant(-1);
    if target.iter().filter(|size| **size == free).count() > 1 {
        return Err(Error::format("shape: expected -1 at most once, got it more often"));
    }
    let resolved = || {
        let known = product(target.iter().filter(|size| **size != free))?;
        let rest = product(old)?.div(&known)?;
        let shape: Vec<Size> =
            target.iter().map(|s| if *s == free { rest.clone() } else { s.clone() }).collect();
        (product(&shape)? == product(old)?).then_some(shape)
    };
    let result = match value {
        Value::Const(array) => {
            reader.spend(Some(array.count()))?;
            let shape = resolved()
                .and_then(|shape| shape.iter().map(Size::as_usize).collect::<Option<Vec<_>>>());
            shape.and_then(|shape| array.reshaped(shape)).map(Value::constant)
        }
        Value::Sizes { values, .. } => match (target, values.len()) {
            ([], 1) => Some(Value::Sizes { values: values.clone(), scalar: true }),
            ([_], _) if resolved().is_some() => {
                Some(Value::Sizes { values: values.clone(), scalar: false })
            }
            _ => None,
        },
        Value::Fill { filling, .. } => resolved().and_then(|shape| {
            let filling = match filling {
                Filling::Array(array) if array.count() == 1 => {
                    Filling::Array(array.reshaped(vec![1; shape.len()])?.into())
                }
                Filling::Array(_) => return None,
                size @ Filling::Size(_) => size.clone(),
            };
            Some(Value::Fill { filling, shape })
        }),
        Value::View(view) => reader.atoms.reshaped(view, target).map(Value::View),
        Value::Joined { axis, parts } => reader.atoms.reshaped_joined(*axis, parts, target),
        Value::Poison => Some(Value::Poison),
    };
    result.ok_or_else(|| not_a_view(value))
}
