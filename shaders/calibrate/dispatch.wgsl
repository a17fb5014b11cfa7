// As little as a dispatch can do and still depend on the one before: every workgroup adds 1.
//
// Grid: x over the workgroups that run at once, one invocation each. Host: src/gpu/calibrate/.

@group(0) @binding(0) var<storage, read_write> totals: array<vec4u>;        // [workgroups]

@compute @workgroup_size(1, 1, 1)
fn main(@builtin(workgroup_id) group: vec3u) {
    totals[group.x] += vec4u(1u);
}
