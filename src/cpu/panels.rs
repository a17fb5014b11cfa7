//! A weight matrix packed for the product `out = bias + x·Wᵀ`, and that product.
//!
//! Takes rows of f32, gives rows of f32. It is its own file because every product of the CPU path
//! (input, recurrent, projection, output layer) is this one. The instruction set is picked at run
//! time by `pulp`, whose interface is safe; the default x86-64 target alone would mean SSE2.
//!
//! The matrix is stored transposed in panels of four vectors: `[K, 4·lanes]` each, then one vector
//! wide panels for the rest. A block of up to six rows times one panel stays in registers over the
//! whole of K, so that a weight is read once per block and an input value once per panel. Every
//! element is one chain of sums in the order of k, whatever the blocking: a row's result does not
//! depend on the rows beside it.
//!
//! What the run-time choice is worth, LSTM with H = I = 256, B = 32, T = 100, one thread of an AMD
//! EPYC (Zen 4), 2026-11: SSE2 144 ms, AVX2 41 ms, AVX-512 34 ms.

use pulp::{Arch, Simd, WithSimd};

/// Vectors in a wide panel.
const WIDE: usize = 4;

/// A cache line, so that vectors never cross two.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// The instruction set of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) arch: Arch,
    /// f32 in a vector.
    lanes: usize,
}

impl Machine {
    /// Picks the best instruction set.
    pub(super) fn detect() -> Self {
        Self::new(Arch::new())
    }

    fn new(arch: Arch) -> Self {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        Self { arch, lanes: arch.dispatch(Lanes) }
    }

    /// Lists every instruction set that this machine has.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "only x86 adds"))]
        let mut all = vec![Arch::Scalar, Arch::new()];
        #[cfg(target_arch = "x86_64")]
        all.extend(pulp::x86::V3::try_new().map(Arch::V3));
        all.into_iter().map(Self::new).collect()
    }

    /// Rounds a number of units up to whole vectors (and to whole blocks of the cells' steps).
    pub(super) fn pad(self, units: usize) -> usize {
        units.next_multiple_of(self.lanes.max(4))
    }
}

/// A packed matrix with its bias.
#[derive(Debug)]
pub(super) struct Panels {
    machine: Machine,
    inputs: usize,
    columns: usize,
    bias: Vec<f32>,
    data: Vec<Line>,
}

impl Panels {
    /// Packs `weight(column, k)` and `bias(column)`; `columns` is a padded number.
    pub(super) fn new(
        machine: Machine,
        inputs: usize,
        columns: usize,
        weight: impl Fn(usize, usize) -> f32,
        bias: impl Fn(usize) -> f32,
    ) -> Self {
        let lanes = machine.lanes;
        let mut data = vec![Line([0.0; 16]); (inputs * columns).div_ceil(16)];
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut data);
        let wide = columns / (WIDE * lanes) * (WIDE * lanes);
        let mut at = 0;
        let mut pack = |first: usize, width: usize| {
            for k in 0..inputs {
                for n in 0..width {
                    values[at] = weight(first + n, k);
                    at += 1;
                }
            }
        };
        (0..wide).step_by(WIDE * lanes).for_each(|first| pack(first, WIDE * lanes));
        (wide..columns).step_by(lanes).for_each(|first| pack(first, lanes));
        Self { machine, inputs, columns, bias: (0..columns).map(bias).collect(), data }
    }

    /// Returns the width of a result row.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Computes `rows` rows: row r of `x` starts at r·`x_stride`, row r of `out` at r·`out_stride`.
    pub(super) fn product(
        &self,
        rows: usize,
        (x, x_stride): (&[f32], usize),
        (out, out_stride): (&mut [f32], usize),
    ) {
        self.machine.arch.dispatch(Product { panels: self, rows, x, x_stride, out, out_stride });
    }
}

