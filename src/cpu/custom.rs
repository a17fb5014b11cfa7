//! The steps of a cell with options, unit by unit: functions, clipping, peepholes, normalisation.
//!
//! Takes the pre-activations and states of a tile's rows, gives the new states, as the vector code in
//! `layer` does for cells without options. It is its own file because it is the general, slower way:
//! the products, which are most of the work, are the same. Rules: `crate::cell::CellOptions`.

use crate::cell::{self, Cell, Custom, lstm};
use crate::model::{DirectionWeights, LayerSpec};
use crate::tensor::Tensor;

/// The options of one direction of a layer, with their weights.
#[derive(Debug)]
pub(super) struct Options {
    cell: Cell,
    hidden: usize,
    /// H, padded to whole vectors: the distance between gates.
    width: usize,
    rules: Custom<f32>,
    /// `[3, H]`.
    peephole: Option<Tensor>,
    norm: Option<Norm>,
}

#[derive(Debug)]
struct Norm {
    epsilon: f32,
    /// Scale and shift (with the product's bias) of both products, `[G·H]`.
    ih: [Tensor; 2],
    hh: [Tensor; 2],
    /// Scale and shift of c, `[H]`.
    c: Option<[Tensor; 2]>,
}

impl Options {
    /// Gathers the options of direction `d`, or `None` for a cell without any.
    pub(super) fn new(
        spec: &LayerSpec,
        weights: &DirectionWeights,
        d: usize,
        width: usize,
    ) -> Option<Self> {
        if spec.options.is_default() {
            return None;
        }
        let norm = weights.layer_norm.as_ref().zip(spec.options.layer_norm);
        Some(Self {
            cell: spec.cell,
            hidden: spec.hidden_size,
            width,
            rules: Custom::new(spec.cell, &spec.options, d),
            peephole: weights.peephole.clone(),
            norm: norm.map(|(norm, epsilon)| Norm {
                epsilon,
                ih: [norm.ih_weight.clone(), plus(&norm.ih_bias, weights.bias_ih.as_ref())],
                hh: [norm.hh_weight.clone(), plus(&norm.hh_bias, weights.bias_hh.as_ref())],
                c: norm.c_weight.clone().zip(norm.c_bias.clone()).map(|(a, b)| [a, b]),
            }),
        })
    }

    /// Tells whether products come without bias, which the normalisation adds.
    pub(super) fn is_normalised(&self) -> bool {
        self.norm.is_some()
    }

    /// Normalises the input side of every row, `[rows, G·width]`.
    pub(super) fn normalise_input(&self, gates_x: &mut [f32]) {
        if let Some(norm) = &self.norm {
            self.normalise(gates_x, norm.epsilon, &norm.ih);
        }
    }

    /// Normalises the hidden side of every row, `[rows, G·width]`.
    pub(super) fn normalise_hidden(&self, gates_h: &mut [f32]) {
        if let Some(norm) = &self.norm {
            self.normalise(gates_h, norm.epsilon, &norm.hh);
        }
    }

    fn normalise(&self, values: &mut [f32], epsilon: f32, affine: &[Tensor; 2]) {
        let gates = self.cell.gates();
        let mut tight = vec![0.0; gates * self.hidden];
        for row in values.chunks_exact_mut(gates * self.width) {
            for (tight, gate) in tight.chunks_mut(self.hidden).zip(row.chunks(self.width)) {
                tight.copy_from_slice(&gate[..self.hidden]);
            }
            layer_norm(&mut tight, epsilon, affine);
            for (tight, gate) in tight.chunks(self.hidden).zip(row.chunks_mut(self.width)) {
                gate[..self.hidden].copy_from_slice(tight);
            }
        }
    }

    /// Computes r⊙h of every row for the GRU that resets before the product.
    pub(super) fn reset(&self, gates_x: &[f32], gates_h: &[f32], h: &[f32], out: &mut [f32]) {
        let stride = self.cell.gates() * self.width;
        let gates = gates_x.chunks_exact(stride).zip(gates_h.chunks_exact(stride));
        let rows = h.chunks_exact(self.width).zip(out.chunks_exact_mut(self.width));
        for ((gx, gh), (h, out)) in gates.zip(rows) {
            for u in 0..self.hidden {
                out[u] = cell::reset_gate(&self.rules, gx[u], gh[u]) * h[u];
            }
        }
    }

    /// Computes the step of every row: gates `[rows, G·width]`, states `[rows, width]`.
    pub(super) fn step(&self, gates_x: &[f32], gates_h: &[f32], h: &mut [f32], c: &mut [f32]) {
        let stride = self.cell.gates() * self.width;
        let gates = gates_x.chunks_exact(stride).zip(gates_h.chunks_exact(stride));
        let states = h.chunks_exact_mut(self.width).zip(c.chunks_exact_mut(self.width));
        for ((gx, gh), (h, c)) in gates.zip(states) {
            match self.norm.as_ref().and_then(|norm| norm.c.as_ref().map(|c| (norm.epsilon, c))) {
                None => self.step_row(gx, gh, h, c),
                Some((epsilon, affine)) => self.step_normalised(gx, gh, h, c, epsilon, affine),
            }
        }
    }

    fn step_row(&self, gx: &[f32], gh: &[f32], h: &mut [f32], c: &mut [f32]) {
        for u in 0..self.hidden {
            let mut states = [h[u], c[u]];
            cell::step(
                self.cell,
                &self.rules(u),
                &self.gate(gx, u),
                &self.gate(gh, u),
                &mut states,
            );
            [h[u], c[u]] = states;
        }
    }

    /// The LSTM whose h sees its cell state normalised.
    fn step_normalised(
        &self,
        gx: &[f32],
        gh: &[f32],
        h: &mut [f32],
        c: &mut [f32],
        epsilon: f32,
        affine: &[Tensor; 2],
    ) {
        for u in 0..self.hidden {
            // The output gate waits in h, which this cell does not read again.
            (h[u], c[u]) = lstm::gates(&self.rules(u), &self.gate(gx, u), &self.gate(gh, u), c[u]);
        }
        let mut normalised = c[..self.hidden].to_vec();
        layer_norm(&mut normalised, epsilon, affine);
        for (h, c) in h.iter_mut().zip(normalised) {
            *h = lstm::output(&self.rules, *h, c);
        }
    }

    fn rules(&self, u: usize) -> Custom<f32> {
        let weights = self.peephole.as_ref().map(Tensor::data);
        let peephole = weights.map(|p| [0, 1, 2].map(|gate| p[gate * self.hidden + u]));
        Custom { peephole, ..self.rules }
    }

    fn gate(&self, all: &[f32], u: usize) -> [f32; 4] {
        std::array::from_fn(|g| all.get(g * self.width + u).copied().unwrap_or(0.0))
    }
}

fn plus(shift: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let bias = |i: usize| bias.map_or(0.0, |bias| bias.data()[i]);
    Tensor::from_fn(shift.shape(), |i| shift.data()[i] + bias(i))
}

/// `(v − mean) / √(var + ε) ⊙ scale + shift` in place; sums in f64.
fn layer_norm(values: &mut [f32], epsilon: f32, [scale, shift]: &[Tensor; 2]) {
    #[expect(clippy::cast_precision_loss, reason = "axes are below 2^24")]
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance + f64::from(epsilon)).sqrt();
    for ((value, scale), shift) in values.iter_mut().zip(scale.data()).zip(shift.data()) {
        #[expect(clippy::cast_possible_truncation, reason = "of order one; the result is f32")]
        let normal = ((f64::from(*value) - mean) / deviation) as f32;
        *value = normal * scale + shift;
    }
}
