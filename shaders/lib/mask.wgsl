// Variational dropout of the recurrence (Gal and Ghahramani 2016): one mask a sequence and step of training, the
// same at all time steps. Drawn from the place alone, there and back. Needs: lib/random.
//
// The driver supplies `recur`, whose `layers` distinguishes layers, and `params`: the hyper-parameters of
// train/optimize.wgsl, four to a vec4.

fn masked(h: vec4f, place: u32) -> vec4f {
    let seed = u32(params[2].z) | (u32(params[3].x) << 16u);
    let p = params[3].y;
    // Not a product with zero: what is dropped may be infinite.
    return select(vec4f(0.0), h / (1.0 - p), uniform4(seed, 0x10000u + recur.layers, place) >= vec4f(p));
}
