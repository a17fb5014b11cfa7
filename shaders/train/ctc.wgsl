// Connectionist temporal classification (Graves et al. 2006): the loss of labels that are not aligned to time
// steps, and its gradient with respect to the logits; one workgroup a sequence.
//
//   l' = blank, l_1, blank, l_2, …, blank       loss = −ln Σ over alignments Π_t p_t(l'_s)
//   α_t(s) = p_t(l'_s)·(α_{t−1}(s) + α_{t−1}(s − 1) [+ α_{t−1}(s − 2), where l'_s is no blank and not l'_{s−2}])
//   dl/dv_t(c) = p_t(c) − Σ_{s: l'_s = c} γ_t(s)        γ_t = α_t·β_t over their sum
//
// α and β are kept as logarithms, shifted at every step so that the largest is 0: γ needs no common scale, so
// that long sequences lose no digits. An impossible alignment has an infinite loss and gradients that are no
// numbers. Each loss is divided by the number of labels (at least 1) and scaled by scales[0].
// Grid: x over sequences. Needs: lib/{activation,combine}. Host: src/kernel/train.rs, src/plan/train/loss.rs.
// Rust twin: src/reference/loss.rs.

struct LossShape {
    rows: u32,          // T·B
    batch: u32,         // B
    columns: u32,       // O
    width: u32,         // not used here
    stride: u32,        // places s of `work`, at least 2·labels + 1
    row_stride4: u32,   // vec4s of a row
    per_sequence: u32,  // not used here
    grid_x: u32,        // not used here
}

@group(0) @binding(0) var<uniform> shape: LossShape;
@group(0) @binding(1) var<storage, read> values: array<vec4f>;              // [T, B, padded O]: logits
@group(0) @binding(2) var<storage, read> targets: array<u32>;               // [B + 1 starts; then labels]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(4) var<storage, read> scales: array<f32>;                // 1/denominator, 0, 0, blank
@group(0) @binding(5) var<storage, read_write> d: array<vec4f>;             // [T, B, padded O]
@group(0) @binding(6) var<storage, read_write> losses: array<f32>;          // [T·B]: the first B are used
@group(0) @binding(7) var<storage, read_write> work: array<f32>;            // [B, T + 2, stride]: ln α; then ln β twice

const LANES: u32 = 64u;
// What stands for the logarithm of 0.
const LOW: f32 = -1e30;

fn log_add(a: f32, b: f32) -> f32 {
    let most = max(a, b);
    if (most <= LOW) {
        return LOW;
    }
    return most + log(exp_s(a - most) + exp_s(b - most));
}

fn value_at(row: u32, c: u32) -> f32 {
    return values[row * shape.row_stride4 + c / 4u][c % 4u];
}

// l'_s.
fn label(start: u32, s: u32) -> u32 {
    if (s % 2u == 0u) {
        return u32(scales[3]);
    }
    return targets[start + s / 2u];
}

// Whether an alignment may go from s − 2 to s.
fn may_skip(start: u32, s: u32) -> bool {
    if (s % 2u == 0u || s < 2u) {
        return false;
    }
    return label(start, s) != label(start, s - 2u);
}

// Largest logit of a row, and the logarithm of the sum behind it.
fn row_scale(lane: u32, row: u32) -> vec2f {
    var largest = value_at(row, 0u);
    for (var c = lane; c < shape.columns; c += LANES) {
        largest = max(largest, value_at(row, c));
    }
    largest = combine(lane, largest, true);
    var sum = 0.0;
    for (var c = lane; c < shape.columns; c += LANES) {
        sum += exp_s(value_at(row, c) - largest);
    }
    return vec2f(largest, log(combine(lane, sum, false)));
}

// ln p of class c.
fn log_p(row: u32, c: u32, scale: vec2f) -> f32 {
    return value_at(row, c) - scale.x - scale.y;
}

