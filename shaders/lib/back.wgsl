// What the kernels of backpropagation share: their uniform block, and how rows of the gradients of gates, in
// recurrence order, stand to rows in time order. Needs: lib/index. Rust twin of the block: src/kernel/uniforms.rs.
//
// The driver supplies the bindings `back`, `lengths` and the override MODE, which says where the rows of a
// gradient `d` [Z, M, N] lie and what they belong to:
//   0  gates in recurrence order: m = (s, b), one z a direction; they belong to time t = time_of(s)
//   1  an output layer's every step: m = (t, b)
//   2  its last valid step: m = b at t = len − 1
//   3  its final states: m = b; a direction's block belongs to the step that it ends with
//   4  gates in recurrence order, beside an array that lies like them

struct Back {
    batch: u32,         // B
    steps: u32,         // T of the arrays
    directions: u32,    // Z: directions of the gates; 1 for an output layer
    reverse_mask: u32,  // bit z: direction z reads backwards; of the layer below in mode 3
    inner4: u32,        // K/4: inputs
    columns4: u32,      // N/4: gates of all units, or outputs
    state4: u32,        // R/4: a direction's block of the inputs, for mode 3
    slice_rows: u32,    // rows m of a slice of a sum over rows
    slices: u32,        // slices
    first: u32,         // of the kernel's own choice
}

const NONE: u32 = 0xffffffffu;

// Rows m of one z.
fn row_count() -> u32 {
    if (MODE == 2u || MODE == 3u) {
        return back.batch;
    }
    return back.steps * back.batch;
}

// Whether row m holds anything.
fn is_valid(m: u32) -> bool {
    let len = lengths[m % back.batch];
    if (MODE == 2u || MODE == 3u) {
        return len > 0u;
    }
    return m / back.batch < len;
}

// Where the inputs of row m of direction z lie, in rows; m is valid.
fn input_row(m: u32, z: u32) -> u32 {
    let b = m % back.batch;
    if (MODE == 0u) {
        let t = time_of(m / back.batch, lengths[b], reads_backwards(back.reverse_mask, z));
        return t * back.batch + b;
    }
    if (MODE == 2u) {
        return (lengths[b] - 1u) * back.batch + b;
    }
    if (MODE == 4u) {
        return z * row_count() + m;
    }
    return m;
}

// Row m whose gradient reaches the input of row b at time t through direction z, or NONE; `k4` is the group of
// inputs that is asked for.
fn gradient_row(t: u32, b: u32, z: u32, k4: u32) -> u32 {
    let len = lengths[b];
    if (t >= len) {
        return NONE;
    }
    if (MODE == 0u) {
        return time_of(t, len, reads_backwards(back.reverse_mask, z)) * back.batch + b;
    }
    if (MODE == 2u) {
        return select(NONE, b, t + 1u == len);
    }
    if (MODE == 3u) {
        let end = select(len - 1u, 0u, reads_backwards(back.reverse_mask, k4 / back.state4));
        return select(NONE, b, t == end);
    }
    return t * back.batch + b;
}
