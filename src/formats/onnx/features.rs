//! The feature axis of a value: which features of which quantity stand on its last axis.
//!
//! Takes a view, or several side by side on the last axis (the halves of two directions, final
//! states of both); gives the one quantity they belong to and the columns of its features. A linear
//! layer over some columns, or over columns in another order, is one over all of them with zeros
//! or moved columns.

use super::nodes::Lengths;
use super::read::Reader;
use super::value::{Atom, Factor, Place, Source, Value, View};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// What stands on the last axis of a value, and the axes before it.
pub(super) struct Features {
    pub(super) source: Source,
    pub(super) axes: Vec<Vec<Factor>>,
    /// Atoms held at one index, other than features.
    pub(super) fixed: Vec<(Atom, Place)>,
    pub(super) whole: bool,
    /// The last axis, of a graph input.
    pub(super) own: Vec<Factor>,
    /// The columns in their order; `None` for all, in order.
    columns: Option<Vec<usize>>,
    /// All features of the quantity; `None` where a graph input leaves it free.
    width: Option<usize>,
}

impl Features {
    /// Reads the last axis of a value.
    ///
    /// # Errors
    /// `Unsupported` where it is no axis of features of one quantity.
    pub(super) fn of(reader: &Reader, value: &Value) -> Result<Self> {
        let wrong = |what: &str| {
            Error::unsupported(format!(
                "expected features of one layer on the last axis, got {what}"
            ))
        };
        let (joint, parts) = value.views().ok_or_else(|| wrong(value.describe()))?;
        let rank = parts[0].axes.len();
        if rank == 0 || (parts.len() > 1 && joint + 1 != rank) {
            return Err(wrong("another axis"));
        }
        if let [part] = parts
            && matches!(part.source, Source::Input(_))
        {
            let own = part.axes[rank - 1].clone();
            let width = reader.atoms.length(&own).and_then(|size| size.as_usize());
            return Ok(Self {
                source: part.source,
                axes: part.axes[..rank - 1].to_vec(),
                fixed: part.fixed.clone(),
                whole: part.whole,
                own,
                columns: None,
                width,
            });
        }
        let joined = Self::joined(reader, parts).or_else(|| {
            let finals: Option<Vec<View>> =
                parts.iter().map(|part| final_state(reader, part)).collect();
            Self::joined(reader, &finals?)
        });
        joined.ok_or_else(|| wrong("a mixture"))
    }

    fn joined(reader: &Reader, parts: &[View]) -> Option<Self> {
        let first = parts.first()?;
        let rank = first.axes.len();
        let own = reader.features_of(first.source)?;
        let sizes: Vec<usize> =
            own.iter().map(|f| reader.atoms.factor(f).as_usize()).collect::<Option<_>>()?;
        let width = sizes.iter().product();
        let (mut columns, mut fixed) = (Vec::new(), None);
        for part in parts {
            let (more, rest) = columns_of(part, &own, &sizes)?;
            columns.extend(more);
            let same = part.source == first.source
                && part.axes[..rank - 1] == first.axes[..rank - 1]
                && *fixed.get_or_insert_with(|| rest.clone()) == rest;
            if !same {
                return None;
            }
        }
        let all = columns.iter().copied().eq(0..width);
        Some(Self {
            source: first.source,
            axes: first.axes[..rank - 1].to_vec(),
            fixed: fixed?,
            whole: first.whole,
            own: Vec::new(),
            columns: (!all).then_some(columns),
            width: Some(width),
        })
    }

    /// Returns the number of features on the axis, where it is known.
    pub(super) fn count(&self) -> Option<usize> {
        self.columns.as_ref().map(Vec::len).or(self.width)
    }

