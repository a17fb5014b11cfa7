// Tells how many workgroups of a dispatch run side by side, as `recur_grid` needs.
//
// Every workgroup signs in and waits, at most `spins` times, until all have. Those that saw all of them count
// themselves; only a count of all workgroups is a yes. Workgroup size, workgroup memory and registers are those
// of a large `recur_grid`: HELD words are read before the wait and used after it. Host: src/gpu/canary.rs.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.

struct GridCanary {
    groups: u32, // workgroups of the dispatch
    spins: u32,  // most looks at the count
}

@group(0) @binding(0) var<uniform> grid: GridCanary;
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;  // [4]: signed in, saw everyone, 0, 0

var<workgroup> filler: array<vec4f, 1000>;

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32) {
    filler[lane] = vec4f(f32(lane));
    workgroupBarrier();
    // Atomic, so that no compiler reads them later, or once for all.
    //@ for i in HELD
    let held_${i} = atomicLoad(&counts[2u + (lane + ${i}u) % 2u]);
    //@ end
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
    var any = 0u;
    //@ for i in HELD
    any |= held_${i};
    //@ end
    if (any != 0u) {
        atomicAdd(&counts[3], any);
    }
}
