//! Weights from PyTorch's layout to the device's: transposed, gates apart, axes padded to four.
//!
//! PyTorch keeps `[G·H, K]`; the kernels read `[K, G, H]` with H and K padded, so that the threads of
//! a workgroup, which own neighbouring units, read neighbouring vec4s. Padding is zero, which makes
//! padded units stay zero in every cell. Pure functions, tested without a device.

use crate::kernel::Precision;
use crate::model::{DirectionWeights, LayerSpec};
use crate::plan::padded;
use crate::tensor::Tensor;

/// How the columns K of a weight are laid out in the rows that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Blocks of a row (directions of the layer before).
    pub(crate) blocks: usize,
    /// Values of a block; a block is padded to four.
    pub(crate) width: usize,
}

impl Columns {
    /// One block.
    pub(crate) const fn plain(width: usize) -> Self {
        Self { blocks: 1, width }
    }

    /// Returns the padded width of a row.
    pub(crate) const fn padded(self) -> usize {
        self.blocks * padded(self.width)
    }

    /// Returns the padded place of tight column `k`.
    pub(super) const fn place(self, k: usize) -> usize {
        (k / self.width) * padded(self.width) + k % self.width
    }
}

/// Packs `[G·H, K]` of every direction as `[D, K, G, H]`, padded.
pub(crate) fn gate_matrix(weights: &[&Tensor], gates: usize, columns: Columns) -> Vec<f32> {
    let rows = weights.first().map_or(0, |weight| weight.shape()[0]);
    let hidden = rows / gates;
    let row_width = gates * padded(hidden);
    let block = columns.padded() * row_width;
    let mut packed = vec![0.0; weights.len() * block];
    for (weight, target) in weights.iter().zip(packed.chunks_mut(block.max(1))) {
        for row in 0..rows {
            let at = (row / hidden) * padded(hidden) + row % hidden;
            for (k, value) in weight.row(row).iter().enumerate() {
                target[columns.place(k) * row_width + at] = *value;
            }
        }
    }
    packed
}

/// Packs `[G·H]` of every direction as `[D, G, H]`, padded; zeros where there is no bias.
pub(crate) fn gate_bias(biases: &[Option<&Tensor>], gates: usize, hidden: usize) -> Vec<f32> {
    let width = gates * padded(hidden);
    let mut packed = vec![0.0; biases.len() * width];
    for (bias, target) in biases.iter().zip(packed.chunks_mut(width.max(1))) {
        for (row, value) in bias.iter().flat_map(|bias| bias.data()).enumerate() {
            target[(row / hidden) * padded(hidden) + row % hidden] = *value;
        }
    }
    packed
}

/// Packs what `shaders/lib/custom.wgsl` reads as `params`, of every direction: α and β of f, g, h;
/// clip, bounds of the cell state, ε; peepholes; scales of W_hh·h; scale and shift of c.
pub(crate) fn cell_params(spec: &LayerSpec, directions: &[DirectionWeights]) -> Vec<f32> {
    let (options, hidden, gates) = (&spec.options, spec.hidden_size, spec.cell.gates());
    let mut packed = Vec::new();
    for (d, weights) in directions.iter().enumerate() {
        for function in options.functions_of(spec.cell, d) {
            let [alpha, beta] = function.parameters();
            packed.extend([alpha.unwrap_or(0.0), beta.unwrap_or(0.0), 0.0, 0.0]);
        }
        let [low, high] = options.cell_clip.unwrap_or_default();
        packed.extend([options.clip.unwrap_or(0.0), low, high, options.layer_norm.unwrap_or(0.0)]);
        if options.peephole {
            packed.extend(gate_bias(&[weights.peephole.as_ref()], 3, hidden));
        }
        if options.layer_norm.is_some() {
            let norm = weights.layer_norm.as_ref();
            packed.extend(gate_bias(&[norm.map(|n| &n.hh_weight)], gates, hidden));
            packed.extend(gate_bias(&[norm.and_then(|n| n.c_weight.as_ref())], 1, hidden));
            packed.extend(gate_bias(&[norm.and_then(|n| n.c_bias.as_ref())], 1, hidden));
        }
    }
    packed
}

/// Packs ε, scale and shift (plus b_ih) of the input side, of every direction.
pub(crate) fn input_norm(spec: &LayerSpec, directions: &[DirectionWeights]) -> Vec<f32> {
    let (hidden, gates) = (spec.hidden_size, spec.cell.gates());
    let epsilon = spec.options.layer_norm.unwrap_or(0.0);
    let mut packed = Vec::new();
    for weights in directions {
        packed.extend([epsilon; 4]);
        let norm = weights.layer_norm.as_ref();
        packed.extend(gate_bias(&[norm.map(|n| &n.ih_weight)], gates, hidden));
        let shift = shifted(norm.map(|n| &n.ih_bias), weights.bias_ih.as_ref());
        packed.extend(gate_bias(&[shift.as_ref()], gates, hidden));
    }
    packed
}

/// Adds a bias to the shift of a layer normalisation, where there is one.
pub(crate) fn shifted(shift: Option<&Tensor>, bias: Option<&Tensor>) -> Option<Tensor> {
    match (shift, bias) {
        (Some(shift), Some(bias)) => {
            Some(Tensor::from_fn(shift.shape(), |i| shift.data()[i] + bias.data()[i]))
        }
        (shift, bias) => shift.or(bias).cloned(),
    }
}

/// Pads the rows of states `[D, B, width]`, rounded as the device stores them.
pub(crate) fn state_rows(states: &Tensor, precision: Precision) -> Vec<f32> {
    let width = states.shape().last().copied().unwrap_or(1);
    let mut packed = pad_rows(states.data(), width);
    if precision == Precision::F16 {
        packed.iter_mut().for_each(|v| *v = half::f16::from_f32(*v).to_f32());
    }
    packed
}

/// Pads the rows of `[N, width]` to a multiple of four.
pub(crate) fn pad_rows(values: &[f32], width: usize) -> Vec<f32> {
    let mut packed = Vec::with_capacity(values.len() / width.max(1) * padded(width));
    for row in values.chunks(width.max(1)) {
        packed.extend_from_slice(row);
        packed.resize(packed.len().next_multiple_of(padded(width)), 0.0);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gate_matrix_transposes_and_pads_every_axis() {
        // G = 2, H = 3, K = 2 directions × 1.
        let weight = Tensor::new([6, 2], (1u8..=12).map(f32::from).collect()).expect("shape");
        let packed = gate_matrix(&[&weight], 2, Columns { blocks: 2, width: 1 });
        assert_eq!(packed.len(), 8 * 8);
        // Column 0 of K sits at padded row 0, column 1 at padded row 4.
        assert_eq!(packed[..8], [1., 3., 5., 0., 7., 9., 11., 0.]);
        assert_eq!(packed[32..40], [2., 4., 6., 0., 8., 10., 12., 0.]);
        assert!(packed[8..32].iter().all(|v| v.to_bits() == 0));
    }

    #[test]
    fn pad_rows_keeps_rows_apart() {
        assert_eq!(pad_rows(&[1., 2., 3., 4., 5.], 5), [1., 2., 3., 4., 5., 0., 0., 0.]);
        assert_eq!(pad_rows(&[1., 2.], 1), [1., 0., 0., 0., 2., 0., 0., 0.]);
    }

    #[test]
    fn gate_bias_leaves_zeros_where_there_is_none() {
        let bias = Tensor::new([2], vec![1., 2.]).expect("shape");
        assert_eq!(gate_bias(&[Some(&bias), None], 1, 2), [1., 2., 0., 0., 0., 0., 0., 0.]);
    }
}
