// Variational dropout of the recurrence (Gal and Ghahramani 2016): one mask a sequence and step of training, the
// same at all time steps, on h wherever W_hh multiplies it. Drawn from the place alone, there and back. Needs: lib/random.
//
// The driver supplies `recur`, whose `layers` distinguishes layers, and `lengths`, behind whose B values stand the
// hyper-parameters of train/optimize.wgsl where MASKED is set.

override MASKED: bool = false;

// h behind the mask; `place` counts groups of four values of [D, B, R/4].
fn masked(h: vec4f, place: u32) -> vec4f {
    if (!MASKED) {
        return h;
    }
    let hyper = recur.batch;
    let low = u32(bitcast<f32>(lengths[hyper + 10u]));
    let high = u32(bitcast<f32>(lengths[hyper + 12u]));
    let p = bitcast<f32>(lengths[hyper + 13u]);
    let random = uniform4(low | (high << 16u), 0x10000u + recur.layers, place);
    // Not a product with zero: what is dropped may be infinite.
    return select(vec4f(0.0), h / (1.0 - p), random >= vec4f(p));
}
