// Sums over a workgroup of 64 lanes, and over the units of a group without its padding.

const LANES: u32 = 64u;

var<workgroup> lane_sums: array<f32, LANES>;

// The sum of the lanes' values, in every lane.
fn total(lane: u32, value: f32) -> f32 {
    lane_sums[lane] = value;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        if (lane < stride) {
            lane_sums[lane] += lane_sums[lane + stride];
        }
        workgroupBarrier();
    }
    let sum = lane_sums[0];
    workgroupBarrier();
    return sum;
}

// The sum of a group of four units, those beyond `units` left out.
fn sum_units(v: vec4f, group: u32, units: u32) -> f32 {
    let lanes = vec4u(4u * group) + vec4u(0u, 1u, 2u, 3u);
    let kept = select(vec4f(0.0), v, lanes < vec4u(units));
    return (kept.x + kept.y) + (kept.z + kept.w);
}
