// The function g of the output layer, in place, one workgroup per output row.
//
//   1 softmax      exp(v − max) / Σ exp(v − max)      2 log-softmax   v − max − ln Σ exp(v − max)
//   3 sigmoid      4 tanh      5 ReLU
//
// The padding columns of a row stay out of max and sum. Grid: x · y over rows (split because one
// axis is limited). Needs: lib/{activation,combine}. Host: src/kernel/table.rs, src/plan/mod.rs.
// Rust twin: src/reference/mod.rs (activate).

struct Activate {
    rows: u32,      // output rows
    columns: u32,   // O, unpadded
    columns4: u32,  // O/4, padded
    grid_x: u32,    // workgroups along x
}

@group(0) @binding(0) var<uniform> shape: Activate;
@group(0) @binding(1) var<storage, read_write> values: array<vec4f>;        // [rows, O/4]

override KIND: u32 = 0u;

const LANES: u32 = 64u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let row = group.y * shape.grid_x + group.x;
    if (row >= shape.rows) {
        return;
    }
    let base = row * shape.columns4;
    if (KIND >= 3u) {
        for (var j = lane; j < shape.columns4; j += LANES) {
            let v = values[base + j];
            if (KIND == 3u) {
                values[base + j] = sigmoid_v(v);
            } else if (KIND == 4u) {
                values[base + j] = tanh_v(v);
            } else {
                values[base + j] = relu_v(v);
            }
        }
        return;
    }
    // Softmax: element j of a row is component j % 4 of its vec4.
    // A NaN may be lost in the maximum; it comes back in the sum, and so reaches the whole row.
    var largest = values[base].x;
    for (var j = lane; j < shape.columns; j += LANES) {
        largest = max(largest, values[base + j / 4u][j % 4u]);
    }
    largest = combine(lane, largest, true);
    var sum = 0.0;
    for (var j = lane; j < shape.columns; j += LANES) {
        sum += exp_s(values[base + j / 4u][j % 4u] - largest);
    }
    sum = combine(lane, sum, false);
    for (var j4 = lane; j4 < shape.columns4; j4 += LANES) {
        let v = values[base + j4] - largest;
        if (KIND == 1u) {
            values[base + j4] = exp_v(v) / sum;
        } else {
            values[base + j4] = v - log(sum);
        }
    }
}
