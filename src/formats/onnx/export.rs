//! A [`Model`] as an ONNX graph.
//!
//! ```text
//! input    x [time, batch, I], or tokens [time, batch] (int64) -> Gather or OneHot
//! layers   one RNN, GRU or LSTM node a layer; Y [T, D, B, H] -> Transpose, Reshape -> [T, B, D·H]
//! head     MatMul, Add and the function; on every step, on the last (Gather −1) or on Y_h
//! outputs  output [time, batch, O] or [batch, O]; h_n and c_n [L·D, batch, H] as PyTorch has them, or
//!          h_n_l0, h_n_l1, … where layers differ in width
//! ```
//! Time-major, as the operators are. Sequences start from zero states and are as long as the input:
//! an ONNX graph has no optional inputs, and every caller would have to give lengths and states.
//! What the graph does not say (vocabulary, columns, module names) is our own text in
//! `metadata_props`.

use super::build::{Builder, Size, float, floats, int, ints, signed, text, texts};
use super::nodes::gate_order;
use super::proto::AttributeProto;
use super::tensor::Array;
use crate::cell::{Cell, CellFunction};
use crate::error::{Error, Result};
use crate::formats::metadata;
use crate::model::{Activation, DirectionWeights, Head, HeadSteps, Input, Layer, LayerSpec, Model};
use crate::tensor::Tensor;

const FREE: [Size<'_>; 2] = [Size::Named("time"), Size::Named("batch")];

impl Model {
    /// Writes the model as the bytes of an `.onnx` file (operator set 22), time-major: `x [time,
    /// batch, I]` or `tokens [time, batch]` in; `output`, `h_n` and, with LSTM layers, `c_n` out.
    ///
    /// Reading the file back gives the same weights bit by bit. Functions that are a cell's own are
    /// read back as none given.
    ///
    /// # Errors
    /// `Unsupported`, listing what ONNX has no words for: projection, layer normalisation, a bound
    /// of the cell state.
    pub fn to_onnx(&self) -> Result<Vec<u8>> {
        check(self)?;
        let mut builder = Builder::default();
        let mut below = input(&mut builder, self.input());
        let (mut h, mut c) = (Vec::new(), Vec::new());
        for (index, layer) in self.layers().iter().enumerate() {
            let last = index + 1 == self.layers().len();
            let name =
                if last && self.head().is_none() { "output".into() } else { format!("y_l{index}") };
            below = recurrent(&mut builder, index, layer, &below, &name)?;
            h.push((index, format!("h_n_l{index}")));
            if layer.spec().cell.has_c() {
                c.push((index, format!("c_n_l{index}")));
            }
        }
        let [time, batch] = FREE;
        let width = Size::Known(self.output_size());
        match self.head() {
            Some(head) => output_layer(&mut builder, self, head, &below)?,
            None => {}
        }
        match self.is_per_sequence() {
            true => builder.output("output", &[batch, width]),
            false => builder.output("output", &[time, batch, width]),
        }
        states(&mut builder, self, "h_n", &h);
        states(&mut builder, self, "c_n", &c);
        Ok(builder.finish(metadata::KEY, metadata::write(self)?))
    }
}

fn check(model: &Model) -> Result<()> {
    let mut faults = Vec::new();
    for (index, layer) in model.layers().iter().enumerate() {
        let spec = layer.spec();
        let beyond = [
            ("projection", spec.proj_size > 0),
            ("layer normalisation", spec.options.layer_norm.is_some()),
            ("bound of the cell state", spec.options.cell_clip.is_some()),
        ];
        for (what, _) in beyond.iter().filter(|(_, is)| *is) {
            faults.push(format!("layer {index}: expected no {what}, got one"));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "ONNX has no words for parts of this model:\n  {}",
        faults.join("\n  ")
    )))
}

fn input(builder: &mut Builder, input: &Input) -> String {
    let [time, batch] = FREE;
    match input {
        Input::Dense { size } => {
            builder.input("x", true, &[time, batch, Size::Known(*size)]);
            "x".into()
        }
        Input::Embedding { table } => {
            builder.input("tokens", false, &[time, batch]);
            let table = builder.constant("embedding", &Array::F32(table.clone()));
            builder.node("Gather", &[&table, "tokens"], &["x"], vec![int("axis", 0)])
        }
        Input::OneHot { vocab } => {
            builder.input("tokens", false, &[time, batch]);
            let depth = builder.constant("depth", &whole(&[signed(*vocab)]));
            let values = Array::F32(Tensor::from_fn([2], |i| if i == 0 { 0.0 } else { 1.0 }));
            let values = builder.constant("off_on", &values);
            let inputs = ["tokens", depth.as_str(), values.as_str()];
            builder.node("OneHot", &inputs, &["x"], vec![int("axis", -1)])
        }
    }
}

