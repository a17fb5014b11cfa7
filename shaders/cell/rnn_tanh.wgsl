// Vanilla RNN with tanh: h = f(gx + gh). Rules (f_v) from lib/own or lib/custom.
// Rust twin: src/cell/rnn.rs.

const GATES: u32 = 1u;
const STATES: u32 = 1u;

fn own_f(x: vec4f) -> vec4f {
    return tanh_v(x);
}

fn own_g(x: vec4f) -> vec4f {
    return x;
}

fn own_h(x: vec4f) -> vec4f {
    return x;
}

fn cell_step(gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, s: array<vec4f, STATES>, d: u32, unit: u32) -> array<vec4f, STATES> {
    return array<vec4f, STATES>(f_v(gx[0] + gh[0], d));
}

fn cell_output(h: vec4f, c: vec4f, d: u32) -> vec4f {
    return h;
}