    /// # Errors
    /// `Weights` when the axis is known to hold another number of features.
    pub(super) fn check_width(&self, expected: usize) -> Result<()> {
        match self.count() {
            Some(count) if count != expected => Err(Error::weights(format!(
                "weight: expected one column a feature = {count}, got {expected}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Spreads the columns of a matrix over all features.
///
/// # Errors
/// `Limit` when the result is out of proportion to the file.
pub(super) fn scattered(
    reader: &mut Reader,
    weight: Tensor,
    features: &Features,
) -> Result<Tensor> {
    let (Some(columns), Some(width)) = (&features.columns, features.width) else {
        return Ok(weight);
    };
    let rows = weight.shape()[0];
    reader.spend(rows.checked_mul(width))?;
    let mut spread = Tensor::zeros([rows, width]);
    for row in 0..rows {
        for (column, value) in columns.iter().zip(weight.row(row)) {
            spread.data_mut()[row * width + column] += value;
        }
    }
    Ok(spread)
}

/// Finds the columns on the last axis, and the held atoms that are no features.
fn columns_of(
    part: &View,
    own: &[Factor],
    sizes: &[usize],
) -> Option<(Vec<usize>, Vec<(Atom, Place)>)> {
    let place = |atom: Atom| own.iter().position(|factor| factor.atom == atom);
    let step = |place: usize| sizes[place + 1..].iter().product::<usize>();
    let (mut seen, mut columns, mut rest) = (0, vec![0usize], Vec::new());
    for (atom, index) in &part.fixed {
        match (place(*atom), index) {
            (None, _) => rest.push((*atom, *index)),
            (Some(place), Place::At(index)) if *index < sizes[place] => {
                seen += 1;
                columns[0] += index * step(place);
            }
            _ => return None,
        }
    }
    for factor in part.axes.last()? {
        let place = place(factor.atom)?;
        let (start, len) = match factor.part {
            None => (0, sizes[place]),
            Some((Place::At(start), len)) => (start, len),
            Some((Place::FromEnd(_), _)) => return None,
        };
        if start.checked_add(len)? > sizes[place] {
            return None;
        }
        seen += 1;
        let places = |base: usize| {
            (0..len).map(move |i| {
                let i = if factor.reversed { len - 1 - i } else { i };
                base + (start + i) * step(place)
            })
        };
        columns = columns.into_iter().flat_map(places).collect();
    }
    (seen == own.len()).then_some((columns, rest))
}

/// Reads Y at the step after which nothing follows in a direction as that direction's final state.
fn final_state(reader: &Reader, view: &View) -> Option<View> {
    let node = match view.source {
        Source::H(_) => return Some(view.clone()),
        Source::Y(node) => node,
        _ => return None,
    };
    let layer = &reader.layers[node];
    let direction = match layer.direction_axis.as_slice() {
        [] => Some(0),
        [factor] => view.fixed.iter().find_map(|(atom, place)| match place {
            Place::At(d) if *atom == factor.atom => Some(*d),
            _ => None,
        }),
        _ => None,
    }?;
    let mut fixed = view.fixed.clone();
    if let [time] = layer.time.as_slice() {
        let place = fixed.iter().position(|(atom, _)| *atom == time.atom)?;
        let (_, held) = fixed.remove(place);
        // In the order of the graph's input, the last step read is the first for a reverse
        // direction.
        let last = if layer.spec.direction.is_reverse(direction) {
            Place::At(0)
        } else {
            Place::FromEnd(1)
        };
        if Some(held) != reader.atoms.place(time.atom, last) {
            return None;
        }
        // With lengths a forward direction ends before the last step.
        if last != Place::At(0) && layer.lengths != Lengths::Whole {
            return None;
        }
    }
    Some(View { source: Source::H(node), fixed, ..view.clone() })
}

impl Reader {
    /// Returns the axis of features of a quantity; `None` for graph inputs, which have any.
    pub(super) fn features_of(&self, source: Source) -> Option<Vec<Factor>> {
        match source {
            Source::Input(_) => None,
            Source::Rows(lookup) => Some(self.lookups[lookup].features.clone()),
            Source::Linear(map) => Some(self.maps[map].out.clone()),
            Source::Y(node) | Source::H(node) | Source::C(node) => {
                let layer = &self.layers[node];
                Some([layer.direction_axis.as_slice(), &layer.units].concat())
            }
        }
    }
}