fn whole(values: &[i64]) -> Array {
    Array::I64(Tensor::from_fn([values.len()], |i| values[i]))
}

/// Writes a layer and the way from its Y to `[T, B, D·H]`.
fn recurrent(
    builder: &mut Builder,
    index: usize,
    layer: &Layer,
    below: &str,
    name: &str,
) -> Result<String> {
    let spec = layer.spec();
    let weights = Arrays::of(layer)?;
    let mut constant = |stem: &str, tensor: Option<Tensor>| match tensor {
        Some(tensor) => builder.constant(&format!("{stem}_l{index}"), &Array::F32(tensor)),
        None => String::new(),
    };
    let (w, r) = (constant("W", Some(weights.w)), constant("R", Some(weights.r)));
    let (b, p) = (constant("B", weights.b), constant("P", weights.p));
    let mut inputs = vec![below, w.as_str(), r.as_str(), b.as_str(), "", "", "", p.as_str()];
    while inputs.last().is_some_and(|input| input.is_empty()) {
        inputs.pop();
    }
    let y = format!("y4_l{index}");
    let (h, c) = (format!("h_n_l{index}"), format!("c_n_l{index}"));
    let outputs = [y.as_str(), h.as_str(), c.as_str()];
    let outputs = if spec.cell.has_c() { &outputs[..] } else { &outputs[..2] };
    builder.node(operator(spec.cell), &inputs, outputs, attributes(spec));
    // D stands before B in Y, and with H behind it.
    let turned = format!("y4_rows_l{index}");
    let turned = builder.node("Transpose", &[&y], &[&turned], vec![ints("perm", &[0, 2, 1, 3])]);
    let shape = whole(&[0, 0, signed(spec.output_size())]);
    let shape = builder.constant(&format!("y_shape_l{index}"), &shape);
    Ok(builder.node("Reshape", &[&turned, &shape], &[name], Vec::new()))
}

const fn operator(cell: Cell) -> &'static str {
    match cell {
        Cell::RnnTanh | Cell::RnnRelu => "RNN",
        Cell::Gru | Cell::GruResetBefore => "GRU",
        Cell::Lstm => "LSTM",
    }
}

const fn function(function: CellFunction) -> &'static str {
    match function {
        CellFunction::Relu => "Relu",
        CellFunction::Tanh => "Tanh",
        CellFunction::Sigmoid => "Sigmoid",
        CellFunction::Affine { .. } => "Affine",
        CellFunction::LeakyRelu { .. } => "LeakyRelu",
        CellFunction::ThresholdedRelu { .. } => "ThresholdedRelu",
        CellFunction::ScaledTanh { .. } => "ScaledTanh",
        CellFunction::HardSigmoid { .. } => "HardSigmoid",
        CellFunction::Elu { .. } => "Elu",
        CellFunction::Softsign => "Softsign",
        CellFunction::Softplus => "Softplus",
    }
}

fn attributes(spec: &LayerSpec) -> Vec<AttributeProto> {
    let options = &spec.options;
    let mut list = vec![
        int("hidden_size", signed(spec.hidden_size)),
        text("direction", spec.direction.name()),
    ];
    if spec.cell == Cell::Gru {
        list.push(int("linear_before_reset", 1));
    }
    if let Some(clip) = options.clip {
        list.push(float("clip", clip));
    }
    if options.input_forget {
        list.push(int("input_forget", 1));
    }
    // The operator's own functions are those of our cells, but for the ReLU of an RNN.
    if !options.functions.is_empty() || spec.cell == Cell::RnnRelu {
        let places = spec.cell.spec().functions.len();
        let functions: Vec<CellFunction> = (0..spec.direction.count())
            .flat_map(|d| options.functions_of(spec.cell, d).into_iter().take(places))
            .collect();
        let names: Vec<&str> = functions.iter().map(|f| function(*f)).collect();
        list.push(texts("activations", &names));
        for (place, name) in ["activation_alpha", "activation_beta"].into_iter().enumerate() {
            let values: Vec<f32> = functions.iter().filter_map(|f| f.parameters()[place]).collect();
            if !values.is_empty() {
                list.push(floats(name, values));
            }
        }
    }
    list
}

/// The weights of a layer as the operators have them.
struct Arrays {
    w: Tensor,
    r: Tensor,
    b: Option<Tensor>,
    p: Option<Tensor>,
}

