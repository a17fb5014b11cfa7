//! The recurrent operators: RNN, GRU, LSTM.
//!
//! ```text
//! inputs    X, W [D, G·H, I], R [D, G·H, H], B [D, 2·G·H], sequence_lens [B], initial_h, initial_c, P [D, 3·H]
//! gates     LSTM i, o, f, c -> ours i, f, g, o       GRU z, r, h -> ours r, z, n       P i, o, f -> i, f, o
//! outputs   Y [T, D, B, H], Y_h [D, B, H], Y_c [D, B, H]; layout = 1: [B, T, D, H], [B, D, H]
//! ```
//! A linear map in front of X is multiplied into W; X backwards in time turns the direction round.

use super::linear::composed;
use super::recurrent_parts::{Cells, initial, lengths};
use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::formats::onnx::features::{Features, scattered};
use crate::formats::onnx::graph;
use crate::formats::onnx::read::{Call, Reader};
use crate::formats::onnx::size::Size;
use crate::formats::onnx::tensor::Array;
use crate::formats::onnx::value::{Atom, Factor, Place, Source, Value, View};
use crate::model::{Activation, Direction, DirectionWeights, LayerSpec};
use crate::tensor::Tensor;

/// Where the lengths of the sequences come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::formats::onnx) enum Lengths {
    /// Every sequence is as long as the input.
    Whole,
    /// The same for every run.
    Known(Vec<usize>),
    /// A graph input.
    Input(View),
}

/// Where initial states come from.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::formats::onnx) enum Initial {
    /// `[D, B, H]`, or `[D, 1, H]` for every sequence.
    Known(Tensor),
    /// Per direction a view `[B, H]` of a graph input.
    Input(Vec<View>),
}

/// What stands below a recurrent node.
#[derive(Clone, Debug)]
pub(in crate::formats::onnx) struct Below {
    /// A graph input, a lookup or the Y of a layer.
    pub(in crate::formats::onnx) source: Source,
    /// The axis of features, of a graph input.
    pub(in crate::formats::onnx) features: Vec<Factor>,
    pub(in crate::formats::onnx) fixed: Vec<(Atom, Place)>,
}

/// A recurrent node as a layer.
#[derive(Clone, Debug)]
pub(in crate::formats::onnx) struct Recurrent {
    pub(in crate::formats::onnx) title: String,
    pub(in crate::formats::onnx) spec: LayerSpec,
    pub(in crate::formats::onnx) directions: Vec<DirectionWeights>,
    pub(in crate::formats::onnx) below: Below,
    /// The axis of time steps of X, and of sequences.
    pub(in crate::formats::onnx) time: Vec<Factor>,
    pub(in crate::formats::onnx) batch: Vec<Factor>,
    pub(in crate::formats::onnx) direction_axis: Vec<Factor>,
    pub(in crate::formats::onnx) units: Vec<Factor>,
    pub(in crate::formats::onnx) lengths: Lengths,
    pub(in crate::formats::onnx) h_0: Option<Initial>,
    pub(in crate::formats::onnx) c_0: Option<Initial>,
}

pub(super) fn recurrent(reader: &mut Reader, call: &mut Call<'_>) -> Result<Vec<Value>> {
    let cells = Cells::read(call)?;
    let mut features = Features::of(reader, call.input(0)?)?;
    if features.whole {
        return Err(Error::unsupported("X: expected real numbers, got whole ones"));
    }
    let [time, batch] = steps_and_rows(&mut features, cells.batch_first)?;
    let direction = turned(cells.direction, time.iter().any(|factor| factor.reversed))?;
    let arrays = Arrays::read(reader, call, &cells)?;
    let mut layer = LayerSpec::new(cells.cell, arrays.hidden).direction(direction);
    layer.bias = arrays.b.is_some();
    layer.options = cells.options.clone();
    layer.options.peephole = arrays.p.is_some();
    let directions = arrays.directions(cells.cell)?;
    let (below, directions) = fold_below(reader, features, directions, &mut layer)?;
    layer.input_size = directions[0].weight_ih.shape()[1];
    let steps = length(reader, &time)?;
    let lengths = lengths(reader, call.optional(4), &steps, &batch)?;
    if lengths != Lengths::Whole && time.iter().any(|factor| factor.reversed) {
        return Err(Error::unsupported("sequence_lens: expected none for X turned round in time"));
    }
    let count = direction.count();
    let sizes = (count, arrays.hidden);
    let state = |input: usize| initial(reader, call.optional(input), cells.batch_first, sizes);
    let h_0 = state(5).map_err(|e| e.in_context("initial_h"))?;
    let c_0 = state(6).map_err(|e| e.in_context("initial_c"))?;
    if c_0.is_some() && !cells.cell.has_c() {
        return Err(Error::format("initial_c: expected none for this operator, got one"));
    }
    let direction_axis = reader.atoms.axis(Size::from_usize(count));
    let units = reader.atoms.axis(Size::from_usize(arrays.hidden));
    let node = reader.layers.len();
    let results = results(node, cells.batch_first, [&time, &batch, &direction_axis, &units]);
    reader.layers.push(Recurrent {
        title: graph::describe(call.node),
        spec: layer,
        directions,
        below,
        time,
        batch,
        direction_axis,
        units,
        lengths,
        h_0,
        c_0,
    });
    Ok(results)
}

