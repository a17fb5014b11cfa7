// As little as a dispatch can do and still depend on the one before: adds 1.
//
// Grid: one invocation. Host: src/gpu/calibrate/.

@group(0) @binding(0) var<storage, read_write> totals: array<vec4u>;        // [1]

@compute @workgroup_size(1, 1, 1)
fn main() {
    totals[0] += vec4u(1u);
}
