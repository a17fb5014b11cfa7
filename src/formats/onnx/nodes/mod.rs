//! The operators that are read, one file a family.
//!
//! Each takes a [`Call`](super::read::Call) and gives what its results are; the table below is the
//! only list of them.

mod cut;
mod linear;
mod lookup;
mod number;
mod plumbing;
mod recurrent;
mod recurrent_parts;
mod shape;

pub(super) use linear::Map;
pub(super) use lookup::{Lookup, Rows};
pub(super) use recurrent::{Initial, Lengths, Recurrent, gate_order};

use super::graph::is_own;
use super::proto::{ModelProto, NodeProto};
use super::read::{Call, Reader};
use super::value::Value;
use crate::error::{Error, Result};

/// Reads one node.
pub(super) type Operator = fn(&mut Reader, &mut Call<'_>) -> Result<Vec<Value>>;

/// Finds the reader of a node.
///
/// # Errors
/// `Unsupported` for an operator that is not read.
pub(super) fn find(model: &ModelProto, node: &NodeProto) -> Result<Operator> {
    if let Some(function) =
        model.functions.iter().find(|f| f.name == node.op_type && f.domain == node.domain)
    {
        return Err(Error::unsupported(format!(
            "expected an operator of ONNX, got the file's own function {} (export without \
             functions)",
            function.name
        )));
    }
    if !is_own(&node.domain) {
        return Err(Error::unsupported(format!(
            "expected an operator of ONNX, got one of domain {:?}",
            node.domain
        )));
    }
    Ok(match node.op_type.as_str() {
        "RNN" | "GRU" | "LSTM" => recurrent::recurrent,
        "MatMul" => linear::mat_mul,
        "Gemm" => linear::gemm,
        "Relu" | "Sigmoid" | "Tanh" => linear::elementwise,
        "Softmax" | "LogSoftmax" => linear::softmax,
        "OneHot" => lookup::one_hot,
        "Add" | "Sub" | "Mul" | "Div" => number::arithmetic,
        "Equal" => number::equal,
        "Where" => number::choose,
        "Identity" => plumbing::identity,
        "Dropout" => plumbing::dropout,
        "Cast" => plumbing::cast,
        "Transpose" => plumbing::transpose,
        "Squeeze" => plumbing::squeeze,
        "Unsqueeze" => plumbing::unsqueeze,
        "Reshape" => plumbing::reshape,
        "Flatten" => plumbing::flatten,
        "Shape" => shape::shape,
        "Constant" => shape::constant,
        "ConstantOfShape" => shape::constant_of_shape,
        "Expand" => shape::expand,
        "Concat" => cut::concat,
        "Slice" => cut::slice,
        "Split" => cut::split,
        "Gather" => lookup::gather,
        "ReverseSequence" => cut::reverse_sequence,
        "If" | "Loop" | "Scan" => {
            return Err(Error::unsupported(
                "expected an operator without a graph inside, got control flow",
            ));
        }
        _ => {
            return Err(Error::unsupported(
                "expected recurrent layers, an embedding before them, linear layers, and the \
                 plumbing between, got another operator",
            ));
        }
    })
}
