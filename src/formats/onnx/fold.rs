//! Arithmetic and plumbing on arrays whose numbers are known: the folding of constants.
//!
//! Takes [`Array`]s, gives an [`Array`], or `None` where shapes do not fit. Everything that moves
//! values is one strided copy. Callers bound the number of values before they call.

use super::tensor::{Array, narrow};
use crate::tensor::Tensor;

/// An axis of a strided copy: how many steps, and how far one step goes.
pub(super) type Stride = (usize, isize);

/// Copies the values at `offset + Σ index·step` in row-major order of the axes.
pub(super) fn strided<T: Copy>(data: &[T], axes: &[Stride], offset: isize) -> Option<Vec<T>> {
    let count = axes.iter().try_fold(1usize, |n, (len, _)| n.checked_mul(*len))?;
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0usize; axes.len()];
    let mut at = offset;
    for _ in 0..count {
        values.push(*data.get(usize::try_from(at).ok()?)?);
        for (axis, (len, step)) in axes.iter().enumerate().rev() {
            index[axis] += 1;
            at = at.checked_add(*step)?;
            if index[axis] < *len {
                break;
            }
            at = at.checked_sub(step.checked_mul(isize::try_from(*len).ok()?)?)?;
            index[axis] = 0;
        }
    }
    Some(values)
}

/// Returns the row-major steps of a shape.
pub(super) fn steps(shape: &[usize]) -> Option<Vec<isize>> {
    let mut steps = vec![0; shape.len()];
    let mut step = 1isize;
    for (axis, len) in shape.iter().enumerate().rev() {
        steps[axis] = step;
        step = step.checked_mul(isize::try_from(*len).ok()?)?;
    }
    Some(steps)
}

impl Array {
    /// Copies along other axes; the lengths are the result's shape.
    pub(super) fn copied(&self, axes: &[Stride], offset: isize) -> Option<Self> {
        let shape: Vec<usize> = axes.iter().map(|(len, _)| *len).collect();
        match self {
            Self::F32(t) => {
                Tensor::new(shape, strided(t.data(), axes, offset)?).ok().map(Self::F32)
            }
            Self::I64(t) => {
                Tensor::new(shape, strided(t.data(), axes, offset)?).ok().map(Self::I64)
            }
        }
    }

