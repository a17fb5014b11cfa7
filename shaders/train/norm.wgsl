// The norm of all gradients together, and what they are to be multiplied by (PyTorch's clip_grad_norm_):
//
//   coefficient = min(1, most / (norm + 1e-6))
//
// A norm that is no number stops all updates from here on, so that the last good parameters stay.
// Grid: one workgroup. Host: src/kernel/train.rs, src/plan/train/update.rs.

struct Norm {
    count: u32, // parts of all gradients
}

@group(0) @binding(0) var<uniform> norm: Norm;
@group(0) @binding(1) var<storage, read> parts: array<f32>;                 // [count]
@group(0) @binding(2) var<storage, read> hyper: array<f32>;                 // hyper-parameters (optimize.wgsl)
@group(0) @binding(3) var<storage, read_write> progress: array<f32>;        // [5]: .., coefficient, norm, stopped

const LANES: u32 = 256u;

var<workgroup> lane_values: array<f32, LANES>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < norm.count; i += LANES) {
        sum += parts[i];
    }
    lane_values[lane] = sum;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        if (lane < stride) {
            lane_values[lane] += lane_values[lane + stride];
        }
        workgroupBarrier();
    }
    if (lane != 0u) {
        return;
    }
    let total = sqrt(lane_values[0]);
    // Bits: comparisons may hide NaN.
    let is_finite = (bitcast<u32>(total) & 0x7f800000u) != 0x7f800000u;
    let most = hyper[8];
    var coefficient = 1.0;
    if (most > 0.0) {
        coefficient = min(1.0, most / (total + 1e-6));
    }
    // Once stopped, it stays so until the host clears it.
    let stopped = progress[4] != 0.0;
    if (!is_finite || stopped) {
        coefficient = 0.0;
        progress[4] = 1.0;
    }
    progress[2] = coefficient;
    progress[3] = total;
}
