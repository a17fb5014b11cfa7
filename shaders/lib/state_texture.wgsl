// Where recur_tile finds the states before a step: in a texture that it writes beside y. Its two halves take turns;
// h_0 is in the first before step 0. The alternative is lib/state_buffer. Needs: lib/texel.

@group(0) @binding(5) var states: texture_storage_2d<rgba32float, read_write>; // [2, D, B, H/4]

fn half_of(s: u32) -> u32 {
    return (s & 1u) * recur.directions * recur.batch * recur.state4;
}

fn begin_step(s: u32) {}

fn state_before(s: u32, row: u32, len: u32, d: u32) -> u32 {
    return half_of(s) + state_index(row, d, recur.state4);
}

fn source_row(index: u32) -> vec4f {
    return textureLoad(states, texel(index));
}

fn keep_state(s: u32, row: u32, d: u32, unit: u32, h: vec4f) {
    textureStore(states, texel(half_of(s + 1u) + state_index(row, d, recur.state4) + unit), h);
}

fn end_step() {
    textureBarrier();
    workgroupBarrier();
}
