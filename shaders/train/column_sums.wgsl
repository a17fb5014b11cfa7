// The gradient of a bias: the sum over all rows of the gradients; or of products with states, for peepholes.
//
//   db[z, n] = Σ_m d[z, m, n]
//
// Rows are cut into slices as in weight_grad.wgsl.
// Grid: x over groups of four columns, y over slices, z over directions.
// Needs: lib/{back,index}. Host: src/kernel/train.rs, src/plan/train/sums.rs.

@group(0) @binding(0) var<uniform> back: Back;
@group(0) @binding(1) var<storage, read> d: array<vec4f>;                   // [Z, M, N/4]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(3) var<storage, read_write> parts: array<vec4f>;         // [slices, Z, N/4]

override MODE: u32 = 0u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let n4 = id.x;
    let slice = id.y;
    let z = id.z;
    if (n4 >= back.columns4) {
        return;
    }
    let first = slice * back.slice_rows;
    let end = min(first + back.slice_rows, row_count());
    var sum: vec4f;
    for (var m = first; m < end; m++) {
        if (is_valid(m)) {
            sum += d[(z * row_count() + m) * back.columns4 + n4];
        }
    }
    parts[(slice * back.directions + z) * back.columns4 + n4] = sum;
}
