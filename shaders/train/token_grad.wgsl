// The gradient of rows that tokens chose: an embedding table, or W_ih of one-hot tokens.
//
//   dE[z, v, n] = Σ over the places p of token v of d[z, row(p), n]
//
// The host sorts the places by token, so that the sum has one order and nobody waits for a lock.
// Grid: x over groups of four columns, y over tokens, z over directions.
// Needs: lib/{back,index}. Host: src/kernel/train.rs, src/plan/train/mod.rs.

@group(0) @binding(0) var<uniform> back: Back;
@group(0) @binding(1) var<storage, read> d: array<vec4f>;                   // [Z, T·B, N/4]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(3) var<storage, read> places: array<u32>;                // [V + 1 starts; then t·B + b]
@group(0) @binding(4) var<storage, read_write> total: array<vec4f>;         // [Z, V, N/4]

override MODE: u32 = 0u;

@compute @workgroup_size(8, 8, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let n4 = id.x;
    let token = id.y;
    let z = id.z;
    // `first` is V.
    if (n4 >= back.columns4 || token >= back.first) {
        return;
    }
    var sum: vec4f;
    for (var i = places[token]; i < places[token + 1u]; i++) {
        let place = places[back.first + 1u + i];
        let row = gradient_row(place / back.batch, place % back.batch, z, 0u);
        if (row != NONE) {
            sum += d[(z * row_count() + row) * back.columns4 + n4];
        }
    }
    total[(z * back.first + token) * back.columns4 + n4] = sum;
}
