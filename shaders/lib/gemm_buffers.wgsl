// What gemm_tile multiplies, from buffers. The alternative is lib/gemm_textures.

@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [T·B or V, K/4]
@group(0) @binding(2) var<storage, read> weight: array<Weight>;             // [D, K, N/4]

fn source_row(index: u32) -> vec4f {
    return a[index];
}

fn weight_v(index: u32) -> vec4f {
    return weight_from(weight[index]);
}
