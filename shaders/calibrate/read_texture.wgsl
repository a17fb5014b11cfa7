// Reads a texture again and again, as read.wgsl reads a buffer, and sums what it finds.
//
// All workgroups read the same mask + 1 values, 1024 an iteration.
// Grid: any, x only. Needs: lib/texel. Host: src/gpu/calibrate/.

struct Calibrate {
    rounds: u32,        // iterations, four reads each
    mask: u32,          // vec4s to read, less one; a power of two ≥ 1024, less one
    group_stride: u32,  // 0
}

@group(0) @binding(0) var<uniform> calibrate: Calibrate;
@group(0) @binding(1) var source: texture_storage_2d<rgba32float, read>;    // [mask + 1]
@group(0) @binding(2) var<storage, read_write> totals: array<vec4u>;        // [invocations]

@compute @workgroup_size(256, 1, 1)
fn main(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    var a = vec4f();
    var b = vec4f();
    var c = vec4f();
    var d = vec4f();
    for (var i = 0u; i < calibrate.rounds; i++) {
        let at = lane + (i * 1024u & calibrate.mask);
        a += textureLoad(source, texel(at));
        b += textureLoad(source, texel(at + 256u));
        c += textureLoad(source, texel(at + 512u));
        d += textureLoad(source, texel(at + 768u));
    }
    totals[id.x] += vec4u(a + b + c + d);
}
