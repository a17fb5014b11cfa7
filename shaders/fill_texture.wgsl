// A buffer into a texture that is read as an array (lib/texel).
//
// Grid: x and y over vec4s, x first. Needs: lib/texel. Host: src/plan/texture.rs.

struct FillTexture {
    count: u32,         // vec4s
    width: u32,         // invocations along x
}

@group(0) @binding(0) var<uniform> fill: FillTexture;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;              // [count]
@group(0) @binding(2) var target_texels: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let index = id.y * fill.width + id.x;
    if (index < fill.count) {
        textureStore(target_texels, texel(index), source[index]);
    }
}
