// The end of a step of a point-wise cell: from the gates of one row and unit group to its new states. Returns h
// as it is stored.
//
// The driver supplies the bindings `recur`, `y`, `cells`; `h` is the state before the step.

fn advance(
    gx: array<vec4f, GATES>, gh: array<vec4f, GATES>, h: vec4f,
    cell_at: u32, y_at: u32, d: u32, unit: u32,
) -> vec4f {
    var before: array<vec4f, STATES>;
    before[0] = h;
    if (STATES == 2u) {
        before[STATES - 1u] = cells[cell_at];
    }
    let after = cell_step(gx, gh, before, d, unit);
    if (STATES == 2u) {
        cells[cell_at] = after[STATES - 1u];
    }
    let output = cell_output(after[0], after[STATES - 1u], d);
    let kept = stored(without_padding(output, unit, recur.units));
    y[y_at] = kept;
    return kept;
}
