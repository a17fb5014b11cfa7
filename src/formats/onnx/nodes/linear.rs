//! Linear layers: MatMul, Gemm, arithmetic with constants, and the functions behind them.
//!
//! A linear map of a quantity is kept as a matrix over all features of the quantity, so that a map
//! of some of them (one direction, another order) only has zero or moved columns, and a map of a map
//! is one map.

use super::plumbing::not_a_view;
use crate::error::{Error, Result};
use crate::formats::onnx::features::{Features, scattered};
use crate::formats::onnx::fold::Operator;
use crate::formats::onnx::graph;
use crate::formats::onnx::read::{Call, Reader, axis_of};
use crate::formats::onnx::tensor::{Array, narrow};
use crate::formats::onnx::value::{Factor, Source, Value, View};
use crate::model::Activation;
use crate::tensor::Tensor;

/// The widest quantity whose scaling by constants is taken as a linear map.
const MOST_SCALED: usize = 4096;

/// A linear map of a quantity, and the function behind it.
#[derive(Clone, Debug)]
pub(in crate::formats::onnx) struct Map {
    /// The node, for messages.
    pub(in crate::formats::onnx) title: String,
    pub(in crate::formats::onnx) base: Source,
    /// The axis of features, where the base is a graph input.
    pub(in crate::formats::onnx) input_features: Vec<Factor>,
    /// The axis of the result.
    pub(in crate::formats::onnx) out: Vec<Factor>,
    /// `[O, width of the base]`.
    pub(in crate::formats::onnx) weight: Tensor,
    /// `[O]`.
    pub(in crate::formats::onnx) bias: Option<Tensor>,
    pub(in crate::formats::onnx) activation: Activation,
}

/// Computes `W·M` and `W·m + b` for the map `y = M·x + m` below.
pub(super) fn composed(
    reader: &mut Reader,
    weight: &Tensor,
    bias: Option<&Tensor>,
    below: &Map,
) -> Result<(Tensor, Option<Tensor>)> {
    let [rows, inner] = [weight.shape()[0], weight.shape()[1]];
    let width = below.weight.shape()[1];
    if below.weight.shape()[0] != inner {
        return Err(Error::weights(format!(
            "linear layers: expected {inner} values from the first, got {}",
            below.weight.shape()[0]
        )));
    }
    reader.spend(rows.checked_mul(width))?;
    let wide = |values: &[f32], i: usize| f64::from(values[i]);
    let product = Tensor::from_fn([rows, width], |index| {
        let (row, column) = (index / width, index % width);
        let terms = (0..inner).map(|k| {
            wide(weight.data(), row * inner + k) * wide(below.weight.data(), k * width + column)
        });
        narrow(terms.sum())
    });
    let shifted = below.bias.as_ref().map(|shift| {
        Tensor::from_fn([rows], |row| {
            let terms =
                (0..inner).map(|k| wide(weight.data(), row * inner + k) * wide(shift.data(), k));
            narrow(terms.sum::<f64>() + bias.map_or(0.0, |bias| wide(bias.data(), row)))
        })
    });
    Ok((product, shifted.or_else(|| bias.cloned())))
}

/// Applies a matrix `[O, n]` to the features of a value.
fn linear(
    reader: &mut Reader,
    title: String,
    value: &Value,
    weight: Tensor,
    bias: Option<Tensor>,
) -> Result<Value> {
    let features = Features::of(reader, value)?;
    if features.whole {
        return Err(Error::unsupported("expected real numbers, got whole ones"));
    }
    let (rows, columns) = (weight.shape()[0], weight.shape()[1]);
    features.check_width(columns)?;
    if rows == 0 || columns == 0 {
        return Err(Error::weights(format!("weight: expected values, got {:?}", weight.shape())));
    }
    let weight = scattered(reader, weight, &features)?;
    let out = reader.atoms.axis(crate::formats::onnx::size::Size::from_usize(rows));
    let map = match features.source {
        Source::Linear(below) => {
            let below = reader.maps[below].clone();
            if below.activation != Activation::None {
                return Err(Error::unsupported(format!(
                    "expected one linear layer, got a second behind {} of {}",
                    below.activation.name(),
                    below.title
                )));
            }
            let (weight, bias) = composed(reader, &weight, bias.as_ref(), &below)?;
            Map { title, out: out.clone(), weight, bias, ..below }
        }
        Source::C(_) => {
            return Err(Error::unsupported("expected the state h or the output, got the state c"));
        }
        base => Map {
            title,
            base,
            input_features: features.own,
            out: out.clone(),
            weight,
            bias,
            activation: Activation::None,
        },
    };
    reader.maps.push(map);
    let mut axes = features.axes;
    axes.push(out);
    let source = Source::Linear(reader.maps.len() - 1);
    Ok(Value::View(View { source, axes, fixed: features.fixed, whole: false }))
}

