// One step of an optimizer over one parameter (PyTorch's torch.optim); g is the gradient, clipped and scaled.
//
//   0 SGD      g += λ·p;   m = μ·m + g;   p −= lr·m, or lr·(g + μ·m) with Nesterov
//   1 Adam     g += λ·p;   m = β1·m + (1 − β1)·g;   v = β2·v + (1 − β2)·g²;
//              p −= lr/(1 − β1^t) · m / (√v/√(1 − β2^t) + ε)
//   2 AdamW    p −= lr·λ·p;   then as Adam without λ in g
//   3 RMSprop  g += λ·p;   v = β2·v + (1 − β2)·g²;   p −= lr·g / (√v + ε)
//
// Parameters, gradients and moments stay on the device. Grid: x · y over vec4s.
// Host: src/kernel/train.rs, src/plan/train/update.rs.

struct Optimize {
    count: u32,     // vec4s of the parameter
    decay: u32,     // where its λ stands in `hyper`
    grid_x: u32,    // workgroups along x
}

@group(0) @binding(0) var<uniform> optimize: Optimize;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;                 // lr, β1 or μ, β2, ε, 0, 1 − β1^t, 1 − β2^t, Nesterov, norm, value, .., λ of groups
@group(0) @binding(3) var<storage, read> progress: array<f32>;              // [5]: .., coefficient, norm, stopped
@group(0) @binding(4) var<storage, read_write> parameter: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> first: array<vec4f>;         // m
@group(0) @binding(6) var<storage, read_write> second: array<vec4f>;        // v

override KIND: u32 = 0u;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
    let i = (group.y * optimize.grid_x + group.x) * 64u + lane;
    if (i >= optimize.count || progress[4] != 0.0) {
        return;
    }
    let rate = hyper[0];
    let beta1 = hyper[1];
    let beta2 = hyper[2];
    let epsilon = hyper[3];
    let decay = hyper[optimize.decay];
    var p = parameter[i];
    var g = gradient[i] * progress[2];
    // What clamp might hide, NaN, has stopped the step already.
    if (hyper[9] > 0.0) {
        g = clamp(g, vec4f(-hyper[9]), vec4f(hyper[9]));
    }
    if (KIND == 2u) {
        p -= rate * decay * p;
    } else {
        g += decay * p;
    }
    if (KIND == 0u) {
        let m = beta1 * first[i] + g;
        first[i] = m;
        p -= rate * select(m, g + beta1 * m, hyper[7] != 0.0);
    } else if (KIND == 3u) {
        let v = beta2 * second[i] + (1.0 - beta2) * g * g;
        second[i] = v;
        p -= rate * g / (sqrt(v) + epsilon);
    } else {
        let m = beta1 * first[i] + (1.0 - beta1) * g;
        let v = beta2 * second[i] + (1.0 - beta2) * g * g;
        first[i] = m;
        second[i] = v;
        p -= rate / hyper[5] * m / (sqrt(v) / sqrt(hyper[6]) + epsilon);
    }
    parameter[i] = p;
}
