// Adds the losses of all rows, in a fixed order, to what the run has gathered.
//
//   progress[0] += Σ losses     progress[1] = Σ losses
//
// Grid: one workgroup. Host: src/kernel/train.rs, src/plan/train/loss.rs.

struct SumLoss {
    rows: u32, // losses
}

@group(0) @binding(0) var<uniform> sum_loss: SumLoss;
@group(0) @binding(1) var<storage, read> losses: array<f32>;                // [rows]
@group(0) @binding(2) var<storage, read_write> progress: array<f32>;        // [5]: sum of losses, last loss, ..

const LANES: u32 = 64u;

var<workgroup> lane_values: array<f32, LANES>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < sum_loss.rows; i += LANES) {
        sum += losses[i];
    }
    lane_values[lane] = sum;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        if (lane < stride) {
            lane_values[lane] += lane_values[lane + stride];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        progress[0] += lane_values[0];
        progress[1] = lane_values[0];
    }
}
