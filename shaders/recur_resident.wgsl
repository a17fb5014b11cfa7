// The time loop of a point-wise cell inside one dispatch: one workgroup per tile of sequences.
//
//   gh = W_hh·h_{t-1} + b_hh;   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// Grid: x over tiles of WG_Y·ROWS rows, z over directions. h lives in workgroup memory, twice (one
// copy is read while the other is written), so a step costs one barrier; weights stream from cache.
// A tile ends with its longest row. Chunks of the time loop hand h over through y, c through `cells`.
// Needs: a cell file, lib/{own or custom,no_tape or tape,activation,hidden,index,recur,rowsN}. Host: src/kernel/table.rs, src/plan/layer.rs.

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<storage, read> gates_x: array<vec4f>;             // [D, chunk·B, G, H/4]
@group(0) @binding(2) var<storage, read> weight_hh: array<Weight>;          // [D, H, G, H/4]
@group(0) @binding(3) var<storage, read> bias_hh: array<vec4f>;             // [D, G, H/4]
@group(0) @binding(4) var<storage, read> h_0: array<vec4f>;                 // [D, B, H/4]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(6) var<storage, read_write> y: array<vec4f>;             // [T, B, D, H/4]
@group(0) @binding(7) var<storage, read_write> cells: array<vec4f>;         // [D, B, H/4]: c
@group(0) @binding(8) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom; or lib/tape; or unused

override WG_X: u32 = 64u;
override WG_Y: u32 = 1u;
// vec4s of both copies of the tile's state, 2·WG_Y·ROWS·H/4. The array's length is the override
// itself: naga 30 panics over a length that is an expression where another override follows it.
override STATE_VECS: u32 = 128u;

var<workgroup> state: array<State, STATE_VECS>;

fn source_row(index: u32) -> vec4f {
    return state_from(state[index]);
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(@builtin(local_invocation_id) lane: vec3u, @builtin(workgroup_id) group: vec3u) {
    let d = group.z;
    let tile0 = group.x * WG_Y * ROWS;
    let row0 = tile0 + lane.y * ROWS;
    let is_reverse = reads_backwards(recur.reverse_mask, d);
    let first = recur.first_step;

    var tile_len = 0u;
    for (var r = 0u; r < WG_Y * ROWS; r++) {
        if (tile0 + r < recur.batch) {
            tile_len = max(tile_len, lengths[tile0 + r]);
        }
    }
    let end = min(first + recur.step_count, tile_len);

    var len: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        len[r] = 0u;
        if (row < recur.batch) {
            len[r] = lengths[row];
        }
        for (var k4 = lane.x; k4 < recur.state4; k4 += WG_X) {
            var h = vec4f(0.0);
            if (first < len[r]) {
                let index = before_index(first, row, len[r], d) + k4;
                if (first == 0u) {
                    h = h_0[index];
                } else {
                    h = y[index];
                }
            }
            state[(lane.y * ROWS + r) * recur.state4 + k4] = state_to(h);
        }
    }
    workgroupBarrier();

    let columns = GATES * recur.units4;
    var read0 = 0u;
    for (var s = first; s < end; s++) {
        let write0 = STATE_VECS / 2u - read0;
        var base: array<u32, ROWS>;
        for (var r = 0u; r < ROWS; r++) {
            base[r] = read0 + (lane.y * ROWS + r) * recur.state4;
        }
        for (var unit = lane.x; unit < recur.units4; unit += WG_X) {
            let acc = hidden_product(base, d, unit);
            for (var r = 0u; r < ROWS; r++) {
                if (s >= len[r]) {
                    continue;
                }
                let row = row0 + r;
                let gx0 = gates_index(s, row, d, columns) + unit;
                var gx: array<vec4f, GATES>;
                var gh: array<vec4f, GATES>;
                for (var g = 0u; g < GATES; g++) {
                    gx[g] = gates_x[gx0 + g * recur.units4];
                    gh[g] = row_of(acc[g], r) + bias_hh[d * columns + g * recur.units4 + unit];
                }
                keep_gates(gx0, gh);
                let cell_at = state_index(row, d, recur.units4) + unit;
                var before: array<vec4f, STATES>;
                before[0] = source_row(base[r] + unit);
                if (STATES == 2u) {
                    before[STATES - 1u] = cells[cell_at];
                }
                let after = cell_step(gx, gh, before, d, unit);
                if (STATES == 2u) {
                    cells[cell_at] = after[STATES - 1u];
                }
                let h = state_to(without_padding(cell_output(after[0], after[STATES - 1u], d), unit, recur.units));
                state[write0 + (lane.y * ROWS + r) * recur.state4 + unit] = h;
                y[y_index(time_of(s, len[r], is_reverse), row, d) + unit] = state_from(h);
            }
        }
        workgroupBarrier();
        read0 = write0;
    }
}
