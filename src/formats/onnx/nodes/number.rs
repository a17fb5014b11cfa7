//! Arithmetic: Add, Sub, Mul, Div on sizes, constants and linear layers; Equal and Where on sizes.

use std::sync::Arc;

use super::linear;
use crate::error::{Error, Result};
use crate::formats::onnx::fold::Operator;
use crate::formats::onnx::read::{Call, Reader};
use crate::formats::onnx::size::Size;
use crate::formats::onnx::tensor::Array;
use crate::formats::onnx::value::Value;
use crate::tensor::Tensor;

pub(super) fn arithmetic(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let operator = match call.node.op_type.as_str() {
        "Add" => Operator::Add,
        "Sub" => Operator::Sub,
        "Mul" => Operator::Mul,
        _ => Operator::Div,
    };
    let (left, right) = (call.input(0)?, call.input(1)?);
    if let (Some(a), Some(b)) = (left.as_sizes(), right.as_sizes()) {
        return on_sizes(operator, a, b).map(|value| vec![value]);
    }
    if left.views().is_some() || right.views().is_some() {
        return linear::with_constant(reader, operator, left, right).map(|value| vec![value]);
    }
    let (Some(a), Some(b)) = (reader.array(left)?, reader.array(right)?) else {
        return Err(Error::unsupported(format!(
            "expected sizes or constants, got {} and {}",
            left.describe(),
            right.describe()
        )));
    };
    let wrong = || {
        Error::format(format!(
            "expected shapes and types that fit, got {:?} and {:?}",
            a.shape(),
            b.shape()
        ))
    };
    let shape = broadcast_shape(a.shape(), b.shape()).ok_or_else(wrong)?;
    reader.spend(shape.iter().try_fold(2usize, |n, axis| n.checked_mul(*axis)))?;
    let wide = |array: &Arc<Array>| array.broadcast(&shape).ok_or_else(wrong);
    let result = wide(&a)?.combined(&wide(&b)?, operator).ok_or_else(wrong)?;
    Ok(vec![Value::constant(result)])
}

fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        })
        .collect()
}

type Sizes = (Vec<Size>, bool);

/// Pairs two lists, one of which may be a single number.
fn paired(a: Sizes, b: Sizes) -> Result<(Vec<(Size, Size)>, bool)> {
    let count = if a.0.len() == 1 { b.0.len() } else { a.0.len() };
    let fits = |sizes: &[Size]| sizes.len() == count || sizes.len() == 1;
    if !fits(&a.0) || !fits(&b.0) {
        return Err(Error::format(format!(
            "expected lists of one length, got {} and {}",
            a.0.len(),
            b.0.len()
        )));
    }
    let at = |sizes: &[Size], i: usize| sizes[if sizes.len() == 1 { 0 } else { i }].clone();
    Ok(((0..count).map(|i| (at(&a.0, i), at(&b.0, i))).collect(), a.1 && b.1))
}

fn on_sizes(operator: Operator, a: Sizes, b: Sizes) -> Result<Value> {
    let (pairs, scalar) = paired(a, b)?;
    let compute = |(a, b): &(Size, Size)| match operator {
        Operator::Add => a.add(b),
        Operator::Sub => a.sub(b),
        Operator::Mul => a.mul(b),
        Operator::Div => a.div(b),
    };
    let values: Option<Vec<Size>> = pairs.iter().map(compute).collect();
    let values = values.ok_or_else(|| {
        Error::unsupported("expected a result that is a size for every input, got another number")
    })?;
    Ok(Value::sizes(values, scalar))
}

/// `Equal` on sizes, as exporters write it around Expand.
pub(super) fn equal(_: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let (a, b) = (call.input(0)?.as_sizes(), call.input(1)?.as_sizes());
    let (Some(a), Some(b)) = (a, b) else {
        return Err(Error::unsupported("expected sizes, got something else"));
    };
    let (pairs, scalar) = paired(a, b)?;
    let values: Option<Vec<i64>> = pairs.iter().map(|(a, b)| a.equals(b).map(i64::from)).collect();
    let values = values
        .ok_or_else(|| Error::unsupported("expected a result that does not depend on sizes"))?;
    let shape = if scalar { Vec::new() } else { vec![values.len()] };
    Ok(vec![Value::constant(Array::I64(Tensor::new(shape, values)?))])
}

/// `Where` on sizes with a condition that is known.
pub(super) fn choose(_: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let sizes = |index: usize| {
        call.input(index)?.as_sizes().ok_or_else(|| {
            Error::unsupported(format!("input {index}: expected sizes, got something else"))
        })
    };
    let (condition, yes, no) = (sizes(0)?, sizes(1)?, sizes(2)?);
    let (branches, flat) = paired(yes, no)?;
    let (left, right): (Vec<Size>, Vec<Size>) = branches.into_iter().unzip();
    let (yes, scalar) = paired(condition.clone(), (left, flat))?;
    let (no, _) = paired(condition, (right, flat))?;
    let zero = Size::constant(0);
    let pick = yes.into_iter().zip(no).map(|((flag, yes), (_, no))| match flag.as_constant() {
        Some(_) if flag != zero => Ok(yes),
        Some(_) => Ok(no),
        None => Err(Error::unsupported("condition: expected a constant, got a size")),
    });
    Ok(vec![Value::sizes(pick.collect::<Result<_>>()?, scalar)])
}
