// Sums of squares of a gradient, a part a workgroup; `norm` joins those of all gradients.
//
// Grid: x over parts. Host: src/kernel/train.rs, src/plan/train/update.rs.

struct Squares {
    count: u32, // vec4s of the gradient
    first: u32, // place of its first part
    parts: u32, // workgroups
}

@group(0) @binding(0) var<uniform> squares: Squares;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;            // [count]
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;           // [parts of all]

const LANES: u32 = 256u;

var<workgroup> lane_values: array<f32, LANES>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    var sum = 0.0;
    for (var i = group.x * LANES + lane; i < squares.count; i += squares.parts * LANES) {
        let v = gradient[i];
        sum += dot(v, v);
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
        parts[squares.first + group.x] = lane_values[0];
    }
}
