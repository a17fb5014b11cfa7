// Multiply-adds by `fma` on independent vec4 accumulators.
//
// acc = fma(acc, w, b) with w = b = 1, which no compiler sees: n rounds add exactly n. With nine
// accumulators (`many`) for GPUs; three (`few`) also fit the registers of a CPU.
// Grid: any, x only. Host: src/gpu/calibrate/.

struct Calibrate {
    rounds: u32,        // iterations, 8 rounds each
    mask: u32,          // not read
    group_stride: u32,  // not read
}

@group(0) @binding(0) var<uniform> calibrate: Calibrate;
@group(0) @binding(1) var<storage, read> weight: array<vec4f>;              // [4]: w = first, b = first
@group(0) @binding(2) var<storage, read_write> totals: array<vec4u>;        // [invocations]

struct Three {
    a: vec4f,
    b: vec4f,
    c: vec4f,
}

fn three(first: vec4f) -> Three {
    return Three(first, first + 1.0, first + 2.0);
}

fn turn(x: Three, w: vec4f) -> Three {
    return Three(fma(x.a, w, w), fma(x.b, w, w), fma(x.c, w, w));
}

fn start(lane: u32) -> vec4f {
    return f32(lane & 3u) + vec4f(0.0, 1.0, 2.0, 3.0);
}

@compute @workgroup_size(256, 1, 1)
fn few(@builtin(global_invocation_id) id: vec3u) {
    let w = vec4f(weight[0].x);
    var x = three(start(id.x));
    for (var i = 0u; i < calibrate.rounds; i++) {
        x = turn(turn(turn(turn(x, w), w), w), w);
        x = turn(turn(turn(turn(x, w), w), w), w);
    }
    totals[id.x] += vec4u(x.a + x.b + x.c);
}

@compute @workgroup_size(256, 1, 1)
fn many(@builtin(global_invocation_id) id: vec3u) {
    let w = vec4f(weight[0].x);
    var x = three(start(id.x));
    var y = three(start(id.x) + 3.0);
    var z = three(start(id.x) + 6.0);
    for (var i = 0u; i < calibrate.rounds; i++) {
        x = turn(turn(turn(turn(x, w), w), w), w);
        y = turn(turn(turn(turn(y, w), w), w), w);
        z = turn(turn(turn(turn(z, w), w), w), w);
        x = turn(turn(turn(turn(x, w), w), w), w);
        y = turn(turn(turn(turn(y, w), w), w), w);
        z = turn(turn(turn(turn(z, w), w), w), w);
    }
    totals[id.x] += vec4u(x.a + x.b + x.c + y.a + y.b + y.c + z.a + z.b + z.c);
}
