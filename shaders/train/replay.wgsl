// The cell states before each step, in recurrence order, from the pre-activations alone.
//
//   before[d, s, b] = c_{s-1}, c_0 for s = 0
//
// No product is needed for them, so that the forward kernels need not keep them: an invocation goes through the
// time of one row and four units. Grid: x over groups of four units, y over rows, z over directions.
// Needs: a cell file, lib/{own or custom,activation,index,recur}. Host: src/kernel/train.rs, src/plan/train/time.rs.

@group(0) @binding(0) var<uniform> recur: Recur;
@group(0) @binding(1) var<storage, read> gates_x: array<vec4f>;             // [D, T·B, G, H/4]
@group(0) @binding(2) var<storage, read> gates_h: array<vec4f>;             // [D, T·B, G, H/4]
@group(0) @binding(3) var<storage, read> c_0: array<vec4f>;                 // [D, B, H/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read> params: array<vec4f>;              // [D, P], lib/custom; else unused
@group(0) @binding(6) var<storage, read_write> before: array<vec4f>;        // [D, T·B, H/4]
@group(0) @binding(7) var<storage, read_write> outputs: array<vec4f>;       // [D, T·B, H/4]: h before a projection

override OUTPUTS: bool = false;

@compute @workgroup_size(16, 4, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let unit = id.x;
    let row = id.y;
    let d = id.z;
    if (unit >= recur.units4 || row >= recur.batch) {
        return;
    }
    let columns = GATES * recur.units4;
    let len = lengths[row];
    var c = c_0[state_index(row, d, recur.units4) + unit];
    for (var s = 0u; s < len; s++) {
        let place = ((d * recur.gate_steps + s) * recur.batch + row) * recur.units4 + unit;
        before[place] = c;
        let at = gates_index(s, row, d, columns) + unit;
        var gx: array<vec4f, GATES>;
        var gh: array<vec4f, GATES>;
        for (var g = 0u; g < GATES; g++) {
            gx[g] = gates_x[at + g * recur.units4];
            gh[g] = gates_h[at + g * recur.units4];
        }
        var states: array<vec4f, STATES>;
        states[STATES - 1u] = c;
        let after = cell_step(gx, gh, states, d, unit);
        c = after[STATES - 1u];
        if (OUTPUTS) {
            outputs[place] = without_padding(cell_output(after[0], c, d), unit, recur.units);
        }
    }
}
