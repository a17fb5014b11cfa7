// Sigmoid, tanh, ReLU on vec4f: the only file that spells exp and tanh.
//
// Own forms, because WGSL's tanh may overflow to NaN for large |x| and promises little accuracy:
//   tanh(x)    = sign(x) · (1 − e) / (1 + e),  e = exp(−2|x|);  a Taylor series below |x| = 0.3,
//                where the quotient loses digits
//   sigmoid(x) = 1 / (1 + e) for x ≥ 0, e / (1 + e) for x < 0,  e = exp(−|x|)
// Finite for every finite input; NaN stays NaN (every select keeps x's own value on a false test).
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

fn relu_v(x: vec4f) -> vec4f {
    return select(x, vec4f(0.0), x < vec4f(0.0));
}

fn exp_v(x: vec4f) -> vec4f {
    return exp(x);
}

// exp for one value; the argument is at most 0 wherever softmax calls it.
fn exp_s(x: f32) -> f32 {
    return exp(x);
}
