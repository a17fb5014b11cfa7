//! The CPU path: f32, threads over sequences, vectors over units.
//!
//! [`CpuModel`] packs a network once; [`CpuModel::run`] takes a batch to its results. The batch is
//! sorted by length and cut into tiles of rows (`tile`); each tile goes through all layers on one
//! thread (`layer`), both directions of a layer side by side; every product is the one of `panels`.
//! A row's numbers do not depend on the rows beside it, nor on the number of threads.
//! Checked against `crate::reference` in `tests/cpu.rs`.

mod custom;
mod layer;
mod panels;
mod tile;

use rayon::prelude::*;

use self::layer::{Direction, Rows, TileStates};
use self::panels::{Machine, Panels};
use self::tile::Tile;
use crate::batch::{
    Batch, Layout, Output, RunOptions, ZeroLength, by_falling_length, check_top, empty_output,
};
use crate::error::Result;
use crate::model::{HeadSteps, Model};
use crate::reference::{activate, top};
use crate::tensor::Tensor;

/// Rows of a tile at most: beyond it a step's buffers leave the L1 cache, and the weights are
/// already read often enough per load.
const MAX_TILE_ROWS: usize = 24;

/// Packs a `[columns, K]` matrix as it stands.
fn pack(machine: Machine, weight: &Tensor, bias: Option<&Tensor>) -> Panels {
    let (rows, inputs) = (weight.shape()[0], weight.shape()[1]);
    Panels::new(
        machine,
        inputs,
        machine.pad(rows),
        |column, k| if column < rows { weight.data()[column * inputs + k] } else { 0.0 },
        |column| bias.filter(|_| column < rows).map_or(0.0, |bias| bias.data()[column]),
    )
}

/// A network packed for this machine's processors.
#[derive(Debug)]
pub(crate) struct CpuModel {
    /// Per layer, per direction.
    layers: Vec<Vec<Direction>>,
    head: Option<Panels>,
}

/// What a tile gives.
struct TileResult {
    tile: Tile,
    /// `[M, O]`, or `[rows, O]` for a last-step head; with k largest values in place of O where they are
    /// asked for; empty when no output is wanted.
    output: Vec<f32>,
    /// Places of the largest values, as `output`; else empty.
    indices: Vec<u32>,
    /// Per layer, per direction.
    states: Vec<Vec<TileStates>>,
}

impl CpuModel {
    /// Packs the weights of `model`.
    pub(crate) fn new(model: &Model) -> Self {
        Self::for_machine(Machine::detect(), model)
    }

    fn for_machine(machine: Machine, model: &Model) -> Self {
        let layers = model.layers().iter().enumerate().map(|(l, layer)| {
            let spec = layer.spec();
            let input = (l == 0).then(|| model.input());
            let directions = layer.directions().iter().enumerate();
            directions
                .map(|(d, weights)| Direction::new(machine, spec, weights, d, input))
                .collect()
        });
        Self {
            layers: layers.collect(),
            head: model.head().map(|head| pack(machine, &head.weight, head.bias.as_ref())),
        }
    }

    /// Runs `batch` through `model`, which must be the one that was packed.
    ///
    /// # Errors
    /// `Shape` when the batch does not fit.
    pub(crate) fn run(&self, model: &Model, batch: &Batch, options: &RunOptions) -> Result<Output> {
        batch.check_fits(model)?;
        check_top(model, options)?;
        let mut result = empty_output(model, batch, options);
        let lengths: Vec<usize> = (0..batch.batch_size()).map(|b| batch.length(b)).collect();
        let order = by_falling_length(&lengths);
        let tiles: Vec<TileResult> = order
            .par_chunks(tile_rows(&lengths))
            .map(|members| self.run_tile(model, batch, options, Tile::new(batch, members)))
            .collect();
        if options.states {
            tiles.iter().for_each(|tile| put_states(tile, &mut result));
        }
        if let Some(top) = &mut result.top {
            put_output(model, batch, &tiles, |tile| &tile.indices, &mut top.indices);
            put_output(model, batch, &tiles, |tile| &tile.output, &mut top.values);
        } else if options.output {
            put_output(model, batch, &tiles, |tile| &tile.output, &mut result.output);
        }
        Ok(result)
    }

