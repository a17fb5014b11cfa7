// Weights and states stored as f16, two to a word; every sum is f32. The alternative is lib/precision32.
//
// Packing needs no device feature. Where a state is kept in f32 (y), it is rounded to f16 all the same, so
// that every driver carries the same numbers.

alias Weight = vec2u;
const WEIGHT_BYTES: u32 = 8u;
alias State = vec2u;

// Beyond it f16 rounds to infinity.
const LARGEST: f32 = 65519.996;

fn weight_from(w: Weight) -> vec4f {
    return vec4f(unpack2x16float(w.x), unpack2x16float(w.y));
}

fn state_from(h: State) -> vec4f {
    return vec4f(unpack2x16float(h.x), unpack2x16float(h.y));
}

// Packing leaves open what becomes of values that f16 cannot hold: they become infinity, and NaN stays.
fn half_bits(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) {
        return sign | 0x7e00u;
    }
    if (size > bitcast<u32>(LARGEST)) {
        return sign | 0x7c00u;
    }
    return pack2x16float(vec2f(v, 0.0)) & 0xffffu;
}

fn state_to(h: vec4f) -> State {
    return vec2u(
        half_bits(h.x) | (half_bits(h.y) << 16u),
        half_bits(h.z) | (half_bits(h.w) << 16u),
    );
}

// h as it is stored.
fn stored(h: vec4f) -> vec4f {
    return state_from(state_to(h));
}
