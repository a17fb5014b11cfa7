// One time step of a point-wise cell with dropout of the recurrence.
//
//   gh = W_hh·(m⊙h_{t-1}) + b_hh;   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// Grid: x over groups of four units, y over rows, z over directions.
// Needs: a cell file, lib/{own,activation,advance,hidden,index,mask,random,recur,rows1}.
// Host: src/kernel/train.rs, src/plan/train/masked.rs.

struct Step {
    index: u32, // step, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> gates_x: array<vec4f>;             // [D, T·B, G, H/4]
@group(0) @binding(3) var<storage, read> weight_hh: array<Weight>;          // [D, H, G, H/4]
@group(0) @binding(4) var<storage, read> bias_hh: array<vec4f>;             // [D, G, H/4]
@group(0) @binding(5) var<storage, read> h_0: array<vec4f>;                 // [D, B, H/4]
@group(0) @binding(6) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;             // [T, B, D, H/4]
@group(0) @binding(8) var<storage, read_write> cells: array<vec4f>;         // [D, B, H/4]: c
@group(0) @binding(9) var<storage, read> params: array<vec4f>;              // hyper-parameters

var<private> is_first: bool;
// Where the row's state begins, and its mask.
var<private> row_base: u32;
var<private> mask_base: u32;

fn state_at(index: u32) -> vec4f {
    if (is_first) {
        return h_0[index];
    }
    return y[index];
}

fn source_row(index: u32) -> vec4f {
    return masked(state_at(index), mask_base + index - row_base);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let unit = id.x;
    let row = id.y;
    let d = id.z;
    if (unit >= recur.units4 || row >= recur.batch) {
        return;
    }
    let s = recur.first_step + step.index;
    let len = lengths[row];
    if (s >= len) {
        return;
    }
    is_first = s == 0u;
    let base = rows_before(s, row, d);
    row_base = base[0];
    mask_base = state_index(row, d, recur.state4);
    let columns = GATES * recur.units4;
    let acc = hidden_product(base, d, unit);
    let gx0 = gates_index(s, row, d, columns) + unit;
    var gx: array<vec4f, GATES>;
    var gh: array<vec4f, GATES>;
    for (var g = 0u; g < GATES; g++) {
        gx[g] = gates_x[gx0 + g * recur.units4];
        gh[g] = row_of(acc[g], 0u) + bias_hh[d * columns + g * recur.units4 + unit];
    }
    let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
    let cell_at = state_index(row, d, recur.units4) + unit;
    advance(gx, gh, state_at(row_base + unit), cell_at, y_index(t, row, d) + unit, d, unit);
}
