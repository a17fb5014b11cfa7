// A number of repetitions that no compiler knows, so that it writes the body of a loop once.
//
// Mesa unrolls loops of known counts, and llvmpipe then compiles their bodies one by one: a tile driver's update for
// each of its 32 rows. The count must not come from a uniform buffer, whose numbers Mesa's Vulkan driver writes into
// the code and compiles it again at every dispatch if they unroll a loop. `groups` is the grid, never empty.
// Hardware has WHOLE = 0: there unrolled loops take their tile without selects.

fn repeated(count: u32, groups: vec3u) -> u32 {
    return select(count, 0u, WHOLE != 0u && groups.x == 0u);
}
