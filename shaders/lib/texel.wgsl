// Textures as arrays: a value's place in a texture of lines of 2048 texels, one vec4f each.
// Rust twin of the length: plan::TEXTURE_LINE.

fn texel(index: u32) -> vec2u {
    return vec2u(index & 2047u, index >> 11u);
}