fn length(reader: &Reader, axis: &[Factor]) -> Result<Size> {
    reader.atoms.length(axis).ok_or_else(|| Error::unsupported("X: expected fewer axes in one"))
}

/// Takes the axes of time and of sequences off X.
fn steps_and_rows(features: &mut Features, batch_first: bool) -> Result<[Vec<Factor>; 2]> {
    let axes: [Vec<Factor>; 2] =
        std::mem::take(&mut features.axes).try_into().map_err(|axes: Vec<_>| {
            Error::format(format!("X: expected 3 axes, got {}", axes.len() + 1))
        })?;
    let [a, b] = axes;
    let axes = if batch_first { [b, a] } else { [a, b] };
    let plain = |axis: &Vec<Factor>| axis.len() <= 1 && axis.iter().all(|f| f.part.is_none());
    if !axes.iter().all(plain) || axes[1].iter().any(|factor| factor.reversed) {
        return Err(Error::unsupported(
            "X: expected whole axes of steps and of sequences, got merged or cut ones",
        ));
    }
    Ok(axes)
}

/// The direction in the order of the graph's input, for X turned round in time.
fn turned(direction: Direction, reversed: bool) -> Result<Direction> {
    match (direction, reversed) {
        (direction, false) => Ok(direction),
        (Direction::Forward, true) => Ok(Direction::Reverse),
        (Direction::Reverse, true) => Ok(Direction::Forward),
        (Direction::Bidirectional, true) => Err(Error::unsupported(
            "X: expected time in order for a bidirectional layer, got it turned round",
        )),
    }
}

/// The weights as the node has them.
struct Arrays {
    hidden: usize,
    w: Tensor,
    r: Tensor,
    b: Option<Tensor>,
    p: Option<Tensor>,
}

impl Arrays {
    fn read(reader: &mut Reader, call: &Call<'_>, cells: &Cells) -> Result<Self> {
        let mut take = |name: &str, index: usize| {
            let Some(value) = call.optional(index) else { return Ok(None) };
            let array = reader.constant(name, value)?;
            reader.spend(Some(array.count()))?;
            match &*array {
                Array::F32(tensor) => Ok(Some(tensor.clone())),
                Array::I64(_) => Err(Error::weights(format!("{name}: expected real numbers"))),
            }
        };
        let missing = |name: &str| Error::format(format!("{name}: expected weights, got none"));
        let w = take("W", 1)?.ok_or_else(|| missing("W"))?;
        let r = take("R", 2)?.ok_or_else(|| missing("R"))?;
        let (b, p) = (take("B", 3)?, take("P", 7)?);
        let hidden = match (cells.hidden_size, r.shape()) {
            (Some(hidden), _) => hidden,
            (None, [_, _, hidden]) => *hidden,
            (None, shape) => {
                return Err(Error::weights(format!("R: expected 3 axes, got {shape:?}")));
            }
        };
        let (d, gates) = (cells.direction.count(), cells.cell.gates());
        let rows = gates.checked_mul(hidden).filter(|rows| *rows > 0 && *rows < 1 << 26);
        let rows = rows
            .ok_or_else(|| Error::weights(format!("hidden_size: expected a size, got {hidden}")))?;
        let input = w.shape().get(2).copied().unwrap_or(0);
        let check = |name: &str, letters: &str, want: &[usize], got: &[usize]| {
            if want == got {
                return Ok(());
            }
            Err(Error::weights(format!("{name}: expected {letters} = {want:?}, got {got:?}")))
        };
        check("W", "[D, G*H, I]", &[d, rows, input.max(1)], w.shape())?;
        check("R", "[D, G*H, H]", &[d, rows, hidden], r.shape())?;
        if let Some(b) = &b {
            check("B", "[D, 2*G*H]", &[d, 2 * rows], b.shape())?;
        }
        if let Some(p) = &p {
            if cells.cell != Cell::Lstm {
                return Err(Error::format("P: expected none for this operator, got some"));
            }
            check("P", "[D, 3*H]", &[d, 3 * hidden], p.shape())?;
        }
        Ok(Self { hidden, w, r, b, p })
    }

