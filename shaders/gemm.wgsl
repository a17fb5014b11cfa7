// A matrix product over the rows of a padded batch: input projection or output layer.
//
//   c[m] = a[row(m)]·W + bias
//
// The rows a product takes, and their order, follow MODE (lib/gemm). Grid: x over groups of COLUMNS4·4
// columns, y over tiles of ROWS rows, z over directions.
// "Direct": operands come straight from cache; a 4·COLUMNS4 × ROWS register tile per invocation.
// Needs: lib/{index,gemm,rowsN}. Host: src/kernel/table.rs, src/plan/layer.rs.

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [T·B or V, K/4]
@group(0) @binding(2) var<storage, read> weight: array<Weight>;             // [D, K, N/4]
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
    var found: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        base[r] = 0u;
        found[r] = MISSING;
        if (row0 + r < row_count) {
            let place = place_of(row0 + r, d);
            base[r] = place.base;
            found[r] = place.found;
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
        acc0 += mat4x4f(weight_from(weight[w0]), weight_from(weight[w1]), weight_from(weight[w2]), weight_from(weight[w3])) * rows;
        acc1 += mat4x4f(
            weight_from(weight[w0 + second]), weight_from(weight[w1 + second]), weight_from(weight[w2 + second]), weight_from(weight[w3 + second]),
        ) * rows;
    }

    // Mode 1 writes into the whole [T, B, N] array, the others into the chunk.
    let c_row0 = select(d * row_count, gemm.first_step * gemm.batch, MODE == 1u);
    for (var r = 0u; r < ROWS; r++) {
        if (found[r] == MISSING) {
            continue;
        }
        let unknown = unknown_value(found[r]);
        let at = (c_row0 + row0 + r) * gemm.columns4 + column;
        c[at] = row_of(acc0, r) + bias[d * gemm.columns4 + column] + unknown;
        if (has_second) {
            c[at + 1u] = row_of(acc1, r) + bias[d * gemm.columns4 + column + 1u] + unknown;
        }
    }
}
