// Dropout between layers: values pass with probability 1 − p, divided by it; the others are zero.
//
//   out[i] = keep(i) · in[i] / (1 − p)
//
// Which pass follows from the place and the step's seed alone, so that the way back asks again instead of
// keeping a mask. Grid: x · y over vec4s. Needs: lib/random. Host: src/kernel/train.rs, src/plan/train/dropout.rs.

struct Dropout {
    count: u32,     // vec4s
    layer: u32,     // distinguishes layers
    grid_x: u32,    // workgroups along x
}

@group(0) @binding(0) var<uniform> dropout: Dropout;
@group(0) @binding(1) var<storage, read> hyper: array<f32>;                 // optimize.wgsl; [10], [12] halves of the seed, [11] p
@group(0) @binding(2) var<storage, read> source: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> kept: array<vec4f>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let i = (group.y * dropout.grid_x + group.x) * 64u + lane;
    if (i >= dropout.count) {
        return;
    }
    let p = hyper[11];
    // Halves of the seed as numbers: not every word survives as a float.
    let seed = u32(hyper[10]) | (u32(hyper[12]) << 16u);
    let passes = uniform4(seed, dropout.layer, i) >= vec4f(p);
    // Not a product with zero: what is dropped may be infinite.
    kept[i] = select(vec4f(0.0), source[i] / (1.0 - p), passes);
}
