// The weights of recur_tile, from a buffer. The alternative is lib/weight_texture.

@group(0) @binding(3) var<storage, read> weight_hh: array<Weight>;          // [D, H, G, H/4]

fn weight_v(index: u32) -> vec4f {
    return weight_from(weight_hh[index]);
}
