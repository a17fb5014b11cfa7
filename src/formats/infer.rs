//! Reads a network off the names and shapes of a `state_dict`, for files without our metadata.
//!
//! Takes the tensor table, gives a [`Description`]; the tensors themselves are checked afterwards,
//! one by one, against that description. The rules:
//!
//! ```text
//! recurrent   [module.]{weight_ih,weight_hh,bias_ih,bias_hh,weight_hr}_l{n}[_reverse]
//! sizes       weight_hh [G·H, R]; with weight_hr [P, H]: R = P, else H = R
//! cell        G = 4 lstm, 3 gru, 1 rnn-tanh, unless the options name another with the same G
//! stack       several recurrent modules: by number (lstm2 < lstm10) where names differ in nothing
//!             else, else the one order in which their sizes chain
//! embedding   X.weight [V, E], E = the first layer's input, no bias: named *emb*, or the only one
//! head        X.weight [O, width] (+ X.bias [O]), width = the last layer's output
//! ```
//! What shapes leave open is never decided in silence: it stands in [`ModelInfo::guesses`], and a
//! square matrix under a name that says nothing is refused, since it may be any layer at all.

use std::collections::{BTreeMap, BTreeSet};

use super::LoadOptions;
use super::description::{
    Description, HeadPlace, LayerPlace, Table, fault_error, head_candidates, join,
};
use crate::cell::{Cell, CellOptions};
use crate::error::{Error, Result};
use crate::model::{Direction, InputSpec, LayerSpec, ModelInfo, layer_tensor_name};

/// Last segments of module names that speak for an output layer.
const HEAD_NAMES: [&str; 8] =
    ["fc", "linear", "head", "out", "output", "decoder", "classifier", "proj"];

/// The stems of recurrent tensors.
const STEMS: [&str; 5] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"];

/// Which layers a recurrent module has.
type Modules = BTreeMap<String, BTreeSet<usize>>;

/// Infers the network.
///
/// # Errors
/// `Weights` when there are no recurrent tensors, sizes cannot be read off, modules do not follow
/// each other, or several tensors could be the output layer.
pub(super) fn infer(table: &Table<'_>, options: &LoadOptions) -> Result<Description> {
    let modules = recurrent_modules(table);
    if modules.is_empty() {
        return Err(nothing_recurrent(table));
    }
    let layers = stack(table, &modules, options.cell)?;
    let input_size = layers.first().map_or(0, |layer| layer.spec.input_size);
    let width = layers.last().map_or(0, |layer| layer.spec.output_size());
    let heads = head_candidates(table, width);
    let embedding = find_embedding(table, input_size, &heads, options)?;
    let head = find_head(table, &heads, embedding.as_deref(), options)?;
    let input = match &embedding {
        None => InputSpec::Dense { size: input_size },
        Some(module) => {
            let vocab = shape(table, &join(module, "weight")).map_or(0, |s| s[0]);
            InputSpec::Embedding { vocab, size: input_size }
        }
    };
    let guesses = guesses(&layers, embedding.as_deref(), head.as_ref(), options);
    let info = ModelInfo { guesses, ..ModelInfo::default() };
    Ok(Description { input, embedding: embedding.unwrap_or_default(), layers, head, info })
}

fn shape<'a>(table: &'a Table<'_>, name: &str) -> Option<&'a [usize]> {
    table.get(name).map(safetensors::tensor::TensorView::shape)
}

/// Takes `module.weight_ih_l0_reverse` apart into module and layer.
fn parse(name: &str) -> Option<(&str, usize)> {
    let (module, last) = name.rsplit_once('.').unwrap_or(("", name));
    let last = last.strip_suffix("_reverse").unwrap_or(last);
    let (stem, number) = last.rsplit_once("_l")?;
    let layer: usize = number.parse().ok()?;
    (STEMS.contains(&stem) && number == layer.to_string()).then_some((module, layer))
}

fn recurrent_modules(table: &Table<'_>) -> Modules {
    let mut modules = Modules::new();
    for (module, layer) in table.keys().filter_map(|name| parse(name)) {
        modules.entry(module.to_owned()).or_default().insert(layer);
    }
    modules
}

