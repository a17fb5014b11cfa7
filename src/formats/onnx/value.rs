//! What a value of the graph is known to be, and the axes of a view.
//!
//! ```text
//! Value::Const   an array whose numbers are known
//! Value::Sizes   whole numbers made of free axes (shapes)
//! Value::Fill    one known array, repeated to a shape with free axes (zero states)
//! Value::View    a quantity of the network, its axes in another order, merged, cut (below)
//! Value::Joined  views side by side on one axis
//! Value::Poison  the result of a node that was refused; what follows is not reported again
//! ```
//!
//! A quantity ([`Source`]) is indexed by *atoms*: T, B, D, H of a layer's Y. Each axis of a [`View`]
//! is a product of atoms, outermost first: after `[T, D, B, H]` is transposed and reshaped to
//! `[B, T, D·H]` the last axis holds D and H. A [`Factor`] is an atom, a part of it, or it
//! backwards; an atom that a view holds at one index stands in `fixed`. Atoms of size one are left
//! out, so that squeezing is forgetting an empty axis.

use std::sync::Arc;

use super::size::{Size, product};
use super::tensor::Array;

/// The longest list of whole numbers that is taken for a shape.
const MOST_SIZES: usize = 256;

/// An index of a quantity; a place in the reader's table of atom sizes.
pub(super) type Atom = usize;

/// Something that the network takes or computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A graph input.
    Input(usize),
    /// Rows of a table, selected by a graph input; a place in the reader's list of lookups.
    Rows(usize),
    /// Y of a recurrent node.
    Y(usize),
    /// Y_h of a recurrent node.
    H(usize),
    /// Y_c of a recurrent node.
    C(usize),
    /// A linear map of a quantity; a place in the reader's list of maps.
    Linear(usize),
}

/// A place on an atom whose size may be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Counted from the front.
    At(usize),
    /// Counted from the end; 1 is the last.
    FromEnd(usize),
}

/// An atom, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    pub(super) atom: Atom,
    /// The first index and the number of indices; `None` for all of them.
    pub(super) part: Option<(Place, usize)>,
    /// Last index first.
    pub(super) reversed: bool,
}

impl Factor {
    pub(super) const fn whole(atom: Atom) -> Self {
        Self { atom, part: None, reversed: false }
    }
}

/// A quantity seen along axes of the graph's choosing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) source: Source,
    pub(super) axes: Vec<Vec<Factor>>,
    /// Atoms that are held at one index, by atom.
    pub(super) fixed: Vec<(Atom, Place)>,
    /// Whole numbers, not real ones.
    pub(super) whole: bool,
}

/// What fills a [`Value::Fill`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filling {
    /// An array that broadcasts to the shape and has as many axes.
    Array(Arc<Array>),
    /// One size everywhere.
    Size(Size),
}

/// What a value of the graph is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Const(Arc<Array>),
    /// At most one axis.
    Sizes {
        values: Vec<Size>,
        scalar: bool,
    },
    Fill {
        filling: Filling,
        shape: Vec<Size>,
    },
    View(View),
    /// At least two.
    Joined {
        axis: usize,
        parts: Vec<View>,
    },
    Poison,
}

impl Value {
    pub(super) fn constant(array: Array) -> Self {
        Self::Const(Arc::new(array))
    }

    /// Wraps sizes; without free axes they are a constant.
    pub(super) fn sizes(values: Vec<Size>, scalar: bool) -> Self {
        let numbers: Option<Vec<i64>> = values.iter().map(Size::as_constant).collect();
        if let Some(numbers) = numbers {
            let shape = if scalar { Vec::new() } else { vec![numbers.len()] };
            if let Ok(tensor) = crate::tensor::Tensor::new(shape, numbers) {
                return Self::constant(Array::I64(tensor));
            }
        }
        Self::Sizes { values, scalar }
    }

