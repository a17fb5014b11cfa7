//! The parts of a recurrent node beside its weights: attributes, lengths, initial states.

use super::recurrent::{Initial, Lengths};
use crate::cell::{Cell, CellFunction, CellOptions};
use crate::error::{Error, Result};
use crate::formats::onnx::graph::Attributes;
use crate::formats::onnx::read::{Call, Reader};
use crate::formats::onnx::size::Size;
use crate::formats::onnx::tensor::Array;
use crate::formats::onnx::value::{Factor, Filling, Place, Source, Value};
use crate::model::Direction;

/// What the attributes say.
pub(super) struct Cells {
    pub(super) cell: Cell,
    pub(super) options: CellOptions,
    pub(super) direction: Direction,
    pub(super) hidden_size: Option<usize>,
    pub(super) batch_first: bool,
}

impl Cells {
    pub(super) fn read(call: &mut Call<'_>) -> Result<Self> {
        let operator = call.node.op_type.as_str();
        let attributes = &mut call.attributes;
        let direction = match attributes.text("direction")?.unwrap_or("forward") {
            "forward" => Direction::Forward,
            "reverse" => Direction::Reverse,
            "bidirectional" => Direction::Bidirectional,
            other => {
                return Err(Error::format(format!(
                    "direction: expected forward, reverse or bidirectional, got {other:?}"
                )));
            }
        };
        let hidden_size = attributes.int("hidden_size")?;
        let hidden_size = hidden_size
            .map(|n| {
                usize::try_from(n)
                    .map_err(|_| Error::format(format!("hidden_size: expected a size, got {n}")))
            })
            .transpose()?;
        let batch_first = attributes.flag("layout")?;
        let mut cell = match operator {
            "LSTM" => Cell::Lstm,
            "GRU" if attributes.flag("linear_before_reset")? => Cell::Gru,
            "GRU" => Cell::GruResetBefore,
            _ => Cell::RnnTanh,
        };
        let input_forget = cell == Cell::Lstm && attributes.flag("input_forget")?;
        let clip = attributes.float("clip")?;
        let mut functions = functions(attributes, cell, direction.count())?;
        if cell == Cell::RnnTanh && functions.iter().all(|list| list == &[CellFunction::Relu]) {
            cell = Cell::RnnRelu;
        }
        if functions.iter().all(|list| list == cell.spec().functions) {
            functions.clear();
        }
        let options = CellOptions { functions, clip, input_forget, ..CellOptions::default() };
        Ok(Self { cell, options, direction, hidden_size, batch_first })
    }
}

/// Reads the functions of every direction; α and β go, in order, to the functions that take them.
fn functions(
    attributes: &mut Attributes<'_>,
    cell: Cell,
    directions: usize,
) -> Result<Vec<Vec<CellFunction>>> {
    let names = attributes.texts("activations")?;
    let places = cell.spec().functions.len();
    let alphas = attributes.floats("activation_alpha")?.unwrap_or_default();
    let betas = attributes.floats("activation_beta")?.unwrap_or_default();
    if names.is_empty() {
        // The cells' own functions take no parameters.
        return Ok(vec![cell.spec().functions.to_vec(); directions]);
    }
    if names.len() != places * directions {
        return Err(Error::format(format!(
            "activations: expected {}, got {}",
            places * directions,
            names.len()
        )));
    }
    // Values that are left over are not read by any function, and change nothing.
    let (mut alphas, mut betas) = (alphas.iter().copied(), betas.iter().copied());
    let list: Vec<CellFunction> =
        names.iter().map(|name| function(name, &mut alphas, &mut betas)).collect::<Result<_>>()?;
    Ok(list.chunks(places).map(<[CellFunction]>::to_vec).collect())
}

fn function(
    name: &str,
    alphas: &mut impl Iterator<Item = f32>,
    betas: &mut impl Iterator<Item = f32>,
) -> Result<CellFunction> {
    let mut alpha = |default: f32| alphas.next().unwrap_or(default);
    let mut beta = |default: f32| betas.next().unwrap_or(default);
    Ok(match name.to_ascii_lowercase().as_str() {
        "relu" => CellFunction::Relu,
        "tanh" => CellFunction::Tanh,
        "sigmoid" => CellFunction::Sigmoid,
        "softsign" => CellFunction::Softsign,
        "softplus" => CellFunction::Softplus,
        "affine" => CellFunction::Affine { alpha: alpha(1.0), beta: beta(0.0) },
        "leakyrelu" => CellFunction::LeakyRelu { alpha: alpha(0.01) },
        "thresholdedrelu" => CellFunction::ThresholdedRelu { alpha: alpha(1.0) },
        "hardsigmoid" => CellFunction::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
        "elu" => CellFunction::Elu { alpha: alpha(1.0) },
        "scaledtanh" => match (alphas.next(), betas.next()) {
            (Some(alpha), Some(beta)) => CellFunction::ScaledTanh { alpha, beta },
            _ => {
                return Err(Error::unsupported(
                    "activations: expected alpha and beta for ScaledTanh, got none (ONNX names no \
                     default)",
                ));
            }
        },
        _ => {
            return Err(Error::unsupported(format!(
                "activations: expected functions of ONNX's recurrent operators, got {name:?}"
            )));
        }
    })
}