fn matrix(array: &Array, transposed: bool) -> Result<Tensor> {
    let order = if transposed { [0, 1] } else { [1, 0] };
    match (array.shape().len(), array.transposed(&order[..array.shape().len().min(2)])) {
        (2, Some(Array::F32(tensor))) => Ok(tensor),
        _ => Err(Error::unsupported(format!("weight: expected a matrix, got {:?}", array.shape()))),
    }
}

pub(super) fn mat_mul(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let (left, right) = (call.input(0)?, call.input(1)?);
    if left.views().is_none() || right.views().is_some() {
        return Err(Error::unsupported(format!(
            "expected a quantity of the network times a constant, got {} times {}",
            left.describe(),
            right.describe()
        )));
    }
    let array = reader.constant("weight", right)?;
    reader.spend(Some(array.count()))?;
    let weight = matrix(&array, false)?;
    linear(reader, graph::describe(call.node), left, weight, None).map(|value| vec![value])
}

pub(super) fn gemm(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let attributes = &mut call.attributes;
    let alpha = attributes.float("alpha")?.unwrap_or(1.0);
    let beta = attributes.float("beta")?.unwrap_or(1.0);
    let (trans_a, trans_b) = (attributes.flag("transA")?, attributes.flag("transB")?);
    // Written by operator set 6 and before, and by exporters out of habit.
    attributes.int("broadcast")?;
    if trans_a {
        return Err(Error::unsupported("transA: expected 0, got 1"));
    }
    let value = call.input(0)?;
    let array = reader.constant("weight", call.input(1)?)?;
    reader.spend(Some(array.count()))?;
    let weight = scaled(matrix(&array, trans_b)?, alpha);
    let rows = weight.shape()[0];
    let bias = match call.optional(2) {
        None => None,
        Some(bias) => {
            let array = reader.constant("bias", bias)?;
            Some(scaled(per_feature(&array, 2, rows)?, beta))
        }
    };
    linear(reader, graph::describe(call.node), value, weight, bias).map(|value| vec![value])
}

fn scaled(mut tensor: Tensor, factor: f32) -> Tensor {
    if factor.to_bits() != 1f32.to_bits() {
        tensor.data_mut().iter_mut().for_each(|value| *value *= factor);
    }
    tensor
}

/// Reads a constant that differs along the last axis at most, as one number a feature.
fn per_feature(array: &Array, rank: usize, width: usize) -> Result<Tensor> {
    let shape = array.shape();
    let leading = shape.len().saturating_sub(1);
    let fits = shape.len() <= rank
        && shape[..leading].iter().all(|n| *n == 1)
        && shape.last().is_none_or(|n| *n == 1 || *n == width);
    match (fits, array.broadcast_to_row(width)) {
        (true, Some(tensor)) => Ok(tensor),
        _ => Err(Error::unsupported(format!(
            "constant: expected one number or one a feature = [{width}], got {shape:?}"
        ))),
    }
}

/// Reads `view ∘ constant` or `constant ∘ view` as a linear map.
pub(super) fn with_constant(
    reader: &mut Reader,
    operator: Operator,
    left: &Value,
    right: &Value,
) -> Result<Value> {
    let (value, constant, swapped) = match (left.views(), right.views()) {
        (Some(_), None) => (left, right, false),
        (None, Some(_)) => (right, left, true),
        _ => {
            return Err(Error::unsupported(format!(
                "expected a quantity and a constant, got {} and {}",
                left.describe(),
                right.describe()
            )));
        }
    };
    let array = reader.constant("constant", constant)?;
    // y = scale·x + shift, one of each a feature.
    let rule = move |c: f32| match (operator, swapped) {
        (Operator::Add, _) => Some((1.0, c)),
        (Operator::Sub, false) => Some((1.0, -c)),
        (Operator::Sub, true) => Some((-1.0, c)),
        (Operator::Mul, _) => Some((c, 0.0)),
        (Operator::Div, false) => Some((1.0 / c, 0.0)),
        (Operator::Div, true) => None,
    };
    if let Value::View(view) = value
        && let Source::Linear(map) = view.source
    {
        return adjusted(reader, view, map, &array, rule);
    }
    let features = Features::of(reader, value)?;
    let rank = features.axes.len() + 1;
    let width = features.count().filter(|width| *width <= MOST_SCALED).ok_or_else(|| {
        Error::unsupported(format!("expected at most {MOST_SCALED} features, got more or free"))
    })?;
    reader.spend(width.checked_mul(width))?;
    let row = per_feature(&array, rank, width)?;
    let (scale, shift) = rules(&row, rule)?;
    let weight = Tensor::from_fn([width, width], |i| {
        if i / width == i % width { scale[i % width] } else { 0.0 }
    });
    linear(reader, "arithmetic".into(), value, weight, Some(Tensor::new([width], shift)?))
}

