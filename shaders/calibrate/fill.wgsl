// Fills a buffer with what `read.wgsl` expects to find.
//
// value(i) = (i mod 4, ⌊i/256⌋ mod 4, ⌊i/8192⌋ mod 4, 1). Grid: x over groups of 256, rows of the grid
// along y; invocations past the end write nothing. Host: src/gpu/calibrate/.

struct Calibrate {
    rounds: u32,        // not read
    mask: u32,          // vec4s of the buffer, less one
    group_stride: u32,  // invocations of a row of the grid
}

@group(0) @binding(0) var<uniform> calibrate: Calibrate;
@group(0) @binding(1) var<storage, read_write> target_rows: array<vec4f>;   // [mask + 1]

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.y * calibrate.group_stride + id.x;
    if (i > calibrate.mask) {
        return;
    }
    target_rows[i] = vec4f(vec4u(i & 3u, (i >> 8u) & 3u, (i >> 13u) & 3u, 1u));
}
