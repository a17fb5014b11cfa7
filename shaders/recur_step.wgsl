// One time step of a point-wise cell: one dispatch a step, any H.
//
//   gh = W_hh·h_{t-1} + b_hh;   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// Grid: x over groups of four units, y over tiles of ROWS rows, z over directions. An invocation
// owns all gates of its units for its rows. y is the state's home: h_{t-1} is read from it, h_t is
// written to it; with PROJECTED the cell's h goes to `cells` and recur_project.wgsl writes y.
// Needs: a cell file, lib/{own or custom,no_tape or tape,mask,random,activation,hidden,index,recur,rowsN}. Host: src/kernel/table.rs, src/plan/layer.rs.

struct Step {
    index: u32, // step, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> gates_x: array<vec4f>;             // [D, chunk·B, G, H/4]
@group(0) @binding(3) var<storage, read> weight_hh: array<Weight>;          // [D, R, G, H/4]
@group(0) @binding(4) var<storage, read> bias_hh: array<vec4f>;             // [D, G, H/4]
@group(0) @binding(5) var<storage, read> h_0: array<vec4f>;                 // [D, B, R/4]
@group(0) @binding(6) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;             // [T, B, D, R/4]
@group(0) @binding(8) var<storage, read_write> cells: array<vec4f>;         // [2, D, B, H/4]: c, h before projection
@group(0) @binding(9) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom; or lib/tape; or unused

override WG_X: u32 = 64u;
override WG_Y: u32 = 1u;
override PROJECTED: bool = false;

var<private> is_first: bool;

// The place of a state's mask, less the place of the state.
var<private> mask_from: u32;

fn state_at(index: u32) -> vec4f {
    if (is_first) {
        return h_0[index];
    }
    return y[index];
}

// As W_hh sees it.
fn source_row(index: u32) -> vec4f {
    return masked(state_at(index), index + mask_from);
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let unit = id.x;
    let row0 = id.y * ROWS;
    let d = id.z;
    if (unit >= recur.units4 || row0 >= recur.batch) {
        return;
    }
    let s = recur.first_step + step.index;
    is_first = s == 0u;
    let base = rows_before(s, row0, d);
    // Masks are drawn for one row an invocation.
    mask_from = state_index(row0, d, recur.state4) - base[0];

    let columns = GATES * recur.units4;
    let acc = hidden_product(base, d, unit);

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
            gh[g] = row_of(acc[g], r) + bias_hh[d * columns + g * recur.units4 + unit];
        }
        keep_gates(gx0, gh);
        var before: array<vec4f, STATES>;
        if (!PROJECTED) {
            before[0] = state_at(base[r] + unit);
        }
        let cell_at = state_index(row, d, recur.units4) + unit;
        if (STATES == 2u) {
            before[STATES - 1u] = cells[cell_at];
        }
        let after = cell_step(gx, gh, before, d, unit);
        if (STATES == 2u) {
            cells[cell_at] = after[STATES - 1u];
        }
        let h = without_padding(cell_output(after[0], after[STATES - 1u], d), unit, recur.units);
        if (PROJECTED) {
            cells[recur.directions * recur.batch * recur.units4 + cell_at] = h;
        } else {
            let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
            y[y_index(t, row, d) + unit] = stored(h);
        }
    }
}
