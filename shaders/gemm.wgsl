// A matrix product over the rows of a padded batch: input projection or output layer.
//
//   c[m] = a[row(m)]·W + bias
//
// The rows a product takes, and their order, follow MODE:
//   0  recurrence order: m = (s, b) of a chunk, read at t = time_of(s); rows past their end skipped
//   1  natural order:    m = (t, b) of a chunk; rows past their end skipped
//   2  last valid step:  m = b, read at t = len − 1; empty rows skipped
//   3  final states:     m = b, read at row b; empty rows skipped
// With GATHER the row of `a` is the one that the token at (t, b) names; a token outside the table
// gives NaN. Grid: x over groups of COLUMNS4·4 columns, y over tiles of ROWS rows, z over directions.
// "Direct": operands come straight from cache; a 4·COLUMNS4 × ROWS register tile per invocation.
// Needs: lib/{index,rowsN}. Host: src/kernel/mod.rs, src/plan/layer.rs.

struct Gemm {
    batch: u32,         // B
    first_step: u32,    // first s (mode 0) or t (mode 1) of this chunk
    step_count: u32,    // steps in this chunk
    reverse_mask: u32,  // bit d: direction d reads backwards
    inner4: u32,        // K/4
    columns4: u32,      // N/4
    vocab: u32,         // rows of the gathered table
    zero: u32,          // always 0
}

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [T·B or V, K/4]
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;              // [D, K, N/4]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;                // [D, N/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read> tokens: array<u32>;                // [T, B]
@group(0) @binding(6) var<storage, read_write> c: array<vec4f>;             // [D, M, N/4]

override WG_X: u32 = 8u;
override WG_Y: u32 = 8u;
override MODE: u32 = 0u;
override GATHER: bool = false;

const COLUMNS4: u32 = 2u;

fn source_row(index: u32) -> vec4f {
    return a[index];
}

// The time step of row m, or the largest u32 for a row to skip.
fn step_of(m: u32, d: u32) -> u32 {
    let len = lengths[m % gemm.batch];
    if (MODE == 2u) {
        return len - 1u; // wraps to the largest u32 for an empty row
    }
    if (MODE == 3u) {
        return select(0u, 0xffffffffu, len == 0u);
    }
    let s = gemm.first_step + m / gemm.batch;
    if (s >= len) {
        return 0xffffffffu;
    }
    return time_of(s, len, MODE == 0u && reads_backwards(gemm.reverse_mask, d));
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let column = id.x * COLUMNS4;
    let row0 = id.y * ROWS;
    let d = id.z;
    let row_count = gemm.step_count * gemm.batch;
    if (column >= gemm.columns4 || row0 >= row_count) {
        return;
    }
    let has_second = column + 1u < gemm.columns4;

    var base: array<u32, ROWS>;
    var is_valid: array<bool, ROWS>;
    var is_known: array<bool, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let m = row0 + r;
        base[r] = 0u;
        is_valid[r] = false;
        is_known[r] = true;
        if (m < row_count) {
            let t = step_of(m, d);
            is_valid[r] = t != 0xffffffffu;
            if (is_valid[r]) {
                var row = t * gemm.batch + m % gemm.batch;
                if (GATHER) {
                    row = tokens[row];
                    is_known[r] = row < gemm.vocab;
                    row = select(0u, row, is_known[r]);
                }
                base[r] = row * gemm.inner4;
            }
        }
    }

    // Where the second group of columns does not exist, it repeats the first and is not stored.
    let second = select(0u, 1u, has_second);
    var acc0: Rows;
    var acc1: Rows;
    for (var k4 = 0u; k4 < gemm.inner4; k4++) {
        let rows = load_rows(base, k4);
        let w0 = (d * gemm.inner4 + k4) * 4u * gemm.columns4 + column;
        let w1 = w0 + gemm.columns4;
        let w2 = w1 + gemm.columns4;
        let w3 = w2 + gemm.columns4;
        acc0 += mat4x4f(weight[w0], weight[w1], weight[w2], weight[w3]) * rows;
        acc1 += mat4x4f(
            weight[w0 + second], weight[w1 + second], weight[w2 + second], weight[w3 + second],
        ) * rows;
    }

    // Mode 1 writes into the whole [T, B, N] array, the others into the chunk.
    let c_row0 = select(d * row_count, gemm.first_step * gemm.batch, MODE == 1u);
    for (var r = 0u; r < ROWS; r++) {
        if (!is_valid[r]) {
            continue;
        }
        let unknown = select(quiet_nan(gemm.zero), 0.0, is_known[r]);
        let at = (c_row0 + row0 + r) * gemm.columns4 + column;
        c[at] = row_of(acc0, r) + bias[d * gemm.columns4 + column] + unknown;
        if (has_second) {
            c[at + 1u] = row_of(acc1, r) + bias[d * gemm.columns4 + column + 1u] + unknown;
        }
    }
}
