// Passes values around a workgroup, two barriers a round, as a resident time loop does.
//
// Invocation i takes its neighbour's value plus 1: after n rounds it holds (i + n) mod 256 + n, which a
// barrier that does not hold would spoil. Grid: one workgroup. Host: src/gpu/calibrate/.

struct Calibrate {
    rounds: u32,        // iterations, two barriers each
    mask: u32,          // not read
    group_stride: u32,  // not read
}

@group(0) @binding(0) var<uniform> calibrate: Calibrate;
@group(0) @binding(1) var<storage, read_write> totals: array<vec4u>;        // [256]

var<workgroup> ring: array<u32, 256>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32) {
    ring[lane] = lane;
    workgroupBarrier();
    for (var i = 0u; i < calibrate.rounds; i++) {
        let next = ring[(lane + 1u) & 255u] + 1u;
        workgroupBarrier();
        ring[lane] = next;
        workgroupBarrier();
    }
    totals[lane] += vec4u(ring[lane]);
}
