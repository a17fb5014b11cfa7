// Reads a part of a buffer, again and again, and sums what it finds.
//
// A workgroup reads the mask + 1 values from group · group_stride on, 1024 an iteration: with stride 0
// all workgroups read the same (cache), with stride mask + 1 each reads its own (memory).
// Grid: any, x only. Host: src/gpu/calibrate/.

struct Calibrate {
    rounds: u32,        // iterations, four reads each
    mask: u32,          // vec4s that a workgroup reads, less one; a power of two ≥ 1024, less one
    group_stride: u32,  // vec4s from one workgroup's part to the next
}

@group(0) @binding(0) var<uniform> calibrate: Calibrate;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;              // [groups · stride or mask + 1]
@group(0) @binding(2) var<storage, read_write> totals: array<vec4u>;        // [invocations]

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let base = group.x * calibrate.group_stride;
    var a = vec4f();
    var b = vec4f();
    var c = vec4f();
    var d = vec4f();
    for (var i = 0u; i < calibrate.rounds; i++) {
        let at = base + lane + (i * 1024u & calibrate.mask);
        a += source[at];
        b += source[at + 256u];
        c += source[at + 512u];
        d += source[at + 768u];
    }
    totals[id.x] += vec4u(a + b + c + d);
}
