//! The arrays of a network, in PyTorch's layout, and the check of their shapes.

use super::names::layer_tensor_name;
use super::spec::{Activation, HeadSpec, HeadSteps, LayerSpec};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The weights of one direction of one layer.
///
/// `DirectionWeights { weight_ih, weight_hh, ..DirectionWeights::default() }` has nothing optional.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DirectionWeights {
    /// Input weights `[G·H, I]`.
    pub weight_ih: Tensor,
    /// Recurrent weights `[G·H, R]`, R = P with projection, else H.
    pub weight_hh: Tensor,
    /// Input bias `[G·H]`, where the layer has biases.
    pub bias_ih: Option<Tensor>,
    /// Recurrent bias `[G·H]`, where the layer has biases.
    pub bias_hh: Option<Tensor>,
    /// Projection `[P, H]`, where the layer has one.
    pub weight_hr: Option<Tensor>,
    /// Peephole weights `[3·H]` in the order i, f, o, where the layer has peepholes.
    pub peephole: Option<Tensor>,
    /// Scales and shifts of the layer normalisation, where the layer has one.
    pub layer_norm: Option<LayerNorm>,
}

/// Scales and shifts of a layer normalisation inside a cell.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LayerNorm {
    /// Scale of `W_ih·x`, `[G·H]`.
    pub ih_weight: Tensor,
    /// Shift of `W_ih·x`, `[G·H]`.
    pub ih_bias: Tensor,
    /// Scale of `W_hh·h`, `[G·H]`.
    pub hh_weight: Tensor,
    /// Shift of `W_hh·h`, `[G·H]`.
    pub hh_bias: Tensor,
    /// Scale of the cell state, `[H]`, for cells with one.
    pub c_weight: Option<Tensor>,
    /// Shift of the cell state, `[H]`, for cells with one.
    pub c_bias: Option<Tensor>,
}

/// The stems of a layer normalisation's tensors.
pub(crate) const NORM_STEMS: [&str; 6] =
    ["ln_ih_weight", "ln_ih_bias", "ln_hh_weight", "ln_hh_bias", "ln_c_weight", "ln_c_bias"];

impl DirectionWeights {
    /// Lists `(stem, expected shape, tensor)` in PyTorch's order.
    pub(crate) fn parts(
        &self,
        spec: &LayerSpec,
    ) -> Vec<(&'static str, Vec<usize>, Option<&Tensor>)> {
        let rows = spec.gate_rows();
        let mut parts = vec![
            ("weight_ih", vec![rows, spec.input_size], Some(&self.weight_ih)),
            ("weight_hh", vec![rows, spec.state_size()], Some(&self.weight_hh)),
        ];
        if spec.bias || self.bias_ih.is_some() || self.bias_hh.is_some() {
            parts.push(("bias_ih", vec![rows], self.bias_ih.as_ref()));
            parts.push(("bias_hh", vec![rows], self.bias_hh.as_ref()));
        }
        if spec.proj_size > 0 || self.weight_hr.is_some() {
            let shape = vec![spec.proj_size, spec.hidden_size];
            parts.push(("weight_hr", shape, self.weight_hr.as_ref()));
        }
        if spec.options.peephole || self.peephole.is_some() {
            parts.push(("peephole", vec![3 * spec.hidden_size], self.peephole.as_ref()));
        }
        if spec.options.layer_norm.is_some() || self.layer_norm.is_some() {
            let norm = self.layer_norm.as_ref();
            let c = spec.cell.has_c();
            let tensors: [Option<&Tensor>; 6] = [
                norm.map(|n| &n.ih_weight),
                norm.map(|n| &n.ih_bias),
                norm.map(|n| &n.hh_weight),
                norm.map(|n| &n.hh_bias),
                norm.and_then(|n| n.c_weight.as_ref()),
                norm.and_then(|n| n.c_bias.as_ref()),
            ];
            for (place, (stem, tensor)) in NORM_STEMS.into_iter().zip(tensors).enumerate() {
                if place < 4 {
                    parts.push((stem, vec![rows], tensor));
                } else if c || tensor.is_some() {
                    parts.push((stem, vec![spec.hidden_size], tensor));
                }
            }
        }
        parts
    }
}

