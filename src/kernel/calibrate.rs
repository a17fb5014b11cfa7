//! The kernels that measure a device: rows of the kernel table.
//!
//! Each runs the same work over and over and leaves a result that a formula gives
//! (`gpu/calibrate/`), so that a driver which skips work is noticed. Shaders: `shaders/calibrate/`.

use super::Access::{self, Read, ReadTexture, ReadWrite, Uniform};
use super::table::TEXEL;
use super::{KernelSpec, Rules};

/// A kernel that measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// Multiply-adds of 4×4 matrices.
    Matrices,
    /// Multiply-adds of nine vectors.
    Vectors,
    /// Multiply-adds of three vectors.
    FewVectors,
    /// Fills what [`Probe::Read`] reads.
    Fill,
    /// Reads from memory or cache.
    Read,
    /// Reads from cache through a texture.
    ReadTexture,
    /// An empty dispatch that depends on the one before.
    Dispatch,
    /// Barriers of one workgroup.
    Barrier,
}

impl Probe {
    pub(super) const fn spec(self) -> KernelSpec {
        match self {
            Self::Matrices => MATRICES,
            Self::Vectors => VECTORS,
            Self::FewVectors => KernelSpec { entry: "few", ..VECTORS },
            Self::Fill => row(
                "calibrate/fill",
                include_str!("../../shaders/calibrate/fill.wgsl"),
                &[("calibrate", Uniform), ("target_rows", ReadWrite)],
            ),
            Self::Read => row(
                "calibrate/read",
                include_str!("../../shaders/calibrate/read.wgsl"),
                &[("calibrate", Uniform), ("source", Read), ("totals", ReadWrite)],
            ),
            Self::ReadTexture => KernelSpec {
                libs: &[TEXEL],
                ..row(
                    "calibrate/read_texture",
                    include_str!("../../shaders/calibrate/read_texture.wgsl"),
                    &[("calibrate", Uniform), ("source", ReadTexture), ("totals", ReadWrite)],
                )
            },
            Self::Dispatch => row(
                "calibrate/dispatch",
                include_str!("../../shaders/calibrate/dispatch.wgsl"),
                &[("totals", ReadWrite)],
            ),
            Self::Barrier => row(
                "calibrate/barrier",
                include_str!("../../shaders/calibrate/barrier.wgsl"),
                &[("calibrate", Uniform), ("totals", ReadWrite)],
            ),
        }
    }
}

const MULTIPLY: &[(&str, Access)] =
    &[("calibrate", Uniform), ("weight", Read), ("totals", ReadWrite)];

const MATRICES: KernelSpec = row(
    "calibrate/multiply_matrices",
    include_str!("../../shaders/calibrate/multiply_matrices.wgsl"),
    MULTIPLY,
);

const VECTORS: KernelSpec = KernelSpec {
    entry: "many",
    ..row(
        "calibrate/multiply_vectors",
        include_str!("../../shaders/calibrate/multiply_vectors.wgsl"),
        MULTIPLY,
    )
};

const fn row(
    name: &'static str,
    wgsl: &'static str,
    bindings: &'static [(&'static str, Access)],
) -> KernelSpec {
    KernelSpec {
        name,
        entry: "main",
        wgsl,
        libs: &[],
        takes_cell: false,
        takes_rows: false,
        shuffles: false,
        matrices: false,
        stores: false,
        rules: Rules::None,
        bindings,
        overrides: &[],
        consts: &[],
    }
}
