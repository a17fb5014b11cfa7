// Backwards through n = tanh(gx_n + r·gh_n), h' = (1 − z)·n + z·h. Rust twin: src/cell/gru.rs (back).
//
//   dn = dh·(1 − z)   dz = dh·(h − n)   dgx_n = dn·(1 − n²)   dgh_n = r·dgx_n   dr = dgx_n·gh_n
//   handed on: dh = z·dh

fn cell_back(
    gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, state: vec4f, dh: vec4f, dc: vec4f, d: u32, unit: u32,
) -> Backed {
    let r = sigmoid_v(gx[0] + gh[0]);
    let z = sigmoid_v(gx[1] + gh[1]);
    let n = tanh_v(gx[2] + r * gh[2]);
    let d_n = dh * (1.0 - z) * (1.0 - n * n);
    let d_z = dh * (state - n) * z * (1.0 - z);
    let d_r = d_n * gh[2] * r * (1.0 - r);
    var result: Backed;
    result.dgx = array<vec4f, GATES>(d_r, d_z, d_n);
    result.dgh = array<vec4f, GATES>(d_r, d_z, d_n * r);
    result.dh = dh * z;
    return result;
}
