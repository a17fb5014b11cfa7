// Multiply-adds as the kernels write them: acc += weights * acc, 4×4 matrices in registers.
//
// Each column of an accumulator starts as (c, 0, 0, 0). The weights are u·vᵀ with u = (1, 1, 1, 1) and
// v = (1, −1, 1, −1), so v·u = 0 and n rounds give exactly (c·(1 + n), c·n, c·n, c·n): a driver that
// skips work is found out. They come from a buffer, where no compiler sees that they are so simple.
// Grid: any, x only. Host: src/gpu/calibrate/.

struct Calibrate {
    rounds: u32,        // iterations, 4 rounds each
    mask: u32,          // not read
    group_stride: u32,  // not read
}

@group(0) @binding(0) var<uniform> calibrate: Calibrate;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;              // [4]
@group(0) @binding(2) var<storage, read_write> totals: array<vec4u>;        // [invocations]

@compute @workgroup_size(256, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let w = mat4x4f(weight[0], weight[1], weight[2], weight[3]);
    let c = 1.0 + f32(id.x & 3u);
    let even = vec4f(c, 0.0, 0.0, 0.0);
    let odd = vec4f(c + 1.0, 0.0, 0.0, 0.0);
    var acc0 = mat4x4f(even, odd, even, odd);
    var acc1 = mat4x4f(odd, even, odd, even);
    for (var i = 0u; i < calibrate.rounds; i++) {
        acc0 += w * acc0;
        acc1 += w * acc1;
        acc0 += w * acc0;
        acc1 += w * acc1;
        acc0 += w * acc0;
        acc1 += w * acc1;
        acc0 += w * acc0;
        acc1 += w * acc1;
    }
    let sum = acc0 + acc1;
    totals[id.x] += vec4u(sum[0] + sum[1] + sum[2] + sum[3]);
}
