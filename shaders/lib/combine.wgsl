// A value of every lane of a workgroup made one. The driver says how many LANES there are, a power of two.

var<workgroup> lane_values: array<f32, LANES>;

// The lanes' values combined: the maximum, or the sum. Every lane gets the result.
fn combine(lane: u32, value: f32, is_max: bool) -> f32 {
    lane_values[lane] = value;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        if (lane < stride) {
            let a = lane_values[lane];
            let b = lane_values[lane + stride];
            lane_values[lane] = select(a + b, max(a, b), is_max);
        }
        workgroupBarrier();
    }
    let result = lane_values[0];
    workgroupBarrier();
    return result;
}
