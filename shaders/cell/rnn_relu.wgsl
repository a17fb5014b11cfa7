// Vanilla RNN with ReLU: h = max(gx + gh, 0). Rust twin: src/cell/rnn.rs.

const GATES: u32 = 1u;
const STATES: u32 = 1u;

fn cell_step(gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, s: array<vec4f, STATES>) -> array<vec4f, STATES> {
    return array<vec4f, STATES>(relu_v(gx[0] + gh[0]));
}
