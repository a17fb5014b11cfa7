//! One direction of one layer: its packed weights and its time loop over a tile.
//!
//! Takes a tile's inputs as packed rows, gives its outputs as packed rows and its final states. The
//! rows that are active at step t are the first `tile.active(t)` of the tile, in both directions: a
//! forward row that ends keeps its state, a reverse row joins at its last valid step. Work on
//! padding does not exist. Equations: `crate::reference` and `src/cell`.

use pulp::{Simd, WithSimd};

use super::custom::Options;
use super::panels::{Machine, Panels};
use super::tile::Tile;
use crate::cell::{self, Cell};
use crate::model::{DirectionWeights, Input, LayerSpec};
use crate::tensor::Tensor;

/// Values of `gates_x` that are computed ahead of the time loop: 192 KiB, well inside an L2 cache
/// beside a part of the weights.
const CHUNK_VALUES: usize = 48 * 1024;

/// An embedding is multiplied into the input weights when the result has at most this many values
/// (4 MiB): the first layer's input product is then a row lookup.
const FOLD_VALUES: usize = 1 << 20;

/// What enters a layer, as packed rows.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    /// `[M, width]`.
    Dense(&'a [f32], usize),
    /// `[M]`.
    Tokens(&'a [usize]),
}

/// The weights of one direction, packed.
#[derive(Debug)]
pub(super) struct Direction {
    machine: Machine,
    cell: Cell,
    reverse: bool,
    /// H, padded to whole vectors.
    width: usize,
    /// R.
    state: usize,
    input: InputWeights,
    recurrent: Recurrent,
    /// The LSTM projection.
    projection: Option<Panels>,
    /// What the layer adds to the cell.
    options: Option<Options>,
}

#[derive(Debug)]
enum InputWeights {
    Product(Panels),
    /// `W_ih·x + b_ih` for every token, `[V, G·width]`.
    Lookup(Vec<f32>),
}

#[derive(Debug)]
enum Recurrent {
    /// All gates from h.
    Plain(Panels),
    /// r and z from h, then n from r⊙h.
    ResetBefore { gates: Panels, candidate: Panels },
}

/// The states of a tile's rows, `[rows, stride]` each.
pub(super) struct TileStates {
    pub(super) h: Vec<f32>,
    pub(super) h_stride: usize,
    pub(super) c: Vec<f32>,
    pub(super) c_stride: usize,
}

/// Packs rows `gates` of a `[G·H, K]` matrix, each gate padded to `width` columns.
fn pack_gates(
    machine: Machine,
    spec: &LayerSpec,
    gates: std::ops::Range<usize>,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Panels {
    let width = machine.pad(spec.hidden_size);
    let row = |column: usize| {
        let (gate, unit) = (gates.start + column / width, column % width);
        (unit < spec.hidden_size).then_some(gate * spec.hidden_size + unit)
    };
    let inputs = weight.shape()[1];
    Panels::new(
        machine,
        inputs,
        gates.len() * width,
        |column, k| row(column).map_or(0.0, |row| weight.data()[row * inputs + k]),
        |column| row(column).zip(bias).map_or(0.0, |(row, bias)| bias.data()[row]),
    )
}

impl Direction {
    /// Packs the weights; `input` is the network's input for the first layer, else `None`.
    pub(super) fn new(
        machine: Machine,
        spec: &LayerSpec,
        weights: &DirectionWeights,
        d: usize,
        input: Option<&Input>,
    ) -> Self {
        let gates = spec.cell.gates();
        let options = Options::new(spec, weights, d, machine.pad(spec.hidden_size));
        // A normalised product takes its bias afterwards.
        let is_normalised = options.as_ref().is_some_and(Options::is_normalised);
        let bias = weights.bias_hh.as_ref().filter(|_| !is_normalised);
        let hh = |range| pack_gates(machine, spec, range, &weights.weight_hh, bias);
        Self {
            machine,
            cell: spec.cell,
            reverse: spec.direction.is_reverse(d),
            width: machine.pad(spec.hidden_size),
            state: spec.state_size(),
            input: InputWeights::new(machine, spec, weights, !is_normalised, input),
            recurrent: if spec.cell == Cell::GruResetBefore {
                Recurrent::ResetBefore { gates: hh(0..2), candidate: hh(2..3) }
            } else {
                Recurrent::Plain(hh(0..gates))
            },
            projection: weights.weight_hr.as_ref().map(|w| super::pack(machine, w, None)),
            options,
        }
    }

    /// Tells whether the input is looked up by token.
    pub(super) fn takes_tokens(&self) -> bool {
        matches!(self.input, InputWeights::Lookup(_))
    }

    /// Makes zero states for a tile.
    pub(super) fn zero_states(&self, rows: usize) -> TileStates {
        let h_stride = self.projection.as_ref().map_or(self.width, Panels::columns);
        TileStates {
            h: vec![0.0; rows * h_stride],
            h_stride,
            c: vec![0.0; rows * self.width],
            c_stride: self.width,
        }
    }

    /// Runs the time loop; `states` are initial before and final after. Gives `[M, R]`.
    pub(super) fn run(&self, tile: &Tile, input: Rows<'_>, states: &mut TileStates) -> Vec<f32> {
        let stride = self.cell.gates() * self.width;
        let mut output = vec![0.0; tile.total() * self.state];
        let mut gates_x = Vec::new();
        let mut scratch = Scratch {
            gates_h: vec![0.0; tile.rows() * stride],
            hidden: vec![0.0; tile.rows() * self.width],
        };
        for chunk in tile.chunks((CHUNK_VALUES / stride).max(1), self.reverse) {
            let packed = tile.offset(chunk.start)..tile.offset(chunk.end);
            gates_x.resize(packed.len() * stride, 0.0);
            self.input.compute(packed.clone(), input, &mut gates_x, stride);
            if let Some(options) = &self.options {
                options.normalise_input(&mut gates_x);
            }
            let mut step = |t: usize| {
                let (rows, at) = (tile.active(t), tile.offset(t));
                let gates_x = &gates_x[(at - packed.start) * stride..][..rows * stride];
                self.step(rows, gates_x, states, &mut scratch);
                let out = output[at * self.state..].chunks_exact_mut(self.state);
                for (out, h) in out.zip(states.h.chunks_exact(states.h_stride)).take(rows) {
                    out.copy_from_slice(&h[..self.state]);
                }
            };
            if self.reverse {
                chunk.rev().for_each(&mut step);
            } else {
                chunk.for_each(&mut step);
            }
        }
        output
    }

    fn step(&self, rows: usize, gates_x: &[f32], states: &mut TileStates, scratch: &mut Scratch) {
        let stride = self.cell.gates() * self.width;
        let h = (states.h.as_slice(), states.h_stride);
        match &self.recurrent {
            Recurrent::Plain(panels) => {
                panels.product(rows, h, (&mut scratch.gates_h, stride));
            }
            Recurrent::ResetBefore { gates, candidate } => {
                gates.product(rows, h, (&mut scratch.gates_h, stride));
                let gates_h = &scratch.gates_h[..rows * stride];
                match &self.options {
                    Some(options) => {
                        options.reset(gates_x, gates_h, &states.h, &mut scratch.hidden)
                    }
                    None => self.machine.arch.dispatch(Reset {
                        width: self.width,
                        gates_x,
                        gates_h,
                        h: &states.h,
                        out: &mut scratch.hidden,
                    }),
                }
                let out = &mut scratch.gates_h[2 * self.width..];
                candidate.product(rows, (&scratch.hidden, self.width), (out, stride));
            }
        }
        let gates_h = &mut scratch.gates_h[..rows * stride];
        let projected = self.projection.is_some();
        let h = if projected { &mut scratch.hidden } else { &mut states.h };
        match &self.options {
            Some(options) => {
                options.normalise_hidden(gates_h);
                options.step(gates_x, gates_h, h, &mut states.c);
            }
            None => self.machine.arch.dispatch(Cells {
                cell: self.cell,
                width: self.width,
                gates_x,
                gates_h,
                h,
                c: &mut states.c,
            }),
        }
        if let Some(projection) = &self.projection {
            projection.product(
                rows,
                (&scratch.hidden, self.width),
                (&mut states.h, states.h_stride),
            );
        }
    }
}

impl InputWeights {
    fn new(
        machine: Machine,
        spec: &LayerSpec,
        weights: &DirectionWeights,
        with_bias: bool,
        input: Option<&Input>,
    ) -> Self {
        let bias = weights.bias_ih.as_ref().filter(|_| with_bias);
        let gates = spec.cell.gates();
        let width = machine.pad(spec.hidden_size);
        let panels = || pack_gates(machine, spec, 0..gates, &weights.weight_ih, bias);
        match input {
            Some(Input::OneHot { vocab }) => {
                let value = |i: usize| {
                    let (token, column) = (i / (gates * width), i % (gates * width));
                    let (gate, unit) = (column / width, column % width);
                    if unit >= spec.hidden_size {
                        return 0.0;
                    }
                    let row = gate * spec.hidden_size + unit;
                    let start = bias.map_or(0.0, |bias| bias.data()[row]);
                    start + weights.weight_ih.data()[row * vocab + token]
                };
                Self::Lookup((0..vocab * gates * width).map(value).collect())
            }
            Some(Input::Embedding { table })
                if table.shape()[0].saturating_mul(gates * width) <= FOLD_VALUES =>
            {
                let (panels, [vocab, size]) = (panels(), [table.shape()[0], table.shape()[1]]);
                let mut rows = vec![0.0; vocab * panels.columns()];
                panels.product(vocab, (table.data(), size), (&mut rows, panels.columns()));
                Self::Lookup(rows)
            }
            _ => Self::Product(panels()),
        }
    }

    /// Fills `gates_x` for the packed rows `rows`.
    fn compute(
        &self,
        rows: std::ops::Range<usize>,
        input: Rows<'_>,
        gates_x: &mut [f32],
        stride: usize,
    ) {
        match (self, input) {
            (Self::Product(panels), Rows::Dense(x, width)) => {
                let x = &x[rows.start * width..rows.end * width];
                panels.product(rows.len(), (x, width), (gates_x, stride));
            }
            (Self::Lookup(table), Rows::Tokens(tokens)) => {
                for (out, token) in gates_x.chunks_exact_mut(stride).zip(&tokens[rows]) {
                    out.copy_from_slice(&table[token * stride..][..stride]);
                }
            }
            _ => debug_assert!(false, "tokens meet a lookup, dense rows a product"),
        }
    }
}

/// Buffers of one time step.
struct Scratch {
    /// `[rows, G·width]`.
    gates_h: Vec<f32>,
    /// `[rows, width]`: r⊙h, or h before the projection.
    hidden: Vec<f32>,
}

/// The cell's step over all active rows.
struct Cells<'a> {
    cell: Cell,
    width: usize,
    gates_x: &'a [f32],
    gates_h: &'a [f32],
    h: &'a mut [f32],
    c: &'a mut [f32],
}

impl WithSimd for Cells<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match S::F32_LANES {
            16 => self.run::<16>(),
            8 => self.run::<8>(),
            _ => self.run::<4>(),
        }
    }
}

