// What the kernels of the output layer share: the product for a lane's columns, and softmax's largest
// logit and sum kept as logits come (online softmax, Milakov and Gimelshein 2018).
//
//   m' = max(m, v)      s' = s·exp(m − m') + exp(v − m')
//
// m starts at the least finite number: then logits of −infinity add exp(−infinity) = 0, and a row that
// has no others ends with s = 0, which gives NaN. A NaN may be lost in m; like +infinity it makes s NaN,
// and so reaches the whole row.
// The driver supplies the bindings `gemm`, `a`, `weight`, `bias`. Needs: lib/{activation,gemm,rowsN}.

const LOWEST: f32 = -3.4028234e38;

// The products of a lane's rows with two groups of four columns.
struct Pair {
    first: Rows,
    second: Rows,
}

fn source_row(index: u32) -> vec4f {
    return a[index];
}

// a·W at column groups `column` and `column + second`; second is 0 where there is no other.
fn product(base: array<u32, ROWS>, column: u32, second: u32) -> Pair {
    var pair: Pair;
    for (var k4 = 0u; k4 < gemm.inner4; k4++) {
        let rows = load_rows(base, k4);
        let w0 = k4 * 4u * gemm.columns4 + column;
        let w1 = w0 + gemm.columns4;
        let w2 = w1 + gemm.columns4;
        let w3 = w2 + gemm.columns4;
        pair.first += mat4x4f(weight_from(weight[w0]), weight_from(weight[w1]), weight_from(weight[w2]), weight_from(weight[w3])) * rows;
        pair.second += mat4x4f(
            weight_from(weight[w0 + second]), weight_from(weight[w1 + second]), weight_from(weight[w2 + second]), weight_from(weight[w3 + second]),
        ) * rows;
    }
    return pair;
}

// (m, s) with the four logits of group `column`, the padding left out.
fn with_logits(so_far: vec2f, v: vec4f, column: u32) -> vec2f {
    let is_column = vec4u(4u * column) + vec4u(0u, 1u, 2u, 3u) < vec4u(gemm.columns);
    let w = select(vec4f(LOWEST), v, is_column);
    let m = max(max(max(w.x, w.y), max(w.z, w.w)), so_far.x);
    let e = select(vec4f(0.0), exp_v(w - m), is_column);
    return vec2f(m, so_far.y * exp_s(so_far.x - m) + (e.x + e.y) + (e.z + e.w));
}

// (m, s) of two parts of a row.
fn joined(one: vec2f, other: vec2f) -> vec2f {
    let m = max(one.x, other.x);
    return vec2f(m, one.y * exp_s(one.x - m) + other.y * exp_s(other.x - m));
}

// g of four logits of a row with largest logit and sum (m, s).
fn finished(v: vec4f, row: vec2f) -> vec4f {
    var y = v;
    switch KIND {
        case 1u: { y = exp_v(v - row.x) / row.y; }
        case 2u: { y = v - row.x - log(row.y); }
        case 3u: { y = sigmoid_v(v); }
        case 4u: { y = tanh_v(v); }
        case 5u: { y = relu_v(v); }
        default: {}
    }
    return y;
}

// Where output row 0 of this dispatch lies: mode 1 writes into [T, B, …], the others into [B, …].
fn first_output_row() -> u32 {
    return select(0u, gemm.first_step * gemm.batch, MODE == 1u);
}