// Shifts places [at, at + places) so that the largest is 0; returns the shift.
fn shifted(lane: u32, at: u32, places: u32) -> f32 {
    storageBarrier();
    var largest = LOW;
    for (var s = lane; s < places; s += LANES) {
        largest = max(largest, work[at + s]);
    }
    largest = combine(lane, largest, true);
    if (largest > LOW) {
        for (var s = lane; s < places; s += LANES) {
            work[at + s] = max(work[at + s] - largest, LOW);
        }
    }
    storageBarrier();
    return largest;
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let b = group.x;
    let len = lengths[b];
    let steps = shape.rows / shape.batch;
    let start = shape.batch + 1u + targets[b];
    let labels = targets[b + 1u] - targets[b];
    let places = 2u * labels + 1u;
    let alpha = b * (steps + 2u) * shape.stride;

    for (var t = len; t < steps; t++) {
        for (var j = lane; j < shape.row_stride4; j += LANES) {
            d[(t * shape.batch + b) * shape.row_stride4 + j] = vec4f(0.0);
        }
    }
    // Every entry but the first of each sequence stays zero.
    for (var t = lane; t < steps; t += LANES) {
        losses[t * shape.batch + b] = 0.0;
    }
    storageBarrier();
    if (len == 0u) {
        return;
    }

    var total = 0.0;
    var is_possible = true;
    for (var t = 0u; t < len; t++) {
        let row = t * shape.batch + b;
        let scale = row_scale(lane, row);
        let at = alpha + t * shape.stride;
        let before = at - shape.stride;
        for (var s = lane; s < places; s += LANES) {
            var sum = LOW;
            if (t == 0u) {
                sum = select(LOW, 0.0, s < 2u);
            } else {
                sum = work[before + s];
                if (s > 0u) {
                    sum = log_add(sum, work[before + s - 1u]);
                }
                if (may_skip(start, s)) {
                    sum = log_add(sum, work[before + s - 2u]);
                }
            }
            if (sum > LOW) {
                sum += log_p(row, label(start, s), scale);
            }
            work[at + s] = sum;
        }
        let shift = shifted(lane, at, places);
        is_possible = is_possible && shift > LOW;
        total += shift;
    }
    let last = alpha + (len - 1u) * shape.stride + places - 1u;
    var end = work[last];
    if (places > 1u) {
        end = log_add(end, work[last - 1u]);
    }
    is_possible = is_possible && end > LOW;
    let share = scales[0] / f32(max(labels, 1u));
    if (lane == 0u) {
        // A value that no compiler knows to be infinite.
        let infinite = bitcast<f32>(0x7f800000u | (shape.batch & 0u));
        losses[b] = select(infinite, -share * (total + end), is_possible);
    }

    for (var back = 0u; back < len; back++) {
        let t = len - 1u - back;
        let row = t * shape.batch + b;
        let beta = alpha + (steps + back % 2u) * shape.stride;
        let after = alpha + (steps + (back + 1u) % 2u) * shape.stride;
        // ln β_t, without step t's own p: from β_{t+1} times p_{t+1}, which `after` holds together.
        for (var s = lane; s < places; s += LANES) {
            var sum = LOW;
            if (back == 0u) {
                sum = select(LOW, 0.0, s + 2u >= places);
            } else {
                sum = work[after + s];
                if (s + 1u < places) {
                    sum = log_add(sum, work[after + s + 1u]);
                }
                if (s + 2u < places && may_skip(start, s + 2u)) {
                    sum = log_add(sum, work[after + s + 2u]);
                }
            }
            work[beta + s] = sum;
        }
        shifted(lane, beta, places);
        let at = alpha + t * shape.stride;
        var largest = LOW;
        for (var s = lane; s < places; s += LANES) {
            largest = max(largest, work[at + s] + work[beta + s]);
        }
        largest = combine(lane, largest, true);
        var sum = 0.0;
        for (var s = lane; s < places; s += LANES) {
            sum += exp_s(work[at + s] + work[beta + s] - largest);
        }
        sum = combine(lane, sum, false);
        let scale = row_scale(lane, row);
        for (var j = lane; j < shape.row_stride4; j += LANES) {
            let classes = vec4u(4u * j) + vec4u(0u, 1u, 2u, 3u);
            var gamma = vec4f(0.0);
            for (var s = 0u; s < places; s++) {
                let share_of = exp_s(work[at + s] + work[beta + s] - largest);
                gamma += select(vec4f(0.0), vec4f(share_of), classes == vec4u(label(start, s)));
            }
            let p = exp_v(values[row * shape.row_stride4 + j] - scale.x - scale.y);
            var slopes = share * (p - gamma / sum);
            if (!is_possible) {
                slopes = vec4f(bitcast<f32>(0x7fc00000u | (shape.batch & 0u)));
            }
            d[row * shape.row_stride4 + j] = select(vec4f(0.0), slopes, classes < vec4u(shape.columns));
        }
        storageBarrier();
        // For the step before: β_t times p_t.
        for (var s = lane; s < places; s += LANES) {
            if (work[beta + s] > LOW) {
                work[beta + s] += log_p(row, label(start, s), scale);
            }
        }
        storageBarrier();
    }
}