fn nothing_recurrent(table: &Table<'_>) -> Error {
    let names: Vec<_> = table.keys().map(String::as_str).collect();
    let got = if names.is_empty() { "no tensors".to_owned() } else { names.join(", ") };
    let cell = names.iter().any(|name| name.ends_with("weight_ih"));
    let hint = if cell {
        " (this looks like a cell module such as nn.LSTMCell: append _l0 to its tensors' names)"
    } else {
        ""
    };
    Error::weights(format!(
        "weights: expected recurrent tensors such as rnn.weight_ih_l0, got {got}{hint}"
    ))
}

/// Says what the file left open and how it was read.
fn guesses(
    layers: &[LayerPlace],
    embedding: Option<&str>,
    head: Option<&HeadPlace>,
    options: &LoadOptions,
) -> Vec<String> {
    let mut guesses = Vec::new();
    if options.cell.is_none() {
        let other = |cell| match cell {
            Cell::RnnTanh => Some("rnn-relu"),
            Cell::Gru => Some("gru-reset-before"),
            _ => None,
        };
        for layer in layers.iter().filter(|layer| layer.index == 0) {
            if let Some(other) = other(layer.spec.cell) {
                let module = if layer.module.is_empty() { "the layers" } else { &layer.module };
                guesses.push(format!(
                    "{module} taken as {} ({other} has the same shapes: --cell {other})",
                    layer.spec.cell
                ));
            }
        }
    }
    if let Some(module) = embedding {
        guesses.push(format!("{module} taken as the embedding"));
    }
    match head {
        _ if options.head.is_some() => {}
        Some(head) => guesses.push(format!("{} taken as the output layer", head.module)),
        None => guesses.push("no output layer found, the output is the last layer's".into()),
    }
    guesses
}

/// Describes all layers of all modules, and checks that the modules follow each other.
fn stack(table: &Table<'_>, modules: &Modules, cell: Option<Cell>) -> Result<Vec<LayerPlace>> {
    let mut names: Vec<&String> = modules.keys().collect();
    names.sort_by_cached_key(|name| natural_key(name));
    let mut faults = Vec::new();
    let mut stacks: Vec<Vec<LayerPlace>> = Vec::new();
    for name in names {
        match module_layers(table, name, &modules[name], cell) {
            Ok(layers) => stacks.push(layers),
            Err(more) => faults.extend(more),
        }
    }
    if !faults.is_empty() {
        return Err(fault_error(&faults));
    }
    let orders = orders(&stacks);
    let [order] = &orders[..] else {
        let list: Vec<_> = stacks
            .iter()
            .map(|s| format!("{} takes {} and gives {}", s[0].module, takes(s), gives(s)))
            .collect();
        let hint = if orders.is_empty() {
            ""
        } else {
            " (several orders fit: name them by number, or state the layers in the metadata)"
        };
        return Err(Error::weights(format!(
            "weights: expected recurrent modules that follow each other, got {}{hint}",
            list.join("; ")
        )));
    };
    let mut stacks: Vec<Option<Vec<LayerPlace>>> = stacks.into_iter().map(Some).collect();
    Ok(order.iter().filter_map(|&i| stacks[i].take()).flatten().collect())
}

fn gives(stack: &[LayerPlace]) -> usize {
    stack.last().map_or(0, |l| l.spec.output_size())
}

fn takes(stack: &[LayerPlace]) -> usize {
    stack.first().map_or(0, |l| l.spec.input_size)
}

/// Lists the orders in which modules, given in natural order, may follow each other: their own where
/// names differ only in numbers, else every one in which the sizes chain (two at most are looked for).
fn orders(stacks: &[Vec<LayerPlace>]) -> Vec<Vec<usize>> {
    let bare = |stack: &[LayerPlace]| {
        stack[0].module.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
    };
    let chains = |a: usize, b: usize| gives(&stacks[a]) == takes(&stacks[b]);
    if stacks.windows(2).all(|pair| bare(&pair[0]) == bare(&pair[1])) {
        let natural: Vec<usize> = (0..stacks.len()).collect();
        let fits = natural.windows(2).all(|pair| chains(pair[0], pair[1]));
        return if fits { vec![natural] } else { Vec::new() };
    }
    let mut found = Vec::new();
    let mut open: Vec<Vec<usize>> = (0..stacks.len()).map(|first| vec![first]).collect();
    let mut tried = 0;
    while let Some(order) = open.pop() {
        tried += 1;
        if found.len() > 1 || tried > MOST_ORDERS {
            break;
        }
        if order.len() == stacks.len() {
            found.push(order);
            continue;
        }
        let next = (0..stacks.len())
            .filter(|i| !order.contains(i) && order.last().is_some_and(|last| chains(*last, *i)));
        open.extend(next.map(|i| [&order[..], &[i]].concat()));
    }
    found
}

