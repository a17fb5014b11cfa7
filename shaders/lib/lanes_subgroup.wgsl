// Which unit and slice an invocation of a split product has, where subgroups of LANES invocations add slices up. The
// alternative is lib/lanes. Needs: lib/slices_subgroup.

struct Invocation {
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
}

// Unit, slice, and place in the subgroup: a subgroup has WG_X units and LANES / WG_X slices of each.
fn lane_of(invocation: Invocation) -> vec3u {
    let index = invocation.subgroup * LANES + invocation.lane;
    return vec3u(index % WG_X, index / WG_X, invocation.lane);
}
