// What gemm_tile multiplies, from textures, in f32. The alternative is lib/gemm_buffers. Needs: lib/texel.

@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;         // [T·B or V, K/4]
@group(0) @binding(2) var weight: texture_storage_2d<rgba32float, read>;    // [D, K, N/4]

fn source_row(index: u32) -> vec4f {
    return textureLoad(a, texel(index));
}

fn weight_v(index: u32) -> vec4f {
    return textureLoad(weight, texel(index));
}
