// The projection of an LSTM step: y_t = W_hr·h_t, after recur_step.wgsl with PROJECTED.
//
// Grid: x over groups of four outputs, y over tiles of ROWS rows, z over directions.
// Needs: lib/{index,recur,rowsN}. Host: src/kernel/table.rs, src/plan/layer.rs.
// Source: Sak, Senior and Beaufays (2014); PyTorch `proj_size`.

struct Step {
    index: u32, // step, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> weight_hr: array<Weight>;          // [D, H, R/4]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(4) var<storage, read> cells: array<vec4f>;               // [2, D, B, H/4]: second half = h
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;             // [T, B, D, R/4]

override WG_X: u32 = 64u;
override WG_Y: u32 = 1u;

fn source_row(index: u32) -> vec4f {
    return cells[index];
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let out = id.x;
    let row0 = id.y * ROWS;
    let d = id.z;
    if (out >= recur.state4 || row0 >= recur.batch) {
        return;
    }
    let hidden = recur.directions * recur.batch * recur.units4;
    var base: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        base[r] = hidden + state_index(min(row0 + r, recur.batch - 1u), d, recur.units4);
    }
    var acc: Rows;
    for (var k4 = 0u; k4 < recur.units4; k4++) {
        let w = (d * recur.units4 + k4) * 4u * recur.state4 + out;
        acc += mat4x4f(
            weight_from(weight_hr[w]), weight_from(weight_hr[w + recur.state4]),
            weight_from(weight_hr[w + 2u * recur.state4]), weight_from(weight_hr[w + 3u * recur.state4]),
        ) * load_rows(base, k4);
    }
    let s = recur.first_step + step.index;
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        if (row >= recur.batch) {
            continue;
        }
        let len = lengths[row];
        if (s < len) {
            let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
            let h = without_padding(row_of(acc, r), out, recur.state_size);
            y[y_index(t, row, d) + out] = stored(h);
        }
    }
}
