// The eleven functions that a cell may apply, by code, on vec4f. NaN stays NaN.
//
// Formulas and codes: src/cell/function.rs (the Rust twin). Here only: eˣ − 1 as 2t / (1 − t),
// t = tanh(x/2), which does not cancel for x < 0; ln(1 + eˣ) as max(x, 0) + 2·artanh(e / (2 + e)),
// e = exp(−|x|), which needs no logarithm; x / (1 + |x|) as 1 / (1 + 1/|x|) for large |x|.
// Needs: lib/activation.

fn is_nan_v(x: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

// min(max(x, least), most), NaN kept by its bits: min and max would drop it.
fn bound_v(x: vec4f, least: f32, most: f32) -> vec4f {
    return select(min(max(x, vec4f(least)), vec4f(most)), x, is_nan_v(x));
}

fn expm1_v(x: vec4f) -> vec4f {
    let t = tanh_v(0.5 * x);
    return 2.0 * t / (1.0 - t);
}

fn softplus_v(x: vec4f) -> vec4f {
    let e = exp_v(-abs(x));
    let s = e / (2.0 + e);
    let q = s * s;
    let tail = 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0
        + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0 + q / 15.0)))))));
    return select(tail, x + tail, x > vec4f(0.0));
}

fn softsign_v(x: vec4f) -> vec4f {
    let a = abs(x);
    let r = select(a / (1.0 + a), 1.0 / (1.0 + 1.0 / a), a > vec4f(1.0));
    return select(r, -r, x < vec4f(0.0));
}

fn function_v(code: u32, x: vec4f, alpha: f32, beta: f32) -> vec4f {
    var y = x;
    switch code {
        case 0u: { y = relu_v(x); }
        case 1u: { y = tanh_v(x); }
        case 2u: { y = sigmoid_v(x); }
        case 3u: { y = alpha * x + beta; }
        case 4u: { y = select(x, alpha * x, x < vec4f(0.0)); }
        case 5u: { y = select(vec4f(0.0), x, x > vec4f(alpha)); }
        case 6u: { y = alpha * tanh_v(beta * x); }
        case 7u: { y = bound_v(alpha * x + beta, 0.0, 1.0); }
        case 8u: { y = select(x, alpha * expm1_v(x), x < vec4f(0.0)); }
        case 9u: { y = softsign_v(x); }
        default: { y = softplus_v(x); }
    }
    return select(y, x, is_nan_v(x));
}
