// r⊙h before each step, for the GRU that resets before its product, behind the mask of the recurrence: what W_hn
// multiplied.
//
// Grid: x over groups of four units, y · z over rows (d, s, b).
// Needs: lib/{activation,index,mask,random,recur}. Host: src/kernel/train.rs, src/plan/train/reset_before.rs.

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<storage, read> gates_x: array<vec4f>;             // [D, T·B, 3, H/4]
@group(0) @binding(2) var<storage, read> gates_h: array<vec4f>;             // [D, T·B, 3, H/4]: r and z are read
@group(0) @binding(3) var<storage, read> before: array<vec4f>;              // [D, T·B, H/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read_write> reset: array<vec4f>;         // [D, T·B, H/4]

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let unit = id.x;
    let at = id.z * groups.y + id.y;
    let rows = recur.gate_steps * recur.batch;
    if (unit >= recur.units4 || at >= rows * recur.directions) {
        return;
    }
    let s = at % rows / recur.batch;
    var value = vec4f(0.0);
    if (s < lengths[at % recur.batch]) {
        let gates = at * 3u * recur.units4 + unit;
        let kept = sigmoid_v(gates_x[gates] + gates_h[gates]) * before[at * recur.units4 + unit];
        value = masked(kept, state_index(at % recur.batch, at / rows, recur.units4) + unit);
    }
    reset[at * recur.units4 + unit] = value;
}
