//! The names of tensors, as PyTorch's modules write them.
//!
//! `rnn.weight_ih_l0`, `rnn.bias_hh_l1_reverse`, `rnn.weight_hr_l0`, `fc.weight`,
//! `embedding.weight`. The only place below the engine that spells them.

use super::{Input, Model};

/// A tensor of a model with its full name.
#[derive(Clone, Debug)]
pub struct TensorRef<'a> {
    /// For example `rnn.weight_ih_l0_reverse`.
    pub name: String,
    /// Axes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: &'a [f32],
}

/// [`super::ModelInfo::recurrent_name`] of a network whose recurrent tensors stand in no module.
pub(crate) const NO_MODULE: &str = ".";

/// Builds the name of a layer's tensor: stem, layer, direction.
///
/// ```
/// assert_eq!(wgpu_rnn::model::layer_tensor_name("weight_ih", 1, true), "weight_ih_l1_reverse");
/// ```
pub fn layer_tensor_name(stem: &str, layer: usize, reverse: bool) -> String {
    let suffix = if reverse { "_reverse" } else { "" };
    format!("{stem}_l{layer}{suffix}")
}

fn or<'a>(name: &'a str, default: &'a str) -> &'a str {
    if name.is_empty() { default } else { name }
}

pub(super) fn tensors(model: &Model) -> Vec<TensorRef<'_>> {
    let mut list = Vec::new();
    if let Input::Embedding { table } = model.input() {
        list.push(TensorRef {
            name: format!("{}.weight", or(&model.info.embedding_name, "embedding")),
            shape: table.shape().to_vec(),
            values: table.data(),
        });
    }
    let module = match or(&model.info.recurrent_name, "rnn") {
        NO_MODULE => String::new(),
        name => format!("{name}."),
    };
    for (index, layer) in model.layers().iter().enumerate() {
        for (d, weights) in layer.directions().iter().enumerate() {
            for (stem, shape, tensor) in weights.parts(layer.spec()) {
                if let Some(tensor) = tensor {
                    let name = format!("{module}{}", layer_tensor_name(stem, index, d == 1));
                    list.push(TensorRef { name, shape, values: tensor.data() });
                }
            }
        }
    }
    if let Some(head) = model.head() {
        let module = or(&model.info.head_name, "fc");
        let parts = [("weight", Some(&head.weight)), ("bias", head.bias.as_ref())];
        for (stem, tensor) in parts {
            if let Some(tensor) = tensor {
                list.push(TensorRef {
                    name: format!("{module}.{stem}"),
                    shape: tensor.shape().to_vec(),
                    values: tensor.data(),
                });
            }
        }
    }
    list
}
