// One time step of a point-wise cell with cooperative matrices: 16 rows × 64 units a workgroup, 16 units and all
// gates a subgroup.
//
//   gh = W_hh·h_{t-1} + b_hh;   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// Weights and states are stored as f16, so that nothing is rounded here; sums are f32. The workgroup brings 16
// inputs of its rows and units at a time into workgroup memory.
// Grid: x over blocks of 64 units, y over tiles of 16 rows, z over directions.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
// Needs: a cell file, lib/{own or custom,activation,advance,index,precision16,recur}, lib/matrix or
// lib/matrix_emulated. Host: src/kernel/table.rs, src/plan/matrix.rs.

struct Step {
    index: u32, // step, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> gates_x: array<vec4f>;             // [D, chunk·B, G, H/4]
@group(0) @binding(3) var<storage, read> weight_hh: array<Weight>;          // [D, H, G, H/4]
@group(0) @binding(4) var<storage, read> bias_hh: array<vec4f>;             // [D, G, H/4]
@group(0) @binding(5) var<storage, read> h_0: array<vec4f>;                 // [D, B, H/4]
@group(0) @binding(6) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;             // [T, B, D, H/4]
@group(0) @binding(8) var<storage, read_write> cells: array<vec4f>;         // [D, B, H/4]: c
@group(0) @binding(9) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom; else unused

const SUBGROUPS: u32 = 4u;
const ROW_COUNT: u32 = 16u;
const WIDTH: u32 = 64u; // units
const DEPTH: u32 = 16u;

var<workgroup> inputs: array<Half, 256>;                                    // [ROW_COUNT, DEPTH]
var<workgroup> weights: array<Half, DEPTH * GATES * WIDTH>;                 // [DEPTH, G, WIDTH]
var<workgroup> sums: array<f32, GATES * ROW_COUNT * WIDTH>;                 // [G, ROW_COUNT, WIDTH]

// h of `row` before step `s`, inputs of group `k4`; zero for a row that has ended.
fn state_before(s: u32, row: u32, d: u32, k4: u32) -> vec4f {
    if (row >= recur.batch || k4 >= recur.state4) {
        return vec4f(0.0);
    }
    let len = lengths[row];
    if (s >= len) {
        return vec4f(0.0);
    }
    let at = before_index(s, row, len, d) + k4;
    if (s == 0u) {
        return h_0[at];
    }
    return y[at];
}

fn bring(lane: u32, k0: u32, s: u32, row0: u32, d: u32, unit0: u32) {
    for (var i = lane; i < ROW_COUNT * DEPTH / 4u; i += THREADS) {
        let v = state_before(s, row0 + i / (DEPTH / 4u), d, k0 / 4u + i % (DEPTH / 4u));
        inputs[4u * i] = half_of(v.x);
        inputs[4u * i + 1u] = half_of(v.y);
        inputs[4u * i + 2u] = half_of(v.z);
        inputs[4u * i + 3u] = half_of(v.w);
    }
    for (var i = lane; i < DEPTH * GATES * WIDTH / 4u; i += THREADS) {
        let unit = unit0 + i % (WIDTH / 4u);
        let g = i / (WIDTH / 4u) % GATES;
        let k = k0 + i / (WIDTH / 4u) / GATES;
        var v = vec4f(0.0);
        if (k < 4u * recur.state4 && unit < recur.units4) {
            v = weight_from(weight_hh[((d * recur.state4 * 4u + k) * GATES + g) * recur.units4 + unit]);
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
    let unit0 = group.x * WIDTH / 4u;
    let s = recur.first_step + step.index;
    let column = subgroup_of(lane) * 16u;

    for (var i = lane; i < GATES * ROW_COUNT * WIDTH; i += THREADS) {
        sums[i] = 0.0;
    }
    workgroupBarrier();
    //@ for g in GATES
    var acc_${g} = tile_c(${g}u * ROW_COUNT * WIDTH + column, WIDTH);
    //@ end
    for (var k0 = 0u; k0 < 4u * recur.state4; k0 += DEPTH) {
        bring(lane, k0, s, row0, d, unit0);
        workgroupBarrier();
        let rows = tile_a(0u, DEPTH);
        //@ for g in GATES
        acc_${g} = multiply_add(rows, tile_b(${g}u * WIDTH + column, GATES * WIDTH), acc_${g});
        //@ end
        workgroupBarrier();
    }
    //@ for g in GATES
    store_c(acc_${g}, ${g}u * ROW_COUNT * WIDTH + column, WIDTH);
    //@ end
    workgroupBarrier();

    let columns = GATES * recur.units4;
    for (var i = lane; i < ROW_COUNT * WIDTH / 4u; i += THREADS) {
        let r = i / (WIDTH / 4u);
        let row = row0 + r;
        let unit = unit0 + i % (WIDTH / 4u);
        if (row >= recur.batch || unit >= recur.units4) {
            continue;
        }
        let len = lengths[row];
        if (s >= len) {
            continue;
        }
        let gx0 = gates_index(s, row, d, columns) + unit;
        var gx: array<vec4f, GATES>;
        var gh: array<vec4f, GATES>;
        for (var g = 0u; g < GATES; g++) {
            let at = (g * ROW_COUNT + r) * WIDTH + 4u * (unit - unit0);
            gx[g] = gates_x[gx0 + g * recur.units4];
            gh[g] = vec4f(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u])
                + bias_hh[d * columns + g * recur.units4 + unit];
        }
        let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
        let cell_at = state_index(row, d, recur.units4) + unit;
        let h = state_before(s, row, d, unit);
        advance(gx, gh, h, cell_at, y_index(t, row, d) + unit, d, unit);
    }
}
