// A product with a transposed weight inside a step of backpropagation, for layers with a projection.
//
//   0  dr_s = dy_s + m⊙W_hhᵀ·dgh_{s+1}    the gradient of the projected state
//   1  dh_s = W_hrᵀ·dr_s                  that of the state before the projection
//
// Turn j takes step s = L − 1 − j as in back_step.wgsl; the turn after step 0 leaves dr of the initial state in
// `end_state`. Grid: x over groups of four values, y over tiles of four rows, z over directions.
// Needs: lib/{index,mask,random,recur}. Host: src/kernel/train.rs, src/plan/train/time.rs.

struct Step {
    index: u32, // turn, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;              // [D, R, G, H/4] or [D, H, R/4]
@group(0) @binding(3) var<storage, read> gates_h: array<vec4f>;             // [D, T·B, G, H/4]
@group(0) @binding(4) var<storage, read> dy: array<vec4f>;                  // [T, B, D, R/4]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(6) var<storage, read_write> dr: array<vec4f>;            // [D, T·B, R/4]
@group(0) @binding(7) var<storage, read_write> end_state: array<vec4f>;     // 0: [D, B, R/4]; 1: dh [D, B, H/4]

override MODE: u32 = 0u;
override GATES: u32 = 4u;

fn tape_index(s: u32, row: u32, d: u32) -> u32 {
    return ((d * recur.gate_steps + s) * recur.batch + row) * recur.state4;
}

@compute @workgroup_size(16, 4, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let k4 = id.x;
    let row0 = 4u * id.y;
    let d = id.z;
    let longest = lengths[0];
    let j = recur.first_step + step.index;
    let s = longest - 1u - j;
    let next = longest - j;
    let is_end = j == longest;
    var inner = recur.state4;
    var width = recur.units4;
    if (MODE == 0u) {
        inner = GATES * recur.units4;
        width = recur.state4;
    }
    if (k4 >= width || row0 >= recur.batch || (MODE == 1u && is_end)) {
        return;
    }
    var base: array<u32, 4>;
    for (var r = 0u; r < 4u; r++) {
        let row = min(row0 + r, recur.batch - 1u);
        if (MODE == 0u) {
            base[r] = gates_index(min(next, longest - 1u), row, d, inner);
        } else {
            base[r] = tape_index(s, row, d);
        }
    }
    var sum: mat4x4f;
    if (MODE == 1u || next < longest) {
        let w0 = (d * width + k4) * 4u * inner;
        for (var n4 = 0u; n4 < inner; n4++) {
            let block = transpose(mat4x4f(
                weight[w0 + n4], weight[w0 + inner + n4], weight[w0 + 2u * inner + n4], weight[w0 + 3u * inner + n4],
            ));
            if (MODE == 0u) {
                sum += block * mat4x4f(gates_h[base[0] + n4], gates_h[base[1] + n4], gates_h[base[2] + n4], gates_h[base[3] + n4]);
            } else {
                sum += block * mat4x4f(dr[base[0] + n4], dr[base[1] + n4], dr[base[2] + n4], dr[base[3] + n4]);
            }
        }
    }
    for (var r = 0u; r < 4u; r++) {
        let row = row0 + r;
        if (row >= recur.batch) {
            continue;
        }
        let len = lengths[row];
        if (MODE == 1u) {
            if (s < len) {
                end_state[state_index(row, d, recur.units4) + k4] = sum[r];
            }
            continue;
        }
        var total = vec4f(0.0);
        // Not a product with zero: what another row's step left there may be infinite.
        if (next < len) {
            total = masked(sum[r], state_index(row, d, recur.state4) + k4);
        }
        if (is_end) {
            end_state[state_index(row, d, recur.state4) + k4] = total;
        } else if (s < len) {
            let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
            dr[tape_index(s, row, d) + k4] = without_padding(total + dy[y_index(t, row, d) + k4], k4, recur.state_size);
        }
    }
}
