// The time loop of a point-wise cell with the weights in registers: small networks, few sequences.
//
//   gh = W_hh·h_{t-1} + b_hh;   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// A workgroup owns ROWS sequences and all units. An invocation holds the weights of one group of four
// units for SHARES·LANES groups of inputs, as variables that text loops name, and reads them from
// memory once for all time steps. Where a column of inputs is too long for the registers of one
// invocation, SLICES invocations split it and their sums meet in workgroup memory. With LANES > 1 the
// lanes of a subgroup share what they read of h; without subgroups LANES is 1.
// Grid: x over tiles of ROWS sequences, z over directions.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
// Needs: a cell file, lib/{own or custom,no_tape or tape,activation,index,recur,rowsN}, and lib/alone, or lib/{together,shuffleN}
// with LANES > 1.
// Host: src/kernel/table.rs, src/plan/stationary.rs.

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<storage, read> gates_x: array<vec4f>;             // [D, chunk·B, G, H/4]
@group(0) @binding(2) var<storage, read> weight_hh: array<Weight>;          // [D, H, G, H/4]
@group(0) @binding(3) var<storage, read> bias_hh: array<vec4f>;             // [D, G, H/4]
@group(0) @binding(4) var<storage, read> h_0: array<vec4f>;                 // [D, B, H/4]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(6) var<storage, read_write> y: array<vec4f>;             // [T, B, D, H/4]
@group(0) @binding(7) var<storage, read_write> cells: array<vec4f>;         // [D, B, H/4]: c
@group(0) @binding(8) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom; or lib/tape; or unused

const SPAN: u32 = SHARES * LANES;
const STATE_ROW: u32 = SPAN * SLICES;

// Columns of weights on their way to registers.
var<private> staged: array<vec4f, 4u * LANES>;
// The sums of this invocation's units: [rows, G].
var<private> sums: array<vec4f, ROWS * GATES>;
var<workgroup> state: array<vec4f, 2u * ROWS * STATE_ROW>;                  // [2, ROWS, inputs]: h, zero beyond H
var<workgroup> partial: array<vec4f, (SLICES - 1u) * UNITS * GATES * ROWS + 1u>;

fn source_row(index: u32) -> vec4f {
    return state[index];
}

// Brings W_hh's columns of LANES groups of inputs from `k4` on to `staged`; zero beyond H. A loop, because a
// software adapter compiles every load in the text to a page of code.
fn stage(d: u32, k4: u32, g: u32, unit: u32) {
    let columns = GATES * recur.units4;
    for (var k = 0u; k < 4u * LANES; k++) {
        staged[k] = vec4f(0.0);
        if (k4 + k / 4u < recur.state4 && unit < recur.units4) {
            staged[k] = weight_from(weight_hh[(d * recur.state4 * 4u + k4 * 4u + k) * columns + g * recur.units4 + unit]);
        }
    }
}

