// Which unit and slice an invocation of a split product has. The alternative is lib/lanes_subgroup.
// Needs: lib/slices.

struct Invocation {
    @builtin(local_invocation_index) index: u32,
}

// Unit, slice, and nothing.
fn lane_of(invocation: Invocation) -> vec3u {
    return vec3u(invocation.index % WG_X, invocation.index / WG_X, 0u);
}
