// Backwards through c' = f·c + i·g, h' = o·tanh(c'). Rust twin: src/cell/lstm.rs (back).
//
//   do = dh·tanh(c')   dc' += dh·o·(1 − tanh²(c')) + p_o·da_o
//   di = dc'·g   df = dc'·c   dg = dc'·i   handed on: dc = dc'·f + p_i·da_i + p_f·da_f

// A peephole's weight, 0 for a layer without; behind four vec4 of other parameters (lib/custom).
fn peep(gate: u32, d: u32, unit: u32) -> vec4f {
    if (!PEEPHOLE) {
        return vec4f(0.0);
    }
    return params[d * (4u + 3u * recur.units4) + 4u + gate * recur.units4 + unit];
}

fn cell_back(
    gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, state: vec4f, dh: vec4f, dc: vec4f, d: u32, unit: u32,
) -> Backed {
    let i = sigmoid_v(gx[0] + gh[0] + peep(0u, d, unit) * state);
    let f = sigmoid_v(gx[1] + gh[1] + peep(1u, d, unit) * state);
    let g = tanh_v(gx[2] + gh[2]);
    let c = f * state + i * g;
    let o = sigmoid_v(gx[3] + gh[3] + peep(2u, d, unit) * c);
    let h = tanh_v(c);
    let d_o = dh * h * o * (1.0 - o);
    let d_c = dc + dh * o * (1.0 - h * h) + peep(2u, d, unit) * d_o;
    let d_i = d_c * g * i * (1.0 - i);
    let d_f = d_c * state * f * (1.0 - f);
    let d_g = d_c * i * (1.0 - g * g);
    var result: Backed;
    result.dgx = array<vec4f, GATES>(d_i, d_f, d_g, d_o);
    result.dgh = result.dgx;
    result.dc = d_c * f + peep(0u, d, unit) * d_i + peep(1u, d, unit) * d_f;
    return result;
}