@compute @workgroup_size(UNITS, SLICES, 1)
fn main(
    @builtin(local_invocation_id) place: vec3u,
    @builtin(workgroup_id) group: vec3u,
) {
    let d = group.z;
    let row0 = group.x * ROWS;
    let unit = place.x;
    let slice = place.y;
    let sub_lane = unit % LANES;
    let is_reverse = reads_backwards(recur.reverse_mask, d);
    let columns = GATES * recur.units4;
    let first = recur.first_step;
    let is_owner = slice == 0u && unit < recur.units4;

    var len: array<u32, ROWS>;
    var tile_len = 0u;
    for (var r = 0u; r < ROWS; r++) {
        len[r] = 0u;
        if (row0 + r < recur.batch) {
            len[r] = lengths[row0 + r];
        }
        tile_len = max(tile_len, len[r]);
    }
    let end = min(first + recur.step_count, tile_len);

    //@ for g in GATES
    //@ for j in SHARES
    stage(d, slice * SPAN + ${j}u * LANES, ${g}u, unit);
    //@ for l in LANES
    let w_${g}_${j}_${l} = mat4x4f(
        staged[${l}u * 4u], staged[${l}u * 4u + 1u], staged[${l}u * 4u + 2u], staged[${l}u * 4u + 3u],
    );
    //@ end
    //@ end
    //@ end
    var bias: array<vec4f, GATES>;
    var carry: array<vec4f, ROWS>;
    for (var i = slice * UNITS + unit; i < 2u * ROWS * STATE_ROW; i += UNITS * SLICES) {
        state[i] = vec4f(0.0);
    }
    workgroupBarrier();
    if (is_owner) {
        for (var g = 0u; g < GATES; g++) {
            bias[g] = bias_hh[d * columns + g * recur.units4 + unit];
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        if (is_owner && first < len[r]) {
            let before = before_index(first, row0 + r, len[r], d) + unit;
            if (first == 0u) {
                state[r * STATE_ROW + unit] = h_0[before];
            } else {
                state[r * STATE_ROW + unit] = y[before];
            }
            if (STATES == 2u) {
                carry[r] = cells[state_index(row0 + r, d, recur.units4) + unit];
            }
        }
    }
    workgroupBarrier();

    var read0 = 0u;
    for (var s = first; s < end; s++) {
        let write0 = ROWS * STATE_ROW - read0;
        var base: array<u32, ROWS>;
        //@ for r in ROWS
        base[${r}] = read0 + ${r}u * STATE_ROW + slice * SPAN + sub_lane;
        //@ end
        //@ for g in GATES
        var acc_${g}: Rows;
        //@ end
        //@ for j in SHARES
        let mine_${j} = load_rows(base, ${j}u * LANES);
        //@ for l in LANES
        let rows_${j}_${l} = passed(mine_${j}, ${l}u);
        //@ for g in GATES
        acc_${g} += w_${g}_${j}_${l} * rows_${j}_${l};
        //@ end
        //@ end
        //@ end
        if (SLICES > 1u) {
            if (slice > 0u) {
                //@ for g in GATES
                //@ for r in ROWS
                partial[(((slice - 1u) * GATES + ${g}u) * ROWS + ${r}u) * UNITS + unit] = row_of(acc_${g}, ${r}u);
                //@ end
                //@ end
            }
            workgroupBarrier();
        }
        // Through memory, so that the update is compiled once and not once a row.
        //@ for r in ROWS
        //@ for g in GATES
        sums[${r}u * GATES + ${g}u] = row_of(acc_${g}, ${r}u);
        //@ end
        //@ end
        for (var r = 0u; r < ROWS; r++) {
            if (is_owner && s < len[r]) {
                let row = row0 + r;
                let gx0 = gates_index(s, row, d, columns) + unit;
                var gx: array<vec4f, GATES>;
                var gh: array<vec4f, GATES>;
                for (var g = 0u; g < GATES; g++) {
                    gx[g] = gates_x[gx0 + g * recur.units4];
                    gh[g] = sums[r * GATES + g] + bias[g];
                    for (var part = 0u; part < SLICES - 1u; part++) {
                        gh[g] += partial[((part * GATES + g) * ROWS + r) * UNITS + unit];
                    }
                }
                keep_gates(gx0, gh);
                var before: array<vec4f, STATES>;
                before[0] = state[read0 + r * STATE_ROW + unit];
                if (STATES == 2u) {
                    before[STATES - 1u] = carry[r];
                }
                let after = cell_step(gx, gh, before, d, unit);
                if (STATES == 2u) {
                    carry[r] = after[STATES - 1u];
                }
                let output = cell_output(after[0], after[STATES - 1u], d);
                let h = stored(without_padding(output, unit, recur.units));
                state[write0 + r * STATE_ROW + unit] = h;
                y[y_index(time_of(s, len[r], is_reverse), row, d) + unit] = h;
            }
        }
        workgroupBarrier();
        read0 = write0;
    }

    for (var r = 0u; r < ROWS; r++) {
        if (STATES == 2u && is_owner && first < len[r]) {
            cells[state_index(row0 + r, d, recur.units4) + unit] = carry[r];
        }
    }
}
