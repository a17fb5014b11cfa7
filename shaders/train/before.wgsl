// The states before each step, in recurrence order: what W_hh multiplied.
//
//   before[d, s, b] = h_{s-1}, h_0 for s = 0
//
// Grid: x over groups of four values, y · z over rows (d, s, b).
// Needs: lib/{index,recur}. Host: src/kernel/train.rs, src/plan/train/time.rs.

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<storage, read> y: array<vec4f>;                   // [T, B, D, R/4]
@group(0) @binding(2) var<storage, read> h_0: array<vec4f>;                 // [D, B, R/4]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(4) var<storage, read_write> before: array<vec4f>;        // [D, T·B, R/4]

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let k4 = id.x;
    let at = id.z * groups.y + id.y;
    let rows = recur.step_count * recur.batch;
    if (k4 >= recur.state4 || at >= rows * recur.directions) {
        return;
    }
    let d = at / rows;
    let row = at % recur.batch;
    let s = at % rows / recur.batch;
    let len = lengths[row];
    var h = vec4f(0.0);
    if (s < len) {
        let from_ = before_index(s, row, len, d) + k4;
        if (s == 0u) {
            h = h_0[from_];
        } else {
            h = y[from_];
        }
    }
    before[at * recur.state4 + k4] = h;
}
