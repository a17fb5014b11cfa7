// The loss of every output row and its gradient with respect to the logits; one workgroup a row.
//
//   0 cross-entropy of softmax   l = −Σ_c q_c·w_c·ln p_c, q = (1 − ε)·one-hot + ε/O    dl/dv_c = p_c·Σ q·w − q_c·w_c
//   1 binary cross-entropy       l = Σ_c max(v, 0) − v·y + ln(1 + e^−|v|)               dl/dv = σ(v) − y
//   2 squared error   3 absolute error   4 Huber: δ²·h(e/δ), quadratic up to δ             on g(v), e = g(v) − y
//   5 a gradient of the caller's   l = g(v)·y, y = dL/dg(v)                             dl/dv = y·g'(v)
//
// All are scaled by scales[0], one over what PyTorch's mean divides by. Rows beyond a sequence's end, and rows of
// an ignored class, count nothing. KIND names the loss, ACTIVATION the function g of losses 2 to 5.
// Of cross-entropy the second half of `losses` says whether the class of a row had the largest logit alone.
// Grid: x · y over rows. Needs: lib/{activation,combine}. Host: src/kernel/train.rs, src/plan/train/loss.rs.
// Rust twin: src/reference/loss.rs.

struct LossShape {
    rows: u32,          // T·B, or B
    batch: u32,         // B
    columns: u32,       // O
    width: u32,         // values of a block of a row
    stride: u32,        // values from block to block
    row_stride4: u32,   // vec4s of a row
    per_sequence: u32,  // 1: rows are sequences, 0: (t, b)
    grid_x: u32,        // workgroups along x
}

@group(0) @binding(0) var<uniform> shape: LossShape;
@group(0) @binding(1) var<storage, read> values: array<vec4f>;              // [rows, padded O]: logits
@group(0) @binding(2) var<storage, read> targets: array<u32>;               // [rows], or bits of f32 [rows, O]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(4) var<storage, read> scales: array<f32>;                // 1/denominator, ε, δ, 0, weights of classes
@group(0) @binding(5) var<storage, read_write> d: array<vec4f>;             // [rows, padded O]
@group(0) @binding(6) var<storage, read_write> losses: array<f32>;          // [2, rows]: losses, and marks of kind 0

override KIND: u32 = 0u;
override ACTIVATION: u32 = 0u;
override WEIGHTED: bool = false;

const LANES: u32 = 64u;
// No class: the row is ignored; no column: padding.
const NONE: u32 = 0xffffffffu;
// Marks of a row. Twin: sum_loss.wgsl.
const WRONG: f32 = 0.0;
const RIGHT: f32 = 1.0;
const UNCOUNTED: f32 = 2.0;

// The column that stands at a place of a row, or NONE in the padding.
fn column_at(place: u32) -> u32 {
    let c = place / shape.stride * shape.width + place % shape.stride;
    return select(NONE, c, place % shape.stride < shape.width && c < shape.columns);
}

fn class_weight(c: u32) -> f32 {
    if (WEIGHTED) {
        return scales[4u + c];
    }
    return 1.0;
}

// q_c·w_c of a class, where the row's is `class_`.
fn share_of(c: u32, class_: u32) -> f32 {
    let even = scales[1] / f32(shape.columns);
    return (even + select(0.0, 1.0 - scales[1], c == class_)) * class_weight(c);
}

// ln(1 + e^−x) for x ≥ 0.
fn log1p_exp(x: f32) -> f32 {
    let e = exp_s(-x);
    // A series where 1 + e loses digits of e.
    return select(log(1.0 + e), e * (1.0 - 0.5 * e), e < 1e-3);
}

// The sign of e; NaN stays NaN, of which sign() makes 0 on some drivers.
fn sign_of(e: f32) -> f32 {
    let is_nan = (bitcast<u32>(e) & 0x7fffffffu) > 0x7f800000u;
    return select(sign(e), e, is_nan);
}

