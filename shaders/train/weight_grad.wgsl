// The gradient of a weight: the sum over all rows, of all steps, of inputs times gradients.
//
//   dW[z, k, n] = Σ_m a[row(m), k] · d[z, m, n]
//
// Rows are cut into slices whose sums `sum_parts` adds in their order, so that two runs give the same bits.
// The block's `first` is that of the slice 0 among all parts. An invocation owns 8 inputs × 8 columns. The result lies as the weight does on the device.
// Grid: x over groups of 8 columns, y over groups of 8 inputs, z over directions × slices.
// Needs: lib/{back,index,outer}. Host: src/kernel/train.rs, src/plan/train/sums.rs.

@group(0) @binding(0) var<uniform> back: Back;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [rows, K/4]
@group(0) @binding(2) var<storage, read> d: array<vec4f>;                   // [Z, M, N/4]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(4) var<storage, read> tokens: array<u32>;                // [T, B], with GATHER
@group(0) @binding(5) var<storage, read_write> parts: array<vec4f>;         // [slices, Z, K, N/4]

override MODE: u32 = 0u;
// Rows of `a` are those that tokens choose.
override GATHER: bool = false;

@compute @workgroup_size(8, 8, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let n4 = 2u * id.x;
    let k4 = 2u * id.y;
    let z = id.z % back.directions;
    let slice = id.z / back.directions;
    if (n4 >= back.columns4 || k4 >= back.inner4) {
        return;
    }
    // Where the second group does not exist, it repeats the first and is not stored.
    let next_n = select(0u, 1u, n4 + 1u < back.columns4);
    let next_k = select(0u, 1u, k4 + 1u < back.inner4);
    let first = slice * back.slice_rows;
    let end = min(first + back.slice_rows, row_count());
    var acc_0_0: mat4x4f;
    var acc_0_1: mat4x4f;
    var acc_1_0: mat4x4f;
    var acc_1_1: mat4x4f;
    for (var m = first; m < end; m++) {
        if (!is_valid(m)) {
            continue;
        }
        var row = input_row(m, z);
        if (GATHER) {
            row = tokens[row];
        }
        let a_at = row * back.inner4 + k4;
        let d_at = (z * row_count() + m) * back.columns4 + n4;
        let inputs_0 = a[a_at];
        let inputs_1 = a[a_at + next_k];
        let gradients_0 = d[d_at];
        let gradients_1 = d[d_at + next_n];
        acc_0_0 += outer(inputs_0, gradients_0);
        acc_0_1 += outer(inputs_0, gradients_1);
        acc_1_0 += outer(inputs_1, gradients_0);
        acc_1_1 += outer(inputs_1, gradients_1);
    }
    store(acc_0_0, slice, z, k4, n4);
    store(acc_0_1, slice, z, k4, n4 + 1u);
    store(acc_1_0, slice, z, k4 + 1u, n4);
    store(acc_1_1, slice, z, k4 + 1u, n4 + 1u);
}
