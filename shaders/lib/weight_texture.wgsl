// The weights of recur_tile, from a texture, in f32. The alternative is lib/weight_buffer. Needs: lib/texel.

@group(0) @binding(3) var weight_hh: texture_storage_2d<rgba32float, read>; // [D, H, G, H/4]

fn weight_v(index: u32) -> vec4f {
    return textureLoad(weight_hh, texel(index));
}
