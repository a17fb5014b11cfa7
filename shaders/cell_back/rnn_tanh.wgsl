// Backwards through h = tanh(gx + gh): da = dh·(1 − h²). Rust twin: src/cell/rnn.rs (back).

fn cell_back(
    gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, state: vec4f, dh: vec4f, dc: vec4f, d: u32, unit: u32,
) -> Backed {
    let h = tanh_v(gx[0] + gh[0]);
    var result: Backed;
    result.dgx[0] = dh * (1.0 - h * h);
    result.dgh[0] = result.dgx[0];
    return result;
}
