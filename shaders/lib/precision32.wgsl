// Weights and states as f32. The alternative is lib/precision16.

alias Weight = vec4f;
const WEIGHT_BYTES: u32 = 16u;
alias State = vec4f;

fn weight_from(w: Weight) -> vec4f {
    return w;
}

fn state_from(h: State) -> vec4f {
    return h;
}

fn state_to(h: vec4f) -> State {
    return h;
}

// h as it is stored.
fn stored(h: vec4f) -> vec4f {
    return h;
}
