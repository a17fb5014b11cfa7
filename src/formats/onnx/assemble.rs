//! From what the reader met to a [`Model`] and the plan of its border.
//!
//! Checks that the recurrent nodes follow each other, that there is at most one output layer and
//! that every graph output is something a run gives; lists all that is not.

use super::interface::{Feed, Plan, Port, Read};
use super::nodes::{Initial, Lengths, Recurrent, Rows};
use super::read::{Graph, Reader, listed};
use super::tensor::Array;
use super::value::{Factor, Place, Source, Value, View};
use crate::error::{Error, Result};
use crate::model::{Head, HeadSteps, Input, Layer, Model};

/// The parts of a model that was read.
pub(super) struct Parts {
    pub(super) model: Model,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) plan: Plan,
}

/// Makes a model of a graph.
///
/// # Errors
/// `Unsupported`, listing every node and output that is no part of a recurrent network; `Weights`
/// or `Shape` when the network does not fit together.
pub(super) fn assemble(graph: Graph) -> Result<Parts> {
    let Graph { reader, outputs } = graph;
    let chain = chain(&reader)?;
    let head = Output::check(&reader, &chain, &outputs)?;
    let input = input(&reader, &reader.layers[chain[0]])?;
    let layers = chain
        .iter()
        .map(|node| {
            let layer = &reader.layers[*node];
            let built = Layer::new(layer.spec.clone(), layer.directions.clone());
            built.map_err(|e| e.in_context(&layer.title))
        })
        .collect::<Result<Vec<_>>>()?;
    let built = head.head.map(|map| {
        let map = &reader.maps[map];
        Head {
            weight: map.weight.clone(),
            bias: map.bias.clone(),
            activation: map.activation,
            steps: head.steps,
        }
    });
    let model = Model::new(input, layers, built)?;
    let plan = plan(&reader, &chain, head, &outputs);
    let inputs = reader.inputs.iter().map(|input| input.port.clone()).collect();
    let outputs = outputs.into_iter().map(|(port, _)| port).collect();
    Ok(Parts { model, inputs, outputs, plan })
}

/// Orders the recurrent nodes from the input on.
fn chain(reader: &Reader) -> Result<Vec<usize>> {
    if reader.layers.is_empty() {
        return Err(Error::unsupported(
            "graph: expected a recurrent node that the outputs need (RNN, GRU, LSTM), got none",
        ));
    }
    let mut faults = Vec::new();
    let mut chain: Vec<usize> = Vec::new();
    // Nodes come in the order of computing, so that each stands behind the one it reads.
    for (node, layer) in reader.layers.iter().enumerate() {
        let fits = match (layer.below.source, chain.last()) {
            (Source::Input(_) | Source::Rows(_), None) => true,
            (Source::Y(below), Some(last)) => below == *last,
            _ => false,
        };
        if !fits {
            faults.push(Error::unsupported(format!(
                "{}: expected each recurrent layer to read the one before alone, got another way",
                layer.title
            )));
            continue;
        }
        if let Some(first) = chain.first() {
            let first = &reader.layers[*first];
            let same = atoms(&layer.time) == atoms(&first.time) && layer.batch == first.batch;
            if !same || layer.lengths != first.lengths {
                faults.push(Error::unsupported(format!(
                    "{}: expected the time axis and lengths of the layer before, got others",
                    layer.title
                )));
            }
        }
        chain.push(node);
    }
    if faults.is_empty() { Ok(chain) } else { Err(listed(&faults)) }
}

fn atoms(axis: &[Factor]) -> Vec<usize> {
    axis.iter().map(|factor| factor.atom).collect()
}

/// Which linear map is the output layer, and for which steps.
#[derive(Clone, Copy)]
struct Output {
    head: Option<usize>,
    steps: HeadSteps,
}

impl Output {
    fn check(reader: &Reader, chain: &[usize], outputs: &[(Port, Value)]) -> Result<Self> {
        let last = chain[chain.len() - 1];
        let views = || outputs.iter().filter_map(|(_, value)| value.views()).flat_map(|(_, v)| v);
        let head = views().find_map(|view| match view.source {
            Source::Linear(map) => Some(map),
            _ => None,
        });
        let mut faults = Vec::new();
        for (port, value) in outputs {
            let fault = match value.views() {
                None => Some(format!("a result of the network, got {}", value.describe())),
                Some((_, parts)) => {
                    parts.iter().find_map(|part| fault(reader, part.source, last, head))
                }
            };
            if let Some(fault) = fault {
                faults
                    .push(Error::unsupported(format!("output {:?}: expected {fault}", port.name)));
            }
        }
        if !faults.is_empty() {
            return Err(listed(&faults));
        }
        let layer = &reader.layers[last];
        let steps = match head.map(|map| reader.maps[map].base) {
            Some(Source::H(_)) => HeadSteps::Final,
            Some(_) if layer.lengths == Lengths::Whole => {
                let mut heads = views().filter(|view| matches!(view.source, Source::Linear(_)));
                match heads.all(|view| is_last_step(reader, layer, view)) {
                    true => HeadSteps::Last,
                    false => HeadSteps::Every,
                }
            }
            _ => HeadSteps::Every,
        };
        Ok(Self { head, steps })
    }
}

