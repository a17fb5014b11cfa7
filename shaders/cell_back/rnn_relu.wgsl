// Backwards through h = max(gx + gh, 0): da = dh where gx + gh > 0, else 0; NaN stays. Rust twin: src/cell/rnn.rs (back).

fn cell_back(
    gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, state: vec4f, dh: vec4f, dc: vec4f, d: u32, unit: u32,
) -> Backed {
    let a = bitcast<vec4u>(gx[0] + gh[0]);
    // Sign bit set, or zero: bits, since comparing may hide NaN.
    let is_off = (a & vec4u(0x7fffffffu)) == vec4u(0u);
    let is_negative = (a >= vec4u(0x80000000u)) & ((a & vec4u(0x7fffffffu)) <= vec4u(0x7f800000u));
    var result: Backed;
    result.dgx[0] = select(dh, vec4f(0.0), is_off | is_negative);
    result.dgh[0] = result.dgx[0];
    return result;
}
