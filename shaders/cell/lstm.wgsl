// LSTM, gates i, f, g, o, states h, c: c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c').
// Rust twin: src/cell/lstm.rs.

const GATES: u32 = 4u;
const STATES: u32 = 2u;

fn cell_step(gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, s: array<vec4f, STATES>) -> array<vec4f, STATES> {
    let i = sigmoid_v(gx[0] + gh[0]);
    let f = sigmoid_v(gx[1] + gh[1]);
    let g = tanh_v(gx[2] + gh[2]);
    let o = sigmoid_v(gx[3] + gh[3]);
    let c = f * s[1] + i * g;
    return array<vec4f, STATES>(o * tanh_v(c), c);
}
