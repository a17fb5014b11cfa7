// gemm.wgsl with cooperative matrices: 64 rows × 64 columns a workgroup, 16 rows and all columns a subgroup.
//
//   c[m] = a[row(m)]·W + bias
//
// Weights are stored as f16, and what `a` holds is rounded to f16 here; sums are f32. The workgroup brings 16
// inputs of its rows and columns at a time into workgroup memory. The rows a product takes, their order and MODE
// are those of gemm.wgsl.
// Grid: x over blocks of 64 columns, y over blocks of 64 rows, z over directions.
// Needs: lib/{index,gemm,precision16}, lib/matrix or lib/matrix_emulated. Host: src/kernel/table.rs, src/plan/gemm.rs.

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [T·B or V, K/4]
@group(0) @binding(2) var<storage, read> weight: array<Weight>;             // [D, K, N/4]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;                // [D, N/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read> tokens: array<u32>;                // [T, B]
@group(0) @binding(6) var<storage, read_write> c: array<vec4f>;             // [D, M, N/4]

override MODE: u32 = 0u;
override GATHER: bool = false;

const SUBGROUPS: u32 = 4u;
const ROW_COUNT: u32 = 64u;
const WIDTH: u32 = 64u;
const DEPTH: u32 = 16u;

var<workgroup> inputs: array<Half, 1024>;        // [ROW_COUNT, DEPTH]
var<workgroup> weights: array<Half, 1024>;       // [DEPTH, WIDTH]
var<workgroup> sums: array<f32, 4096>;           // [ROW_COUNT, WIDTH]
var<workgroup> row_base: array<u32, 64>;
var<workgroup> row_found: array<u32, 64>;

fn bring_inputs(lane: u32, k0: u32) {
    for (var i = lane; i < ROW_COUNT * DEPTH / 4u; i += THREADS) {
        let row = i / (DEPTH / 4u);
        let k4 = i % (DEPTH / 4u);
        var v = vec4f(0.0);
        if (k0 / 4u + k4 < gemm.inner4) {
            v = a[row_base[row] + k0 / 4u + k4];
        }
        inputs[4u * i] = half_of(v.x);
        inputs[4u * i + 1u] = half_of(v.y);
        inputs[4u * i + 2u] = half_of(v.z);
        inputs[4u * i + 3u] = half_of(v.w);
    }
}

fn bring_weights(lane: u32, k0: u32, d: u32, column0: u32) {
    for (var i = lane; i < DEPTH * WIDTH / 4u; i += THREADS) {
        let k = k0 + i / (WIDTH / 4u);
        let column = column0 + i % (WIDTH / 4u);
        var v = vec4f(0.0);
        if (k < 4u * gemm.inner4 && column < gemm.columns4) {
            v = weight_from(weight[(d * gemm.inner4 * 4u + k) * gemm.columns4 + column]);
        }
        weights[4u * i] = half_of(v.x);
        weights[4u * i + 1u] = half_of(v.y);
        weights[4u * i + 2u] = half_of(v.z);
        weights[4u * i + 3u] = half_of(v.w);
    }
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3u,
) {
    let d = group.z;
    let row0 = group.y * ROW_COUNT;
    let column0 = group.x * WIDTH / 4u;
    let row_count = gemm.step_count * gemm.batch;
    let subgroup = subgroup_of(lane);

    for (var row = lane; row < ROW_COUNT; row += THREADS) {
        // A row that is missing reads what lies at 0; nothing is written for it.
        var mine = Place(0u, MISSING);
        if (row0 + row < row_count) {
            mine = place_of(row0 + row, d);
        }
        row_base[row] = mine.base;
        row_found[row] = mine.found;
    }
    for (var i = lane; i < ROW_COUNT * WIDTH; i += THREADS) {
        sums[i] = 0.0;
    }
    workgroupBarrier();

    let first = subgroup * 16u * WIDTH;
    //@ for j in TILES
    var acc_${j} = tile_c(first + ${j}u * 16u, WIDTH);
    //@ end
    for (var k0 = 0u; k0 < 4u * gemm.inner4; k0 += DEPTH) {
        bring_inputs(lane, k0);
        bring_weights(lane, k0, d, column0);
        workgroupBarrier();
        let rows = tile_a(subgroup * 16u * DEPTH, DEPTH);
        //@ for j in TILES
        acc_${j} = multiply_add(rows, tile_b(${j}u * 16u, WIDTH), acc_${j});
        //@ end
        workgroupBarrier();
    }
    //@ for j in TILES
    store_c(acc_${j}, first + ${j}u * 16u, WIDTH);
    //@ end
    workgroupBarrier();

    // Mode 1 writes into the whole [T, B, N] array, the others into the chunk.
    let c_row0 = select(d * row_count, gemm.first_step * gemm.batch, MODE == 1u) + row0;
    for (var i = lane; i < ROW_COUNT * WIDTH / 4u; i += THREADS) {
        let row = i / (WIDTH / 4u);
        let column = column0 + i % (WIDTH / 4u);
        let found = row_found[row];
        if (found != MISSING && column < gemm.columns4) {
            let sum = vec4f(sums[4u * i], sums[4u * i + 1u], sums[4u * i + 2u], sums[4u * i + 3u]);
            let bias_v = bias[d * gemm.columns4 + column];
            c[(c_row0 + row) * gemm.columns4 + column] = sum + bias_v + unknown_value(found);
        }
    }
}
