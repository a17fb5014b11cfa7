// Sums over the slices of a product, as lib/slices has them, by shuffles: a subgroup of LANES invocations adds its own
// slices up, and slice 0 what subgroups hand over through workgroup memory. WG_X divides LANES, LANES divides
// WG_X·WG_Y. Slice 0 ends with the sums, in an order that the sizes alone decide. Every invocation of the workgroup
// must call it. Needs: lib/{lanes_subgroup,shuffleN}.

override WG_X: u32 = 2u;
override WG_Y: u32 = 8u;
// Row tiles that subgroups hand over: WG_X·G of each.
override PART_TILES: u32 = 32u;

var<workgroup> parts: array<Rows, PART_TILES>;

fn sum_slices(mine: array<Rows, GATES>, lane: vec3u) -> array<Rows, GATES> {
    var sum = mine;
    for (var apart = WG_X; apart < LANES; apart *= 2u) {
        for (var g = 0u; g < GATES; g++) {
            sum[g] += shuffled(sum[g], lane.z ^ apart);
        }
    }
    let slices = LANES / WG_X;
    let subgroups = WG_X * WG_Y / LANES;
    if (lane.y % slices == 0u) {
        let at = (lane.y / slices * WG_X + lane.x) * GATES;
        for (var g = 0u; g < GATES; g++) {
            parts[at + g] = sum[g];
        }
    }
    workgroupBarrier();
    if (lane.y == 0u) {
        for (var i = 1u; i < subgroups; i++) {
            for (var g = 0u; g < GATES; g++) {
                sum[g] += parts[(i * WG_X + lane.x) * GATES + g];
            }
        }
    }
    return sum;
}
