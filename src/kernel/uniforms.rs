//! The uniform blocks, field by field as the shaders declare them.
//!
//! `tests/shaders.rs` compares names, offsets and scalar kinds with the WGSL through [`Block::FIELDS`].

use bytemuck::{Pod, Zeroable};

/// A uniform block with the list of its fields.
pub trait Block: Pod {
    /// The WGSL struct's name.
    const NAME: &'static str;
    /// Field names in order; every field is a `u32`.
    const FIELDS: &'static [&'static str];
}

macro_rules! block {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
        #[repr(C)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u32),*
        }

        impl Block for $name {
            const NAME: &'static str = stringify!($name);
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}

block!(
    /// Block of the recurrent drivers (`lib/recur.wgsl`).
    Recur {
        /// B.
        batch,
        /// D.
        directions,
        /// Bit d: direction d reads backwards.
        reverse_mask,
        /// Padded width of h, in vec4.
        state4,
        /// Padded units, in vec4.
        units4,
        /// R.
        state_size,
        /// H.
        units,
        /// First step of this dispatch.
        first_step,
        /// Steps of this dispatch.
        step_count,
        /// First step held in gates_x.
        gate_first,
        /// Steps held in gates_x.
        gate_steps,
        /// 1: final states are written `[B, D, R]`.
        batch_major,
        /// Layers of a wavefront; number of the layer for dropout of its recurrence; else 0.
        layers,
        /// T of y in a wavefront, else 0.
        plan_steps,
    }
);

block!(
    /// Block of the matrix products (`lib/gemm.wgsl`) and `one_hot.wgsl`.
    Gemm {
        /// B.
        batch,
        /// First step of the chunk.
        first_step,
        /// Steps of the chunk.
        step_count,
        /// Bit d: direction d reads backwards.
        reverse_mask,
        /// K in vec4.
        inner4,
        /// N in vec4.
        columns4,
        /// Rows of the gathered table.
        vocab,
        /// Always 0.
        zero,
        /// N, unpadded; for the function of the output layer.
        columns,
    }
);

block!(
    /// Block of `norm_rows.wgsl`.
    NormRows {
        /// B.
        batch,
        /// D.
        directions,
        /// First step of the chunk.
        first_step,
        /// Steps of the chunk.
        step_count,
        /// G.
        gates,
        /// Padded units, in vec4.
        units4,
        /// H.
        units,
        /// Workgroups along y.
        grid_y,
    }
);

block!(
    /// Block of `activate.wgsl`.
    Activate {
        /// Output rows.
        rows,
        /// Unpadded columns.
        columns,
        /// Padded columns in vec4.
        columns4,
        /// Workgroups along x.
        grid_x,
    }
);

block!(
    /// Block of the kernels of backpropagation (`lib/back.wgsl`).
    Back {
        /// B.
        batch,
        /// T of the arrays.
        steps,
        /// Directions of the gates; 1 for an output layer.
        directions,
        /// Bit z: direction z reads backwards.
        reverse_mask,
        /// K in vec4.
        inner4,
        /// N in vec4.
        columns4,
        /// A direction's block of the inputs, in vec4.
        state4,
        /// Rows of a slice.
        slice_rows,
        /// Slices.
        slices,
        /// Of the kernel's own choice.
        first,
    }
);

block!(
    /// Block of `train/loss.wgsl`.
    LossShape {
        /// T·B, or B.
        rows,
        /// B.
        batch,
        /// O.
        columns,
        /// Values of a block of a row.
        width,
        /// Values from block to block.
        stride,
        /// vec4s of a row.
        row_stride4,
        /// 1: rows are sequences.
        per_sequence,
        /// Workgroups along x.
        grid_x,
    }
);

block!(
    /// Block of `train/sum_loss.wgsl`.
    SumLoss {
        /// Losses.
        rows,
        /// 1: as many marks follow them.
        marked,
    }
);

block!(
    /// Block of `train/sum_parts.wgsl`.
    Sum {
        /// vec4s of the total.
        count,
        /// Parts.
        slices,
        /// Workgroups along x.
        grid_x,
    }
);

block!(
    /// Block of `train/square_sums.wgsl`.
    Squares {
        /// vec4s of the gradient.
        count,
        /// Place of its first part.
        first,
        /// Workgroups.
        parts,
    }
);

block!(
    /// Block of `train/dropout.wgsl`.
    Dropout {
        /// vec4s.
        count,
        /// Distinguishes layers.
        layer,
        /// Workgroups along x.
        grid_x,
    }
);

block!(
    /// Block of `train/norm.wgsl`.
    Norm {
        /// Parts of all gradients.
        count,
    }
);

block!(
    /// Block of `train/optimize.wgsl`.
    Optimize {
        /// vec4s of the parameter.
        count,
        /// Where its weight decay stands among the hyper-parameters.
        decay,
        /// Workgroups along x.
        grid_x,
    }
);

block!(
    /// Block of `clear.wgsl`.
    Clear {
        /// First vec4 of words.
        first,
        /// One past the last.
        end,
    }
);

block!(
    /// Block of `fill_texture.wgsl`.
    FillTexture {
        /// vec4s.
        count,
        /// Invocations along x.
        width,
    }
);

block!(
    /// Block of `sample.wgsl`.
    Sample {
        /// O.
        count,
        /// 1 where values are probabilities.
        is_probability,
        /// K.
        top_k,
        /// Bits of P.
        top_p,
        /// Bits of T.
        temperature,
        /// Lower half of the seed.
        seed_low,
        /// Upper half of the seed.
        seed_high,
        /// Number of the first token of a submit.
        first,
    }
);

block!(
    /// Block of `grid_canary.wgsl`.
    GridCanary {
        /// Workgroups of the dispatch.
        groups,
        /// Most looks at the count.
        spins,
    }
);

block!(
    /// Block of `copy_rows.wgsl`.
    CopyRows {
        /// T, or 1.
        steps,
        /// B.
        batch,
        /// Blocks of a row.
        blocks,
        /// Values of a block.
        width,
        /// Source values from block to block.
        source_block,
        /// Target values from block to block.
        target_block,
        /// 1 for `[B, T]`.
        source_is_batch_first,
        /// 1 for `[B, T]`.
        target_is_batch_first,
        /// Workgroups along y.
        grid_y,
    }
);

block!(
    /// Block of the per-step uniform; one at every dynamic offset.
    Step {
        /// Step, counted from `Recur::first_step`.
        index,
    }
);

block!(
    /// Block of `loop_canary.wgsl`.
    Canary {
        /// Iterations asked for.
        limit,
    }
);

block!(
    /// Block of the kernels of `calibrate/`.
    Calibrate {
        /// Iterations.
        rounds,
        /// Values of a part, less one.
        mask,
        /// Values from one workgroup's part to the next.
        group_stride,
    }
);
