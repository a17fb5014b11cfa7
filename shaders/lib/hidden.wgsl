// The hidden side of a step: W_hh·h_{t-1} for the rows and units of one invocation.
//
// The driver supplies the bindings `recur`, `weight_hh` [D, R, G, H/4], `lengths`, and `source_row`.

// Where the states before step `s` of the ROWS rows from `row0` on lie.
fn rows_before(s: u32, row0: u32, d: u32) -> array<u32, ROWS> {
    var base: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let row = min(row0 + r, recur.batch - 1u);
        let len = lengths[row];
        // A row that has ended reads what lies at 0; its driver writes nothing.
        base[r] = 0u;
        if (s < len) {
            base[r] = before_index(s, row, len, d);
        }
    }
    return base;
}

// W_hh's 4×4 block for input group `k4`, gate `g`, unit group `unit`: columns are inputs.
fn weight_block(d: u32, k4: u32, g: u32, unit: u32) -> mat4x4f {
    let columns = GATES * recur.units4;
    let w = (d * recur.state4 + k4) * 4u * columns + g * recur.units4 + unit;
    return mat4x4f(
        weight_from(weight_hh[w]), weight_from(weight_hh[w + columns]),
        weight_from(weight_hh[w + 2u * columns]), weight_from(weight_hh[w + 3u * columns]),
    );
}

// W_hh·h of every gate, for the rows at `base`.
fn hidden_product(base: array<u32, ROWS>, d: u32, unit: u32) -> array<Rows, GATES> {
    var acc: array<Rows, GATES>;
    for (var k4 = 0u; k4 < recur.state4; k4++) {
        let h = load_rows(base, k4);
        for (var g = 0u; g < GATES; g++) {
            acc[g] += weight_block(d, k4, g, unit) * h;
        }
    }
    return acc;
}
