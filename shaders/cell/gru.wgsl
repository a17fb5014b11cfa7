// GRU, gates r, z, n, reset after the product: n = tanh(gx_n + r·gh_n), h' = (1 − z)·n + z·h.
// Rust twin: src/cell/gru.rs. The reset-before form has a driver of its own: recur_reset_before.wgsl.

const GATES: u32 = 3u;
const STATES: u32 = 1u;

fn cell_step(gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, s: array<vec4f, STATES>) -> array<vec4f, STATES> {
    let r = sigmoid_v(gx[0] + gh[0]);
    let z = sigmoid_v(gx[1] + gh[1]);
    let n = tanh_v(gx[2] + r * gh[2]);
    return array<vec4f, STATES>((1.0 - z) * n + z * s[0]);
}