/// Orders looked at before a file with many modules is refused as ambiguous.
const MOST_ORDERS: usize = 10_000;

/// One piece of a natural sort key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// A run of digits: its length without leading zeros, then its text.
    Number(usize, String),
    Text(String),
}

/// Builds a key that sorts `lstm2` before `lstm10`.
fn natural_key(name: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        pieces.push(if digits {
            let number = run.trim_start_matches('0');
            Piece::Number(number.len(), number.to_owned())
        } else {
            Piece::Text(run.to_owned())
        });
        rest = tail;
    }
    pieces
}

/// Describes the layers of one module; faults are lines for the list.
fn module_layers(
    table: &Table<'_>,
    module: &str,
    numbers: &BTreeSet<usize>,
    cell: Option<Cell>,
) -> Result<Vec<LayerPlace>, Vec<String>> {
    if numbers.iter().copied().ne(0..numbers.len()) {
        let got: Vec<_> = numbers.iter().map(usize::to_string).collect();
        return Err(vec![format!(
            "{}: expected layers numbered 0 to {}, got {}",
            join(module, "weight_ih_l*"),
            numbers.len() - 1,
            got.join(", ")
        )]);
    }
    let sizes: Vec<_> = numbers.iter().map(|&l| sizes(table, module, l)).collect();
    // PyTorch's layers are alike, so that a layer whose own matrices are missing or damaged is
    // described by another one and then faulted tensor by tensor.
    let Some(model) = sizes.iter().find_map(|s| s.as_ref().ok()).copied() else {
        return Err(sizes.into_iter().filter_map(Result::err).collect());
    };
    let mut layers: Vec<LayerPlace> = Vec::new();
    for (index, sizes) in sizes.into_iter().enumerate() {
        let Sizes { gates, hidden, proj } = sizes.unwrap_or(model);
        let has = |stems: &[&str], reverse: bool| {
            stems.iter().any(|stem| {
                table.contains_key(&join(module, &layer_tensor_name(stem, index, reverse)))
            })
        };
        let bidirectional = has(&STEMS, true);
        let before = layers.last().map(|place| place.spec.output_size());
        let own = || {
            [false, true].into_iter().find_map(|reverse| {
                let name = join(module, &layer_tensor_name("weight_ih", index, reverse));
                shape(table, &name).filter(|s| s.len() == 2).map(|s| s[1])
            })
        };
        layers.push(LayerPlace {
            spec: LayerSpec {
                cell: cell.filter(|c| c.gates() == gates).unwrap_or_else(|| default_cell(gates)),
                input_size: before.or_else(own).unwrap_or(0),
                hidden_size: hidden,
                direction: if bidirectional {
                    Direction::Bidirectional
                } else {
                    Direction::Forward
                },
                bias: has(&["bias_ih", "bias_hh"], false) || has(&["bias_ih", "bias_hh"], true),
                proj_size: proj,
                options: CellOptions::default(),
            },
            module: module.to_owned(),
            index,
        });
    }
    Ok(layers)
}

fn default_cell(gates: usize) -> Cell {
    match gates {
        4 => Cell::Lstm,
        3 => Cell::Gru,
        _ => Cell::RnnTanh,
    }
}

/// What `weight_hh` (and `weight_hr`) tell of a layer.
#[derive(Clone, Copy)]
struct Sizes {
    gates: usize,
    hidden: usize,
    proj: usize,
}

