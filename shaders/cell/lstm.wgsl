// LSTM, gates i, f, g, o, states h, c: c' = f(f)·c + f(i)·g(g), h' = f(o)·h(c').
// Own functions σ, tanh, tanh; rules (f_v, g_v, h_v, see, forget, carried) from lib/own or lib/custom.
// Rust twin: src/cell/lstm.rs.

const GATES: u32 = 4u;
const STATES: u32 = 2u;

fn own_f(x: vec4f) -> vec4f {
    return sigmoid_v(x);
}

fn own_g(x: vec4f) -> vec4f {
    return tanh_v(x);
}

fn own_h(x: vec4f) -> vec4f {
    return tanh_v(x);
}

// The output gate and the new c; cell_output makes h of them.
fn cell_step(gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, s: array<vec4f, STATES>, d: u32, unit: u32) -> array<vec4f, STATES> {
    let i = f_v(see(0u, gx[0] + gh[0], s[1], d, unit), d);
    let f = f_v(see(1u, gx[1] + gh[1], s[1], d, unit), d);
    let g = g_v(gx[2] + gh[2], d);
    let c = carried(forget(f, i) * s[1] + i * g, d);
    let o = f_v(see(2u, gx[3] + gh[3], c, d, unit), d);
    return array<vec4f, STATES>(o, c);
}

fn cell_output(o: vec4f, c: vec4f, d: u32) -> vec4f {
    return o * h_v(c, d);
}
