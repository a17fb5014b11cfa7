// Numbers as keys that order like them: the largest first, −0 as 0, a NaN above all.

const NAN_KEY: u32 = 0xffffffffu;

fn key_of(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    let is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    let plain = select(bits, 0u, bits == 0x80000000u); // −0 is 0
    let key = select(plain | 0x80000000u, ~plain, plain >> 31u == 1u);
    return select(key, NAN_KEY, is_nan);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >> 31u == 1u));
}
