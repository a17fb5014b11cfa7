//! Small constructors of the messages that the writer needs.

use prost::Message;

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};
use super::tensor::Array;

/// The versions that are written: readable since ONNX 1.17.
const IR_VERSION: i64 = 10;
const OPSET: i64 = 22;

/// A size of an axis of a graph input or output.
pub(super) enum Size<'a> {
    Known(usize),
    Named(&'a str),
}

/// A graph that grows node by node.
#[derive(Default)]
pub(super) struct Builder {
    graph: GraphProto,
}

/// Widens a size for a message.
pub(super) fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind, ..AttributeProto::default() }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, 2) }
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, 1) }
}

pub(super) fn floats(name: &str, floats: Vec<f32>) -> AttributeProto {
    AttributeProto { floats, ..attribute(name, 6) }
}

pub(super) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, 7) }
}

pub(super) fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { s: text.into(), ..attribute(name, 3) }
}

pub(super) fn texts(name: &str, texts: &[&str]) -> AttributeProto {
    let strings = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    AttributeProto { strings, ..attribute(name, 8) }
}

impl Builder {
    /// Adds a constant and returns its name.
    pub(super) fn constant(&mut self, name: &str, array: &Array) -> String {
        let (data_type, raw) = match array {
            Array::F32(t) => (1, t.data().iter().flat_map(|v| v.to_le_bytes()).collect()),
            Array::I64(t) => (7, t.data().iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        self.graph.initializer.push(TensorProto {
            dims: array.shape().iter().map(|n| signed(*n)).collect(),
            data_type,
            name: name.into(),
            raw_data: Some(raw),
            ..TensorProto::default()
        });
        name.into()
    }

    /// Adds a node, named by its first result, and returns that name.
    pub(super) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let name = outputs.iter().find(|name| !name.is_empty()).copied().unwrap_or_default();
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: outputs.iter().map(|name| (*name).to_owned()).collect(),
            name: format!("make_{name}"),
            op_type: operator.into(),
            attribute: attributes,
            domain: String::new(),
        });
        name.into()
    }

    fn port(name: &str, element: i32, shape: &[Size<'_>]) -> ValueInfoProto {
        let dim = |size: &Size<'_>| match size {
            Size::Known(n) => {
                DimensionProto { dim_value: Some(signed(*n)), ..DimensionProto::default() }
            }
            Size::Named(name) => {
                DimensionProto { dim_param: Some((*name).to_owned()), ..DimensionProto::default() }
            }
        };
        let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
        let tensor = TensorTypeProto { elem_type: element, shape: Some(shape) };
        ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
    }

    pub(super) fn input(&mut self, name: &str, real: bool, shape: &[Size<'_>]) {
        self.graph.input.push(Self::port(name, if real { 1 } else { 7 }, shape));
    }

    pub(super) fn output(&mut self, name: &str, shape: &[Size<'_>]) {
        self.graph.output.push(Self::port(name, 1, shape));
    }

    /// Writes the file, with one text under `key`.
    pub(super) fn finish(mut self, key: &str, value: String) -> Vec<u8> {
        self.graph.name = "recurrent network".into();
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            metadata_props: vec![StringStringEntryProto { key: key.into(), value }],
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}
