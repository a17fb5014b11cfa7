// The gradient of what a product read: of a layer's input, or of the states below an output layer.
//
//   dx[t, b, k] = Σ_z Σ_n d[z, row, n] · W[z, k, n]
//
// An invocation owns 4 rows × 4 inputs; every row is written, with zeros where nothing reaches it.
// Grid: x over groups of four inputs, y over tiles of four rows (t, b).
// Needs: lib/{back,index}. Host: src/kernel/train.rs, src/plan/train/mod.rs.

@group(0) @binding(0) var<uniform> back: Back;
@group(0) @binding(1) var<storage, read> d: array<vec4f>;                   // [Z, M, N/4]
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;              // [Z, K, N/4]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;            // [T, B, K/4]

override MODE: u32 = 0u;

@compute @workgroup_size(8, 8, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let k4 = id.x;
    let row0 = 4u * id.y;
    let rows = back.steps * back.batch;
    if (k4 >= back.inner4 || row0 >= rows) {
        return;
    }
    var sums: mat4x4f;
    for (var z = 0u; z < back.directions; z++) {
        var base: array<u32, 4>;
        // Zero for a row that nothing reaches.
        var weight_of: array<f32, 4>;
        var reached = false;
        for (var r = 0u; r < 4u; r++) {
            base[r] = 0u;
            weight_of[r] = 0.0;
            if (row0 + r < rows) {
                let row = gradient_row((row0 + r) / back.batch, (row0 + r) % back.batch, z, k4);
                if (row != NONE) {
                    base[r] = (z * row_count() + row) * back.columns4;
                    weight_of[r] = 1.0;
                    reached = true;
                }
            }
        }
        if (!reached) {
            continue;
        }
        var part: mat4x4f;
        let w0 = (z * back.inner4 + k4) * 4u * back.columns4;
        for (var n4 = 0u; n4 < back.columns4; n4++) {
            let block = transpose(mat4x4f(
                weight[w0 + n4], weight[w0 + back.columns4 + n4],
                weight[w0 + 2u * back.columns4 + n4], weight[w0 + 3u * back.columns4 + n4],
            ));
            part += block * mat4x4f(d[base[0] + n4], d[base[1] + n4], d[base[2] + n4], d[base[3] + n4]);
        }
        for (var r = 0u; r < 4u; r++) {
            // Not a product with zero: what lies at 0 may be infinite.
            if (weight_of[r] != 0.0) {
                sums[r] += part[r];
            }
        }
    }
    for (var r = 0u; r < 4u; r++) {
        if (row0 + r < rows) {
            dx[(row0 + r) * back.inner4 + k4] = sums[r];
        }
    }
}
