// Keeps W_hh's pre-activations for backpropagation, where gates_x has the same place. The alternative is lib/no_tape.
//
// `gates_h` takes the binding of `params`, which plain rules do not read (src/kernel/variant.rs).

fn keep_gates(at: u32, gh: array<vec4f, GATES>) {
    var kept = gh;
    for (var g = 0u; g < GATES; g++) {
        gates_h[at + g * recur.units4] = kept[g];
    }
}