impl Arrays {
    fn of(layer: &Layer) -> Result<Self> {
        let spec = layer.spec();
        let (d, rows, hidden) = (spec.direction.count(), spec.gate_rows(), spec.hidden_size);
        let order = gate_order(spec.cell);
        let each = |shape: &[usize], part: &dyn Fn(&DirectionWeights) -> Option<Vec<f32>>| {
            let parts: Option<Vec<Vec<f32>>> = layer.directions().iter().map(part).collect();
            parts.map(|parts| Tensor::new([&[d], shape].concat(), parts.concat())).transpose()
        };
        let matrix = |tensor: &Tensor| Some(blocks(tensor, order, hidden));
        let missing = || Error::weights("weights: expected matrices, got none");
        Ok(Self {
            w: each(&[rows, spec.input_size], &|w| matrix(&w.weight_ih))?.ok_or_else(missing)?,
            r: each(&[rows, hidden], &|w| matrix(&w.weight_hh))?.ok_or_else(missing)?,
            b: each(&[2 * rows], &|w| {
                let (ih, hh) = (w.bias_ih.as_ref()?, w.bias_hh.as_ref()?);
                Some([blocks(ih, order, hidden), blocks(hh, order, hidden)].concat())
            })?,
            // i, f, o there and i, o, f here swap the same two blocks either way.
            p: each(&[3 * hidden], &|w| {
                w.peephole.as_ref().map(|p| blocks(p, &[0, 2, 1], hidden))
            })?,
        })
    }
}

/// Puts our gate `i` in ONNX's place `order[i]`.
fn blocks(tensor: &Tensor, order: &[usize], hidden: usize) -> Vec<f32> {
    let block = tensor.len() / order.len();
    debug_assert_eq!(block % hidden, 0, "a block holds whole rows of a gate");
    let mut values = vec![0.0; tensor.len()];
    for (ours, theirs) in order.iter().enumerate() {
        values[theirs * block..][..block].copy_from_slice(&tensor.data()[ours * block..][..block]);
    }
    values
}

fn output_layer(builder: &mut Builder, model: &Model, head: &Head, below: &str) -> Result<()> {
    let last = model.layers().len() - 1;
    let read = match head.steps {
        HeadSteps::Every => below.to_owned(),
        HeadSteps::Last => {
            let minus_one = Array::I64(Tensor::new([], vec![-1])?);
            let minus_one = builder.constant("last_step", &minus_one);
            builder.node("Gather", &[below, &minus_one], &["y_last"], vec![int("axis", 0)])
        }
        HeadSteps::Final => {
            let h = format!("h_n_l{last}");
            let turned =
                builder.node("Transpose", &[&h], &["h_rows"], vec![ints("perm", &[1, 0, 2])]);
            let shape = whole(&[0, signed(model.recurrent_width())]);
            let shape = builder.constant("h_shape", &shape);
            builder.node("Reshape", &[&turned, &shape], &["y_final"], Vec::new())
        }
    };
    let [out, width] = [head.weight.shape()[0], head.weight.shape()[1]];
    let transposed =
        Tensor::from_fn([width, out], |i| head.weight.data()[(i % out) * width + i / out]);
    let weight = builder.constant("head_weight", &Array::F32(transposed));
    let operator = match head.activation {
        Activation::None => None,
        Activation::Softmax => Some(("Softmax", vec![int("axis", -1)])),
        Activation::LogSoftmax => Some(("LogSoftmax", vec![int("axis", -1)])),
        Activation::Sigmoid => Some(("Sigmoid", Vec::new())),
        Activation::Tanh => Some(("Tanh", Vec::new())),
        Activation::Relu => Some(("Relu", Vec::new())),
    };
    let after = |is_last: bool, name: &'static str| if is_last { "output" } else { name };
    let plain = operator.is_none();
    let product = after(plain && head.bias.is_none(), "head_product");
    let mut result = builder.node("MatMul", &[&read, &weight], &[product], Vec::new());
    if let Some(bias) = &head.bias {
        let bias = builder.constant("head_bias", &Array::F32(bias.clone()));
        let sum = after(plain, "head_sum");
        result = builder.node("Add", &[&result, &bias], &[sum], Vec::new());
    }
    if let Some((operator, attributes)) = operator {
        builder.node(operator, &[&result], &["output"], attributes);
    }
    Ok(())
}

/// Makes the final states of all layers outputs: stacked where their widths agree.
fn states(builder: &mut Builder, model: &Model, name: &str, parts: &[(usize, String)]) {
    let spec = |index: usize| model.layers()[index].spec();
    let axes = |directions: usize, width: usize| {
        let [_, batch] = FREE;
        [Size::Known(directions), batch, Size::Known(width)]
    };
    let Some((first, _)) = parts.first() else { return };
    let width = spec(*first).hidden_size;
    if parts.iter().any(|(index, _)| spec(*index).hidden_size != width) {
        for (index, part) in parts {
            builder.output(part, &axes(spec(*index).direction.count(), spec(*index).hidden_size));
        }
        return;
    }
    let directions = parts.iter().map(|(index, _)| spec(*index).direction.count()).sum();
    let names: Vec<&str> = parts.iter().map(|(_, part)| part.as_str()).collect();
    builder.node("Concat", &names, &[name], vec![int("axis", 0)]);
    builder.output(name, &axes(directions, width));
}
