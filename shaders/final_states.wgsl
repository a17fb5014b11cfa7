// The final state h_n of a layer, gathered from its output.
//
//   h_n[d, b] = y[len − 1] (forward), y[0] (reverse), h_0 for an empty row
//
// Grid: x over groups of four values, y over rows, z over directions.
// Needs: lib/{index,recur}. Host: src/kernel/table.rs, src/plan/layer.rs.

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<storage, read> y: array<vec4f>;                   // [T, B, D, R/4]
@group(0) @binding(2) var<storage, read> h_0: array<vec4f>;                 // [D, B, R/4]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(4) var<storage, read_write> h_n: array<vec4f>;           // [D, B, R/4], or [B, D, R/4] with batch_major

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let k4 = id.x;
    let row = id.y;
    let d = id.z;
    if (k4 >= recur.state4 || row >= recur.batch) {
        return;
    }
    let len = lengths[row];
    let by_row = (row * recur.directions + d) * recur.state4;
    let at = select(state_index(row, d, recur.state4), by_row, recur.batch_major == 1u) + k4;
    if (len == 0u) {
        h_n[at] = h_0[state_index(row, d, recur.state4) + k4];
    } else {
        let t = time_of(len - 1u, len, reads_backwards(recur.reverse_mask, d));
        h_n[at] = y[y_index(t, row, d) + k4];
    }
}