impl Cells<'_> {
    #[inline(always)]
    fn run<const L: usize>(self) {
        let stride = self.cell.gates() * self.width;
        let gates = self.gates_x.chunks_exact(stride).zip(self.gates_h.chunks_exact(stride));
        let states = self.h.chunks_exact_mut(self.width).zip(self.c.chunks_exact_mut(self.width));
        for ((gx, gh), (h, c)) in gates.zip(states) {
            cell::step_row::<L>(self.cell, gx, gh, h, c);
        }
    }
}

/// r⊙h over all active rows.
struct Reset<'a> {
    width: usize,
    gates_x: &'a [f32],
    gates_h: &'a [f32],
    h: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Reset<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match S::F32_LANES {
            16 => self.run::<16>(),
            8 => self.run::<8>(),
            _ => self.run::<4>(),
        }
    }
}

impl Reset<'_> {
    #[inline(always)]
    fn run<const L: usize>(self) {
        let (width, stride) = (self.width, 3 * self.width);
        let gates = self.gates_x.chunks_exact(stride).zip(self.gates_h.chunks_exact(stride));
        let rows = self.h.chunks_exact(width).zip(self.out.chunks_exact_mut(width));
        for ((gx, gh), (h, out)) in gates.zip(rows) {
            cell::reset_row::<L>(&gx[..width], &gh[..width], h, out);
        }
    }
}
