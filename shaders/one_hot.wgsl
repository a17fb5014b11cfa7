// The input projection of one-hot tokens: a row gather instead of a product with zeros.
//
//   c[m] = W_ihᵀ[token(m)] + bias        m = (s, b) of a chunk in recurrence order
//
// A token outside the vocabulary gives NaN. Grid: x over groups of four columns, y over rows,
// z over directions. Needs: lib/index. Host: src/kernel/table.rs, src/plan/layer.rs.

struct Gemm {
    batch: u32,         // B
    first_step: u32,    // first s of this chunk
    step_count: u32,    // steps in this chunk
    reverse_mask: u32,  // bit d: direction d reads backwards
    inner4: u32,        // unused here
    columns4: u32,      // N/4
    vocab: u32,         // V
    zero: u32,          // always 0
    columns: u32,       // unused here
}

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(1) var<storage, read> weight: array<Weight>;             // [D, V, N/4]
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;                // [D, N/4]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(4) var<storage, read> tokens: array<u32>;                // [T, B]
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>;             // [D, M, N/4]

override WG_X: u32 = 64u;
override WG_Y: u32 = 1u;

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let column = id.x;
    let m = id.y;
    let d = id.z;
    let row_count = gemm.step_count * gemm.batch;
    if (column >= gemm.columns4 || m >= row_count) {
        return;
    }
    let row = m % gemm.batch;
    let len = lengths[row];
    let s = gemm.first_step + m / gemm.batch;
    if (s >= len) {
        return;
    }
    let t = time_of(s, len, reads_backwards(gemm.reverse_mask, d));
    let token = tokens[t * gemm.batch + row];
    let at = (d * row_count + m) * gemm.columns4 + column;
    if (token >= gemm.vocab) {
        c[at] = vec4f(quiet_nan(gemm.zero));
    } else {
        c[at] = weight_from(weight[(d * gemm.vocab + token) * gemm.columns4 + column]) + bias[d * gemm.columns4 + column];
    }
}
