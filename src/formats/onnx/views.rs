//! What the graph's plumbing does to views: cutting, joining, turning, merging and splitting axes.
//!
//! Every function takes views and gives views, or `None` where the result is no view of a quantity
//! any more (an axis cut across two atoms, a reshape that mixes axes). Nothing is computed.

use super::size::{Size, product};
use super::value::{Atom, Atoms, Factor, Place, Value, View};

impl Place {
    /// Moves towards the end.
    fn shifted(self, by: usize) -> Option<Self> {
        match self {
            Self::At(i) => i.checked_add(by).map(Self::At),
            Self::FromEnd(k) => k.checked_sub(by).map(Self::FromEnd),
        }
    }

    /// Returns the start on the mirrored axis of the `len` places that start here, on an axis of
    /// `size` places (`None`: free).
    fn mirrored(self, len: usize, size: Option<usize>) -> Option<Self> {
        match (self, size) {
            (Self::At(i), None) => i.checked_add(len).map(Self::FromEnd),
            (Self::FromEnd(k), None) => k.checked_sub(len).map(Self::At),
            (Self::At(i), Some(n)) => n.checked_sub(i.checked_add(len)?).map(Self::At),
            (Self::FromEnd(k), Some(_)) => k.checked_sub(len).map(Self::At),
        }
    }
}

/// An axis after a cut, and the atom that is now held at one index.
type Cut = (Vec<Factor>, Vec<(Atom, Place)>);

/// `len` places of an atom, seen from one view: where they start, and what else the view is.
struct Run {
    start: Place,
    len: usize,
    rest: Vec<Factor>,
    fixed: Vec<(Atom, Place)>,
}

impl View {
    fn run(&self, axis: usize, atom: Atom) -> Option<Run> {
        let factors = &self.axes[axis];
        if let Some(place) = self.fixed.iter().position(|(other, _)| *other == atom) {
            let mut fixed = self.fixed.clone();
            let (_, start) = fixed.remove(place);
            return Some(Run { start, len: 1, rest: factors.clone(), fixed });
        }
        let first = factors.first().filter(|f| f.atom == atom && !f.reversed)?;
        let (start, len) = first.part?;
        Some(Run { start, len, rest: factors[1..].to_vec(), fixed: self.fixed.clone() })
    }

    /// Moves, adds or drops axes: the new axis i is the old axis `order[i]`, or empty.
    pub(super) fn arranged(&self, order: &[Option<usize>]) -> Self {
        let axes = order.iter().map(|old| old.map_or_else(Vec::new, |old| self.axes[old].clone()));
        Self { axes: axes.collect(), ..self.clone() }
    }

    pub(super) fn fix(&mut self, atom: Atom, place: Place) {
        self.fixed.push((atom, place));
        self.fixed.sort_unstable_by_key(|(atom, _)| *atom);
    }
}

impl Atoms {
    /// Cuts `len` places, from `start` on, out of an axis.
    pub(super) fn cut(&self, view: &View, axis: usize, start: Place, len: usize) -> Option<View> {
        let (factors, fixed) = self.cut_axis(&view.axes[axis], start, len)?;
        let mut cut = view.clone();
        cut.axes[axis] = factors;
        fixed.into_iter().for_each(|(atom, place)| cut.fix(atom, place));
        Some(cut)
    }

    fn cut_axis(&self, factors: &[Factor], start: Place, len: usize) -> Option<Cut> {
        let total = self.length(factors)?.as_usize();
        let start = match (start, total) {
            (Place::FromEnd(k), Some(n)) => Place::At(n.checked_sub(k)?),
            (start, _) => start,
        };
        if let (Place::At(i), Some(n)) = (start, total) {
            if i.checked_add(len)? > n {
                return None;
            }
            if len == n {
                return Some((factors.to_vec(), Vec::new()));
            }
        }
        let (first, rest) = factors.split_first()?;
        if rest.is_empty() {
            return self.cut_factor(first, start, len);
        }
        // Of [first, rest..]: whole rows of rest, or places inside one row.
        let row = self.length(rest)?.as_usize().filter(|row| *row > 0)?;
        let at_row = |place: usize, back: bool| match back {
            true => Place::FromEnd(place),
            false => Place::At(place),
        };
        let (place, back) = match start {
            Place::At(i) => (i, false),
            Place::FromEnd(k) => (k, true),
        };
        if place % row == 0 && len % row == 0 {
            let (mut factors, fixed) =
                self.cut_factor(first, at_row(place / row, back), len / row)?;
            factors.extend_from_slice(rest);
            return Some((factors, fixed));
        }
        let (line, within) = if back {
            let line = place.div_ceil(row);
            (line, line * row - place)
        } else {
            (place / row, place % row)
        };
        if within.checked_add(len)? > row {
            return None;
        }
        let (_, mut fixed) = self.cut_factor(first, at_row(line, back), 1)?;
        let (factors, more) = self.cut_axis(rest, Place::At(within), len)?;
        fixed.extend(more);
        Some((factors, fixed))
    }

