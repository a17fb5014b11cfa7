// Adds the sums of slices, in their order.
//
//   total[i] = parts[0, i] + parts[1, i] + …
//
// Grid: x · y over vec4s. Host: src/kernel/train.rs, src/plan/train/sums.rs.

struct Sum {
    count: u32,     // vec4s of the total
    slices: u32,    // parts
    grid_x: u32,    // workgroups along x
}

@group(0) @binding(0) var<uniform> sum: Sum;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;               // [slices, count]
@group(0) @binding(2) var<storage, read_write> total: array<vec4f>;         // [count]

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let i = (group.y * sum.grid_x + group.x) * 64u + lane;
    if (i >= sum.count) {
        return;
    }
    var value = parts[i];
    for (var slice = 1u; slice < sum.slices; slice++) {
        value += parts[slice * sum.count + i];
    }
    total[i] = value;
}
