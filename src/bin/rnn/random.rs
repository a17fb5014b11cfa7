//! Random numbers that depend on a seed and a purpose alone, so that a run can be repeated and resumed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What random numbers are drawn for; each purpose has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Which examples are held out.
    Split,
    /// The order of the examples of an epoch.
    Epoch(u64),
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// Starts the stream of `purpose` under `seed`.
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(match purpose {
            Purpose::Split => 1,
            Purpose::Epoch(epoch) => epoch.saturating_add(16),
        });
        Self(rng)
    }

    /// Draws a whole number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u128::try_from(bound).unwrap_or(1);
        // The product's upper half: uniform up to bound / 2^64.
        usize::try_from((u128::from(self.0.next_u64()) * bound) >> 64).unwrap_or(0)
    }

    /// Puts a list in random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.below(last + 1);
            list.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_seed_and_purpose_alone() {
        let draw = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            (0..8).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, Purpose::Epoch(3)), draw(1, Purpose::Epoch(3)));
        assert_ne!(draw(1, Purpose::Epoch(3)), draw(1, Purpose::Epoch(4)));
        assert_ne!(draw(1, Purpose::Epoch(3)), draw(2, Purpose::Epoch(3)));
        assert_ne!(draw(1, Purpose::Split), draw(1, Purpose::Epoch(0)));
    }

    #[test]
    fn a_shuffled_list_keeps_its_elements() {
        let mut list: Vec<usize> = (0..100).collect();
        Random::new(7, Purpose::Split).shuffle(&mut list);
        assert_ne!(list, (0..100).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..100).collect::<Vec<_>>());
    }
}
