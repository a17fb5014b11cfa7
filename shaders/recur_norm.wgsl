// One time step of a cell with layer normalisation, in two dispatches.
//
//   product:  raw = W_hh·h_{t-1}
//   update:   gh = LN(raw) ⊙ scale + shift;  h_t, c_t = cell_step(gx, gh, …), for LSTM h_t = o·h(LN(c_t))
//
// gx is normalised already (norm_rows.wgsl); `bias_hh` holds the shift plus b_hh. Statistics need the
// whole row, so that `update` gives a workgroup to every row.
// Grid: product as recur_step.wgsl; update y over rows, z over directions.
// Needs: a cell file, lib/{custom,function,norm,activation,hidden,index,recur,rowsN}.
// Host: src/kernel/table.rs, src/plan/layer.rs. Rust twin: src/reference/mod.rs. Source: Ba et al. (2016).

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
@group(0) @binding(8) var<storage, read_write> cells: array<vec4f>;         // c [D, B, H/4], then raw [D, B, G, H/4]
@group(0) @binding(9) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom

override WG_X: u32 = 64u;
override WG_Y: u32 = 1u;

fn source_row(index: u32) -> vec4f {
    if (recur.first_step + step.index == 0u) {
        return h_0[index];
    }
    return y[index];
}

// Where the raw products of a row start in `cells`.
fn raw_of(row: u32, d: u32) -> u32 {
    let states = recur.directions * recur.batch * recur.units4;
    return states + (d * recur.batch + row) * GATES * recur.units4;
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn product(@builtin(global_invocation_id) id: vec3u) {
    let unit = id.x;
    let row0 = id.y * ROWS;
    let d = id.z;
    if (unit >= recur.units4 || row0 >= recur.batch) {
        return;
    }
    let s = recur.first_step + step.index;
    let base = rows_before(s, row0, d);
    let acc = hidden_product(base, d, unit);
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        if (row >= recur.batch) {
            continue;
        }
        if (s < lengths[row]) {
            for (var g = 0u; g < GATES; g++) {
                cells[raw_of(row, d) + g * recur.units4 + unit] = row_of(acc[g], r);
            }
        }
    }
}

// Mean and standard deviation of `count` values in `groups` groups of a row from `base` on.
fn statistics(lane: u32, base: u32, groups: u32, count: u32, epsilon: f32) -> vec2f {
    var sum = 0.0;
    for (var j = lane; j < groups; j += LANES) {
        sum += sum_units(cells[base + j], j % recur.units4, recur.units);
    }
    let mean = total(lane, sum) / f32(count);
    sum = 0.0;
    for (var j = lane; j < groups; j += LANES) {
        let v = cells[base + j] - mean;
        sum += sum_units(v * v, j % recur.units4, recur.units);
    }
    return vec2f(mean, sqrt(total(lane, sum) / f32(count) + epsilon));
}

@compute @workgroup_size(64, 1, 1)
fn update(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let row = group.y;
    let d = group.z;
    let s = recur.first_step + step.index;
    let len = lengths[row];
    if (s >= len) {
        return;
    }
    let columns = GATES * recur.units4;
    let raw = raw_of(row, d);
    let epsilon = epsilon_of(d);
    let norm = norm_of(d);
    let of_raw = statistics(lane, raw, columns, GATES * recur.units, epsilon);
    let gx0 = gates_index(s, row, d, columns);
    let before_at = before_index(s, row, len, d);
    let cell_at = state_index(row, d, recur.units4);
    let y_at = y_index(time_of(s, len, reads_backwards(recur.reverse_mask, d)), row, d);
    for (var unit = lane; unit < recur.units4; unit += LANES) {
        var gx: array<vec4f, GATES>;
        var gh: array<vec4f, GATES>;
        for (var g = 0u; g < GATES; g++) {
            let j = g * recur.units4 + unit;
            gx[g] = gates_x[gx0 + j];
            gh[g] = (cells[raw + j] - of_raw.x) / of_raw.y * params[norm + j] + bias_hh[d * columns + j];
        }
        var before: array<vec4f, STATES>;
        before[0] = source_row(before_at + unit);
        if (STATES == 2u) {
            before[STATES - 1u] = cells[cell_at + unit];
        }
        let after = cell_step(gx, gh, before, d, unit);
        if (STATES == 2u) {
            cells[cell_at + unit] = after[STATES - 1u];
            // The output gate waits in the place of this unit's first raw product.
            cells[raw + unit] = after[0];
        } else {
            y[y_at + unit] = stored(without_padding(after[0], unit, recur.units));
        }
    }
    if (STATES == 2u) {
        let of_c = statistics(lane, cell_at, recur.units4, recur.units, epsilon);
        for (var unit = lane; unit < recur.units4; unit += LANES) {
            let scale = params[norm + columns + unit];
            let shift = params[norm + columns + recur.units4 + unit];
            let c = (cells[cell_at + unit] - of_c.x) / of_c.y * scale + shift;
            let output = cell_output(cells[raw + unit], c, d);
            y[y_at + unit] = stored(without_padding(output, unit, recur.units));
        }
    }
}