type Rule = (f32, f32);

fn rules(row: &Tensor, rule: impl Fn(f32) -> Option<Rule>) -> Result<(Vec<f32>, Vec<f32>)> {
    let rules: Option<Vec<Rule>> = row.data().iter().map(|c| rule(*c)).collect();
    let rules = rules.ok_or_else(|| {
        Error::unsupported("expected a quantity over a constant, got a constant over a quantity")
    })?;
    Ok(rules.into_iter().unzip())
}

/// Scales and shifts the result of a linear map.
fn adjusted(
    reader: &mut Reader,
    view: &View,
    map: usize,
    array: &Array,
    rule: impl Fn(f32) -> Option<Rule>,
) -> Result<Value> {
    let below = reader.maps[map].clone();
    let rows = below.weight.shape()[0];
    if below.activation != Activation::None {
        return Err(Error::unsupported(format!(
            "expected no arithmetic behind {} of {}",
            below.activation.name(),
            below.title
        )));
    }
    let on_features = view.axes.last() == Some(&below.out);
    if array.count() != 1 && !on_features {
        return Err(Error::unsupported("expected the features on the last axis"));
    }
    let row = per_feature(array, view.axes.len(), if array.count() == 1 { 1 } else { rows })?;
    let (scale, shift) = rules(&row, rule)?;
    let at = |values: &[f32], i: usize| values[if values.len() == 1 { 0 } else { i }];
    let width = below.weight.shape()[1];
    reader.spend(Some(below.weight.len()))?;
    let mut map = below;
    for (i, value) in map.weight.data_mut().iter_mut().enumerate() {
        *value *= at(&scale, i / width);
    }
    // 0 + shift would lose the sign of a negative zero.
    let bias = Tensor::from_fn([rows], |i| match &map.bias {
        Some(bias) => bias.data()[i] * at(&scale, i) + at(&shift, i),
        None => at(&shift, i),
    });
    map.bias = Some(bias);
    reader.maps.push(map);
    Ok(Value::View(View { source: Source::Linear(reader.maps.len() - 1), ..view.clone() }))
}

/// Puts a function behind a linear map.
fn activated(reader: &mut Reader, value: &Value, activation: Activation) -> Result<Value> {
    let Value::View(view) = value else { return Err(not_a_view(value)) };
    let Source::Linear(map) = view.source else {
        return Err(Error::unsupported(format!(
            "expected a linear layer in front, got {}",
            value.describe()
        )));
    };
    let below = reader.maps[map].clone();
    if below.activation != Activation::None {
        return Err(Error::unsupported(format!(
            "expected one function behind {}, got two",
            below.title
        )));
    }
    reader.spend(Some(below.weight.len()))?;
    reader.maps.push(Map { activation, ..below });
    Ok(Value::View(View { source: Source::Linear(reader.maps.len() - 1), ..view.clone() }))
}

pub(super) fn elementwise(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let activation = match call.node.op_type.as_str() {
        "Relu" => Activation::Relu,
        "Sigmoid" => Activation::Sigmoid,
        _ => Activation::Tanh,
    };
    activated(reader, call.input(0)?, activation).map(|value| vec![value])
}

pub(super) fn softmax(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let single = call.opset >= 13;
    let axis = call.attributes.int("axis")?.unwrap_or(if single { -1 } else { 1 });
    let activation = match call.node.op_type.as_str() {
        "Softmax" => Activation::Softmax,
        _ => Activation::LogSoftmax,
    };
    let value = call.input(0)?;
    if let Value::View(view) = value
        && let Source::Linear(map) = view.source
    {
        let axis = axis_of(axis, view.axes.len())?;
        // Before operator set 13 all axes from `axis` on are one.
        let over = if single { view.axes[axis].clone() } else { view.axes[axis..].concat() };
        if over != reader.maps[map].out {
            return Err(Error::unsupported(format!(
                "axis: expected the features alone, got axis {axis}, which holds others"
            )));
        }
    }
    activated(reader, value, activation).map(|value| vec![value])
}