/// Reads `sequence_lens`.
pub(super) fn lengths(
    reader: &mut Reader,
    value: Option<&Value>,
    steps: &Size,
    batch: &[Factor],
) -> Result<Lengths> {
    let wrong = |got: &str| {
        Error::unsupported(format!(
            "sequence_lens: expected a graph input or a constant [B], got {got}"
        ))
    };
    let Some(value) = value else { return Ok(Lengths::Whole) };
    if is_whole(value, steps) {
        return Ok(Lengths::Whole);
    }
    if let Value::View(view) = value {
        let plain = view.axes.len() == 1
            && view.axes[0].len() <= 1
            && view.axes[0].iter().all(|factor| !factor.reversed);
        let is_input = matches!(view.source, Source::Input(_)) && view.whole;
        if !plain || !is_input {
            return Err(wrong(value.describe()));
        }
        return Ok(Lengths::Input(view.clone()));
    }
    let array = reader.array(value)?.ok_or_else(|| wrong(value.describe()))?;
    let lens = array.whole().filter(|_| array.shape().len() == 1);
    let lens = lens.ok_or_else(|| wrong("others"))?;
    let rows = reader.atoms.length(batch).and_then(|size| size.as_usize());
    if rows.is_some_and(|rows| rows != lens.len()) {
        return Err(Error::format(format!(
            "sequence_lens: expected one a sequence, got {}",
            lens.len()
        )));
    }
    let most = steps.as_constant().unwrap_or(i64::MAX);
    let lens = lens.iter().enumerate().map(|(row, len)| {
        usize::try_from(*len).ok().filter(|_| *len <= most).ok_or_else(|| {
            Error::format(format!("sequence_lens: expected 0 to T, got {len} in row {row}"))
        })
    });
    Ok(Lengths::Known(lens.collect::<Result<_>>()?))
}

/// Tells whether whole numbers are all equal to `size`.
pub(super) fn is_whole(value: &Value, size: &Size) -> bool {
    let all = |array: &Array| {
        array.whole().is_some_and(|lens| lens.iter().all(|n| Some(*n) == size.as_constant()))
    };
    match value {
        Value::Sizes { values, scalar: false } => values.iter().all(|value| value == size),
        Value::Fill { filling: Filling::Size(value), .. } => value == size,
        Value::Fill { filling: Filling::Array(array), .. } => all(array),
        Value::Const(array) => array.count() > 0 && all(array),
        _ => false,
    }
}

/// Reads an initial state `[D, B, H]`, or `[B, D, H]` batch-first; zeros are none.
pub(super) fn initial(
    reader: &Reader,
    value: Option<&Value>,
    batch_first: bool,
    (directions, hidden): (usize, usize),
) -> Result<Option<Initial>> {
    let Some(value) = value else { return Ok(None) };
    let shape = reader.atoms.shape_of(value).unwrap_or_default();
    let [d, b] = if batch_first { [1, 0] } else { [0, 1] };
    let fits = shape.len() == 3
        && shape[d] == Size::from_usize(directions)
        && shape[2] == Size::from_usize(hidden);
    // The axis of layers of a graph input may be free; its views are cut to one place a direction.
    if !fits && value.views().is_none() {
        return Err(Error::weights(format!(
            "expected [D, B, H] with D = {directions}, H = {hidden}, got another shape"
        )));
    }
    match value {
        Value::Const(array) | Value::Fill { filling: Filling::Array(array), .. } => {
            let floats = array.floats().ok_or_else(|| Error::format("expected real numbers"))?;
            if floats.iter().all(|value| value.to_bits() == 0) {
                return Ok(None);
            }
            let order = if batch_first { [1, 0, 2] } else { [0, 1, 2] };
            let rows = array.shape()[b];
            let state = array
                .transposed(&order)
                .and_then(|array| array.broadcast(&[directions, rows, hidden]));
            match state {
                Some(Array::F32(state)) => Ok(Some(Initial::Known(state))),
                _ => Err(Error::weights("expected [D, B, H], got another shape")),
            }
        }
        Value::View(_) | Value::Joined { .. } => {
            let views = (0..directions).map(|index| {
                let parts = value.views()?;
                let Value::View(view) = reader.atoms.cut_value(parts, d, Place::At(index), 1)?
                else {
                    return None;
                };
                let is_input = matches!(view.source, Source::Input(_)) && !view.whole;
                let order = if batch_first { [Some(0), Some(2)] } else { [Some(1), Some(2)] };
                let one = view.axes.len() == 3 && view.axes[d].is_empty();
                let plain = |axis: &Vec<Factor>| axis.iter().all(|factor| !factor.reversed);
                (is_input && one && view.axes.iter().all(plain)).then(|| view.arranged(&order))
            });
            let views: Option<Vec<_>> = views.collect();
            views.map(|views| Some(Initial::Input(views))).ok_or_else(|| {
                Error::unsupported(format!(
                    "expected a graph input or a constant, got {}",
                    value.describe()
                ))
            })
        }
        _ => Err(Error::unsupported(format!("expected numbers, got {}", value.describe()))),
    }
}
