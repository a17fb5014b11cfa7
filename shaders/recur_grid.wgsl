// The time loop of a point-wise cell over the whole device: weights in registers, units split over
// workgroups that wait for one another.
//
//   gh = W_hh·h_{t-1} + b_hh;   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// A workgroup owns WG_X groups of four units and every tile of ROWS sequences that its y has; slice i of
// SLICES (WG_Y) takes the inputs k4 = i, i + SLICES, …, whose weights its invocations hold as variables that
// text loops name. What the other workgroups computed comes through `exchange`: every word of it is
// written once in a dispatch, as the bits of a value turned over, and is zero before, so that a
// reader needs no barrier: it spins on the word itself.
//
// That ends only where all workgroups run side by side, which nothing promises. So an invocation spins at
// most SPINS turns in a step, or where drivers end loops early in a dispatch; then it sets exchange[0], everyone gives up, and the host runs the batch
// again with another driver. Host: src/kernel/table.rs, src/plan/grid.rs, src/engine/part.rs.
// Grid: x over blocks of WG_X groups, y over tiles of ROWS sequences (in turn), z over directions.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
// Needs: a cell file, lib/{own,activation,advance,hidden,index,recur,rowsN,slices}.

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<storage, read> gates_x: array<vec4f>;             // [D, chunk·B, G, H/4]
@group(0) @binding(2) var<storage, read> weight_hh: array<Weight>;          // [D, H, G, H/4]
@group(0) @binding(3) var<storage, read> bias_hh: array<vec4f>;             // [D, G, H/4]
@group(0) @binding(4) var<storage, read> h_0: array<vec4f>;                 // [D, B, H/4]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(6) var<storage, read_write> y: array<vec4f>;             // [T, B, D, H/4]
@group(0) @binding(7) var<storage, read_write> cells: array<vec4f>;         // [D, B, H/4]: c
@group(0) @binding(8) var<storage, read_write> exchange: array<atomic<u32>>; // 4 words, then [steps, B, D, H]

override SPINS: u32 = 1000u;
override EACH_STEP: bool = true;

const STATE_ROW: u32 = SHARES * SLICES;
const HEADER: u32 = 4u;

var<private> spins: u32;
var<workgroup> state: array<vec4f, ROWS * STATE_ROW>;                       // [ROWS, inputs]: h, zero beyond H
var<workgroup> failed: atomic<u32>;

fn source_row(index: u32) -> vec4f {
    return state[index];
}

// A weight block, zero beyond the layer.
fn weights_at(d: u32, k4: u32, g: u32, unit: u32) -> mat4x4f {
    if (k4 < recur.state4 && unit < recur.units4) {
        return weight_block(d, k4, g, unit);
    }
    return mat4x4f();
}

// Where h of `row` after step `s` starts in `exchange`.
fn exchange_at(s: u32, row: u32, d: u32) -> u32 {
    let step = s - recur.first_step;
    return HEADER + ((step * recur.batch + row) * recur.directions + d) * recur.state4 * 4u;
}

// A value on its way to other workgroups: never 0, and NaN stays NaN.
fn word_of(v: f32) -> u32 {
    let word = ~bitcast<u32>(v);
    return select(word, 0x803fffffu, word == 0u);
}

// Waits for a word of `exchange`; 0 where that takes too long.
fn arrived(at: u32) -> u32 {
    var word = atomicLoad(&exchange[at]);
    while (word == 0u && spins > 0u) {
        spins--;
        if ((spins & 63u) == 0u && atomicLoad(&exchange[0]) != 0u) {
            spins = 0u;
        }
        // Several looks a turn: some drivers count turns and end the loop.
        //@ for i in LOOKS
        if (word == 0u) {
            word = atomicLoad(&exchange[at]);
        }
        //@ end
    }
    if (word == 0u) {
        atomicStore(&exchange[0], 1u);
        atomicStore(&failed, 1u);
    }
    return word;
}

