//! Graphs by hand, and the comparison of what is read with what is meant.

use prost::Message;
use wgpu_rnn::onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use wgpu_rnn::onnx::{Array, OnnxModel};
use wgpu_rnn::{
    Batch, Cell, Init, InputSpec, Layer, LayerSpec, Layout, Model, RunOptions, Tensor, ZeroLength,
    reference,
};

/// T, B, I, H of most graphs: all different.
pub(crate) const T: usize = 5;
pub(crate) const B: usize = 3;
pub(crate) const I: usize = 4;
pub(crate) const H: usize = 6;

#[derive(Clone, Default)]
pub(crate) struct Graph {
    pub(crate) proto: GraphProto,
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind, ..AttributeProto::default() }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, 2) }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, 1) }
}

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, 7) }
}

pub(crate) fn floats(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto { floats: floats.to_vec(), ..attribute(name, 6) }
}

pub(crate) fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { s: text.into(), ..attribute(name, 3) }
}

pub(crate) fn texts(name: &str, texts: &[&str]) -> AttributeProto {
    let strings = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    AttributeProto { strings, ..attribute(name, 8) }
}

/// Numbers in [−1, 1] that follow from a name and a place.
pub(crate) fn noise(name: &str, shape: &[usize]) -> Tensor {
    let seed = name.bytes().fold(7u32, |n, b| n.wrapping_mul(31).wrapping_add(u32::from(b)));
    Tensor::from_fn(shape, |i| {
        let mixed = (seed ^ (i as u32).wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
        f32::from(u16::try_from(mixed >> 16).expect("16 bits")) / 32767.5 - 1.0
    })
}

impl Graph {
    /// Adds a graph input; axes are separated by blanks, numbers or names.
    pub(crate) fn input(&mut self, name: &str, element: i32, axes: &str) -> &mut Self {
        let dim = |axis: &str| match axis.parse::<i64>() {
            Ok(n) => DimensionProto { dim_value: Some(n), ..DimensionProto::default() },
            Err(_) => DimensionProto { dim_param: Some(axis.into()), ..DimensionProto::default() },
        };
        let shape = TensorShapeProto { dim: axes.split_whitespace().map(dim).collect() };
        let tensor = TensorTypeProto { elem_type: element, shape: Some(shape) };
        let kind = TypeProto { tensor_type: Some(tensor) };
        self.proto.input.push(ValueInfoProto { name: name.into(), r#type: Some(kind) });
        self
    }

    pub(crate) fn outputs(&mut self, names: &str) -> &mut Self {
        for name in names.split_whitespace() {
            self.proto.output.push(ValueInfoProto { name: name.into(), r#type: None });
        }
        self
    }

    pub(crate) fn floats(&mut self, name: &str, tensor: &Tensor) -> &mut Self {
        self.proto.initializer.push(TensorProto {
            dims: tensor.shape().iter().map(|n| *n as i64).collect(),
            data_type: 1,
            name: name.into(),
            float_data: tensor.data().to_vec(),
            ..TensorProto::default()
        });
        self
    }

    pub(crate) fn ints(&mut self, name: &str, values: &[i64]) -> &mut Self {
        self.proto.initializer.push(TensorProto {
            dims: vec![values.len() as i64],
            data_type: 7,
            name: name.into(),
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    pub(crate) fn scalar(&mut self, name: &str, value: i64) -> &mut Self {
        self.ints(name, &[value]);
        self.proto.initializer.last_mut().expect("just added").dims.clear();
        self
    }

    /// Adds a node; names are separated by blanks, `-` stands for none.
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &str,
        outputs: &str,
        attributes: &[AttributeProto],
    ) -> &mut Self {
        let names = |list: &str| {
            list.split_whitespace().map(|n| n.trim_matches('-').to_owned()).collect::<Vec<_>>()
        };
        self.proto.node.push(NodeProto {
            input: names(inputs),
            output: names(outputs),
            name: format!("n{}", self.proto.node.len()),
            op_type: operator.into(),
            attribute: attributes.to_vec(),
            domain: String::new(),
        });
        self
    }

    /// Adds the weights of a layer under `W{tag}`, `R{tag}`, `B{tag}`, `P{tag}`.
    pub(crate) fn weights(&mut self, tag: &str, layer: &Layer) -> &mut Self {
        let [w, r, b, p] = arrays(layer);
        for (name, tensor) in [("W", w), ("R", r), ("B", b), ("P", p)] {
            if let Some(tensor) = tensor {
                self.floats(&format!("{name}{tag}"), &tensor);
            }
        }
        self
    }

    pub(crate) fn bytes(&self, opset: i64) -> Vec<u8> {
        ModelProto {
            ir_version: 8,
            graph: Some(self.proto.clone()),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
            ..ModelProto::default()
        }
        .encode_to_vec()
    }

    pub(crate) fn read(&self, opset: i64) -> Result<OnnxModel, String> {
        OnnxModel::from_bytes(&self.bytes(opset), None).map_err(|e| e.to_string())
    }
}

/// The gates of ONNX and ours, by letters.
fn gates(cell: Cell) -> (&'static str, &'static str) {
    match cell {
        Cell::Lstm => ("iofc", "ifco"),
        Cell::Gru | Cell::GruResetBefore => ("zrn", "rzn"),
        _ => ("h", "h"),
    }
}

/// W, R, B, P of a layer, put together gate by gate by name.
fn arrays(layer: &Layer) -> [Option<Tensor>; 4] {
    let spec = layer.spec();
    let (theirs, ours) = gates(spec.cell);
    let d = layer.directions().len();
    let pick = |tensor: &Tensor, theirs: &str, ours: &str| -> Vec<f32> {
        let block = tensor.len() / ours.len();
        theirs
            .chars()
            .flat_map(|gate| {
                let place = ours.find(gate).expect("a gate");
                tensor.data()[place * block..(place + 1) * block].to_vec()
            })
            .collect()
    };
    let (rows, hidden) = (spec.gate_rows(), spec.hidden_size);
    let (mut w, mut r, mut b, mut p) = (vec![], vec![], vec![], vec![]);
    for weights in layer.directions() {
        w.extend(pick(&weights.weight_ih, theirs, ours));
        r.extend(pick(&weights.weight_hh, theirs, ours));
        if let (Some(ih), Some(hh)) = (&weights.bias_ih, &weights.bias_hh) {
            b.extend(pick(ih, theirs, ours));
            b.extend(pick(hh, theirs, ours));
        }
        if let Some(peephole) = &weights.peephole {
            p.extend(pick(peephole, "iof", "ifo"));
        }
    }
    let tensor = |shape: Vec<usize>, data: Vec<f32>| {
        (!data.is_empty()).then(|| Tensor::new(shape, data).expect("fits"))
    };
    [
        tensor(vec![d, rows, spec.input_size], w),
        tensor(vec![d, rows, hidden], r),
        tensor(vec![d, 2 * rows], b),
        tensor(vec![d, 3 * hidden], p),
    ]
}

/// A network of drawn weights: what a graph is meant to be.
pub(crate) fn network(layers: &[LayerSpec]) -> Model {
    let mut builder = Model::builder(InputSpec::Dense { size: I });
    for spec in layers {
        builder = builder.layer(spec.clone());
    }
    // PyTorch's draws are within 1/sqrt(H); larger weights make options matter.
    let drawn = builder.build(Init::PyTorch, 11).expect("a network");
    let layers = drawn.layers().iter().map(enlarged).collect();
    Model::new(drawn.input().clone(), layers, None).expect("a network")
}

fn enlarged(layer: &Layer) -> Layer {
    let mut directions = layer.directions().to_vec();
    for weights in &mut directions {
        let tensors = [Some(&mut weights.weight_ih), Some(&mut weights.weight_hh)];
        let more =
            [&mut weights.bias_ih, &mut weights.bias_hh, &mut weights.peephole].map(Option::as_mut);
        for tensor in tensors.into_iter().chain(more).flatten() {
            tensor.data_mut().iter_mut().for_each(|value| *value *= 2.5);
        }
    }
    Layer::new(layer.spec().clone(), directions).expect("a layer")
}

/// What a network gives for `x [T, B, I]` in f64: Y `[T, B, D·H]`, and per layer h and c.
pub(crate) struct Meant {
    pub(crate) y: Tensor<f64>,
    pub(crate) h: Vec<Tensor<f64>>,
    pub(crate) c: Vec<Option<Tensor<f64>>>,
}

pub(crate) fn x() -> Tensor {
    noise("x", &[T, B, I])
}

pub(crate) fn meant(model: &Model, change: impl Fn(Batch) -> Batch) -> Meant {
    let batch = Batch::dense(x().into_data(), B, T, I, Layout::TimeMajor).expect("a batch");
    let options = RunOptions { zero_length: ZeroLength::Zeros, ..RunOptions::default() };
    let result = reference::run::<f64>(model, &change(batch), &options).expect("a run");
    Meant { y: result.output, h: result.h, c: result.c }
}

/// Wraps an input array.
pub(crate) fn real(name: &str, tensor: Tensor) -> (String, Array) {
    (name.into(), Array::F32(tensor))
}

pub(crate) fn whole(name: &str, shape: &[usize], values: &[i64]) -> (String, Array) {
    (name.into(), Array::I64(Tensor::new(shape, values.to_vec()).expect("fits")))
}

/// Swaps the first two axes.
pub(crate) fn swapped<V: Clone>(tensor: &Tensor<V>) -> Tensor<V> {
    let shape = tensor.shape();
    let (a, b) = (shape[0], shape[1]);
    let width: usize = shape[2..].iter().product();
    let mut turned = shape.to_vec();
    turned.swap(0, 1);
    Tensor::from_fn(turned, |i| {
        let (row, w) = (i / width, i % width);
        tensor.data()[((row % a) * b + row / a) * width + w].clone()
    })
}

/// Reads the graph, runs it on `inputs` through the f64 reference, and compares output by output.
#[track_caller]
pub(crate) fn expect(
    model: &OnnxModel,
    inputs: &[(String, Array)],
    wanted: &[(&str, &[usize], &[f64])],
) {
    let outputs = super::fixtures::run(model, inputs).expect("a run");
    assert_eq!(outputs.len(), wanted.len());
    for ((name, array), (want_name, shape, values)) in outputs.iter().zip(wanted) {
        assert_eq!(name, want_name);
        assert_eq!(array.shape(), *shape, "{name}");
        let Array::F32(array) = array else { panic!("{name}: not real") };
        for (i, (got, want)) in array.data().iter().zip(*values).enumerate() {
            let close = (f64::from(*got) - want).abs() <= 1e-6 + 1e-5 * want.abs();
            assert!(close, "{name}[{i}]: {got}, want {want}");
        }
    }
}
