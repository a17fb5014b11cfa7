// The output layer with its function g: c[m] = g(a[row(m)]·W + bias), in one dispatch.
//
//   1 softmax      2 log-softmax   a workgroup owns whole rows (grid x is 1): its lanes keep (m, s) of
//                                  their columns (lib/head) and join them at the end
//   3 sigmoid      4 tanh      5 ReLU   value by value; workgroups along x share the columns
//
// With ONE_PASS a lane has at most two groups of columns, and their logits never leave its registers.
// Otherwise softmax's logits are written and read again by the lane that wrote them.
// The rows, and their order, follow MODE 1 to 3 (lib/gemm). Grid: y over tiles of WG_Y·ROWS rows.
// Needs: lib/{activation,gemm,head,index,rowsN}. Host: src/kernel/table.rs, src/plan/head.rs.
// Rust twin: src/reference/mod.rs (apply_head).

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [T·B, K/4] or [B, K/4]
@group(0) @binding(2) var<storage, read> weight: array<Weight>;             // [K, O/4]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;                // [O/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read> tokens: array<u32>;                // not read
@group(0) @binding(6) var<storage, read_write> c: array<vec4f>;             // [M, O/4]

override WG_X: u32 = 8u;
override WG_Y: u32 = 8u;
override MODE: u32 = 1u;
override KIND: u32 = 1u;
override ONE_PASS: bool = false;
override PARTS: u32 = 256u;     // WG_X · WG_Y · ROWS

const GATHER: bool = false;

// (m, s) of every lane: [WG_Y, ROWS, WG_X]
var<workgroup> parts: array<vec2f, PARTS>;

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(
    @builtin(local_invocation_id) lane: vec3u,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let row0 = (group.y * WG_Y + lane.y) * ROWS;
    let row_count = gemm.step_count * gemm.batch;
    var base: array<u32, ROWS>;
    var is_found: array<bool, ROWS>;
    var so_far: array<vec2f, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        base[r] = 0u;
        is_found[r] = false;
        so_far[r] = vec2f(LOWEST, 0.0);
        if (row0 + r < row_count) {
            let place = place_of(row0 + r, 0u);
            base[r] = place.base;
            is_found[r] = place.found == KNOWN;
        }
    }

    let first = 2u * (group.x * WG_X + lane.x);
    let stride = 2u * groups.x * WG_X;
    let c_row0 = first_output_row() + row0;
    var logits: Pair;
    for (var column = first; column < gemm.columns4; column += stride) {
        let second = select(0u, 1u, column + 1u < gemm.columns4);
        logits = product(base, column, second);
        for (var r = 0u; r < ROWS; r++) {
            let v = row_of(logits.first, r) + bias[column];
            let w = row_of(logits.second, r) + bias[column + second];
            if (KIND < 3u) {
                so_far[r] = with_logits(so_far[r], v, column);
                if (second == 1u) {
                    so_far[r] = with_logits(so_far[r], w, column + 1u);
                }
            }
            if (is_found[r] && !(KIND < 3u && ONE_PASS)) {
                let at = (c_row0 + r) * gemm.columns4 + column;
                // Where there is no second group, the first is written twice.
                c[at] = select(v, finished(v, so_far[r]), KIND >= 3u);
                c[at + second] = select(w, finished(w, so_far[r]), KIND >= 3u);
            }
        }
    }
    if (KIND >= 3u) {
        return;
    }

    let part0 = lane.y * ROWS * WG_X + lane.x;
    for (var r = 0u; r < ROWS; r++) {
        parts[part0 + r * WG_X] = so_far[r];
    }
    workgroupBarrier();
    for (var half = WG_X / 2u; half > 0u; half /= 2u) {
        if (lane.x < half) {
            for (var r = 0u; r < ROWS; r++) {
                let at = part0 + r * WG_X;
                parts[at] = joined(parts[at], parts[at + half]);
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < ROWS; r++) {
        so_far[r] = parts[lane.y * ROWS * WG_X + r * WG_X];
    }
    for (var column = first; column < gemm.columns4; column += stride) {
        let second = select(0u, 1u, column + 1u < gemm.columns4);
        for (var r = 0u; r < ROWS; r++) {
            if (is_found[r]) {
                let at = (c_row0 + r) * gemm.columns4 + column;
                var v = row_of(logits.first, r) + bias[column];
                var w = row_of(logits.second, r) + bias[column + second];
                if (!ONE_PASS) {
                    v = c[at];
                    w = c[at + second];
                }
                c[at] = finished(v, so_far[r]);
                c[at + second] = finished(w, so_far[r]);
            }
        }
    }
}