/// Reads the sizes off the first direction that has usable matrices.
fn sizes(table: &Table<'_>, module: &str, layer: usize) -> Result<Sizes, String> {
    let name = |stem, reverse| join(module, &layer_tensor_name(stem, layer, reverse));
    let read = |reverse| {
        let [rows, columns] = *shape(table, &name("weight_hh", reverse))? else { return None };
        let projection = shape(table, &name("weight_hr", reverse));
        let (hidden, proj) = match projection {
            Some(&[p, h]) if p == columns => (h, p),
            Some(_) => return None,
            None => (columns, 0),
        };
        let gates = rows.checked_div(hidden)?;
        let whole = rows.checked_rem(hidden)? == 0 && columns > 0;
        let known = if proj > 0 { gates == 4 } else { matches!(gates, 1 | 3 | 4) };
        (whole && known).then_some(Sizes { gates, hidden, proj })
    };
    read(false).or_else(|| read(true)).ok_or_else(|| {
        let describe = |stem| shape(table, &name(stem, false)).map(|s| format!("{s:?}"));
        let hh = describe("weight_hh").unwrap_or_else(|| "nothing".into());
        let hr = describe("weight_hr").map(|s| format!(" with weight_hr {s}")).unwrap_or_default();
        let want = if hr.is_empty() {
            "[G*H, H] with G = 1, 3 or 4"
        } else {
            "[4*H, P] with weight_hr [P, H]"
        };
        format!("{}: expected {want}, got {hh}{hr}", name("weight_hh", false))
    })
}

/// Tells whether the name speaks for an output layer.
fn names_head(module: &str) -> bool {
    let last = module.rsplit('.').next().unwrap_or(module).to_ascii_lowercase();
    HEAD_NAMES.contains(&last.as_str())
}

fn find_embedding(
    table: &Table<'_>,
    input_size: usize,
    heads: &[String],
    options: &LoadOptions,
) -> Result<Option<String>> {
    let chosen_head = options.head.as_deref();
    let candidates: Vec<&str> = table
        .iter()
        .filter_map(|(name, view)| Some((name.strip_suffix(".weight")?, view.shape())))
        .filter(|(module, shape)| {
            shape.len() == 2
                && shape[1] == input_size
                && !table.contains_key(&join(module, "bias"))
                && chosen_head != Some(*module)
        })
        .map(|(module, _)| module)
        .collect();
    let named: Vec<&str> =
        candidates.iter().copied().filter(|m| m.to_ascii_lowercase().contains("emb")).collect();
    match named[..] {
        [one] => return Ok(Some(one.to_owned())),
        [] => {}
        _ => {
            return Err(Error::weights(format!(
                "embedding: expected one module X with X.weight [V, {input_size}], got {}",
                named.join(", ")
            )));
        }
    }
    let unnamed: Vec<&str> = candidates.into_iter().filter(|m| !names_head(m)).collect();
    let [one] = unnamed[..] else { return Ok(None) };
    if is_square(table, one) {
        return Err(Error::weights(format!(
            "{one}.weight: expected an embedding or an output layer, got a square matrix under a \
             name that speaks for neither (a layer in front of the network is not supported)"
        )));
    }
    let fits_head = heads.iter().any(|head| head == one);
    let other_head = chosen_head.is_some() || heads.iter().any(|head| head != one);
    if fits_head && !other_head {
        return Err(Error::weights(format!(
            "{one}.weight: expected an embedding or an output layer, got [V or O, {input_size}], \
             which fits both (say --head {one} or --head none)"
        )));
    }
    Ok(Some(one.to_owned()))
}

/// A square matrix may be a layer in front of the network, beside it, or behind it.
fn is_square(table: &Table<'_>, module: &str) -> bool {
    shape(table, &join(module, "weight")).is_some_and(|s| s.len() == 2 && s[0] == s[1])
}

fn find_head(
    table: &Table<'_>,
    heads: &[String],
    embedding: Option<&str>,
    options: &LoadOptions,
) -> Result<Option<HeadPlace>> {
    let place = |module: &str| HeadPlace {
        module: module.to_owned(),
        activation: options.activation.unwrap_or_default(),
        steps: options.steps.unwrap_or_default(),
    };
    match options.head.as_deref() {
        Some("none") => return Ok(None),
        Some(module) => return Ok(Some(place(module))),
        None => {}
    }
    let rest: Vec<&str> =
        heads.iter().map(String::as_str).filter(|head| Some(*head) != embedding).collect();
    match rest[..] {
        [] => Ok(None),
        [one] if !names_head(one) && is_square(table, one) => Err(Error::weights(format!(
            "{one}.weight: expected an output layer, got a square matrix under a name that does not \
             say so (say --head {one}, or --head none)"
        ))),
        [one] => Ok(Some(place(one))),
        _ => Err(Error::weights(format!(
            "output layer: expected one module that fits, got {} (say --head NAME to take one and \
             leave the others out, or --head none)",
            rest.join(", ")
        ))),
    }
}
