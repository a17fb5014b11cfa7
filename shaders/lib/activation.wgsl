// Sigmoid, tanh, ReLU on vec4f: the only file that spells exp and tanh.
//
// Own forms, because WGSL's tanh may overflow to NaN for large |x| and promises little accuracy:
//   tanh(x)    = sign(x) · (1 − e) / (1 + e),  e = exp(−2|x|);  a Taylor series below |x| = 0.3,
//                where the quotient loses digits
//   sigmoid(x) = 1 / (1 + e) for x ≥ 0, e / (1 + e) for x < 0,  e = exp(−|x|)
// Finite for every finite input; NaN stays NaN.
// Rust twin: src/cell/activation.rs.

const TANH_SERIES_BELOW: f32 = 0.3;

fn tanh_v(x: vec4f) -> vec4f {
    let a = abs(x);
    let e = exp(-2.0 * a);
    let quotient = (1.0 - e) / (1.0 + e);
    let q = x * x;
    let series = a * (1.0 + q * (-1.0 / 3.0 + q * (2.0 / 15.0 + q * (-17.0 / 315.0 + q * (62.0 / 2835.0)))));
    let r = select(quotient, series, a < vec4f(TANH_SERIES_BELOW));
    return select(r, -r, x < vec4f(0.0));
}

fn sigmoid_v(x: vec4f) -> vec4f {
    let e = exp(-abs(x));
    let r = 1.0 / (1.0 + e);
    return select(r, e * r, x < vec4f(0.0));
}

// By bits: a compiler that takes NaN for impossible turns select(x, 0, x < 0) into max(x, 0), which
// gives 0 for NaN (seen on Mesa's GL).
fn relu_v(x: vec4f) -> vec4f {
    let bits = bitcast<vec4u>(x);
    let is_nan = (bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
    let is_negative = (bits >> vec4u(31u)) == vec4u(1u);
    return select(x, vec4f(0.0), is_negative & !is_nan);
}

fn exp_v(x: vec4f) -> vec4f {
    return exp(x);
}

// exp for one value; the argument is at most 0 wherever softmax calls it.
fn exp_s(x: f32) -> f32 {
    return exp(x);
}