    /// Takes the weights of every direction apart, gates in our order.
    fn directions(&self, cell: Cell) -> Result<Vec<DirectionWeights>> {
        let order = gate_order(cell);
        let hidden = self.hidden;
        let part = |tensor: &Tensor, start: usize, order: &[usize], shape: Vec<usize>| {
            let width = shape.get(1).copied().unwrap_or(1);
            let block = hidden * width;
            let data = order
                .iter()
                .flat_map(|gate| &tensor.data()[start + gate * block..][..block])
                .copied()
                .collect();
            Tensor::new(shape, data)
        };
        let rows = order.len() * hidden;
        let input = self.w.shape()[2];
        (0..self.w.shape()[0])
            .map(|d| {
                let bias = |half: usize| {
                    let half = |b| part(b, (2 * d + half) * rows, order, vec![rows]);
                    self.b.as_ref().map(half).transpose()
                };
                let peephole = |p| part(p, 3 * d * hidden, &[0, 2, 1], vec![3 * hidden]);
                Ok(DirectionWeights {
                    weight_ih: part(&self.w, d * rows * input, order, vec![rows, input])?,
                    weight_hh: part(&self.r, d * rows * hidden, order, vec![rows, hidden])?,
                    bias_ih: bias(0)?,
                    bias_hh: bias(1)?,
                    peephole: self.p.as_ref().map(peephole).transpose()?,
                    ..DirectionWeights::default()
                })
            })
            .collect()
    }
}

/// Returns for each of our gates its place among ONNX's.
pub(in crate::formats::onnx) const fn gate_order(cell: Cell) -> &'static [usize] {
    match cell {
        Cell::Lstm => &[0, 2, 3, 1],
        Cell::Gru | Cell::GruResetBefore => &[1, 0, 2],
        _ => &[0],
    }
}

/// Multiplies what stands between X and the quantity below into the input weights.
fn fold_below(
    reader: &mut Reader,
    features: Features,
    directions: Vec<DirectionWeights>,
    layer: &mut LayerSpec,
) -> Result<(Below, Vec<DirectionWeights>)> {
    let input = directions[0].weight_ih.shape()[1];
    features.check_width(input)?;
    let (mut source, mut own) = (features.source, features.own.clone());
    let map = match source {
        Source::Linear(map) => Some(reader.maps[map].clone()),
        _ => None,
    };
    if let Some(map) = &map {
        (source, own) = (map.base, map.input_features.clone());
        if map.activation != Activation::None {
            return Err(Error::unsupported(format!(
                "X: expected no function in front of a layer, got {} of {}",
                map.activation.name(),
                map.title
            )));
        }
        layer.bias |= map.bias.is_some();
    }
    if matches!(source, Source::H(_) | Source::C(_)) {
        return Err(Error::unsupported("X: expected an input or Y of a layer, got final states"));
    }
    if matches!(source, Source::Y(_)) && !features.fixed.is_empty() {
        return Err(Error::unsupported("X: expected all of Y of the layer below, got a part"));
    }
    let mut folded = Vec::with_capacity(directions.len());
    for mut weights in directions {
        weights.weight_ih = scattered(reader, weights.weight_ih, &features)?;
        if let Some(map) = &map {
            let bias = weights.bias_ih.as_ref();
            let (weight, bias) = composed(reader, &weights.weight_ih, bias, map)?;
            (weights.weight_ih, weights.bias_ih) = (weight, bias);
        }
        if layer.bias {
            let rows = weights.weight_ih.shape()[0];
            weights.bias_ih.get_or_insert_with(|| Tensor::zeros([rows]));
            weights.bias_hh.get_or_insert_with(|| Tensor::zeros([rows]));
        }
        folded.push(weights);
    }
    Ok((Below { source, features: own, fixed: features.fixed }, folded))
}

/// The views Y, Y_h, Y_c.
fn results(node: usize, batch_first: bool, axes: [&Vec<Factor>; 4]) -> Vec<Value> {
    let [time, batch, direction, units] = axes.map(Vec::clone);
    let view = |source: Source, axes: Vec<Vec<Factor>>| {
        Value::View(View { source, axes, fixed: Vec::new(), whole: false })
    };
    let (y, state) = if batch_first {
        (vec![batch.clone(), time, direction.clone(), units.clone()], vec![batch, direction, units])
    } else {
        (vec![time, direction.clone(), batch.clone(), units.clone()], vec![direction, batch, units])
    };
    vec![
        view(Source::Y(node), y),
        view(Source::H(node), state.clone()),
        view(Source::C(node), state),
    ]
}
