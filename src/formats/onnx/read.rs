//! The reader: walks the graph in the order of computing and says of every value what it is.
//!
//! An abstract interpreter: constants are folded, shapes are computed with free axes, and the
//! quantities of the network are followed as views (`value`). Operators are in `nodes/`, one file a
//! family. A node that is not understood is noted and its results are poison; reading goes on, so
//! that one error names all of them. What was met of the network (inputs, lookups, linear maps,
//! recurrent nodes) is what `assemble` makes a model of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::graph::{self, Attributes};
use super::interface::{Dim, Port};
use super::nodes::{self, Lookup, Map, Recurrent};
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use super::size::Size;
use super::tensor::{self, Array, Element};
use super::value::{Atoms, Factor, Filling, Source, Value, View};
use crate::error::{Error, ErrorKind, Result};

/// A graph input and how its axes are indexed.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) port: Port,
    /// Per axis the atom, or nothing for size one.
    pub(super) axes: Vec<Vec<Factor>>,
    /// Real numbers, not whole ones.
    pub(super) real: bool,
}

/// One node with its inputs.
pub(super) struct Call<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) opset: i64,
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) attributes: Attributes<'a>,
}

impl Call<'_> {
    pub(super) fn input(&self, index: usize) -> Result<&Value> {
        self.optional(index)
            .ok_or_else(|| Error::format(format!("input {index}: expected a value, got none")))
    }

    pub(super) fn optional(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// Returns an input that must be known whole numbers.
    pub(super) fn integers(&self, index: usize) -> Result<Option<Vec<i64>>> {
        let Some(value) = self.optional(index) else { return Ok(None) };
        let numbers = match value {
            Value::Const(array) => array.whole().map(<[i64]>::to_vec),
            _ => None,
        };
        numbers.map(Some).ok_or_else(|| {
            Error::unsupported(format!(
                "input {index}: expected known whole numbers, got {}",
                value.describe()
            ))
        })
    }

    /// Returns whole numbers that are an attribute before operator set `since` and an input from
    /// then on.
    pub(super) fn moved(
        &mut self,
        name: &str,
        input: usize,
        since: i64,
    ) -> Result<Option<Vec<i64>>> {
        if self.opset >= since {
            return self.integers(input);
        }
        Ok(self.attributes.ints(name)?.map(<[i64]>::to_vec))
    }
}

/// Counts an axis from the front.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let wrong = || Error::format(format!("axis: expected one of {rank} axes, got {axis}"));
    let rank_signed = i64::try_from(rank).map_err(|_| wrong())?;
    let place = if axis < 0 { axis.checked_add(rank_signed) } else { Some(axis) };
    place.and_then(|p| usize::try_from(p).ok()).filter(|p| *p < rank).ok_or_else(wrong)
}

/// What is known of a graph so far.
pub(super) struct Reader {
    pub(super) atoms: Atoms,
    pub(super) inputs: Vec<Input>,
    pub(super) lookups: Vec<Lookup>,
    pub(super) maps: Vec<Map>,
    pub(super) layers: Vec<Recurrent>,
    symbols: HashMap<String, usize>,
    symbol_count: usize,
    folder: Option<PathBuf>,
    /// How many numbers may still be made by folding.
    budget: usize,
}

/// A graph that was read: the reader, and the graph's outputs.
pub(super) struct Graph {
    pub(super) reader: Reader,
    pub(super) outputs: Vec<(Port, Value)>,
}

/// Reads the graph of a model.
///
/// # Errors
/// `Format` when the graph is damaged; `Unsupported` (or the one kind that all share), listing every
/// node that is not understood.
pub(super) fn read(model: &ModelProto, folder: Option<&Path>) -> Result<Graph> {
    let opset = graph::opset(model)?;
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| Error::format("expected an ONNX model with a graph, got none"))?;
    let order = graph::order(graph)?;
    let mut reader = Reader::new(graph, folder);
    let mut values = reader.open(graph)?;
    let mut faults = Vec::new();
    for node in order {
        let results = reader.node(model, node, opset, &values).unwrap_or_else(|fault| {
            faults.push(fault.in_context(graph::describe(node)));
            vec![Value::Poison; node.output.len()]
        });
        let results = results.into_iter().chain(std::iter::repeat(Value::Poison));
        for (name, value) in node.output.iter().zip(results) {
            values.insert(name, value);
        }
    }
    if !faults.is_empty() {
        return Err(listed(&faults));
    }
    let outputs = graph
        .output
        .iter()
        .map(|output| {
            let value = values.get(output.name.as_str()).cloned().unwrap_or(Value::Poison);
            let (port, _) = port(output)?;
            Ok((port, value))
        })
        .collect::<Result<_>>()?;
    Ok(Graph { reader, outputs })
}

/// Joins faults as one error of the kind that all share, else `Unsupported`.
pub(super) fn listed(faults: &[Error]) -> Error {
    let first = faults.first().map_or(ErrorKind::Unsupported, Error::kind);
    let same = faults.iter().all(|fault| fault.kind() == first);
    let kind = if same { first } else { ErrorKind::Unsupported };
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let plural = if lines.len() == 1 { "" } else { "s" };
    Error::new(kind, format!("graph: {} fault{plural}\n  {}", lines.len(), lines.join("\n  ")))
}

