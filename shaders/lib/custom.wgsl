// The rules of a cell with options: functions per gate and direction, clipping, peepholes, coupled
// gates.
//
// `params` [D, P] of vec4f, per direction: α and β of f, g, h (one vec4f each); clip, the bounds of
// the cell state, ε; peepholes [3, H/4] with PEEPHOLE; with LAYER_NORM the scale of W_hh·h [G, H/4],
// scale and shift of c [2, H/4]. The alternative is lib/own.
// Needs: lib/function, a driver with `recur` and `params`, a cell's GATES.
// Host: src/gpu/pack.rs (params), src/plan/layer.rs (overrides). Rust twin: src/cell/options.rs.

override FUNCTIONS: u32 = 0u; // codes, 4 bits each: f, g, h of direction 0, then of direction 1
override OPTIONS: u32 = 0u;   // bits as below

const CLIP: u32 = 1u;
const CELL_CLIP: u32 = 2u;
const PEEPHOLE: u32 = 4u;
const INPUT_FORGET: u32 = 8u;
const LAYER_NORM: u32 = 16u;

fn has(option: u32) -> bool {
    return (OPTIONS & option) != 0u;
}

// Where the block of direction `d` starts in `params`.
fn params_of(d: u32) -> u32 {
    let norm = select(0u, GATES + 2u, has(LAYER_NORM));
    return d * (4u + (select(0u, 3u, has(PEEPHOLE)) + norm) * recur.units4);
}

// Where the scales of the layer normalisation start.
fn norm_of(d: u32) -> u32 {
    return params_of(d) + 4u + select(0u, 3u, has(PEEPHOLE)) * recur.units4;
}

fn epsilon_of(d: u32) -> f32 {
    return params[params_of(d) + 3u].w;
}

fn apply(place: u32, x: vec4f, d: u32) -> vec4f {
    let forward = (FUNCTIONS >> (4u * place)) & 15u;
    let backward = (FUNCTIONS >> (4u * place + 12u)) & 15u;
    let p = params[params_of(d) + place];
    return function_v(select(forward, backward, d == 1u), x, p.x, p.y);
}

// What f and g see: x within ±clip. The cell state, which h sees, is not clipped.
fn clipped(x: vec4f, d: u32) -> vec4f {
    if (has(CLIP)) {
        let clip = params[params_of(d) + 3u].x;
        return bound_v(x, -clip, clip);
    }
    return x;
}

fn f_v(x: vec4f, d: u32) -> vec4f {
    return apply(0u, clipped(x, d), d);
}

fn g_v(x: vec4f, d: u32) -> vec4f {
    return apply(1u, clipped(x, d), d);
}

fn h_v(x: vec4f, d: u32) -> vec4f {
    return apply(2u, x, d);
}

// What gate `gate` (0 = i, 1 = f, 2 = o) sees: x, and with peepholes the cell state.
fn see(gate: u32, x: vec4f, c: vec4f, d: u32, unit: u32) -> vec4f {
    if (has(PEEPHOLE)) {
        return x + params[params_of(d) + 4u + gate * recur.units4 + unit] * c;
    }
    return x;
}

// The forget gate: its own value, or 1 − i.
fn forget(own: vec4f, i: vec4f) -> vec4f {
    if (has(INPUT_FORGET)) {
        return 1.0 - i;
    }
    return own;
}

// The cell state as it is carried, bounded where the options say so.
fn carried(c: vec4f, d: u32) -> vec4f {
    if (has(CELL_CLIP)) {
        let bounds = params[params_of(d) + 3u];
        return bound_v(c, bounds.y, bounds.z);
    }
    return c;
}
