//! `TensorProto`: the arrays of an ONNX file, and of the `.pb` files of its test suites.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// An array at the graph's border; other element types are converted to one of these.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// Real numbers (float, double, float16, bfloat16).
    F32(Tensor<f32>),
    /// Whole numbers and truth values.
    I64(Tensor<i64>),
}

impl Array {
    /// Returns the length of every axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(tensor) => tensor.shape(),
            Self::I64(tensor) => tensor.shape(),
        }
    }
}

/// Reads a file that holds one array (`.pb`): its name and values.
///
/// # Errors
/// `Format` when the bytes are damaged, `Unsupported` for an element type that is not read.
pub fn read_tensor(bytes: &[u8]) -> Result<(String, Array)> {
    let _ = bytes;
    Err(Error::unsupported("ONNX: not yet"))
}
