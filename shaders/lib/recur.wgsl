// What the recurrent drivers share: the layer's uniform block and the place of a state.
// Rust twin of the block: src/kernel/uniforms.rs.

struct Recur {
    batch: u32,         // B
    directions: u32,    // D
    reverse_mask: u32,  // bit d: direction d reads backwards
    state4: u32,        // R/4, padded width of h
    units4: u32,        // H/4, padded units
    state_size: u32,    // R
    units: u32,         // H
    first_step: u32,    // s of the first step of this dispatch (resident) or of step 0 (per step)
    step_count: u32,    // steps of this dispatch or run of dispatches
    gate_first: u32,    // s of the first step held in gates_x
    gate_steps: u32,    // steps held in gates_x
    batch_major: u32,   // 1: final states are written [B, D, R]
    layers: u32,        // layers of a wavefront; the layer's number for lib/mask; else 0
    plan_steps: u32,    // T of y in a wavefront; else 0
}

// Index of the input gates of `row` at step `s` in gates_x [D, gate_steps, B, columns].
fn gates_index(s: u32, row: u32, d: u32, columns: u32) -> u32 {
    return ((d * recur.gate_steps + s - recur.gate_first) * recur.batch + row) * columns;
}

// Zero in the lanes of group `group` that lie beyond `size`. Padding weights are zero, and zero times
// infinity is NaN: without this an infinite input would reach every unit through the padding of h.
fn without_padding(v: vec4f, group: u32, size: u32) -> vec4f {
    let lanes = vec4u(4u * group) + vec4u(0u, 1u, 2u, 3u);
    return select(vec4f(0.0), v, lanes < vec4u(size));
}

// Index of h at time `t` of `row` in y [T, B, D, R/4].
fn y_index(t: u32, row: u32, d: u32) -> u32 {
    return ((t * recur.batch + row) * recur.directions + d) * recur.state4;
}

// Index of `row` in an array [D, B, width4].
fn state_index(row: u32, d: u32, width4: u32) -> u32 {
    return (d * recur.batch + row) * width4;
}

// Where the state before step `s` of `row` lies: in h_0 for s = 0, else in y.
fn before_index(s: u32, row: u32, len: u32, d: u32) -> u32 {
    if (s == 0u) {
        return state_index(row, d, recur.state4);
    }
    let is_reverse = reads_backwards(recur.reverse_mask, d);
    return y_index(time_before(time_of(s, len, is_reverse), is_reverse), row, d);
}
