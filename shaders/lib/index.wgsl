// Row-major indices and the time order, named by axis.
//
// Arrays of vec4f count their last axis in groups of four values ("4" in the names below).

// The time step that a row of `len` valid steps reads at step `s` of the recurrence; s < len.
fn time_of(s: u32, len: u32, is_reverse: bool) -> u32 {
    return select(s, len - 1u - s, is_reverse);
}

// The time step read just before `t`; not to be called for the first step.
fn time_before(t: u32, is_reverse: bool) -> u32 {
    return select(t - 1u, t + 1u, is_reverse);
}

// Whether direction `d` reads backwards: bit d of the layer's mask.
fn reads_backwards(mask: u32, d: u32) -> bool {
    return ((mask >> d) & 1u) == 1u;
}

// A NaN that the shader compiler cannot fold away; `zero` is any value that is 0 at run time.
fn quiet_nan(zero: u32) -> f32 {
    return bitcast<f32>(0x7fc00000u | zero);
}