    fn strides(&self) -> Option<Vec<Stride>> {
        Some(self.shape().iter().copied().zip(steps(self.shape())?).collect())
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::F32(tensor) => tensor.len(),
            Self::I64(tensor) => tensor.len(),
        }
    }

    pub(super) fn reshaped(&self, shape: Vec<usize>) -> Option<Self> {
        match self {
            Self::F32(t) => Tensor::new(shape, t.data().to_vec()).ok().map(Self::F32),
            Self::I64(t) => Tensor::new(shape, t.data().to_vec()).ok().map(Self::I64),
        }
    }

    pub(super) fn transposed(&self, order: &[usize]) -> Option<Self> {
        let strides = self.strides()?;
        let axes: Vec<Stride> = order.iter().map(|axis| strides[*axis]).collect();
        self.copied(&axes, 0)
    }

    /// Takes `len` places from `start` on, `step` apart (backwards where negative).
    pub(super) fn sliced(&self, axis: usize, start: usize, step: i64, len: usize) -> Option<Self> {
        let mut strides = self.strides()?;
        let unit = strides[axis].1;
        let offset = unit.checked_mul(isize::try_from(start).ok()?)?;
        strides[axis] = (len, unit.checked_mul(isize::try_from(step).ok()?)?);
        self.copied(&strides, offset)
    }

    /// Repeats axes of length one to a shape that it broadcasts to.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Option<Self> {
        let own = self.strides()?;
        let missing = shape.len().checked_sub(own.len())?;
        let mut axes = Vec::with_capacity(shape.len());
        for (place, len) in shape.iter().enumerate() {
            let (old, step) = place.checked_sub(missing).map_or((1, 0), |axis| own[axis]);
            match old {
                _ if old == *len => axes.push((*len, step)),
                1 => axes.push((*len, 0)),
                _ => return None,
            }
        }
        self.copied(&axes, 0)
    }

    /// Gathers `indices` (already checked) of an axis; its place is taken by the axes of `shape`.
    pub(super) fn gathered(&self, axis: usize, indices: &[usize], shape: &[usize]) -> Option<Self> {
        let parts: Vec<Self> = indices
            .iter()
            .map(|index| self.sliced(axis, *index, 1, 1))
            .collect::<Option<Vec<_>>>()?;
        let mut result = self.shape().to_vec();
        result.splice(axis..=axis, shape.iter().copied());
        if parts.is_empty() {
            return self.sliced(axis, 0, 1, 0)?.reshaped(result);
        }
        Self::joined(&parts.iter().collect::<Vec<_>>(), axis)?.reshaped(result)
    }

    /// Puts arrays side by side.
    pub(super) fn joined(parts: &[&Self], axis: usize) -> Option<Self> {
        let mut shape = parts.first()?.shape().to_vec();
        let same = |part: &&Self| {
            part.shape().len() == shape.len()
                && (0..shape.len()).all(|a| a == axis || part.shape()[a] == shape[a])
        };
        if axis >= shape.len() || !parts.iter().all(same) {
            return None;
        }
        shape[axis] = parts.iter().try_fold(0usize, |n, p| n.checked_add(p.shape()[axis]))?;
        let outer: usize = shape[..axis].iter().product();
        let floats: Option<Vec<&[f32]>> = parts.iter().map(|part| part.floats()).collect();
        if let Some(data) = floats {
            return Tensor::new(shape, interleaved(&data, outer)).ok().map(Self::F32);
        }
        let whole: Option<Vec<&[i64]>> = parts.iter().map(|part| part.whole()).collect();
        Tensor::new(shape, interleaved(&whole?, outer)).ok().map(Self::I64)
    }

    /// Repeats one number, or takes as many as there are, as a row of real numbers.
    pub(super) fn broadcast_to_row(&self, width: usize) -> Option<Tensor> {
        match self.floats()? {
            [value] => Some(Tensor::from_fn([width], |_| *value)),
            values => Tensor::new([width], values.to_vec()).ok(),
        }
    }

    pub(super) fn floats(&self) -> Option<&[f32]> {
        match self {
            Self::F32(tensor) => Some(tensor.data()),
            Self::I64(_) => None,
        }
    }

    pub(super) fn whole(&self) -> Option<&[i64]> {
        match self {
            Self::I64(tensor) => Some(tensor.data()),
            Self::F32(_) => None,
        }
    }

    /// Converts to real or whole numbers; real numbers are cut towards zero.
    pub(super) fn cast(&self, real: bool) -> Self {
        match self {
            Self::I64(tensor) if real => {
                let data = tensor.data();
                Self::F32(Tensor::from_fn(tensor.shape(), |i| to_real(data[i])))
            }
            Self::F32(tensor) if !real => {
                let data = tensor.data();
                Self::I64(Tensor::from_fn(tensor.shape(), |i| to_whole(data[i])))
            }
            same => same.clone(),
        }
    }

    /// Computes an operator on two arrays of one shape.
    pub(super) fn combined(&self, other: &Self, operator: Operator) -> Option<Self> {
        match (self, other) {
            (Self::F32(a), Self::F32(b)) if a.shape() == b.shape() => {
                let pairs = a.data().iter().zip(b.data());
                let values = pairs.map(|(a, b)| operator.real(*a, *b)).collect();
                Tensor::new(a.shape(), values).ok().map(Self::F32)
            }
            (Self::I64(a), Self::I64(b)) if a.shape() == b.shape() => {
                let pairs = a.data().iter().zip(b.data());
                let values = pairs.map(|(a, b)| operator.whole(*a, *b)).collect::<Option<_>>()?;
                Tensor::new(a.shape(), values).ok().map(Self::I64)
            }
            _ => None,
        }
    }
}

/// Joins runs of each part, row by row of the outer axes.
fn interleaved<T: Copy>(parts: &[&[T]], outer: usize) -> Vec<T> {
    let mut data = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for row in 0..outer {
        for part in parts {
            let width = part.len() / outer;
            data.extend_from_slice(&part[row * width..(row + 1) * width]);
        }
    }
    data
}

#[expect(clippy::cast_precision_loss, reason = "as ONNX's Cast")]
pub(super) fn to_real(value: i64) -> f32 {
    narrow(value as f64)
}

#[expect(clippy::cast_possible_truncation, reason = "as ONNX's Cast; values beyond saturate")]
pub(super) fn to_whole(value: f32) -> i64 {
    value as i64
}

/// An operator on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
}

impl Operator {
    fn real(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
        }
    }

    fn whole(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Self::Add => a.checked_add(b),
            Self::Sub => a.checked_sub(b),
            Self::Mul => a.checked_mul(b),
            Self::Div => a.checked_div(b),
        }
    }
}
