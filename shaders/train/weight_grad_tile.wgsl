// weight_grad.wgsl where a load costs more than a shuffle: eight lanes share what they load.
//
//   dW[z, k, n] = Σ_m a[row(m), k] · d[z, m, n]
//
// For each row a lane loads four inputs and four gradients, once; the inputs go round the eight lanes, so that each
// lane adds to 32 inputs × 4 columns. Everything else is that of weight_grad.wgsl.
// Grid: x over groups of 32 columns, y over groups of 32 inputs, z over directions × slices.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
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

@compute @workgroup_size(8, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_id) place: vec3u,
    @builtin(subgroup_invocation_id) sub_lane: u32,
) {
    let k0 = 8u * group.y;
    let n4 = 8u * group.x + place.x;
    let z = group.z % back.directions;
    let slice = group.z / back.directions;
    // A lane without inputs or columns of its own repeats the last ones and stores nothing.
    let own_k = min(k0 + place.x, back.inner4 - 1u);
    let own_n = min(n4, back.columns4 - 1u);
    // Eight lanes of a larger subgroup go round among themselves.
    let first_lane = sub_lane - sub_lane % 8u;
    let first = slice * back.slice_rows;
    let end = min(first + back.slice_rows, row_count());
    //@ for l in LANES
    var acc_${l}: mat4x4f;
    //@ end
    for (var m = first; m < end; m++) {
        if (!is_valid(m)) {
            continue;
        }
        var row = input_row(m, z);
        if (GATHER) {
            row = tokens[row];
        }
        let inputs = a[row * back.inner4 + own_k];
        let gradients = d[(z * row_count() + m) * back.columns4 + own_n];
        //@ for l in LANES
        acc_${l} += outer(subgroupShuffle(inputs, first_lane + ${l}u), gradients);
        //@ end
    }
    //@ for l in LANES
    store(acc_${l}, slice, z, k0 + ${l}u, n4);
    //@ end
}