// Value and slope of one output's loss, kinds 1 to 5.
fn of_value(v: f32, y: f32) -> vec2f {
    if (KIND == 1u) {
        let p = sigmoid_v(vec4f(v)).x;
        return vec2f(max(v, 0.0) - v * y + log1p_exp(abs(v)), p - y);
    }
    var out = v;
    var slope = 1.0;
    if (ACTIVATION == 3u) {
        out = sigmoid_v(vec4f(v)).x;
        slope = out * (1.0 - out);
    } else if (ACTIVATION == 4u) {
        out = tanh_v(vec4f(v)).x;
        slope = 1.0 - out * out;
    } else if (ACTIVATION == 5u) {
        out = relu_v(vec4f(v)).x;
        slope = select(1.0, 0.0, v <= 0.0);
    }
    if (KIND == 5u) {
        return vec2f(out * y, y * slope);
    }
    let e = out - y;
    if (KIND == 2u) {
        return vec2f(e * e, 2.0 * e * slope);
    }
    if (KIND == 3u) {
        return vec2f(abs(e), sign_of(e) * slope);
    }
    let delta = scales[2];
    if (abs(e) <= delta) {
        return vec2f(0.5 * e * e, e * slope);
    }
    return vec2f(delta * (abs(e) - 0.5 * delta), delta * sign_of(e) * slope);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let row = group.y * shape.grid_x + group.x;
    if (row >= shape.rows) {
        return;
    }
    let len = lengths[row % shape.batch];
    var counts = row / shape.batch < len;
    if (shape.per_sequence == 1u) {
        counts = len > 0u;
    }
    if (KIND == 0u) {
        counts = counts && targets[row] != NONE;
    }
    let base = row * shape.row_stride4;
    if (!counts) {
        for (var j = lane; j < shape.row_stride4; j += LANES) {
            d[base + j] = vec4f(0.0);
        }
        if (lane == 0u) {
            losses[row] = 0.0;
            losses[shape.rows + row] = UNCOUNTED;
        }
        return;
    }
    let scale = scales[0];
    var loss = 0.0;
    if (KIND != 0u) {
        for (var j = lane; j < shape.row_stride4; j += LANES) {
            let v = values[base + j];
            var slopes = vec4f(0.0);
            for (var i = 0u; i < 4u; i++) {
                let c = column_at(4u * j + i);
                if (c != NONE) {
                    let both = of_value(v[i], bitcast<f32>(targets[row * shape.columns + c]));
                    loss += both.x;
                    slopes[i] = scale * both.y;
                }
            }
            d[base + j] = slopes;
        }
        loss = combine(lane, loss, false);
        if (lane == 0u) {
            losses[row] = scale * loss;
        }
        return;
    }

    // Softmax: element j of a row is component j % 4 of its vec4; cross-entropy has one block.
    // A NaN may be lost in the maximum; it comes back in the sum.
    let class_ = targets[row];
    var largest = values[base].x;
    for (var c = lane; c < shape.columns; c += LANES) {
        largest = max(largest, values[base + c / 4u][c % 4u]);
    }
    largest = combine(lane, largest, true);
    let own = values[base + class_ / 4u][class_ % 4u];
    var rivals = 0.0;
    for (var c = lane; c < shape.columns; c += LANES) {
        rivals += select(0.0, 1.0, c != class_ && values[base + c / 4u][c % 4u] >= own);
    }
    rivals = combine(lane, rivals, false);
    var sum = 0.0;
    for (var c = lane; c < shape.columns; c += LANES) {
        sum += exp_s(values[base + c / 4u][c % 4u] - largest);
    }
    sum = combine(lane, sum, false);
    let log_sum = log(sum);
    // Σ q·w, and Σ q·w·(−ln p).
    var weight = 0.0;
    for (var c = lane; c < shape.columns; c += LANES) {
        let q = share_of(c, class_);
        // A class that counts nothing may have any logit.
        if (q != 0.0) {
            weight += q;
            loss -= q * (values[base + c / 4u][c % 4u] - largest - log_sum);
        }
    }
    weight = combine(lane, weight, false);
    loss = combine(lane, loss, false);
    for (var j = lane; j < shape.row_stride4; j += LANES) {
        let v = values[base + j];
        var slopes = vec4f(0.0);
        for (var i = 0u; i < 4u; i++) {
            let c = 4u * j + i;
            if (c < shape.columns) {
                slopes[i] = scale * (exp_s(v[i] - largest) / sum * weight - share_of(c, class_));
            }
        }
        d[base + j] = slopes;
    }
    if (lane == 0u) {
        losses[row] = scale * loss;
        losses[shape.rows + row] = select(WRONG, RIGHT, own == largest && rivals == 0.0);
    }
}