// h of `row` before step `s`, inputs of group `k4`.
fn before(s: u32, row: u32, len: u32, d: u32, k4: u32) -> vec4f {
    if (s == recur.first_step) {
        let at = before_index(s, row, len, d) + k4;
        if (s == 0u) {
            return h_0[at];
        }
        return y[at];
    }
    let at = exchange_at(s - 1u, row, d) + 4u * k4;
    let words = vec4u(arrived(at), arrived(at + 1u), arrived(at + 2u), arrived(at + 3u));
    return bitcast<vec4f>(~words);
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(
    @builtin(local_invocation_id) lane: vec3u,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let d = group.z;
    let unit = group.x * WG_X + lane.x;
    let place = lane.y * WG_X + lane.x;
    let is_reverse = reads_backwards(recur.reverse_mask, d);
    let columns = GATES * recur.units4;
    let is_owner = lane.y == 0u && unit < recur.units4;
    spins = SPINS;

    var longest = 0u;
    for (var row = 0u; row < recur.batch; row++) {
        longest = max(longest, lengths[row]);
    }
    let end = min(recur.first_step + recur.step_count, longest);

    //@ for g in GATES
    //@ for j in SHARES
    let w_${g}_${j} = weights_at(d, ${j}u * SLICES + lane.y, ${g}u, unit);
    //@ end
    //@ end
    if (place == 0u) {
        // What an earlier dispatch gave up, this one cannot go on with.
        atomicStore(&failed, atomicLoad(&exchange[0]));
    }
    workgroupBarrier();

    for (var s = recur.first_step; s < end; s++) {
        if (EACH_STEP) {
            spins = SPINS;
        }
        for (var row0 = group.y * ROWS; row0 < recur.batch; row0 += groups.y * ROWS) {
            for (var i = place; i < ROWS * STATE_ROW; i += WG_X * WG_Y) {
                let row = row0 + i / STATE_ROW;
                let k4 = i % STATE_ROW;
                var h = vec4f(0.0);
                if (row < recur.batch && k4 < recur.state4) {
                    let len = lengths[row];
                    if (s < len) {
                        h = before(s, row, len, d, k4);
                    }
                }
                state[i] = h;
            }
            workgroupBarrier();
            if (atomicLoad(&failed) != 0u) {
                return;
            }
            var base: array<u32, ROWS>;
            //@ for r in ROWS
            base[${r}] = ${r}u * STATE_ROW + lane.y;
            //@ end
            var mine: array<Rows, GATES>;
            //@ for j in SHARES
            let rows_${j} = load_rows(base, ${j}u * SLICES);
            //@ for g in GATES
            mine[${g}] += w_${g}_${j} * rows_${j};
            //@ end
            //@ end
            let sum = sum_slices(mine, lane);
            for (var r = 0u; r < ROWS; r++) {
                let row = row0 + r;
                if (!is_owner || row >= recur.batch) {
                    continue;
                }
                let len = lengths[row];
                if (s >= len) {
                    continue;
                }
                let gx0 = gates_index(s, row, d, columns) + unit;
                var gx: array<vec4f, GATES>;
                var gh: array<vec4f, GATES>;
                for (var g = 0u; g < GATES; g++) {
                    gx[g] = gates_x[gx0 + g * recur.units4];
                    gh[g] = row_of(sum[g], r) + bias_hh[d * columns + g * recur.units4 + unit];
                }
                let y_at = y_index(time_of(s, len, is_reverse), row, d) + unit;
                let cell_at = state_index(row, d, recur.units4) + unit;
                advance(gx, gh, state[r * STATE_ROW + unit], cell_at, y_at, d, unit);
                let at = exchange_at(s, row, d) + 4u * unit;
                let h = y[y_at];
                atomicStore(&exchange[at], word_of(h.x));
                atomicStore(&exchange[at + 1u], word_of(h.y));
                atomicStore(&exchange[at + 2u], word_of(h.z));
                atomicStore(&exchange[at + 3u], word_of(h.w));
            }
            // Owners still read `state`.
            workgroupBarrier();
        }
    }
}
