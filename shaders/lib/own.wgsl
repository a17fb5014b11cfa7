// The rules of a cell as its paper has it: its own functions and nothing else.
//
// The alternative is lib/custom. The cell file supplies own_f, own_g, own_h.
// Rust twin: src/cell/options.rs (Own).

fn f_v(x: vec4f, d: u32) -> vec4f {
    return own_f(x);
}

fn g_v(x: vec4f, d: u32) -> vec4f {
    return own_g(x);
}

fn h_v(x: vec4f, d: u32) -> vec4f {
    return own_h(x);
}

// What gate `gate` (0 = i, 1 = f, 2 = o) sees beside x: nothing.
fn see(gate: u32, x: vec4f, c: vec4f, d: u32, unit: u32) -> vec4f {
    return x;
}

// The forget gate.
fn forget(own: vec4f, i: vec4f) -> vec4f {
    return own;
}

// The cell state as it is carried.
fn carried(c: vec4f, d: u32) -> vec4f {
    return c;
}