/// Says why a graph output is nothing that a run gives.
fn fault(reader: &Reader, source: Source, last: usize, head: Option<usize>) -> Option<String> {
    let layer = |node: usize| &reader.layers[node].title;
    match source {
        Source::Input(_) | Source::Rows(_) => Some("a result of the network, got its input".into()),
        Source::Y(node) if node != last => {
            Some(format!("Y of the last layer, got Y of {}, which others read", layer(node)))
        }
        Source::Y(_) if head.is_some() => {
            Some("Y of the last layer or the output layer, got both".into())
        }
        Source::Linear(map) if Some(map) != head => {
            Some(format!("one output layer, got a second: {}", reader.maps[map].title))
        }
        Source::Linear(map) => match reader.maps[map].base {
            Source::Y(node) | Source::H(node) if node == last => None,
            Source::Y(node) | Source::H(node) => Some(format!(
                "an output layer behind the last layer, got one behind {}",
                layer(node)
            )),
            _ => Some("an output layer behind the layers, got one in front".into()),
        },
        Source::Y(_) | Source::H(_) | Source::C(_) => None,
    }
}

/// Tells whether a view holds time at the last step.
fn is_last_step(reader: &Reader, layer: &Recurrent, view: &View) -> bool {
    let [time] = layer.time.as_slice() else { return false };
    let last = reader.atoms.place(time.atom, Place::FromEnd(1));
    view.fixed.iter().any(|(atom, place)| *atom == time.atom && Some(*place) == last)
}

fn input(reader: &Reader, first: &Recurrent) -> Result<Input> {
    let size = first.spec.input_size;
    match first.below.source {
        Source::Rows(lookup) => match &reader.lookups[lookup].rows {
            Rows::OneHot(vocab) => Ok(Input::OneHot { vocab: *vocab }),
            Rows::Table(array) => match &**array {
                Array::F32(table) => Ok(Input::Embedding { table: table.clone() }),
                Array::I64(_) => Err(Error::weights("embedding: expected real numbers")),
            },
        },
        _ => Ok(Input::Dense { size }),
    }
}

fn plan(reader: &Reader, chain: &[usize], output: Output, outputs: &[(Port, Value)]) -> Plan {
    let first = &reader.layers[chain[0]];
    let (input, tokens) = match first.below.source {
        Source::Rows(lookup) => (reader.lookups[lookup].input, true),
        Source::Input(input) => (input, false),
        _ => (0, false),
    };
    let time: Vec<Factor> = first.time.iter().map(|f| Factor::whole(f.atom)).collect();
    let states = |of: fn(&Recurrent) -> &Option<Initial>| {
        chain.iter().map(|node| of(&reader.layers[*node]).clone()).collect()
    };
    let reads = outputs.iter().map(|(_, value)| {
        let (axis, parts) = value.views().unwrap_or((0, &[]));
        let parts = parts.iter().map(|part| {
            let mut part = part.clone();
            if output.steps.is_per_sequence() && matches!(part.source, Source::Linear(_)) {
                part.fixed.retain(|(atom, _)| !time.iter().any(|f| f.atom == *atom));
            }
            part
        });
        Read { axis, parts: parts.collect() }
    });
    let axes = |node: &usize| {
        let layer = &reader.layers[*node];
        [layer.direction_axis.clone(), layer.units.clone()]
    };
    Plan {
        reads: reads.collect(),
        input_axes: reader.inputs.iter().map(|input| (input.axes.clone(), input.real)).collect(),
        feed: Feed {
            input,
            tokens,
            batch: first.batch.clone(),
            features: first.below.features.clone(),
            fixed: first.below.fixed.clone(),
            time,
        },
        lengths: first.lengths.clone(),
        h_0: states(|layer| &layer.h_0),
        c_0: states(|layer| &layer.c_0),
        nodes: chain.to_vec(),
        layer_axes: chain.iter().map(axes).collect(),
        head_axis: output.head.map(|map| reader.maps[map].out.clone()).unwrap_or_default(),
    }
}
