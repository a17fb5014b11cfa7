// One time step of a point-wise cell for few sequences: the inputs of a unit split over invocations.
//
//   gh = W_hh·h_{t-1} + b_hh;   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// With one or two sequences a step per dispatch has too few invocations to hide its loads. Here slice
// i of WG_Y takes the inputs k4 = i, i + WG_Y, …, and slice 0 finishes the units. Slices are added up through
// workgroup memory, or by shuffles where subgroups have one size.
// Grid: x over WG_X groups of four units, y over tiles of ROWS rows, z over directions.
// Needs: a cell file, lib/{own or custom,no_tape or tape,activation,advance,hidden,index,recur,rowsN}, and lib/{lanes,slices} or
// lib/{lanes_subgroup,slices_subgroup,shuffleN}.
// Host: src/kernel/table.rs, src/plan/split.rs.

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
@group(0) @binding(9) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom; or lib/tape; or unused

var<private> is_first: bool;

fn source_row(index: u32) -> vec4f {
    if (is_first) {
        return h_0[index];
    }
    return y[index];
}

@compute @workgroup_size(WG_X * WG_Y, 1, 1)
fn main(invocation: Invocation, @builtin(workgroup_id) group: vec3u) {
    let lane = lane_of(invocation);
    let unit = group.x * WG_X + lane.x;
    let row0 = group.y * ROWS;
    let d = group.z;
    let s = recur.first_step + step.index;
    is_first = s == 0u;
    let base = rows_before(s, row0, d);

    // An invocation without units of its own repeats the last ones and stores nothing.
    let read_unit = min(unit, recur.units4 - 1u);
    var mine: array<Rows, GATES>;
    for (var k4 = lane.y; k4 < recur.state4; k4 += WG_Y) {
        let h = load_rows(base, k4);
        for (var g = 0u; g < GATES; g++) {
            mine[g] += weight_block(d, k4, g, read_unit) * h;
        }
    }
    let sum = sum_slices(mine, lane);
    if (lane.y != 0u || unit >= recur.units4) {
        return;
    }

    let columns = GATES * recur.units4;
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        if (row >= recur.batch) {
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
            gx[g] = gates_x[gx0 + g * recur.units4];
            gh[g] = row_of(sum[g], r) + bias_hh[d * columns + g * recur.units4 + unit];
        }
        keep_gates(gx0, gh);
        let h = source_row(base[r] + unit);
        let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
        let cell_at = state_index(row, d, recur.units4) + unit;
        advance(gx, gh, h, cell_at, y_index(t, row, d) + unit, d, unit);
    }
}