    /// Reads whole numbers of at most one axis, and whether there is none.
    pub(super) fn as_sizes(&self) -> Option<(Vec<Size>, bool)> {
        match self {
            Self::Sizes { values, scalar } => Some((values.clone(), *scalar)),
            Self::Const(array) => match &**array {
                Array::I64(tensor) if tensor.shape().len() <= 1 && tensor.len() <= MOST_SIZES => {
                    let values = tensor.data().iter().map(|n| Size::constant(*n)).collect();
                    Some((values, tensor.shape().is_empty()))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the views of which the value is made, and the axis on which they stand side by side.
    pub(super) fn views(&self) -> Option<(usize, &[View])> {
        match self {
            Self::View(view) => Some((0, std::slice::from_ref(view))),
            Self::Joined { axis, parts } => Some((*axis, parts)),
            _ => None,
        }
    }

    /// Says what the value is, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Const(_) => "a constant",
            Self::Sizes { .. } => "sizes of axes",
            Self::Fill { .. } => "a constant repeated along free axes",
            Self::Joined { .. } => "several arrays side by side",
            Self::Poison => "a value that is not known",
            Self::View(view) => match view.source {
                Source::Input(_) => "a graph input",
                Source::Rows(_) => "rows of an embedding",
                Source::Y(_) => "Y of a layer",
                Source::H(_) => "Y_h of a layer",
                Source::C(_) => "Y_c of a layer",
                Source::Linear(_) => "the result of a linear layer",
            },
        }
    }
}

/// The sizes of all atoms; none is the constant 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Atoms(Vec<Size>);

impl Atoms {
    /// Makes the axis of a new index: nothing for size one.
    pub(super) fn axis(&mut self, size: Size) -> Vec<Factor> {
        if size.is_one() {
            return Vec::new();
        }
        self.0.push(size);
        vec![Factor::whole(self.0.len() - 1)]
    }

    pub(super) fn size(&self, atom: Atom) -> &Size {
        &self.0[atom]
    }

    pub(super) fn factor(&self, factor: &Factor) -> Size {
        factor.part.map_or_else(|| self.0[factor.atom].clone(), |(_, n)| Size::from_usize(n))
    }

    /// Multiplies the sizes of an axis; `None` beyond the bounds of [`Size`].
    pub(super) fn length(&self, axis: &[Factor]) -> Option<Size> {
        let sizes: Vec<Size> = axis.iter().map(|factor| self.factor(factor)).collect();
        product(&sizes)
    }

    pub(super) fn shape(&self, view: &View) -> Option<Vec<Size>> {
        view.axes.iter().map(|axis| self.length(axis)).collect()
    }

    /// Returns the shape of any value.
    pub(super) fn shape_of(&self, value: &Value) -> Option<Vec<Size>> {
        match value {
            Value::Const(array) => {
                Some(array.shape().iter().map(|n| Size::from_usize(*n)).collect())
            }
            Value::Sizes { scalar: true, .. } => Some(Vec::new()),
            Value::Sizes { values, .. } => Some(vec![Size::from_usize(values.len())]),
            Value::Fill { shape, .. } => Some(shape.clone()),
            Value::View(view) => self.shape(view),
            Value::Joined { axis, parts } => {
                let mut shape = self.shape(parts.first()?)?;
                for part in &parts[1..] {
                    shape[*axis] = shape[*axis].add(&self.length(&part.axes[*axis])?)?;
                }
                Some(shape)
            }
            Value::Poison => None,
        }
    }

    /// Writes a place so that equal places are equal: from the front wherever the size is known.
    pub(super) fn place(&self, atom: Atom, place: Place) -> Option<Place> {
        match (place, self.0[atom].as_usize()) {
            (Place::At(i), Some(n)) => (i < n).then_some(place),
            (Place::FromEnd(k), Some(n)) => n.checked_sub(k).map(Place::At),
            (_, None) => Some(place),
        }
    }
}
