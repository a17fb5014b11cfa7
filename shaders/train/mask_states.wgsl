// The states before each step as W_hh saw them: behind the mask of the recurrence.
//
// Grid: x over groups of four values, y · z over rows (d, s, b).
// Needs: lib/{index,mask,random,recur}. Host: src/kernel/train.rs, src/plan/train/masked.rs.

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<storage, read> before: array<vec4f>;              // [D, T·B, R/4]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;               // [B], hyper-parameters
@group(0) @binding(3) var<storage, read_write> kept: array<vec4f>;          // [D, T·B, R/4]

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let k4 = id.x;
    let at = id.z * groups.y + id.y;
    let rows = recur.gate_steps * recur.batch;
    if (k4 >= recur.state4 || at >= rows * recur.directions) {
        return;
    }
    let place = state_index(at % recur.batch, at / rows, recur.state4) + k4;
    kept[at * recur.state4 + k4] = masked(before[at * recur.state4 + k4], place);
}
