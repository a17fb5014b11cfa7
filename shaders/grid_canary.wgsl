// Tells how many workgroups of a dispatch run side by side, as `recur_grid` needs.
//
// Every workgroup signs in and waits, at most `spins` times, until all have. Those that saw all of them count
// themselves; only a count of all workgroups is a yes. The size and the workgroup memory are those of a
// large `recur_grid`. Host: src/gpu/canary.rs.

struct GridCanary {
    groups: u32, // workgroups of the dispatch
    spins: u32,  // most looks at the count
}

@group(0) @binding(0) var<uniform> grid: GridCanary;
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;  // [2]: signed in, saw everyone

var<workgroup> filler: array<vec4f, 1000>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32) {
    filler[lane] = vec4f(f32(lane));
    workgroupBarrier();
    if (lane != 0u) {
        return;
    }
    atomicAdd(&counts[0], 1u);
    // Reading what others wrote keeps the memory from being optimised away.
    var left = grid.spins + u32(filler[255u].x) - 255u;
    while (atomicLoad(&counts[0]) < grid.groups && left > 0u) {
        left--;
    }
    if (left > 0u || atomicLoad(&counts[0]) >= grid.groups) {
        atomicAdd(&counts[1], 1u);
    }
}
