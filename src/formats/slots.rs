//! Which tensors a described network needs, under which names and in which shapes.
//!
//! Takes a [`Description`], gives the list of [`Slot`]s; a slot checks the tensor that stands in its
//! place and guesses what went wrong from a shape that does not fit.

use safetensors::tensor::Dtype;

use super::description::{Description, HeadPlace, LayerPlace, Table, head_candidates, join};
use crate::model::{InputSpec, NORM_STEMS};

/// Names the kind of network whose matrices have `gates`·H rows.
pub(super) fn family(gates: usize) -> &'static str {
    match gates {
        4 => "LSTM",
        3 => "GRU",
        _ => "RNN",
    }
}

/// A tensor that the description asks for.
pub(super) struct Slot {
    pub(super) name: String,
    /// The shape in letters, as in `[4*H, H]`.
    letters: String,
    /// The shape in numbers; `None` for an axis that the file decides.
    shape: Vec<Option<usize>>,
    /// H, where the first axis is G·H.
    gated: Option<usize>,
    /// What to say where the tensor is missing.
    advice: String,
}

impl Slot {
    fn new(name: String, letters: String, shape: &[usize]) -> Self {
        let shape = shape.iter().copied().map(Some).collect();
        Self { name, letters, shape, gated: None, advice: String::new() }
    }

    fn fits(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(want, got)| want.is_none_or(|w| w == *got))
            && !shape.contains(&0)
    }

    fn expected(&self) -> String {
        let axes: Vec<_> = self
            .shape
            .iter()
            .map(|axis| axis.map_or_else(|| "any".to_owned(), |n| n.to_string()))
            .collect();
        format!("{} = [{}]", self.letters, axes.join(", "))
    }

    /// Guesses what went wrong from a shape that does not fit.
    fn hint(&self, got: &[usize]) -> String {
        if let (Some(hidden), Some(Some(rows))) = (self.gated, self.shape.first()) {
            let rest_fits = self.shape.len() == got.len()
                && self.shape[1..].iter().zip(&got[1..]).all(|(want, n)| *want == Some(*n));
            for gates in [1, 3, 4] {
                if rest_fits && gates * hidden == got[0] && got[0] != *rows {
                    let an = if gates == 3 { "a" } else { "an" };
                    return format!(" (this is {an} {}-shaped tensor)", family(gates));
                }
            }
        }
        let transposed: Vec<_> = got.iter().rev().copied().collect();
        if got.len() == 2 && self.fits(&transposed) {
            return " (this looks transposed; PyTorch stores [out, in])".into();
        }
        String::new()
    }

    pub(super) fn check(&self, table: &Table<'_>, faults: &mut Vec<String>) {
        let Some(view) = table.get(&self.name) else {
            let (name, expected, advice) = (&self.name, self.expected(), &self.advice);
            faults.push(format!("{name}: expected {expected}, got nothing{advice}"));
            return;
        };
        if !self.fits(view.shape()) {
            let (got, hint) = (view.shape(), self.hint(view.shape()));
            faults.push(format!("{}: expected {}, got {got:?}{hint}", self.name, self.expected()));
        }
        if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) {
            faults.push(format!(
                "{}: expected F32, F16, BF16 or F64, got {:?}",
                self.name,
                view.dtype()
            ));
        }
    }
}

/// Lists the tensors that `description` needs.
pub(super) fn slots(description: &Description, table: &Table<'_>) -> Vec<Slot> {
    let mut slots = Vec::new();
    if let InputSpec::Embedding { vocab, size } = description.input {
        let name = join(&description.embedding, "weight");
        slots.push(Slot::new(name, "[V, E]".into(), &[vocab, size]));
    }
    for (l, place) in description.layers.iter().enumerate() {
        for d in 0..place.spec.direction.count() {
            layer_slots(description, l, d == 1, &mut slots);
        }
    }
    if let Some(head) = &description.head {
        head_slots(description, head, table, &mut slots);
    }
    slots
}

fn head_slots(
    description: &Description,
    head: &HeadPlace,
    table: &Table<'_>,
    slots: &mut Vec<Slot>,
) {
    let (weight, bias) = (join(&head.module, "weight"), join(&head.module, "bias"));
    let others = head_candidates(table, description.width());
    let advice = match others.is_empty() {
        true => String::new(),
        false => format!(" (by its shape it could be {})", others.join(" or ")),
    };
    let out = table.get(&weight).and_then(|view| view.shape().first().copied());
    let letters = format!("[O, {}]", description.layers.last().map_or("H", width_letters));
    let shape = vec![None, Some(description.width())];
    slots.push(Slot { name: weight, letters, shape, gated: None, advice });
    if table.contains_key(&bias) {
        let slot = Slot::new(bias, "[O]".into(), &[]);
        slots.push(Slot { shape: vec![out], ..slot });
    }
}

fn layer_slots(description: &Description, l: usize, reverse: bool, slots: &mut Vec<Slot>) {
    let place = &description.layers[l];
    let spec = &place.spec;
    let rows = match spec.cell.gates() {
        1 => "H".to_owned(),
        gates => format!("{gates}*H"),
    };
    let inputs = if l == 0 { "I" } else { width_letters(&description.layers[l - 1]) };
    let state = if spec.proj_size > 0 { "P" } else { "H" };
    let mut gated = |stem: &str, letters: String, shape: &[usize]| {
        let slot = Slot::new(place.name(stem, reverse), letters, shape);
        slots.push(Slot { gated: Some(spec.hidden_size), ..slot });
    };
    let n = spec.gate_rows();
    gated("weight_ih", format!("[{rows}, {inputs}]"), &[n, spec.input_size]);
    gated("weight_hh", format!("[{rows}, {state}]"), &[n, spec.state_size()]);
    if spec.bias {
        gated("bias_ih", format!("[{rows}]"), &[n]);
        gated("bias_hh", format!("[{rows}]"), &[n]);
    }
    if spec.options.peephole {
        gated("peephole", "[3*H]".into(), &[3 * spec.hidden_size]);
    }
    if spec.options.layer_norm.is_some() {
        let hidden = spec.hidden_size;
        for (place, stem) in NORM_STEMS.into_iter().enumerate() {
            if place < 4 {
                gated(stem, format!("[{rows}]"), &[n]);
            } else if spec.cell.has_c() {
                gated(stem, "[H]".into(), &[hidden]);
            }
        }
    }
    if spec.proj_size > 0 {
        let name = place.name("weight_hr", reverse);
        slots.push(Slot::new(name, "[P, H]".into(), &[spec.proj_size, spec.hidden_size]));
    }
}

/// Spells the width of a layer's output.
fn width_letters(place: &LayerPlace) -> &'static str {
    match (place.spec.direction.count(), place.spec.proj_size > 0) {
        (2, true) => "2*P",
        (2, false) => "2*H",
        (_, true) => "P",
        (_, false) => "H",
    }
}
