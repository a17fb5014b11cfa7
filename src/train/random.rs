//! Random numbers from counters, as the device draws them (`shaders/lib/random.wgsl`).
//!
//! Philox 4×32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

/// Runs the generator for a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let wide = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        let [high, low] = [product >> 32, product & 0xffff_ffff];
        [high, low].map(|half| u32::try_from(half).unwrap_or(0))
    };
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        let [first_high, first_low] = wide(0xD251_1F53, c0);
        let [second_high, second_low] = wide(0xCD9E_8D57, c2);
        [c0, c1, c2, c3] = [second_high ^ c1 ^ k0, second_low, first_high ^ c3 ^ k1, first_low];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// Draws four numbers from 0 to below 1 for a place of a layer in a step with this seed.
#[expect(clippy::cast_precision_loss, reason = "24 bits fit f32")]
pub fn uniform4(seed: u32, layer: u32, place: u32) -> [f32; 4] {
    philox([place, layer, 0, 0], [seed, 0x5EED]).map(|bits| (bits >> 8) as f32 / 16_777_216.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // The test vectors that Random123 1.14 gives for philox4x32-10 (kat_vectors).
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }
}
