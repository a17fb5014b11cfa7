// Backpropagation through time of a point-wise cell: from the gradient of h to those of the pre-activations.
//
//   dh_s = dy_s + what step s + 1 hands on + W_hhᵀ·dgh_{s+1}
//   dgx_s, dgh_s, and what step s hands on = cell_back(gx, gh, state before, dh_s, dc_s)
//
// Turn j of a run takes step s = L − 1 − j, L the longest length; the turn after step 0 leaves the gradients of
// the initial states in `carry`. The gradients take the places of the pre-activations. A workgroup owns GROUPS
// tiles of ROWS rows. With one turn a dispatch it has units of its own; with several it has all units, and its
// turns wait for one another in it.
// Grid: x over groups of units (1 with several turns), y over the rows of a workgroup, z over directions.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
// Needs: a cell file, a cell_back file, lib/{own,activation,index,mask,random,recur,rowsN},
// and lib/alone, or lib/{together,shuffleN} with LANES > 1.
// Host: src/kernel/train.rs, src/plan/train/time.rs.

struct Step {
    index: u32, // turn, counted from recur.first_step
}

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<uniform> step: Step;                              // dynamic offset
@group(0) @binding(2) var<storage, read> weight_hh: array<vec4f>;           // [D, R, G, H/4]
@group(0) @binding(3) var<storage, read> before: array<vec4f>;              // [D, T·B, H/4]: h, or c where there is one
@group(0) @binding(4) var<storage, read> dy: array<vec4f>;                  // [T, B, D, R/4]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(6) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom: peepholes
@group(0) @binding(7) var<storage, read_write> gates_x: array<vec4f>;       // [D, T·B, G, H/4]
@group(0) @binding(8) var<storage, read_write> gates_h: array<vec4f>;       // [D, T·B, G, H/4]
@group(0) @binding(9) var<storage, read_write> carry: array<vec4f>;         // [2, D, B, H/4]: dh, dc handed on

override WG_X: u32 = 64u;
override PEEPHOLE: bool = false;
// Behind a projection `dy` is the gradient of this step's h, complete: [D, B, H/4] (back_product.wgsl).
override PROJECTED: bool = false;

// What a step of a cell gives back: gradients of the pre-activations, and what it hands on.
struct Backed {
    dgx: array<vec4f, GATES>,
    dgh: array<vec4f, GATES>,
    dh: vec4f,
    dc: vec4f,
}

fn source_row(index: u32) -> vec4f {
    return gates_h[index];
}

// W_hhᵀ·dgh of the tiles of rows of an invocation.
var<private> handed: array<Rows, GROUPS>;

// W_hh's 4×4 block for four inputs and the gates at `n4`, transposed; zero beyond the gates.
fn transposed_block(w0: u32, n4: u32, columns: u32) -> mat4x4f {
    if (n4 >= columns) {
        return mat4x4f();
    }
    return transpose(mat4x4f(
        weight_hh[w0 + n4], weight_hh[w0 + columns + n4],
        weight_hh[w0 + 2u * columns + n4], weight_hh[w0 + 3u * columns + n4],
    ));
}

// Leaves W_hhᵀ·dgh of step `s` in `handed`, for the rows from `row0` on and four inputs. The LANES lanes of a subgroup
// share what they load of dgh, so all of them must call it.
fn hand_back(s: u32, row0: u32, d: u32, unit: u32, sub_lane: u32) {
    let columns = GATES * recur.units4;
    //@ for q in GROUPS
    var base_${q}: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        base_${q}[r] = gates_index(s, min(row0 + ${q}u * ROWS + r, recur.batch - 1u), d, columns);
    }
    var sum_${q}: Rows;
    //@ end
    let w0 = (d * recur.state4 + unit) * 4u * columns;
    for (var n0 = 0u; n0 < columns; n0 += LANES) {
        // Beyond the gates a lane loads the last ones again; their weights are zero.
        let own = min(n0 + sub_lane, columns - 1u);
        //@ for q in GROUPS
        let mine_${q} = load_rows(base_${q}, own);
        //@ end
        //@ for l in LANES
        let block_${l} = transposed_block(w0, n0 + ${l}u, columns);
        //@ for q in GROUPS
        sum_${q} += block_${l} * passed(mine_${q}, ${l}u);
        //@ end
        //@ end
    }
    //@ for q in GROUPS
    handed[${q}] = sum_${q};
    //@ end
}

// One turn for the rows of a workgroup and four units; beyond the units it only helps its subgroup.
fn turn(j: u32, longest: u32, row0: u32, d: u32, unit: u32) {
    // The turn after step 0 has s = NONE, and s + 1 wraps to 0.
    let s = longest - 1u - j;
    let is_end = j == longest;
    let next = longest - j;
    if (next < longest && !PROJECTED) {
        hand_back(next, row0, d, min(unit, recur.units4 - 1u), unit % LANES);
    }
    if (unit >= recur.units4) {
        return;
    }
    let columns = GATES * recur.units4;
    for (var r = 0u; r < GROUPS * ROWS; r++) {
        let row = row0 + r;
        if (row >= recur.batch) {
            continue;
        }
        let len = lengths[row];
        let at = state_index(row, d, recur.units4) + unit;
        let at_c = recur.directions * recur.batch * recur.units4 + at;
        var dh = vec4f(0.0);
        var dc = vec4f(0.0);
        if (next < len) {
            var back = vec4f(0.0);
            if (!PROJECTED) {
                back = row_of(handed[r / ROWS], r % ROWS);
            }
            dh = carry[at] + masked(back, at);
            dc = carry[at_c];
        }
        if (is_end) {
            carry[at] = dh;
            carry[at_c] = dc;
            continue;
        }
        if (s >= len) {
            continue;
        }
        let t = time_of(s, len, reads_backwards(recur.reverse_mask, d));
        if (PROJECTED) {
            dh += dy[at];
        } else {
            dh += dy[y_index(t, row, d) + unit];
        }
        let gates = gates_index(s, row, d, columns) + unit;
        var gx: array<vec4f, GATES>;
        var gh: array<vec4f, GATES>;
        for (var g = 0u; g < GATES; g++) {
            gx[g] = gates_x[gates + g * recur.units4];
            gh[g] = gates_h[gates + g * recur.units4];
        }
        let state = before[((d * recur.gate_steps + s) * recur.batch + row) * recur.units4 + unit];
        let result = cell_back(gx, gh, state, dh, dc, d, unit);
        for (var g = 0u; g < GATES; g++) {
            gates_x[gates + g * recur.units4] = without_padding(result.dgx[g], unit, recur.units);
            gates_h[gates + g * recur.units4] = without_padding(result.dgh[g], unit, recur.units);
        }
        carry[at] = result.dh;
        carry[at_c] = result.dc;
    }
}

@compute @workgroup_size(WG_X, 1, 1)
fn main(@builtin(local_invocation_id) lane: vec3u, @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row0 = group.y * GROUPS * ROWS;
    let d = group.z;
    // Rows are sorted by falling length.
    let longest = lengths[0];
    let first = recur.first_step + step.index;
    let end = min(first + recur.step_count, longest + 1u);
    for (var j = first; j < end; j++) {
        for (var unit0 = group.x * WG_X; unit0 < recur.units4; unit0 += groups.x * WG_X) {
            turn(j, longest, row0, d, unit0 + lane.x);
        }
        // What the workgroup wrote to gates_h is read by all of it.
        storageBarrier();
    }
}
