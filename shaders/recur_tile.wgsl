// Time steps of a point-wise cell, a tile of sequences per workgroup, inputs shared by subgroups.
//
//   gh = W_hh·h_{t-1} + b_hh;   h_t, c_t = cell_step(gx, gh, h_{t-1}, c_{t-1})
//
// Two uses of one pipeline. Resident: grid y = 1, a workgroup owns all units of its sequences and loops
// over the steps of the dispatch with one barrier each. Step per dispatch: the units are spread over
// grid y, and the one step is the dynamic uniform's. h lives in y, from which the next step reads it,
// or in a texture beside it. Weights are read from a buffer or a texture.
// Grid: x over tiles of ROW_COUNT rows, y over parts of the units, z over directions.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
// Needs: a cell file, lib/{own or custom,no_tape or tape,activation,advance,index,recur,rowsN,shuffleN,tile_product,whole,repeated}, and
// lib/{weight_buffer,state_buffer} or lib/{weight_texture,state_texture,texel}: bindings 3 and 5.
// Host: src/kernel/table.rs, src/plan/tile.rs.

struct Step {
    index: u32, // step, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> gates_x: array<vec4f>;             // [D, chunk·B, G, H/4]
@group(0) @binding(4) var<storage, read> bias_hh: array<vec4f>;             // [D, G, H/4]
@group(0) @binding(6) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;             // [T, B, D, H/4]
@group(0) @binding(8) var<storage, read_write> cells: array<vec4f>;         // [D, B, H/4]: c
@group(0) @binding(9) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom; or lib/tape; or unused

const ROW_COUNT: u32 = GROUPS * ROWS;

var<private> len: array<u32, ROW_COUNT>;
// Where the rows' h_{t-1} lies, and what this lane brings of it.
var<private> base: array<u32, ROW_COUNT>;
var<private> staged: array<vec4f, ROW_COUNT>;

// One row and unit: from the sums of its gates to the new states. `gx_at` is the place of its first input gate.
fn update(gh: array<vec4f, GATES>, s: u32, row: u32, gx_at: u32, before_at: u32, y_at: u32, d: u32, unit: u32) {
    var gx: array<vec4f, GATES>;
    //@ for g in GATES
    gx[${g}] = gates_x[gx_at + ${g}u * recur.units4];
    //@ end
    keep_gates(gx_at, gh);
    let cell_at = state_index(row, d, recur.units4) + unit;
    let h = advance(gx, gh, source_row(before_at + unit), cell_at, y_at, d, unit);
    keep_state(s, row, d, unit, h);
}

@compute @workgroup_size(LANES * SUBGROUPS, 1, 1)
fn main(
    @builtin(subgroup_invocation_id) sub_lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
) {
    let d = group.z;
    let row0 = group.x * ROW_COUNT;
    let columns = GATES * recur.units4;
    let gate_stride = recur.units4;
    let k4_count = recur.state4;
    let weight_at = d * k4_count * 4u * columns;
    let first = recur.first_step + step.index;
    let is_reverse = reads_backwards(recur.reverse_mask, d);

    var tile_len = 0u;
    for (var r = 0u; r < ROW_COUNT; r++) {
        len[r] = 0u;
        if (row0 + r < recur.batch) {
            len[r] = lengths[row0 + r];
        }
        tile_len = max(tile_len, len[r]);
    }
    let end = min(first + recur.step_count, tile_len);
    // Blocks of units that a subgroup computes, one after the other.
    let width = SUBGROUPS * COLUMNS * LANES * groups.y;
    let passes = (recur.units4 + width - 1u) / width;
    let parts = repeated(GROUPS * COLUMNS, groups);
    let rows_of_part = repeated(ROWS, groups);

    for (var s = first; s < end; s++) {
        begin_step(s);
        // A row that has ended reads what lies at 0; nothing is written for it.
        for (var r = 0u; r < ROW_COUNT; r++) {
            base[r] = 0u;
            if (s < len[r]) {
                base[r] = state_before(s, row0 + r, len[r], d);
            }
        }
        // Rows that have ended, and those beyond the batch, read some row's states; nothing is written for them.
        //@ for once in TEXTURES
        //@ for q in GROUPS
        //@ for r in ROWS
        let base_${q}_${r} = state_before(s, min(row0 + ${q}u * ROWS + ${r}u, recur.batch - 1u), 0u, d);
        //@ end
        //@ end
        //@ end
        for (var pass_index = 0u; pass_index < passes; pass_index++) {
            let block = ((group.y * passes + pass_index) * SUBGROUPS + subgroup) * COLUMNS;
            // A lane without units of its own repeats the last ones and stores nothing.
            //@ for c in COLUMNS
            let unit_${c} = min((block + ${c}u) * LANES + sub_lane, recur.units4 - 1u);
            //@ for q in GROUPS
            //@ for g in GATES
            var acc_${q}_${c}_${g}: Rows;
            //@ end
            //@ end
            //@ end
            //@ use tile_product
            //@ for c in COLUMNS
            //@ for g in GATES
            let bias_${c}_${g} = bias_hh[d * columns + ${g}u * recur.units4 + unit_${c}];
            //@ end
            //@ end
            // A loop over tiles, so that the update is not compiled for each; it picks one by selects, because an array of
            // tiles would be memory.
            for (var part = 0u; part < parts; part++) {
                let group_of_rows = part / COLUMNS;
                let column = part % COLUMNS;
                //@ for g in GATES
                var sums_${g} = acc_0_0_${g};
                var bias_${g} = bias_0_${g};
                //@ for c in COLUMNS
                //@ for q in GROUPS
                sums_${g} = chosen(sums_${g}, acc_${q}_${c}_${g}, part == ${q}u * COLUMNS + ${c}u);
                //@ end
                bias_${g} = select(bias_${g}, bias_${c}_${g}, column == ${c}u);
                //@ end
                //@ end
                let unit = (block + column) * LANES + sub_lane;
                for (var r = 0u; r < rows_of_part; r++) {
                    let row = group_of_rows * ROWS + r;
                    let gx_at = whole(gates_index(s, row0 + row, d, columns) + unit, sub_lane);
                    let t = time_of(s, len[row], is_reverse);
                    let y_at = whole(y_index(t, row0 + row, d) + unit, sub_lane);
                    if (s < len[row]) {
                        if (unit < recur.units4) {
                            var gh: array<vec4f, GATES>;
                            //@ for g in GATES
                            gh[${g}] = picked(sums_${g}, r) + bias_${g};
                            //@ end
                            update(gh, s, row0 + row, gx_at, base[row], y_at, d, unit);
                        }
                    }
                }
            }
        }
        // The next step reads what all subgroups wrote.
        end_step();
    }
}
