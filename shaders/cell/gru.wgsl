// GRU, gates r, z, n, reset after the product: n = g(gx_n + r·gh_n), h' = (1 − z)·n + z·h.
// Own functions σ, tanh; rules (f_v, g_v) from lib/own or lib/custom.
// Rust twin: src/cell/gru.rs. The reset-before form has a driver of its own: recur_reset_before.wgsl.

const GATES: u32 = 3u;
const STATES: u32 = 1u;

fn own_f(x: vec4f) -> vec4f {
    return sigmoid_v(x);
}

fn own_g(x: vec4f) -> vec4f {
    return tanh_v(x);
}

fn own_h(x: vec4f) -> vec4f {
    return x;
}

fn cell_step(gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, s: array<vec4f, STATES>, d: u32, unit: u32) -> array<vec4f, STATES> {
    let r = f_v(gx[0] + gh[0], d);
    let z = f_v(gx[1] + gh[1], d);
    let n = g_v(gx[2] + r * gh[2], d);
    return array<vec4f, STATES>((1.0 - z) * n + z * s[0]);
}

fn cell_output(h: vec4f, c: vec4f, d: u32) -> vec4f {
    return h;
}
