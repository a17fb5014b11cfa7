// Backpropagation through time of the GRU that resets before its product; two dispatches a step.
//
//   candidate:  dh = dy_s + handed on + W_rᵀ·da_r(s+1) + W_zᵀ·da_z(s+1)
//               da_n = dh·(1 − z)·(1 − n²)   da_z = dh·(h − n)·z·(1 − z)   handed on: z·dh
//   reset:      q = W_nᵀ·da_n   da_r = q·h·r·(1 − r)   handed on, too: q·r
//
// Turn j takes step s = L − 1 − j as in back_step.wgsl. gates_h keeps the gradients of r and z with zeros for n,
// gates_n that of n with zeros for r and z: what they multiply differs, h in one, r⊙h in the other.
// Grid: x over groups of four units, y over tiles of four rows, z over directions.
// Behind dropout of the recurrence all three products are masked: W_r and W_z saw m⊙h, W_n m⊙r⊙h.
// Needs: lib/{activation,index,mask,random,recur}. Host: src/kernel/train.rs, src/plan/train/reset_before.rs.

struct Step {
    index: u32, // turn, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> weight_hh: array<vec4f>;           // [D, H, 3, H/4]
@group(0) @binding(3) var<storage, read> before: array<vec4f>;              // [D, T·B, H/4]: h
@group(0) @binding(4) var<storage, read> dy: array<vec4f>;                  // [T, B, D, H/4]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(6) var<storage, read_write> gates_x: array<vec4f>;       // [D, T·B, 3, H/4]
@group(0) @binding(7) var<storage, read_write> gates_h: array<vec4f>;       // [D, T·B, 3, H/4]
@group(0) @binding(8) var<storage, read_write> gates_n: array<vec4f>;       // [D, T·B, 3, H/4]
@group(0) @binding(9) var<storage, read_write> carry: array<vec4f>;         // [2, D, B, H/4]: the first half

// Rows of W_hh for four inputs times gradients of four rows: columns below `end` of the gates.
fn product_h(base: array<u32, 4>, d: u32, unit: u32, end: u32) -> mat4x4f {
    let columns = 3u * recur.units4;
    let w0 = (d * recur.units4 + unit) * 4u * columns;
    var sum: mat4x4f;
    for (var n4 = 0u; n4 < end; n4++) {
        let block = transpose(mat4x4f(
            weight_hh[w0 + n4], weight_hh[w0 + columns + n4],
            weight_hh[w0 + 2u * columns + n4], weight_hh[w0 + 3u * columns + n4],
        ));
        sum += block * mat4x4f(gates_h[base[0] + n4], gates_h[base[1] + n4], gates_h[base[2] + n4], gates_h[base[3] + n4]);
    }
    return sum;
}

fn product_n(base: array<u32, 4>, d: u32, unit: u32) -> mat4x4f {
    let columns = 3u * recur.units4;
    let w0 = (d * recur.units4 + unit) * 4u * columns;
    var sum: mat4x4f;
    for (var n4 = 2u * recur.units4; n4 < columns; n4++) {
        let block = transpose(mat4x4f(
            weight_hh[w0 + n4], weight_hh[w0 + columns + n4],
            weight_hh[w0 + 2u * columns + n4], weight_hh[w0 + 3u * columns + n4],
        ));
        sum += block * mat4x4f(gates_n[base[0] + n4], gates_n[base[1] + n4], gates_n[base[2] + n4], gates_n[base[3] + n4]);
    }
    return sum;
}

fn bases(s: u32, row0: u32, d: u32) -> array<u32, 4> {
    var base: array<u32, 4>;
    for (var r = 0u; r < 4u; r++) {
        base[r] = gates_index(s, min(row0 + r, recur.batch - 1u), d, 3u * recur.units4);
    }
    return base;
}

@compute @workgroup_size(16, 4, 1)
fn candidate(@builtin(global_invocation_id) id: vec3u) {
    let unit = id.x;
    let row0 = 4u * id.y;
    let d = id.z;
    if (unit >= recur.units4 || row0 >= recur.batch) {
        return;
    }
    let longest = lengths[0];
    let j = recur.first_step + step.index;
    let s = longest - 1u - j;
    let next = longest - j;
    var sum: mat4x4f;
    if (next < longest) {
        sum = product_h(bases(next, row0, d), d, unit, 2u * recur.units4);
    }
    for (var r = 0u; r < 4u; r++) {
        let row = row0 + r;
        if (row >= recur.batch) {
            continue;
        }
        let len = lengths[row];
        let at = state_index(row, d, recur.units4) + unit;
        var dh = vec4f(0.0);
        if (next < len) {
            dh = carry[at] + masked(sum[r], at);
        }
        if (j == longest) {
            carry[at] = dh;
            continue;
        }
        if (s >= len) {
            continue;
        }
        let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
        dh += dy[y_index(t, row, d) + unit];
        let gates = gates_index(s, row, d, 3u * recur.units4) + unit;
        let at_z = gates + recur.units4;
        let at_n = at_z + recur.units4;
        let h = before[((d * recur.gate_steps + s) * recur.batch + row) * recur.units4 + unit];
        let z = sigmoid_v(gates_x[at_z] + gates_h[at_z]);
        let n = tanh_v(gates_x[at_n] + gates_n[at_n]);
        let d_z = without_padding(dh * (h - n) * z * (1.0 - z), unit, recur.units);
        let d_n = without_padding(dh * (1.0 - z) * (1.0 - n * n), unit, recur.units);
        gates_x[at_z] = d_z;
        gates_h[at_z] = d_z;
        gates_n[at_z] = vec4f(0.0);
        gates_x[at_n] = d_n;
        gates_h[at_n] = vec4f(0.0);
        gates_n[at_n] = d_n;
        carry[at] = dh * z;
    }
}

@compute @workgroup_size(16, 4, 1)
fn reset(@builtin(global_invocation_id) id: vec3u) {
    let unit = id.x;
    let row0 = 4u * id.y;
    let d = id.z;
    let longest = lengths[0];
    let j = recur.first_step + step.index;
    if (unit >= recur.units4 || row0 >= recur.batch || j == longest) {
        return;
    }
    let s = longest - 1u - j;
    let sum = product_n(bases(s, row0, d), d, unit);
    for (var r = 0u; r < 4u; r++) {
        let row = row0 + r;
        if (row >= recur.batch || s >= lengths[min(row, recur.batch - 1u)]) {
            continue;
        }
        let gates = gates_index(s, row, d, 3u * recur.units4) + unit;
        let h = before[((d * recur.gate_steps + s) * recur.batch + row) * recur.units4 + unit];
        let gate = sigmoid_v(gates_x[gates] + gates_h[gates]);
        let at = state_index(row, d, recur.units4) + unit;
        let q = masked(sum[r], at);
        let d_r = without_padding(q * h * gate * (1.0 - gate), unit, recur.units);
        gates_x[gates] = d_r;
        gates_h[gates] = d_r;
        gates_n[gates] = vec4f(0.0);
        carry[at] += q * gate;
    }
}