/// Reads name, axes and element type of a graph input or output.
fn port(info: &ValueInfoProto) -> Result<(Port, Option<i32>)> {
    let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let dims = tensor.and_then(|t| t.shape.as_ref()).map_or(&[][..], |shape| &shape.dim);
    let dim = |dim: &super::proto::DimensionProto| match (dim.dim_value, &dim.dim_param) {
        (Some(value), _) => usize::try_from(value).map(Dim::Known).map_err(|_| {
            Error::format(format!("{}: expected sizes of axes, got {value}", info.name))
        }),
        (None, Some(name)) if !name.is_empty() => Ok(Dim::Named(name.clone())),
        (None, _) => Ok(Dim::Named("?".into())),
    };
    let shape = dims.iter().map(dim).collect::<Result<_>>()?;
    Ok((Port { name: info.name.clone(), shape }, tensor.map(|t| t.elem_type)))
}

impl Reader {
    fn new(graph: &GraphProto, folder: Option<&Path>) -> Self {
        let size: usize = graph.initializer.iter().map(prost::Message::encoded_len).sum();
        Self {
            atoms: Atoms::default(),
            inputs: Vec::new(),
            lookups: Vec::new(),
            maps: Vec::new(),
            layers: Vec::new(),
            symbols: HashMap::new(),
            symbol_count: 0,
            folder: folder.map(Path::to_owned),
            budget: (1 << 24) + size.saturating_mul(16),
        }
    }

    /// Reads initial values and graph inputs.
    fn open<'a>(&mut self, graph: &'a GraphProto) -> Result<HashMap<&'a str, Value>> {
        if !graph.sparse_initializer.is_empty() {
            return Err(Error::unsupported("graph: expected dense initializers, got sparse ones"));
        }
        let mut values = HashMap::new();
        for tensor in &graph.initializer {
            let array = tensor::read(tensor, self.folder())?;
            // Data outside of the file counts too.
            self.budget = self.budget.saturating_add(array.count().saturating_mul(4));
            values.insert(tensor.name.as_str(), Value::constant(array));
        }
        for info in &graph.input {
            // An input with an initial value is a default that a caller may replace; here it holds.
            if !values.contains_key(info.name.as_str()) {
                let value = self.graph_input(info)?;
                values.insert(info.name.as_str(), value);
            }
        }
        Ok(values)
    }

    /// The folder of the file.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    fn graph_input(&mut self, info: &ValueInfoProto) -> Result<Value> {
        let (port, code) = port(info)?;
        let code = code.ok_or_else(|| {
            Error::unsupported(format!("{}: expected an array as graph input", info.name))
        })?;
        let element = Element::from_code(code).map_err(|e| e.in_context(&info.name))?;
        let mut axes = Vec::with_capacity(port.shape.len());
        for dim in &port.shape {
            let size = match dim {
                Dim::Known(size) => Size::from_usize(*size),
                Dim::Named(name) => Size::symbol(self.symbol(name)),
            };
            axes.push(self.atoms.axis(size));
        }
        let source = Source::Input(self.inputs.len());
        let real = element.is_float();
        self.inputs.push(Input { port, axes: axes.clone(), real });
        Ok(Value::View(View { source, axes, fixed: Vec::new(), whole: !real }))
    }

    /// Finds the symbol of a name; every `?` is one of its own.
    fn symbol(&mut self, name: &str) -> usize {
        if let Some(symbol) = self.symbols.get(name).filter(|_| name != "?") {
            return *symbol;
        }
        self.symbol_count += 1;
        self.symbols.insert(name.to_owned(), self.symbol_count);
        self.symbol_count
    }

    /// Takes numbers off the budget before they are made.
    pub(super) fn spend(&mut self, count: Option<usize>) -> Result<()> {
        match count.and_then(|count| self.budget.checked_sub(count)) {
            Some(rest) => {
                self.budget = rest;
                Ok(())
            }
            None => Err(Error::limit("constants: expected fewer numbers (the graph repeats them)")),
        }
    }

    /// Returns the numbers of a value that is known; makes those of a repeated constant.
    pub(super) fn array(&mut self, value: &Value) -> Result<Option<Arc<Array>>> {
        match value {
            Value::Const(array) => Ok(Some(Arc::clone(array))),
            Value::Fill { filling: Filling::Array(array), shape } => {
                let Some(shape) = shape.iter().map(Size::as_usize).collect::<Option<Vec<_>>>()
                else {
                    return Ok(None);
                };
                self.spend(shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis)))?;
                Ok(array.broadcast(&shape).map(Arc::new))
            }
            _ => Ok(None),
        }
    }

    /// As [`Reader::array`], for real numbers that must be known.
    pub(super) fn constant(&mut self, what: &str, value: &Value) -> Result<Arc<Array>> {
        let wrong = |got: &str| {
            Error::unsupported(format!(
                "{what}: expected real numbers that are constant, got {got}"
            ))
        };
        match self.array(value)? {
            Some(array) if array.floats().is_some() => Ok(array),
            Some(_) => Err(wrong("whole ones")),
            None => Err(wrong(value.describe())),
        }
    }

    fn node(
        &mut self,
        model: &ModelProto,
        node: &NodeProto,
        opset: i64,
        values: &HashMap<&str, Value>,
    ) -> Result<Vec<Value>> {
        let operator = nodes::find(model, node)?;
        let find = |name: &String| {
            (!name.is_empty()).then(|| values.get(name.as_str()).cloned().unwrap_or(Value::Poison))
        };
        let inputs: Vec<Option<Value>> = node.input.iter().map(find).collect();
        if inputs.iter().any(|input| matches!(input, Some(Value::Poison))) {
            return Ok(Vec::new());
        }
        let mut call = Call { node, opset, inputs, attributes: Attributes::new(node) };
        let results = operator(self, &mut call)?;
        call.attributes.finish()?;
        Ok(results)
    }
}
