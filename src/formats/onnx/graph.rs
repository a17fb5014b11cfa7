//! The graph as a list of needed nodes in the order of computing, and typed access to attributes.
//!
//! Takes the message, checks versions and names, follows the outputs back to what they need, and
//! refuses circles. Nodes that no output needs are left out. Nothing here recurses.

use std::collections::HashMap;

use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::error::{Error, Result};

/// The operator sets that are read.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Returns the version of ONNX's own operator set.
///
/// # Errors
/// `Format` when the file names none, `Unsupported` for a version that is not read.
pub(super) fn opset(model: &ModelProto) -> Result<i64> {
    let version = model
        .opset_import
        .iter()
        .find(|set| is_own(&set.domain))
        .map(|set| set.version)
        .ok_or_else(|| Error::format("opset_import: expected ONNX's operator set, got none"))?;
    if OPSETS.contains(&version) {
        return Ok(version);
    }
    Err(Error::unsupported(format!(
        "opset_import: expected {} to {}, got {version}",
        OPSETS.start(),
        OPSETS.end()
    )))
}

/// Tells whether a domain is ONNX's own.
pub(super) fn is_own(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Names a node in messages.
pub(super) fn describe(node: &NodeProto) -> String {
    let output = node.output.iter().find(|name| !name.is_empty());
    let operator = match is_own(&node.domain) {
        true => node.op_type.clone(),
        false => format!("{}.{}", node.domain, node.op_type),
    };
    match (node.name.is_empty(), output) {
        (false, _) => format!("{:?} ({operator})", node.name),
        (true, Some(output)) => format!("node of {output:?} ({operator})"),
        (true, None) => format!("a node without a name ({operator})"),
    }
}

/// Orders the nodes that the outputs need, each behind those whose results it takes.
///
/// # Errors
/// `Format` when a value is made twice, is made by nothing, or needs itself.
pub(super) fn order(graph: &GraphProto) -> Result<Vec<&NodeProto>> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if makers.insert(name, index).is_some() {
                return Err(Error::format(format!(
                    "graph: expected each value to be made once, got {name:?} twice"
                )));
            }
        }
    }
    let given = graph.input.iter().map(|input| input.name.as_str());
    let given: std::collections::HashSet<&str> =
        given.chain(graph.initializer.iter().map(|tensor| tensor.name.as_str())).collect();
    let maker = |name: &str| match makers.get(name) {
        _ if given.contains(name) => Ok(None),
        Some(index) => Ok(Some(*index)),
        None => Err(Error::format(format!(
            "graph: expected something that makes {name:?}, got nothing"
        ))),
    };
    let mut walk = Walk { state: vec![State::New; graph.node.len()], order: Vec::new() };
    for output in &graph.output {
        if let Some(index) = maker(&output.name)? {
            walk.visit(graph, index, &maker)?;
        }
    }
    Ok(walk.order.into_iter().map(|index| &graph.node[index]).collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

/// A depth-first walk with a stack of its own.
struct Walk {
    state: Vec<State>,
    order: Vec<usize>,
}

impl Walk {
    fn visit(
        &mut self,
        graph: &GraphProto,
        root: usize,
        maker: &impl Fn(&str) -> Result<Option<usize>>,
    ) -> Result<()> {
        // A node and how many of its inputs were followed.
        let mut stack = vec![(root, 0)];
        while let Some((index, followed)) = stack.pop() {
            let node = &graph.node[index];
            if followed == 0 {
                match self.state[index] {
                    State::Done => continue,
                    State::Open => return Err(circle(node)),
                    State::New => self.state[index] = State::Open,
                }
            }
            let Some(name) = node.input.get(followed) else {
                self.state[index] = State::Done;
                self.order.push(index);
                continue;
            };
            stack.push((index, followed + 1));
            if !name.is_empty()
                && let Some(next) = maker(name)?
            {
                match self.state[next] {
                    State::Done => {}
                    State::Open => return Err(circle(node)),
                    State::New => stack.push((next, 0)),
                }
            }
        }
        Ok(())
    }
}

fn circle(node: &NodeProto) -> Error {
    Error::format(format!("{}: expected a graph without circles, got one", describe(node)))
}

/// Typed access to the attributes of a node. Each is asked for at most once, and
/// [`Attributes::finish`] refuses what nobody asked for: an attribute is read or refused, never
/// passed over.
pub(super) struct Attributes<'a> {
    all: Vec<Option<&'a AttributeProto>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(node: &'a NodeProto) -> Self {
        Self { all: node.attribute.iter().map(Some).collect() }
    }

    fn take(&mut self, name: &str, kind: i32) -> Result<Option<&'a AttributeProto>> {
        let found = self.all.iter_mut().find(|a| a.is_some_and(|a| a.name == name));
        let Some(attribute) = found.and_then(Option::take) else { return Ok(None) };
        if !attribute.ref_attr_name.is_empty() {
            return Err(Error::unsupported(format!(
                "attribute {name}: expected a value, got a reference"
            )));
        }
        // Writers before IR version 2 left the kind out.
        if attribute.r#type != kind && attribute.r#type != 0 {
            return Err(Error::format(format!(
                "attribute {name}: expected type {kind}, got type {}",
                attribute.r#type
            )));
        }
        Ok(Some(attribute))
    }

    pub(super) fn float(&mut self, name: &str) -> Result<Option<f32>> {
        Ok(self.take(name, 1)?.map(|a| a.f))
    }

    pub(super) fn int(&mut self, name: &str) -> Result<Option<i64>> {
        Ok(self.take(name, 2)?.map(|a| a.i))
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool> {
        match self.int(name)? {
            None | Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => {
                Err(Error::format(format!("attribute {name}: expected 0 or 1, got {other}")))
            }
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<&'a str>> {
        self.take(name, 3)?.map(|a| utf8(name, &a.s)).transpose()
    }

    pub(super) fn tensor(&mut self, name: &str) -> Result<Option<&'a TensorProto>> {
        Ok(self.take(name, 4)?.and_then(|a| a.t.as_ref()))
    }

    pub(super) fn floats(&mut self, name: &str) -> Result<Option<&'a [f32]>> {
        Ok(self.take(name, 6)?.map(|a| a.floats.as_slice()))
    }

    pub(super) fn ints(&mut self, name: &str) -> Result<Option<&'a [i64]>> {
        Ok(self.take(name, 7)?.map(|a| a.ints.as_slice()))
    }

    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<&'a str>> {
        let strings = self.take(name, 8)?.map_or(&[][..], |a| &a.strings);
        strings.iter().map(|text| utf8(name, text)).collect()
    }

    /// # Errors
    /// `Unsupported`, naming an attribute that nobody asked for.
    pub(super) fn finish(self) -> Result<()> {
        match self.all.into_iter().flatten().next() {
            None => Ok(()),
            Some(attribute) => Err(Error::unsupported(format!(
                "attribute {}: expected none of that name, got one",
                attribute.name
            ))),
        }
    }
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes)
        .map_err(|_| Error::format(format!("attribute {name}: expected UTF-8, got other bytes")))
}
