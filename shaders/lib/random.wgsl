// Random numbers from counters: the same place, layer and seed give the same numbers in any order.
//
// Philox 4×32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
// Rust twin: src/train/random.rs.

// Both halves of a·b.
fn multiply_wide(a: u32, b: u32) -> vec2u {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return vec2u(a1 * b1 + (middle >> 16u) + (other >> 16u), a * b);
}

fn philox(counter: vec4u, key: vec2u) -> vec4u {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        let first = multiply_wide(0xD2511F53u, c.x);
        let second = multiply_wide(0xCD9E8D57u, c.z);
        c = vec4u(second.x ^ c.y ^ k.x, second.y, first.x ^ c.w ^ k.y, first.y);
        k += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// Four numbers from 0 to below 1.
fn uniform4(seed: u32, layer: u32, place: u32) -> vec4f {
    let bits = philox(vec4u(place, layer, 0u, 0u), vec2u(seed, 0x5EEDu));
    return vec4f(bits >> vec4u(8u)) / 16777216.0;
}
