// One diagonal of a stack of equal layers: layer l at step s = diagonal − l, all in one dispatch.
//
//   gx = W_ih·y^{l-1}_t + b_ih (layer 0: gates_x);   gh = W_hh·h_{t-1} + b_hh
//   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// T + L − 1 dispatches instead of T·L: what layer l reads was written by the dispatch before. y holds
// the last layer first, so that what follows the stack finds it at 0. Both products are split over WG_Y
// slices of their inputs (1 for many rows).
// Grid: x over WG_X groups of four units, y over tiles of ROWS rows, z over layers.
// Needs: a cell file, lib/{own,activation,advance,index,recur,rowsN,slices}.
// Host: src/kernel/table.rs, src/plan/wave.rs.

struct Step {
    index: u32, // diagonal, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> gates_x: array<vec4f>;             // [chunk·B, G, H/4] of layer 0
@group(0) @binding(3) var<storage, read> weight_ih: array<Weight>;          // [L − 1] of [H, G, H/4]
@group(0) @binding(4) var<storage, read> weight_hh: array<Weight>;          // [L] of [H, G, H/4]
@group(0) @binding(5) var<storage, read> biases: array<vec4f>;              // [2L − 1] of [G, H/4]
@group(0) @binding(6) var<storage, read> h_0: array<vec4f>;                 // [L] of [B, H/4]
@group(0) @binding(7) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(8) var<storage, read_write> y: array<vec4f>;             // [L] of [T, B, H/4], last layer first
@group(0) @binding(9) var<storage, read_write> cells: array<vec4f>;        // [L] of [B, H/4]: c

// No step: beyond every length.
const MISSING: u32 = 0xffffffffu;

var<private> is_first: bool;

fn source_row(index: u32) -> vec4f {
    if (is_first) {
        return h_0[index];
    }
    return y[index];
}

// Elements from one part of a joined array to the next: parts begin at multiples of 256 bytes.
fn stride(vecs: u32) -> u32 {
    return (vecs + 15u) / 16u * 16u;
}

fn weight_stride(vecs: u32) -> u32 {
    let part = 256u / WEIGHT_BYTES;
    return (vecs + part - 1u) / part * part;
}

// Where y of a layer begins.
fn y_of(layer: u32) -> u32 {
    return (recur.layers - 1u - layer) * stride(recur.plan_steps * recur.batch * recur.units4);
}

// The 4×4 blocks of W_ih and W_hh for input group `k4`, from a layer's `w` on: columns are inputs.
fn input_block(w: u32, columns: u32) -> mat4x4f {
    return mat4x4f(
        weight_from(weight_ih[w]), weight_from(weight_ih[w + columns]), weight_from(weight_ih[w + 2u * columns]), weight_from(weight_ih[w + 3u * columns]),
    );
}

fn hidden_block(w: u32, columns: u32) -> mat4x4f {
    return mat4x4f(
        weight_from(weight_hh[w]), weight_from(weight_hh[w + columns]), weight_from(weight_hh[w + 2u * columns]), weight_from(weight_hh[w + 3u * columns]),
    );
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(@builtin(local_invocation_id) lane: vec3u, @builtin(workgroup_id) group: vec3u) {
    let unit = group.x * WG_X + lane.x;
    let row0 = group.y * ROWS;
    let layer = group.z;
    let diagonal = recur.first_step + step.index;
    // Before its first step a layer waits: a step that no row has.
    let s = select(MISSING, diagonal - layer, diagonal >= layer);
    is_first = s == 0u;
    let is_reverse = reads_backwards(recur.reverse_mask, 0u);
    let columns = GATES * recur.units4;
    let layer_weights = weight_stride(recur.units4 * 4u * columns);
    let h_at = layer * recur.batch * recur.units4;
    let y_at = y_of(layer);
    let x_at = y_of(max(layer, 1u) - 1u);

    // Where a row's x and h lie; a row that has ended reads what lies at 0, nothing is written for it.
    var x_base: array<u32, ROWS>;
    var h_base: array<u32, ROWS>;
    var is_live: array<bool, ROWS>;
    var any = false;
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        is_live[r] = row < recur.batch && s < lengths[min(row, recur.batch - 1u)];
        if (is_live[r]) {
            let t = time_of(s, lengths[row], is_reverse);
            x_base[r] = x_at + (t * recur.batch + row) * recur.units4;
            h_base[r] = h_at + row * recur.units4;
            if (s > 0u) {
                h_base[r] = y_at + (time_before(t, is_reverse) * recur.batch + row) * recur.units4;
            }
            any = true;
        }
    }

    // An invocation without units of its own repeats the last ones and stores nothing.
    let read_unit = min(unit, recur.units4 - 1u);
    var gx_sum: array<Rows, GATES>;
    var gh_sum: array<Rows, GATES>;
    if (any) {
        for (var k4 = lane.y; k4 < recur.units4; k4 += WG_Y) {
            let w = layer * layer_weights + k4 * 4u * columns + read_unit;
            let h = load_rows(h_base, k4);
            for (var g = 0u; g < GATES; g++) {
                gh_sum[g] += hidden_block(w + g * recur.units4, columns) * h;
            }
        }
        if (layer > 0u) {
            is_first = false;
            for (var k4 = lane.y; k4 < recur.units4; k4 += WG_Y) {
                let w = (layer - 1u) * layer_weights + k4 * 4u * columns + read_unit;
                let x = load_rows(x_base, k4);
                for (var g = 0u; g < GATES; g++) {
                    gx_sum[g] += input_block(w + g * recur.units4, columns) * x;
                }
            }
            is_first = s == 0u;
        }
    }
    gh_sum = sum_slices(gh_sum, lane);
    gx_sum = sum_slices(gx_sum, lane);
    if (lane.y != 0u || unit >= recur.units4) {
        return;
    }

    let bias = stride(columns);
    let hidden_bias = layer * bias + unit;
    let input_bias = (recur.layers + max(layer, 1u) - 1u) * bias + unit;
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        if (!is_live[r]) {
            continue;
        }
        var gx: array<vec4f, GATES>;
        var gh: array<vec4f, GATES>;
        for (var g = 0u; g < GATES; g++) {
            let gate = g * recur.units4;
            if (layer == 0u) {
                gx[g] = gates_x[gates_index(s, row, 0u, columns) + gate + unit];
            } else {
                gx[g] = row_of(gx_sum[g], r) + biases[input_bias + gate];
            }
            gh[g] = row_of(gh_sum[g], r) + biases[hidden_bias + gate];
        }
        let h = source_row(h_base[r] + unit);
        let t = time_of(s, lengths[row], is_reverse);
        let cell_at = h_at + row * recur.units4 + unit;
        advance(gx, gh, h, cell_at, y_at + (t * recur.batch + row) * recur.units4 + unit, 0u, unit);
    }
}