    fn cut_factor(&self, factor: &Factor, start: Place, len: usize) -> Option<Cut> {
        let size = match factor.part {
            Some((_, n)) => Some(n),
            None => self.size(factor.atom).as_usize(),
        };
        let start = match (start, size) {
            (Place::FromEnd(k), Some(n)) => Place::At(n.checked_sub(k)?),
            (start, _) => start,
        };
        let start = if factor.reversed { start.mirrored(len, size)? } else { start };
        let start = match (factor.part, start) {
            (None, start) => self.place(factor.atom, start)?,
            (Some((first, _)), Place::At(i)) => first.shifted(i)?,
            (Some(_), Place::FromEnd(_)) => return None,
        };
        match len {
            0 => None,
            1 => Some((Vec::new(), vec![(factor.atom, start)])),
            _ => Some((vec![Factor { part: Some((start, len)), ..*factor }], Vec::new())),
        }
    }

    /// Turns an axis of one atom round.
    pub(super) fn reversed(&self, view: &View, axis: usize) -> Option<View> {
        let mut turned = view.clone();
        match turned.axes[axis].as_mut_slice() {
            [] => {}
            [factor] => factor.reversed = !factor.reversed,
            _ => return None,
        }
        Some(turned)
    }

    /// Puts views side by side, and makes one view of neighbours that belong together.
    pub(super) fn join(&self, axis: usize, parts: Vec<View>) -> Value {
        let mut joined: Vec<View> = Vec::with_capacity(parts.len());
        for part in parts {
            match joined.last().and_then(|last| self.merged(last, &part, axis)) {
                Some(merged) => {
                    joined.pop();
                    joined.push(merged);
                }
                None => joined.push(part),
            }
        }
        match joined.len() {
            1 => joined.pop().map_or(Value::Poison, Value::View),
            _ => Value::Joined { axis, parts: joined },
        }
    }

    /// Merges two views that are neighbouring places of one atom.
    fn merged(&self, left: &View, right: &View, axis: usize) -> Option<View> {
        let same_axes = left.axes.len() == right.axes.len()
            && (0..left.axes.len()).all(|a| a == axis || left.axes[a] == right.axes[a]);
        if left.source != right.source || left.whole != right.whole || !same_axes {
            return None;
        }
        let first = left.axes[axis].first().map(|factor| factor.atom);
        let atoms = left.fixed.iter().map(|(atom, _)| *atom).chain(first);
        atoms.into_iter().find_map(|atom| {
            let (a, b) = (left.run(axis, atom)?, right.run(axis, atom)?);
            let adjacent = a.start.shifted(a.len) == Some(b.start);
            if !adjacent || a.rest != b.rest || a.fixed != b.fixed {
                return None;
            }
            let len = a.len.checked_add(b.len)?;
            let whole = a.start == Place::At(0) && self.size(atom).as_usize() == Some(len);
            let part = (!whole).then_some((a.start, len));
            let mut factors = vec![Factor { atom, part, reversed: false }];
            factors.extend(a.rest);
            let mut view = View { fixed: a.fixed, ..left.clone() };
            view.axes[axis] = factors;
            Some(view)
        })
    }

    /// Arranges the atoms of a view into the axes of `target`; −1 stands for the rest.
    pub(super) fn reshaped(&self, view: &View, target: &[Size]) -> Option<View> {
        let mut factors: Vec<Factor> = view.axes.concat();
        let free = Size::constant(-1);
        let open = target.iter().position(|size| *size == free);
        let (before, after) = target.split_at(open.unwrap_or(target.len()));
        let mut axes = Vec::with_capacity(target.len());
        for size in before {
            let count = self.prefix(&factors, size)?;
            axes.push(factors.drain(..count).collect());
        }
        let mut behind = Vec::new();
        for size in after.iter().skip(1).rev() {
            let count = self.suffix(&factors, size)?;
            behind.push(factors.split_off(factors.len() - count));
        }
        if open.is_some() {
            axes.push(std::mem::take(&mut factors));
        }
        axes.extend(behind.into_iter().rev());
        factors.is_empty().then(|| View { axes, ..view.clone() })
    }