    fn run_tile(
        &self,
        model: &Model,
        batch: &Batch,
        options: &RunOptions,
        tile: Tile,
    ) -> TileResult {
        let lookup = self.layers[0][0].takes_tokens();
        let tokens = if lookup { tile.tokens(batch) } else { Vec::new() };
        let mut values = if lookup { Vec::new() } else { tile.features(batch, model.input()) };
        let mut width = model.input().spec().width();
        let mut states = Vec::with_capacity(self.layers.len());
        for (l, directions) in self.layers.iter().enumerate() {
            let input =
                if l == 0 && lookup { Rows::Tokens(&tokens) } else { Rows::Dense(&values, width) };
            let run = |d: usize| {
                let mut states = initial_states(&directions[d], batch, &tile, l, d);
                let output = directions[d].run(&tile, input, &mut states);
                clear_zero_length(&mut states, batch, &tile, options);
                (output, states)
            };
            let state = model.layers()[l].spec().state_size();
            (values, width) = if directions.len() == 2 {
                let (forward, reverse) = rayon::join(|| run(0), || run(1));
                states.push(vec![forward.1, reverse.1]);
                (interleave(&forward.0, &reverse.0, state), 2 * state)
            } else {
                let (output, last) = run(0);
                states.push(vec![last]);
                (output, state)
            };
        }
        let (output, indices) = match options.output {
            true => self.finish(model, batch, &tile, (values, width), &states, options.top),
            false => Default::default(),
        };
        TileResult { tile, output, indices, states }
    }

    /// Applies the output layer to the packed rows that need it; gives values and, for the `k` largest
    /// of a row, their places.
    fn finish(
        &self,
        model: &Model,
        batch: &Batch,
        tile: &Tile,
        (mut values, width): (Vec<f32>, usize),
        states: &[Vec<TileStates>],
        k: Option<usize>,
    ) -> (Vec<f32>, Vec<u32>) {
        let (Some(head), Some(panels)) = (model.head(), &self.head) else {
            return (values, Vec::new());
        };
        match head.steps {
            HeadSteps::Every => {}
            HeadSteps::Last => values = last_rows(batch, tile, &values, width),
            HeadSteps::Final => {
                let layer = states.last().map_or(&[][..], Vec::as_slice);
                let state = width / layer.len().max(1);
                values = final_rows(tile, layer, state);
            }
        }
        let rows = values.len() / width;
        let mut padded = vec![0.0; rows * panels.columns()];
        panels.product(rows, (&values, width), (&mut padded, panels.columns()));
        let outputs = head.output_size();
        let mut output = Vec::with_capacity(rows * k.unwrap_or(outputs));
        let mut indices = Vec::new();
        for row in padded.chunks_exact_mut(panels.columns()) {
            let row = &mut row[..outputs];
            if let Some(k) = k {
                let (places, largest) = top(head.activation, row, k);
                indices.extend(places);
                output.extend(largest);
            } else {
                activate(head.activation, row);
                output.extend_from_slice(row);
            }
        }
        (output, indices)
    }
}

/// Chooses how many rows share a tile.
///
/// Rows that share a tile share the reading of the weights; tiles are what threads share out. With
/// lengths that differ, two tiles a thread level the load.
fn tile_rows(lengths: &[usize]) -> usize {
    let threads = rayon::current_num_threads();
    let ragged = lengths.iter().any(|length| *length != lengths[0]);
    let tiles = if ragged { 2 * threads } else { threads };
    lengths.len().div_ceil(tiles).clamp(1, MAX_TILE_ROWS)
}

fn initial_states(
    direction: &Direction,
    batch: &Batch,
    tile: &Tile,
    layer: usize,
    d: usize,
) -> TileStates {
    let mut states = direction.zero_states(tile.rows());
    if let Some(initial) = batch.initial() {
        let fill = |into: &mut [f32], stride: usize, from: &Tensor| {
            for (row, b) in into.chunks_exact_mut(stride).zip(tile.members()) {
                let from = from.row(d * batch.batch_size() + b);
                row[..from.len()].copy_from_slice(from);
            }
        };
        fill(&mut states.h, states.h_stride, &initial.h[layer]);
        if let Some(c) = &initial.c[layer] {
            fill(&mut states.c, states.c_stride, c);
        }
    }
    states
}

fn clear_zero_length(states: &mut TileStates, batch: &Batch, tile: &Tile, options: &RunOptions) {
    if options.zero_length == ZeroLength::Zeros {
        let first = tile.members().partition_point(|&b| batch.length(b) > 0);
        states.h[first * states.h_stride..].fill(0.0);
        states.c[first * states.c_stride..].fill(0.0);
    }
}

/// Joins two `[M, state]` into `[M, 2·state]`.
fn interleave(forward: &[f32], reverse: &[f32], state: usize) -> Vec<f32> {
    let mut joined = Vec::with_capacity(2 * forward.len());
    for (forward, reverse) in forward.chunks_exact(state).zip(reverse.chunks_exact(state)) {
        joined.extend_from_slice(forward);
        joined.extend_from_slice(reverse);
    }
    joined
}

/// Picks each row's last valid step; a row without steps gives zeros, which nobody reads.
fn last_rows(batch: &Batch, tile: &Tile, values: &[f32], width: usize) -> Vec<f32> {
    let mut last = vec![0.0; tile.rows() * width];
    for (r, (row, &b)) in last.chunks_exact_mut(width).zip(tile.members()).enumerate() {
        if let Some(t) = batch.length(b).checked_sub(1) {
            row.copy_from_slice(&values[(tile.offset(t) + r) * width..][..width]);
        }
    }
    last
}

