// One time step of the GRU that resets before the product, in two dispatches.
//
//   gates:      r = σ(gx_r + W_hr·h + b_hr)   z = σ(gx_z + W_hz·h + b_hz)   stores r⊙h and z
//   candidate:  n = tanh(gx_n + W_hn·(r⊙h) + b_hn)   h' = (1 − z)·n + z·h
//
// Grid: x over groups of four units, y over tiles of ROWS rows, z over directions. R = H here.
// σ and tanh stand for the functions f and g of the layer.
// Needs: lib/{own or custom,activation,hidden,index,mask,random,recur,rowsN}. Host: src/kernel/table.rs, src/plan/layer.rs.
// Rust twin: src/cell/gru.rs. Source: Cho et al. (2014); ONNX GRU, linear_before_reset = 0.

struct Step {
    index: u32, // step, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> gates_x: array<vec4f>;             // [D, chunk·B, 3, H/4]
@group(0) @binding(3) var<storage, read> weight_hh: array<Weight>;          // [D, H, 3, H/4]
@group(0) @binding(4) var<storage, read> bias_hh: array<vec4f>;             // [D, 3, H/4]
@group(0) @binding(5) var<storage, read> h_0: array<vec4f>;                 // [D, B, H/4]
@group(0) @binding(6) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;             // [T, B, D, H/4]
@group(0) @binding(8) var<storage, read_write> cells: array<vec4f>;         // [2, D, B, H/4]: r⊙h, z
@group(0) @binding(9) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom; else unused

override WG_X: u32 = 64u;
override WG_Y: u32 = 1u;

const GATES: u32 = 3u;

fn own_f(x: vec4f) -> vec4f {
    return sigmoid_v(x);
}

fn own_g(x: vec4f) -> vec4f {
    return tanh_v(x);
}

fn own_h(x: vec4f) -> vec4f {
    return x;
}

// Where source_row reads: 0 = h_0, 1 = y, 2 = r⊙h in `cells`.
var<private> source: u32;

// The place of a state's mask, less the place of the state: masks are drawn for one row an invocation.
var<private> mask_from: u32;

fn source_row(index: u32) -> vec4f {
    if (source == 0u) {
        return masked(h_0[index], index + mask_from);
    }
    if (source == 1u) {
        return masked(y[index], index + mask_from);
    }
    return cells[index];
}

// gx + b_hh of gate g.
fn gate_input(row: u32, d: u32, g: u32, unit: u32) -> vec4f {
    let columns = GATES * recur.units4;
    let s = recur.first_step + step.index;
    return gates_x[gates_index(s, row, d, columns) + g * recur.units4 + unit] + bias_hh[d * columns + g * recur.units4 + unit];
}

fn h_before(s: u32, row: u32, len: u32, d: u32, unit: u32) -> vec4f {
    let index = before_index(s, row, len, d) + unit;
    if (s == 0u) {
        return h_0[index];
    }
    return y[index];
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn gates(@builtin(global_invocation_id) id: vec3u) {
    let unit = id.x;
    let row0 = id.y * ROWS;
    let d = id.z;
    if (unit >= recur.units4 || row0 >= recur.batch) {
        return;
    }
    let s = recur.first_step + step.index;
    source = select(1u, 0u, s == 0u);
    let base = rows_before(s, row0, d);
    mask_from = state_index(row0, d, recur.units4) - base[0];
    var reset: Rows;
    var update: Rows;
    for (var k4 = 0u; k4 < recur.units4; k4++) {
        let h = load_rows(base, k4);
        reset += weight_block(d, k4, 0u, unit) * h;
        update += weight_block(d, k4, 1u, unit) * h;
    }
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        if (row >= recur.batch) {
            continue;
        }
        let len = lengths[row];
        if (s < len) {
            let at = state_index(row, d, recur.units4) + unit;
            let gate_r = f_v(gate_input(row, d, 0u, unit) + row_of(reset, r), d);
            let gate_z = f_v(gate_input(row, d, 1u, unit) + row_of(update, r), d);
            let reset_h = masked(gate_r * h_before(s, row, len, d, unit), at);
            cells[at] = without_padding(reset_h, unit, recur.units);
            cells[recur.directions * recur.batch * recur.units4 + at] = gate_z;
        }
    }
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn candidate(@builtin(global_invocation_id) id: vec3u) {
    let unit = id.x;
    let row0 = id.y * ROWS;
    let d = id.z;
    if (unit >= recur.units4 || row0 >= recur.batch) {
        return;
    }
    let s = recur.first_step + step.index;
    source = 2u;
    var base: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        base[r] = state_index(min(row0 + r, recur.batch - 1u), d, recur.units4);
    }
    var acc: Rows;
    for (var k4 = 0u; k4 < recur.units4; k4++) {
        acc += weight_block(d, k4, 2u, unit) * load_rows(base, k4);
    }
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        if (row >= recur.batch) {
            continue;
        }
        let len = lengths[row];
        if (s < len) {
            let at = state_index(row, d, recur.units4) + unit;
            let n = g_v(gate_input(row, d, 2u, unit) + row_of(acc, r), d);
            let z = cells[recur.directions * recur.batch * recur.units4 + at];
            let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
            let h = (1.0 - z) * n + z * h_before(s, row, len, d, unit);
            y[y_index(t, row, d) + unit] = stored(without_padding(h, unit, recur.units));
        }
    }
}
