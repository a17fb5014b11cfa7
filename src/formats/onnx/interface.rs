//! The graph's border: its inputs and outputs, and what each is to the network.
//!
//! [`Plan`] is made once, when a model is read; `feed` takes arrays through it into a batch, and
//! `results` takes a run's results through it into the graph's outputs. Both copy along [`Strides`]:
//! for every atom of a quantity how many places it has and how far they are apart.

use std::collections::HashMap;

use super::fold::Stride;
use super::nodes::{Initial, Lengths};
use super::value::{Atom, Factor, Place, View};

/// The size of an axis of a graph input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Known(usize),
    /// Free; `?` where the file gives no name.
    Named(String),
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// An input or output of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name in the graph.
    pub name: String,
    /// The axes, outermost first; empty where the file does not say.
    pub shape: Vec<Dim>,
}

impl Port {
    /// Writes the axes as `[batch, time, 4]`.
    pub(super) fn axes(&self) -> String {
        let axes: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        format!("[{}]", axes.join(", "))
    }
}

/// What the first layer reads.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    /// The graph input.
    pub(super) input: usize,
    pub(super) tokens: bool,
    pub(super) time: Vec<Factor>,
    pub(super) batch: Vec<Factor>,
    pub(super) features: Vec<Factor>,
    pub(super) fixed: Vec<(Atom, Place)>,
}

/// A graph output: views side by side.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) axis: usize,
    pub(super) parts: Vec<View>,
}

/// What the graph's inputs and outputs are to the network.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Per graph input its axes, and whether it holds real numbers.
    pub(super) input_axes: Vec<(Vec<Vec<Factor>>, bool)>,
    pub(super) feed: Feed,
    pub(super) lengths: Lengths,
    /// Per layer.
    pub(super) h_0: Vec<Option<Initial>>,
    pub(super) c_0: Vec<Option<Initial>>,
    /// Per layer the number by which sources name it.
    pub(super) nodes: Vec<usize>,
    /// Per layer the axes of directions and units.
    pub(super) layer_axes: Vec<[Vec<Factor>; 2]>,
    /// The axis of the output layer.
    pub(super) head_axis: Vec<Factor>,
    pub(super) reads: Vec<Read>,
}

/// Where the values of a quantity stand: per atom its number of places and their distance.
#[derive(Clone, Debug, Default)]
pub(super) struct Strides(HashMap<Atom, Stride>);

impl Strides {
    /// Describes a row-major array whose axes are single atoms or of size one.
    pub(super) fn of<'a>(
        axes: impl IntoIterator<Item = &'a Vec<Factor>>,
        shape: &[usize],
    ) -> Option<Self> {
        let steps = super::fold::steps(shape)?;
        let mut strides = HashMap::new();
        for ((axis, len), step) in axes.into_iter().zip(shape).zip(steps) {
            if let [factor] = axis.as_slice() {
                strides.insert(factor.atom, (*len, step));
            }
        }
        Some(Self(strides))
    }

    fn resolve(&self, atom: Atom, place: Place) -> Option<(usize, isize)> {
        let (size, step) = *self.0.get(&atom)?;
        let index = match place {
            Place::At(i) => i,
            Place::FromEnd(k) => size.checked_sub(k)?,
        };
        (index < size).then_some((index, step))
    }

    /// Finds the steps along `axes` (a list of factors) and where the first value stands.
    pub(super) fn along<'a>(
        &self,
        factors: impl IntoIterator<Item = &'a Factor>,
        fixed: &[(Atom, Place)],
    ) -> Option<(Vec<Stride>, isize)> {
        let shift = |index: usize, step: isize| isize::try_from(index).ok()?.checked_mul(step);
        let (mut strides, mut offset) = (Vec::new(), 0isize);
        for (atom, place) in fixed {
            let (index, step) = self.resolve(*atom, *place)?;
            offset = offset.checked_add(shift(index, step)?)?;
        }
        for factor in factors {
            let (size, step) = *self.0.get(&factor.atom)?;
            let (start, len) = match factor.part {
                None => (0, size),
                Some((place, len)) => (self.resolve(factor.atom, place)?.0, len),
            };
            if start.checked_add(len)? > size {
                return None;
            }
            let first = if factor.reversed { (start + len).saturating_sub(1) } else { start };
            offset = offset.checked_add(shift(first, step)?)?;
            strides.push((len, if factor.reversed { -step } else { step }));
        }
        Some((strides, offset))
    }

    /// Multiplies the number of places of an axis.
    pub(super) fn length(&self, axis: &[Factor]) -> Option<usize> {
        axis.iter().try_fold(1usize, |n, factor| {
            let len = match factor.part {
                Some((_, len)) => len,
                None => self.0.get(&factor.atom)?.0,
            };
            n.checked_mul(len)
        })
    }
}