/// One recurrent layer: its description and the weights of its D directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    spec: LayerSpec,
    directions: Vec<DirectionWeights>,
}

impl Layer {
    /// Joins a description and the weights of each direction (forward first).
    ///
    /// # Errors
    /// `Weights`, listing every tensor whose shape does not fit.
    pub fn new(spec: LayerSpec, directions: Vec<DirectionWeights>) -> Result<Self> {
        let layer = Self { spec, directions };
        let mut faults = Vec::new();
        layer.collect_faults(0, &mut faults);
        if faults.is_empty() { Ok(layer) } else { Err(Error::weights(faults.join("\n"))) }
    }

    /// Returns the description.
    pub fn spec(&self) -> &LayerSpec {
        &self.spec
    }

    /// Returns the weights, one entry per direction, forward first.
    pub fn directions(&self) -> &[DirectionWeights] {
        &self.directions
    }

    pub(super) fn collect_faults(&self, index: usize, faults: &mut Vec<String>) {
        let spec = &self.spec;
        if self.directions.len() != spec.direction.count() {
            faults.push(format!(
                "layer {index} directions: expected {}, got {}",
                spec.direction.count(),
                self.directions.len()
            ));
        }
        for (d, weights) in self.directions.iter().enumerate() {
            if !spec.bias && (weights.bias_ih.is_some() || weights.bias_hh.is_some()) {
                faults.push(format!("layer {index}: expected no biases, got some"));
                continue;
            }
            let norm = weights.layer_norm.as_ref();
            let surplus = [
                ("peephole", !spec.options.peephole && weights.peephole.is_some()),
                ("layer_norm", spec.options.layer_norm.is_none() && norm.is_some()),
                (
                    "layer_norm of c",
                    !spec.cell.has_c()
                        && norm.is_some_and(|n| n.c_weight.is_some() || n.c_bias.is_some()),
                ),
            ];
            for (name, _) in surplus.into_iter().filter(|(_, is_surplus)| *is_surplus) {
                faults.push(format!("layer {index} {name}: expected none, got some"));
            }
            for (stem, shape, tensor) in weights.parts(spec) {
                let name = layer_tensor_name(stem, index, d == 1);
                check_shape(&name, &shape, tensor, faults);
            }
        }
    }
}

/// The output layer `y = g(W·h + b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Weights `[O, recurrent width]`.
    pub weight: Tensor,
    /// Bias `[O]`.
    pub bias: Option<Tensor>,
    /// The function g.
    pub activation: Activation,
    /// Which time steps.
    pub steps: HeadSteps,
}

impl Head {
    /// Returns the width of the output, O.
    pub fn output_size(&self) -> usize {
        self.weight.shape().first().copied().unwrap_or(0)
    }

    /// Describes the head without its weights.
    pub fn spec(&self) -> HeadSpec {
        HeadSpec {
            output_size: self.output_size(),
            activation: self.activation,
            steps: self.steps,
            bias: self.bias.is_some(),
        }
    }

    pub(super) fn collect_faults(&self, width: usize, faults: &mut Vec<String>) {
        let out = self.output_size();
        check_shape("head weight", &[out.max(1), width], Some(&self.weight), faults);
        if self.bias.is_some() {
            check_shape("head bias", &[out], self.bias.as_ref(), faults);
        }
    }
}

fn check_shape(name: &str, expected: &[usize], tensor: Option<&Tensor>, faults: &mut Vec<String>) {
    match tensor {
        None => faults.push(format!("{name}: expected {expected:?}, got nothing")),
        Some(tensor) if tensor.shape() != expected => {
            faults.push(format!("{name}: expected {expected:?}, got {:?}", tensor.shape()));
        }
        Some(_) => {}
    }
}
