//! Sizes that the graph computes with before it is run: polynomials in the free axes.
//!
//! A graph reads B and T off its input with `Shape` and builds the shapes of states and reshapes out
//! of them. [`Size`] is what such a number is known to be: a sum of products of free axes with whole
//! coefficients. Two sizes are the same for every input exactly when they are equal here. Sums and
//! products are bounded, so that no file makes them grow.

use std::collections::BTreeMap;

/// A free axis; a place in the reader's table of names.
pub(super) type Symbol = usize;

/// More terms or factors than any exporter writes.
const MOST: usize = 16;

/// A size as a polynomial: product of symbols → coefficient, none zero.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Size(BTreeMap<Vec<Symbol>, i64>);

impl Size {
    pub(super) fn constant(value: i64) -> Self {
        Self::collect([(Vec::new(), value)]).unwrap_or_default()
    }

    pub(super) fn symbol(symbol: Symbol) -> Self {
        Self(BTreeMap::from([(vec![symbol], 1)]))
    }

    pub(super) fn from_usize(value: usize) -> Self {
        Self::constant(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn collect(terms: impl IntoIterator<Item = (Vec<Symbol>, i64)>) -> Option<Self> {
        let mut sum = BTreeMap::new();
        for (mut product, coefficient) in terms {
            product.sort_unstable();
            let total: &mut i64 = sum.entry(product).or_insert(0);
            *total = total.checked_add(coefficient)?;
        }
        sum.retain(|_, coefficient| *coefficient != 0);
        let fits = sum.len() <= MOST && sum.keys().all(|product| product.len() <= MOST);
        fits.then_some(Self(sum))
    }

    fn terms(&self) -> impl Iterator<Item = (Vec<Symbol>, i64)> + '_ {
        self.0.iter().map(|(product, coefficient)| (product.clone(), *coefficient))
    }

    /// Returns the number where no free axis is in it.
    pub(super) fn as_constant(&self) -> Option<i64> {
        match self.0.iter().next() {
            None => Some(0),
            Some((product, value)) if self.0.len() == 1 && product.is_empty() => Some(*value),
            Some(_) => None,
        }
    }

    /// As [`Size::as_constant`], for a number that is not negative.
    pub(super) fn as_usize(&self) -> Option<usize> {
        usize::try_from(self.as_constant()?).ok()
    }

    pub(super) fn is_one(&self) -> bool {
        self.as_constant() == Some(1)
    }

    pub(super) fn add(&self, other: &Self) -> Option<Self> {
        Self::collect(self.terms().chain(other.terms()))
    }

    pub(super) fn sub(&self, other: &Self) -> Option<Self> {
        self.add(&other.mul(&Self::constant(-1))?)
    }

    pub(super) fn mul(&self, other: &Self) -> Option<Self> {
        let mut terms = Vec::new();
        for (left, a) in self.terms() {
            for (right, b) in other.terms() {
                terms.push(([left.as_slice(), right.as_slice()].concat(), a.checked_mul(b)?));
            }
        }
        Self::collect(terms)
    }

    /// Divides; `None` where the quotient is no polynomial. Numbers are cut towards zero.
    pub(super) fn div(&self, other: &Self) -> Option<Self> {
        if let (Some(a), Some(b)) = (self.as_constant(), other.as_constant()) {
            return a.checked_div(b).map(Self::constant);
        }
        if self == other {
            return Some(Self::constant(1));
        }
        let mut divisor = other.0.iter();
        let (Some((factors, divisor)), None) = (divisor.next(), divisor.next()) else {
            return None;
        };
        let quotient = |(mut product, coefficient): (Vec<Symbol>, i64)| {
            for factor in factors {
                let place = product.iter().position(|symbol| symbol == factor)?;
                product.remove(place);
            }
            let exact = coefficient.checked_rem(*divisor)? == 0;
            exact.then(|| coefficient.checked_div(*divisor).map(|c| (product, c))).flatten()
        };
        Self::collect(self.terms().map(quotient).collect::<Option<Vec<_>>>()?)
    }

    /// Tells whether the size is `value` for every input or for none; `None` where it depends.
    pub(super) fn equals(&self, other: &Self) -> Option<bool> {
        if self == other {
            return Some(true);
        }
        let difference = self.sub(other)?;
        let all = |sign: fn(i64) -> bool| difference.0.values().all(|c| sign(*c));
        // Free axes are at least 0: a difference with a number in it and no mixed signs is never 0.
        let moved = difference.0.contains_key(&Vec::new());
        let never = moved && (all(|c| c > 0) || all(|c| c < 0));
        never.then_some(false)
    }
}

/// Multiplies sizes.
pub(super) fn product<'a>(sizes: impl IntoIterator<Item = &'a Size>) -> Option<Size> {
    sizes.into_iter().try_fold(Size::constant(1), |n, size| n.mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_add_multiply_and_divide() {
        let (b, t) = (Size::symbol(0), Size::symbol(1));
        let six = Size::constant(6);
        let area = b.mul(&t).and_then(|n| n.mul(&six)).expect("small");
        assert_eq!(area.div(&t), b.mul(&six));
        assert_eq!(area.div(&Size::constant(4)), None);
        assert_eq!(area.sub(&area).and_then(|n| n.as_constant()), Some(0));
        assert_eq!(t.equals(&Size::constant(-1)), Some(false));
        assert_eq!(t.equals(&six), None);
        assert_eq!(t.equals(&t), Some(true));
    }

    #[test]
    fn growth_is_bounded() {
        let mut n = Size::symbol(0);
        for _ in 0..10 {
            n = n.mul(&n.clone()).unwrap_or_default();
        }
        assert_eq!(n, Size::default());
        assert_eq!(Size::constant(i64::MAX).add(&Size::constant(1)), None);
    }
}
