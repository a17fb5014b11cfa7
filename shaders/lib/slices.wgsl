// Sums over the slices of a product: WG_Y invocations of a workgroup each hold a part of it.
//
// Halves the slices again and again: the upper half hands its parts over through workgroup memory.
// Slice 0 ends with the sums, and an order that the sizes alone decide. Every invocation of the
// workgroup must call it.

override WG_X: u32 = 8u;
override WG_Y: u32 = 8u;
// Row tiles that half the slices hand over: WG_X·WG_Y/2·G, at least 1.
override PART_TILES: u32 = 32u;

var<workgroup> parts: array<Rows, PART_TILES>;

fn sum_slices(mine: array<Rows, GATES>, lane: vec3u) -> array<Rows, GATES> {
    var sum = mine;
    for (var half = WG_Y / 2u; half > 0u; half /= 2u) {
        if (lane.y >= half && lane.y < 2u * half) {
            let at = ((lane.y - half) * WG_X + lane.x) * GATES;
            for (var g = 0u; g < GATES; g++) {
                parts[at + g] = sum[g];
            }
        }
        workgroupBarrier();
        if (lane.y < half) {
            let at = (lane.y * WG_X + lane.x) * GATES;
            for (var g = 0u; g < GATES; g++) {
                sum[g] += parts[at + g];
            }
        }
        workgroupBarrier();
    }
    return sum;
}
