// Draws a token from the scores of one row, and hands it to the next step as its input.
//
//   q_i = exp((s_i − m)/T) over the K largest s, then over the fewest of those, the largest first, whose q reach
//   P·Σq; the token is the i with the largest (s_i − m)/T − ln e_i, e_i = −ln(1 − v_i), v_i uniform (Gumbel's
//   way to draw with probabilities q/Σq: no sums in an order that threads would have to agree on)
//
// Equal scores stand by their place. Which are kept is found bit by bit: the largest key whose class reaches what is
// asked for, then the place inside the class. A NaN gives NO_TOKEN, which gives NaN again in the next step.
// One workgroup. Needs: lib/{activation,order,random}. Host: src/kernel/table.rs, src/engine/generate.rs.
// Rust twin: src/reference/sample.rs.

struct Sample {
    count: u32,         // O
    is_probability: u32, // 1: values are p, of which s is the logarithm
    top_k: u32,         // K
    top_p: u32,         // bits of P
    temperature: u32,   // bits of T; 0 takes the largest
    seed_low: u32,
    seed_high: u32,
    first: u32,         // number of the first token of this submit
}

@group(0) @binding(0) var<uniform> sample: Sample;
@group(0) @binding(1) var<storage, read> values: array<f32>;                // [O]
@group(0) @binding(2) var<storage, read_write> token: array<u32>;           // the input of the next step
@group(0) @binding(3) var<storage, read_write> drawn: array<u32>;           // how many, then the tokens

const NO_TOKEN: u32 = 0xffffffffu;
const NO_PLACE: u32 = 0xffffffffu;
const LOWEST: f32 = -3.4028234e38;

var<workgroup> sums: array<f32, LANES>;
var<workgroup> places: array<vec2u, LANES>;

// Places whose keys are above `key`, and those of that key below place `end`.
struct Part {
    key: u32,
    end: u32,
}

fn is_in(part: Part, key: u32, place: u32) -> bool {
    return key > part.key || (key == part.key && place < part.end);
}

fn score(place: u32) -> f32 {
    let v = values[place];
    return select(v, log(v), sample.is_probability == 1u);
}

// (s − m)/T; 0 for the largest, be it infinite.
fn heat(place: u32, largest: f32) -> f32 {
    let s = score(place);
    return select((s - largest) / bitcast<f32>(sample.temperature), 0.0, s == largest);
}

// How many places lie in both parts, or how much q.
fn measure(lane: u32, kept: Part, part: Part, largest: f32, counts: bool) -> f32 {
    var sum = 0.0;
    for (var i = lane; i < sample.count; i += LANES) {
        let key = key_of(values[i]);
        if (is_in(kept, key, i) && is_in(part, key, i)) {
            sum += select(exp_s(heat(i, largest)), 1.0, counts);
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            sums[lane] += sums[lane + half];
        }
        workgroupBarrier();
    }
    let result = sums[0];
    workgroupBarrier();
    return result;
}

// The smallest part of `kept` that measures at least `goal`.
fn reaching(lane: u32, kept: Part, goal: f32, largest: f32, counts: bool) -> Part {
    var part = Part(0u, sample.count);
    for (var bit = 32u; bit > 0u; bit--) {
        let trial = Part(part.key | (1u << (bit - 1u)), sample.count);
        if (measure(lane, kept, trial, largest, counts) >= goal) {
            part = trial;
        }
    }
    var below = 0u;
    for (var bit = 32u - countLeadingZeros(sample.count); bit > 0u; bit--) {
        let trial = below | (1u << (bit - 1u));
        let so_far = measure(lane, kept, Part(part.key, min(trial, sample.count)), largest, counts);
        if (trial < sample.count && so_far < goal) {
            below = trial;
        }
    }
    return Part(part.key, below + 1u);
}

// The pair with the larger key of a lane's and all others', equal ones by place.
fn first_of(lane: u32, mine: vec2u) -> vec2u {
    places[lane] = mine;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            let here = places[lane];
            let other = places[lane + half];
            let is_ahead = other.x > here.x || (other.x == here.x && other.y < here.y);
            places[lane] = select(here, other, is_ahead);
        }
        workgroupBarrier();
    }
    let result = places[0];
    workgroupBarrier();
    return result;
}

// −ln(1 − v) of a uniform v: small ones matter, so v has digits there, and a series where 1 − v loses them.
fn exponential(bits: vec4u) -> f32 {
    let fine = (f32(bits.y >> 8u) + 0.5) / 16777216.0;
    let v = min((f32(bits.x >> 9u) + fine) / 8388608.0, 0.99999994);
    return select(-log(1.0 - v), v * (1.0 + v * (0.5 + v / 3.0)), v < 0.01);
}

@compute @workgroup_size(LANES, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32) {
    var best = vec2u(0u, NO_PLACE);
    for (var i = lane; i < sample.count; i += LANES) {
        let key = key_of(values[i]);
        if (key > best.x) {
            best = vec2u(key, i);
        }
    }
    let top = first_of(lane, best);
    let largest = score(min(top.y, sample.count - 1u));

    var kept = Part(0u, sample.count);
    if (sample.temperature != 0u && sample.top_k < sample.count) {
        kept = reaching(lane, kept, f32(sample.top_k), largest, true);
    }
    if (sample.temperature != 0u && bitcast<f32>(sample.top_p) < 1.0) {
        let all = measure(lane, kept, Part(0u, sample.count), largest, false);
        let part = reaching(lane, kept, bitcast<f32>(sample.top_p) * all, largest, false);
        kept = part;
    }

    let number = sample.first + drawn[0];
    var choice = vec2u(0u, NO_PLACE);
    for (var i = lane; i < sample.count; i += LANES) {
        if (is_in(kept, key_of(values[i]), i)) {
            let bits = philox(vec4u(i, number, 1u, 0u), vec2u(sample.seed_low, sample.seed_high));
            let key = key_of(max(heat(i, largest) - log(exponential(bits)), LOWEST));
            if (key > choice.x) {
                choice = vec2u(key, i);
            }
        }
    }
    choice = first_of(lane, choice);

    if (lane == 0u) {
        // None where P is so small that it is 0 here.
        var chosen = select(choice.y, top.y, sample.temperature == 0u || choice.y == NO_PLACE);
        if (top.x == NAN_KEY) {
            chosen = NO_TOKEN;
        }
        let at = drawn[0] + 1u;
        token[0] = chosen;
        drawn[at] = chosen;
        drawn[0] = at;
    }
}