    /// Counts the leading factors whose product is `size`.
    fn prefix(&self, factors: &[Factor], size: &Size) -> Option<usize> {
        (0..=factors.len()).find(|count| self.length(&factors[..*count]).as_ref() == Some(size))
    }

    fn suffix(&self, factors: &[Factor], size: &Size) -> Option<usize> {
        (0..=factors.len())
            .find(|count| self.length(&factors[factors.len() - count..]).as_ref() == Some(size))
    }

    /// As [`Atoms::reshaped`], for views side by side: where the axis of joining stays the last, or
    /// every part stays a run of the first.
    pub(super) fn reshaped_joined(
        &self,
        axis: usize,
        parts: &[View],
        target: &[Size],
    ) -> Option<Value> {
        let shapes: Vec<Vec<Size>> =
            parts.iter().map(|part| self.shape(part)).collect::<Option<_>>()?;
        let total = |axis: usize| {
            shapes.iter().try_fold(Size::constant(0), |sum, shape| sum.add(&shape[axis]))
        };
        let rank = shapes[0].len();
        let (last, free) = (target.last()?, Size::constant(-1));
        if axis + 1 == rank && (*last == total(axis)? || *last == free) {
            // Left open, the last axis is the joined one only if the others hold all the rest.
            let leading = product(&target[..target.len() - 1])?;
            if *last == free && Some(leading) != product(&shapes[0][..axis]) {
                return None;
            }
            let views = parts.iter().zip(&shapes).map(|(part, shape)| {
                let mut target = target.to_vec();
                let last = target.len() - 1;
                target[last] = shape[axis].clone();
                self.reshaped(part, &target)
            });
            return Some(self.join(target.len() - 1, views.collect::<Option<_>>()?));
        }
        let equal = shapes.iter().all(|shape| *shape == shapes[0]);
        if axis != 0 || !equal {
            return None;
        }
        let count = Size::from_usize(parts.len());
        let first = self.resolved(target, &product(&shapes[0])?.mul(&count)?)?;
        let each = first.first()?.div(&count)?;
        if each.mul(&count)? != first[0] {
            return None;
        }
        let target = [&[each], &first[1..]].concat();
        let views = parts.iter().map(|part| self.reshaped(part, &target));
        Some(self.join(0, views.collect::<Option<_>>()?))
    }

    /// Puts the size that follows from `total` in the place of −1.
    fn resolved(&self, target: &[Size], total: &Size) -> Option<Vec<Size>> {
        let free = Size::constant(-1);
        let known = product(target.iter().filter(|size| **size != free))?;
        let rest = total.div(&known)?;
        Some(target.iter().map(|s| if *s == free { rest.clone() } else { s.clone() }).collect())
    }

    /// Cuts views side by side.
    pub(super) fn cut_value(
        &self,
        (joint, parts): (usize, &[View]),
        axis: usize,
        start: Place,
        len: usize,
    ) -> Option<Value> {
        if parts.len() == 1 || axis != joint {
            let views = parts.iter().map(|part| self.cut(part, axis, start, len));
            return Some(self.join(joint, views.collect::<Option<_>>()?));
        }
        let sizes: Vec<usize> = parts
            .iter()
            .map(|part| self.length(&part.axes[axis])?.as_usize())
            .collect::<Option<_>>()?;
        let total = sizes.iter().try_fold(0usize, |sum, n| sum.checked_add(*n))?;
        let start = match start {
            Place::At(i) => i,
            Place::FromEnd(k) => total.checked_sub(k)?,
        };
        let end = start.checked_add(len).filter(|end| *end <= total && len > 0)?;
        let (mut views, mut offset) = (Vec::new(), 0);
        for (part, size) in parts.iter().zip(sizes) {
            let (from, to) = (start.max(offset), end.min(offset + size));
            if from < to {
                views.push(self.cut(part, axis, Place::At(from - offset), to - from)?);
            }
            offset += size;
        }
        Some(self.join(axis, views))
    }
}

/// Rewrites every view of a value.
pub(super) fn map_views(value: &Value, map: impl Fn(&View) -> View, axis: usize) -> Option<Value> {
    let (_, parts) = value.views()?;
    let mut views: Vec<View> = parts.iter().map(map).collect();
    match views.len() {
        1 => views.pop().map(Value::View),
        _ => Some(Value::Joined { axis, parts: views }),
    }
}
