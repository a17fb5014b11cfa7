// gemm.wgsl through workgroup memory, for hardware: 128 rows × 64 columns a workgroup, 8 × 8 an invocation.
//
//   c[m] = a[row(m)]·W + bias
//
// The workgroup brings 16 inputs of its rows and columns at a time into workgroup memory, from which an
// invocation reads 8 rows and 2 groups of columns and multiplies them all. It owns rows lane.y + 16·j and
// column groups lane.x + 8·c, so that neighbours read neighbouring memory. The rows a product takes, their order and
// MODE are those of gemm.wgsl.
// Grid: x over blocks of 64 columns, y over blocks of 128 rows, z over directions.
// Needs: lib/{index,gemm}. Host: src/kernel/table.rs, src/plan/gemm.rs.

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [T·B or V, K/4]
@group(0) @binding(2) var<storage, read> weight: array<Weight>;             // [D, K, N/4]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;                // [D, N/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read> tokens: array<u32>;                // [T, B]
@group(0) @binding(6) var<storage, read_write> c: array<vec4f>;             // [D, M, N/4]

override MODE: u32 = 0u;
override GATHER: bool = false;

const LANES_X: u32 = 8u;
const LANES_Y: u32 = 16u;
const LANES: u32 = 128u;
const ROW_COUNT: u32 = 128u;
const WIDTH4: u32 = 16u; // column groups
const DEPTH4: u32 = 4u;  // groups of inputs at a time

var<workgroup> row_values: array<vec4f, 512>;    // [DEPTH4, ROW_COUNT]
var<workgroup> weight_values: array<vec4f, 256>; // [4·DEPTH4, WIDTH4]
var<workgroup> row_base: array<u32, 128>;
var<workgroup> row_found: array<u32, 128>;

// Four rows of an invocation, from its `q`-th four on, as columns.
fn rows_at(k4: u32, y: u32, q: u32) -> mat4x4f {
    let at = k4 * ROW_COUNT + q * 4u * LANES_Y + y;
    return mat4x4f(
        row_values[at], row_values[at + LANES_Y],
        row_values[at + 2u * LANES_Y], row_values[at + 3u * LANES_Y],
    );
}

// A 4×4 block of weights, columns = inputs.
fn weights_at(k4: u32, column: u32) -> mat4x4f {
    let at = k4 * 4u * WIDTH4 + column;
    return mat4x4f(
        weight_values[at], weight_values[at + WIDTH4],
        weight_values[at + 2u * WIDTH4], weight_values[at + 3u * WIDTH4],
    );
}

fn bring_rows(lane: u32, k0: u32) {
    for (var i = lane; i < DEPTH4 * ROW_COUNT; i += LANES) {
        let k4 = i % DEPTH4;
        let row = i / DEPTH4;
        var v = vec4f(0.0);
        if (k0 + k4 < gemm.inner4) {
            v = a[row_base[row] + k0 + k4];
        }
        row_values[k4 * ROW_COUNT + row] = v;
    }
}

fn bring_weights(lane: u32, k0: u32, d: u32, column0: u32) {
    for (var i = lane; i < 4u * DEPTH4 * WIDTH4; i += LANES) {
        let k = i / WIDTH4;
        let column = column0 + i % WIDTH4;
        var v = vec4f(0.0);
        if (k0 * 4u + k < gemm.inner4 * 4u && column < gemm.columns4) {
            v = weight_from(weight[((d * gemm.inner4 + k0) * 4u + k) * gemm.columns4 + column]);
        }
        weight_values[i] = v;
    }
}

fn store(sums: mat4x4f, q: u32, place: vec3u, column: u32, d: u32, row0: u32) {
    if (column >= gemm.columns4) {
        return;
    }
    // Mode 1 writes into the whole [T, B, N] array, the others into the chunk.
    let row_count = gemm.step_count * gemm.batch;
    let c_row0 = select(d * row_count, gemm.first_step * gemm.batch, MODE == 1u) + row0;
    let bias_v = bias[d * gemm.columns4 + column];
    for (var j = 0u; j < 4u; j++) {
        let row = (q * 4u + j) * LANES_Y + place.y;
        let found = row_found[row];
        if (found != MISSING) {
            c[(c_row0 + row) * gemm.columns4 + column] = sums[j] + bias_v + unknown_value(found);
        }
    }
}

@compute @workgroup_size(LANES_X, LANES_Y, 1)
fn main(
    @builtin(local_invocation_id) place: vec3u,
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
) {
    let d = group.z;
    let row0 = group.y * ROW_COUNT;
    let column0 = group.x * WIDTH4;
    let row_count = gemm.step_count * gemm.batch;

    // A row that is missing reads what lies at 0; nothing is written for it.
    var mine = Place(0u, MISSING);
    if (row0 + lane < row_count) {
        mine = place_of(row0 + lane, d);
    }
    row_base[lane] = mine.base;
    row_found[lane] = mine.found;
    workgroupBarrier();

    var acc_0_0: mat4x4f;
    var acc_0_1: mat4x4f;
    var acc_1_0: mat4x4f;
    var acc_1_1: mat4x4f;
    for (var k0 = 0u; k0 < gemm.inner4; k0 += DEPTH4) {
        bring_rows(lane, k0);
        bring_weights(lane, k0, d, column0);
        workgroupBarrier();
        for (var k4 = 0u; k4 < DEPTH4; k4++) {
            let w_0 = weights_at(k4, place.x);
            let w_1 = weights_at(k4, place.x + LANES_X);
            let rows_0 = rows_at(k4, place.y, 0u);
            acc_0_0 += w_0 * rows_0;
            acc_0_1 += w_1 * rows_0;
            let rows_1 = rows_at(k4, place.y, 1u);
            acc_1_0 += w_0 * rows_1;
            acc_1_1 += w_1 * rows_1;
        }
        workgroupBarrier();
    }

    let column = column0 + place.x;
    store(acc_0_0, 0u, place, column, d, row0);
    store(acc_0_1, 0u, place, column + LANES_X, d, row0);
    store(acc_1_0, 1u, place, column, d, row0);
    store(acc_1_1, 1u, place, column + LANES_X, d, row0);
}