/// Puts the final states of a layer's directions side by side, `[rows, D·state]`.
fn final_rows(tile: &Tile, layer: &[TileStates], state: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(tile.rows() * layer.len() * state);
    for r in 0..tile.rows() {
        for direction in layer {
            rows.extend_from_slice(&direction.h[r * direction.h_stride..][..state]);
        }
    }
    rows
}

fn put_states(result: &TileResult, into: &mut Output) {
    let put = |into: &mut Tensor, d: usize, from: &[f32], stride: usize| {
        let (batch, width) = (into.shape()[1], into.shape()[2]);
        for (row, b) in from.chunks_exact(stride).zip(result.tile.members()) {
            let start = (d * batch + b) * width;
            into.data_mut()[start..start + width].copy_from_slice(&row[..width]);
        }
    };
    for (l, directions) in result.states.iter().enumerate() {
        for (d, states) in directions.iter().enumerate() {
            put(&mut into.states.h[l], d, &states.h, states.h_stride);
            if let Some(c) = &mut into.states.c[l] {
                put(c, d, &states.c, states.c_stride);
            }
        }
    }
}

/// Spreads the tiles' packed rows over the output, which is filled with what stands in the padding.
fn put_output<T: Copy + Send + Sync>(
    model: &Model,
    batch: &Batch,
    tiles: &[TileResult],
    packed: impl Fn(&TileResult) -> &[T] + Sync,
    output: &mut Tensor<T>,
) {
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let width = output.shape().last().copied().unwrap_or(1).max(1);
    let mut places = vec![(0, 0); rows];
    for (i, result) in tiles.iter().enumerate() {
        result.tile.members().iter().enumerate().for_each(|(r, &b)| places[b] = (i, r));
    }
    let copy = |into: &mut [T], b: usize, t: Option<usize>| {
        let (tile, r) = places[b];
        let at = t.map_or(0, |t| tiles[tile].tile.offset(t)) + r;
        into.copy_from_slice(&packed(&tiles[tile])[at * width..][..width]);
    };
    let data = output.data_mut();
    if model.is_per_sequence() {
        let valid = data.chunks_exact_mut(width).enumerate().filter(|(b, _)| batch.length(*b) > 0);
        valid.for_each(|(b, row)| copy(row, b, None));
        return;
    }
    match batch.layout() {
        Layout::BatchFirst => {
            data.par_chunks_mut((steps * width).max(1)).enumerate().for_each(|(b, sequence)| {
                let valid = sequence.chunks_exact_mut(width).take(batch.length(b)).enumerate();
                valid.for_each(|(t, row)| copy(row, b, Some(t)));
            });
        }
        Layout::TimeMajor => {
            data.par_chunks_mut((rows * width).max(1)).enumerate().for_each(|(t, step)| {
                let valid =
                    step.chunks_exact_mut(width).enumerate().filter(|(b, _)| batch.length(*b) > t);
                valid.for_each(|(b, row)| copy(row, b, Some(t)));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::model::{HeadSpec, Init, InputSpec, LayerSpec};

    /// `tests/cpu.rs` covers the best instruction set; the others run here.
    #[test]
    fn every_instruction_set_agrees_with_the_oracle() {
        for cell in Cell::ALL {
            for hidden in [3, 16, 37] {
                let proj = if cell == Cell::Lstm { 2 } else { 0 };
                let model = Model::builder(InputSpec::Dense { size: 5 })
                    .layers(2, &LayerSpec::new(cell, hidden).bidirectional().projection(proj))
                    .head(HeadSpec::new(3))
                    .build(Init::PyTorch, 1)
                    .expect("a model");
                let values: Vec<f32> =
                    (0..9 * 7 * 5).map(|i| (i * 37 % 64) as f32 / 32.0).collect();
                let batch = Batch::dense(values, 9, 7, 5, Layout::TimeMajor)
                    .and_then(|batch| batch.with_lengths(vec![3, 7, 0, 1, 6, 7, 2, 2, 5]))
                    .expect("a batch");
                let options = RunOptions::default();
                let want = crate::reference::run::<f64>(&model, &batch, &options).expect("runs");
                for machine in Machine::all() {
                    let packed = CpuModel::for_machine(machine, &model);
                    let got = packed.run(&model, &batch, &options).expect("runs");
                    let pairs = got.output.data().iter().zip(want.output.data());
                    for (got, want) in pairs {
                        let close = (f64::from(*got) - want).abs() <= 1e-5;
                        assert!(close, "{machine:?} {cell} H = {hidden}: {got}, not {want}");
                    }
                }
            }
        }
    }
}
