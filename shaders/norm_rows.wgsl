// Layer normalisation of the input side: gx := LN(W_ih·x) ⊙ scale + shift, in place.
//
//   LN(v) = (v − mean v) / √(var v + ε) over the G·H values of a row, var with 1/n
//
// `shift` holds the layer's shift plus b_ih. Rows past their end are skipped.
// Grid: y · z over rows m = (s, b) of a chunk and directions (split because one axis is limited).
// Needs: lib/norm. Host: src/kernel/table.rs, src/plan/layer.rs. Source: Ba, Kiros and Hinton (2016).

struct NormRows {
    batch: u32,         // B
    directions: u32,    // D
    first_step: u32,    // first s of this chunk
    step_count: u32,    // steps in this chunk
    gates: u32,         // G
    units4: u32,        // H/4, padded units
    units: u32,         // H
    grid_y: u32,        // workgroups along y
}

@group(0) @binding(0) var<uniform> norm: NormRows;
@group(0) @binding(1) var<storage, read> scales: array<vec4f>;              // [D, 1 + 2·G·H/4]: ε, scale, shift
@group(0) @binding(2) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(3) var<storage, read_write> gates_x: array<vec4f>;       // [D, chunk·B, G, H/4]

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let row_count = norm.step_count * norm.batch;
    let row = group.z * norm.grid_y + group.y;
    let d = row / row_count;
    let m = row % row_count;
    if (d >= norm.directions || norm.first_step + m / norm.batch >= lengths[m % norm.batch]) {
        return;
    }
    let columns4 = norm.gates * norm.units4;
    let base = row * columns4;
    let count = f32(norm.gates * norm.units);
    var sum = 0.0;
    for (var j = lane; j < columns4; j += LANES) {
        sum += sum_units(gates_x[base + j], j % norm.units4, norm.units);
    }
    let mean = total(lane, sum) / count;
    sum = 0.0;
    for (var j = lane; j < columns4; j += LANES) {
        let v = gates_x[base + j] - mean;
        sum += sum_units(v * v, j % norm.units4, norm.units);
    }
    let scales_at = d * (1u + 2u * columns4);
    let deviation = sqrt(total(lane, sum) / count + scales[scales_at].x);
    for (var j = lane; j < columns4; j += LANES) {
        let scale = scales[scales_at + 1u + j];
        let shift = scales[scales_at + 1u + columns4 + j];
        gates_x[base + j] = (gates_x[base + j] - mean) / deviation * scale + shift;
    }
}
