//! A small owned array: values, their shape, nothing else.
//!
//! Results and weights travel in it. It is row-major, outermost axis first, and it is its own file
//! because model, batch, reference and engine all hand it to callers.

use crate::error::{Error, Result};

/// An owned, row-major array of `T` with any number of axes.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tensor<T = f32> {
    shape: Vec<usize>,
    data: Vec<T>,
}

impl<T> Tensor<T> {
    /// Wraps `data` as an array of `shape`.
    ///
    /// # Errors
    /// `Shape` when the number of values is not the product of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self> {
        let shape = shape.into();
        let expected = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
        if expected != Some(data.len()) {
            return Err(Error::shape(format!(
                "tensor: expected {} values for shape {shape:?}, got {}",
                expected.map_or_else(|| "more than a machine word of".into(), |n| n.to_string()),
                data.len()
            )));
        }
        Ok(Self { shape, data })
    }

    /// Builds an array by calling `value(index)` for every row-major index.
    pub fn from_fn(shape: impl Into<Vec<usize>>, value: impl FnMut(usize) -> T) -> Self {
        let shape = shape.into();
        let data = (0..shape.iter().product()).map(value).collect();
        Self { shape, data }
    }

    /// Returns the length of every axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the values in row-major order.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// Returns the values in row-major order, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// Gives the values away.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// Returns the same values as an array of one axis.
    #[must_use]
    pub fn flattened(self) -> Self {
        Self { shape: vec![self.data.len()], data: self.data }
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Tells whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Returns row `index` of the array seen as `[.., last axis]`.
    ///
    /// # Panics
    /// When `index` is not below the product of all axes but the last.
    pub fn row(&self, index: usize) -> &[T] {
        let width = self.shape.last().copied().unwrap_or(1);
        &self.data[index * width..(index + 1) * width]
    }
}

impl<T: Clone + Default> Tensor<T> {
    /// Builds an array of default values (zeros for numbers).
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        Self::from_fn(shape, |_| T::default())
    }
}
