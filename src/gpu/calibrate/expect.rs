//! What the kernels of `shaders/calibrate/` must have computed, by formula.
//!
//! All values are whole numbers below 2²⁴, so that f32 holds them exactly whatever the order of sums
//! and whether multiply-adds are fused; totals are `u32` and wrap.

use super::{LANES, READS};
use crate::kernel::calibrate::Probe;

/// Returns the weights of a multiply-add kernel, and the operations of an invocation in a round.
pub(super) fn multiply(probe: Probe) -> ([[f32; 4]; 4], f64) {
    let rank_one = [[1.0; 4], [-1.0; 4], [1.0; 4], [-1.0; 4]];
    match probe {
        // 8 products of 4×4 by 4×4, 64 multiply-adds each.
        Probe::Matrices => (rank_one, 8.0 * 64.0 * 2.0),
        // 8 rounds of 9 or 3 vectors.
        Probe::Vectors => ([[1.0; 4]; 4], 8.0 * 9.0 * 4.0 * 2.0),
        _ => ([[1.0; 4]; 4], 8.0 * 3.0 * 4.0 * 2.0),
    }
}

/// What invocation `at` of a multiply-add kernel adds to its total.
pub(super) fn multiplied(probe: Probe, at: u32, rounds: u32) -> [u32; 4] {
    if probe == Probe::Matrices {
        // Four columns of c = 1 + at mod 4 and four of c + 1.
        let c = 8 * (1 + (at & 3)) + 4;
        let grown = c * rounds * 4;
        return [c + grown, grown, grown, grown];
    }
    let vectors = if probe == Probe::Vectors { 9 } else { 3 };
    // Vector v starts at at mod 4 + v + its component.
    let start = vectors * (at & 3) + vectors * (vectors - 1) / 2 + vectors * rounds * 8;
    [start, start + vectors, start + 2 * vectors, start + 3 * vectors]
}

/// What `fill.wgsl` puts at `i`.
fn filled(i: u32) -> [u32; 4] {
    [i & 3, (i >> 8) & 3, (i >> 13) & 3, 1]
}

/// What invocation `at` of `read.wgsl` adds to its total.
pub(super) fn read(at: u32, rounds: u32, mask: u32, group_stride: u32) -> [u32; 4] {
    let (base, lane) = (at / LANES * group_stride, at % LANES);
    let sum = |count: u32| {
        (0..count).map(|k| filled(base + ((k * LANES + lane) & mask))).fold([0; 4], add)
    };
    // Reads come back to their start after a cycle.
    let (reads, cycle) = (rounds * READS, (mask + 1).div_ceil(LANES));
    let whole = times(sum(cycle), reads / cycle);
    add(whole, sum(reads % cycle))
}

/// What invocation `at` of `barrier.wgsl` adds to its total.
pub(super) fn passed(at: u32, rounds: u32) -> [u32; 4] {
    [(at + rounds) % LANES + rounds; 4]
}

/// Adds two totals.
pub(super) fn add(a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
    std::array::from_fn(|i| a[i].wrapping_add(b[i]))
}

/// Multiplies a total.
pub(super) fn times(a: [u32; 4], count: u32) -> [u32; 4] {
    a.map(|value| value.wrapping_mul(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrix kernel in plain Rust, one column at a time.
    fn matrices(at: u8, rounds: u32) -> [u32; 4] {
        let (weights, _) = multiply(Probe::Matrices);
        let c = 1.0 + f32::from(at & 3);
        let mut total = [0.0f32; 4];
        for start in [c, c + 1.0].into_iter().cycle().take(8) {
            let mut column = [start, 0.0, 0.0, 0.0];
            for _ in 0..rounds * 4 {
                let old = column;
                for (k, weight) in weights.iter().enumerate() {
                    for (new, w) in column.iter_mut().zip(weight) {
                        *new += w * old[k];
                    }
                }
            }
            for (total, value) in total.iter_mut().zip(column) {
                *total += value;
            }
        }
        total.map(|value| value.to_string().parse().expect("a whole number"))
    }

    #[test]
    fn matrix_formula_equals_the_loop() {
        for (at, rounds) in [(0, 1), (3, 7), (6, 100)] {
            assert_eq!(multiplied(Probe::Matrices, at.into(), rounds), matrices(at, rounds));
        }
    }

    #[test]
    fn read_formula_equals_the_loop() {
        for (at, rounds, mask, stride) in
            [(0, 1, 1023, 0), (700, 9, 4095, 4096), (77, 300, 32767, 0), (511, 40, 2047, 2048)]
        {
            let mut want = [0; 4];
            for k in 0..rounds * READS {
                let inside = (k * LANES + at % LANES) & mask;
                want = add(want, filled(at / LANES * stride + inside));
            }
            assert_eq!(read(at, rounds, mask, stride), want);
        }
    }

    #[test]
    fn values_stay_exact_in_f32_up_to_the_most_rounds() {
        for probe in [Probe::Matrices, Probe::Vectors, Probe::FewVectors] {
            for value in multiplied(probe, 3, super::super::bench::MOST_ROUNDS) {
                assert!(value < 1 << 24, "{probe:?}: {value}");
            }
        }
    }
}