struct Product<'a> {
    panels: &'a Panels,
    rows: usize,
    x: &'a [f32],
    x_stride: usize,
    out: &'a mut [f32],
    out_stride: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let panels = self.panels;
        let values: &[f32] = bytemuck::cast_slice(&panels.data);
        let width = WIDE * S::F32_LANES;
        let wide = panels.columns / width * width;
        // 24 sums of 32 registers, or 8 of 16: three rows would need 12 and the panel's four
        // vectors, and spill (AVX2: 77 ms instead of the 41 ms above).
        let most = if S::REGISTER_COUNT >= 32 { 6 } else { 2 };
        for first in (0..wide).step_by(width) {
            let weights = &values[first * panels.inputs..][..width * panels.inputs];
            self.panel::<S, WIDE>(simd, first, weights, most);
        }
        for first in (wide..panels.columns).step_by(S::F32_LANES) {
            let weights = &values[first * panels.inputs..][..S::F32_LANES * panels.inputs];
            self.panel::<S, 1>(simd, first, weights, 6);
        }
    }
}

impl Product<'_> {
    /// Multiplies all rows with one panel, in blocks of at most `most` rows.
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        weights: &[f32],
        most: usize,
    ) {
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            // Equal blocks: 8 rows are 4 + 4, not 6 + 2.
            let block = left.div_ceil(left.div_ceil(most));
            match block {
                1 => self.block::<S, V, 1>(simd, first, weights, row),
                2 => self.block::<S, V, 2>(simd, first, weights, row),
                3 => self.block::<S, V, 3>(simd, first, weights, row),
                4 => self.block::<S, V, 4>(simd, first, weights, row),
                5 => self.block::<S, V, 5>(simd, first, weights, row),
                _ => self.block::<S, V, 6>(simd, first, weights, row),
            }
            row += block;
        }
    }

    /// Multiplies M rows with one panel of V vectors, sums in registers.
    #[inline(always)]
    fn block<S: Simd, const V: usize, const M: usize>(
        &mut self,
        simd: S,
        first: usize,
        weights: &[f32],
        row: usize,
    ) {
        let weights = S::as_simd_f32s(weights).0.as_chunks::<V>().0;
        let bias = S::as_simd_f32s(&self.panels.bias[first..][..V * S::F32_LANES]).0;
        let x: [&[f32]; M] =
            std::array::from_fn(|m| &self.x[(row + m) * self.x_stride..][..weights.len()]);
        let start: [S::f32s; V] = std::array::from_fn(|v| bias[v]);
        let mut sums = [start; M];
        for (k, weights) in weights.iter().enumerate() {
            for m in 0..M {
                let value = simd.splat_f32s(x[m][k]);
                for v in 0..V {
                    sums[m][v] = simd.mul_add_e_f32s(value, weights[v], sums[m][v]);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            let out = &mut self.out[(row + m) * self.out_stride + first..][..V * S::F32_LANES];
            S::as_mut_simd_f32s(out).0.copy_from_slice(sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_matches_a_naive_loop_for_every_blocking() {
        let sizes = [(1, 1), (3, 17), (5, 70), (33, 130)];
        let cases =
            Machine::all().into_iter().flat_map(|machine| sizes.map(|size| (machine, size)));
        for (machine, (inputs, units)) in cases {
            let columns = machine.pad(units);
            let weight = |n: usize, k: usize| ((n * 7 + k * 3) % 11) as f32 - 5.0;
            let panels = Panels::new(machine, inputs, columns, weight, |n| n as f32);
            for rows in 0..14 {
                let x: Vec<f32> = (0..rows * inputs).map(|i| (i % 13) as f32 - 6.0).collect();
                let stride = columns + 3;
                let mut out = vec![f32::NAN; rows * stride];
                panels.product(rows, (&x, inputs), (&mut out, stride));
                for (i, got) in out.iter().enumerate() {
                    let (r, n) = (i / stride, i % stride);
                    if n >= columns {
                        assert!(got.is_nan(), "written beyond the row");
                        continue;
                    }
                    let sum: f32 = (0..inputs).map(|k| x[r * inputs + k] * weight(n, k)).sum();
                    // Small whole numbers: exact in any order.
                    assert!((got - sum - n as f32).abs() < 1e-6, "row {r} column {n}: {got}");
                }
            }
        }
    }
}
