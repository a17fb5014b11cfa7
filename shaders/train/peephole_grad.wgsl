// The gradient of an LSTM's peepholes, slice by slice, where the parameters of its rules lie.
//
//   dp_i = Σ da_i·c_{s−1}   dp_f = Σ da_f·c_{s−1}   dp_o = Σ da_o·c_s
//
// Grid: x over vec4s of the parameters of a direction, y over slices, z over directions.
// Needs: lib/{back,index}. Host: src/kernel/train.rs, src/plan/train/sums.rs.

@group(0) @binding(0) var<uniform> back: Back;
@group(0) @binding(1) var<storage, read> d: array<vec4f>;                   // [D, T·B, 4, H/4]: gradients of gates i, f, g, o
@group(0) @binding(2) var<storage, read> before: array<vec4f>;              // [D, T·B, H/4]: c before each step
@group(0) @binding(3) var<storage, read> cells: array<vec4f>;               // [D, B, H/4]: c at the end
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read_write> parts: array<vec4f>;         // [slices, D, 4 + 3·H/4]

override MODE: u32 = 4u;

// Other parameters ahead of the peepholes (lib/custom).
const AHEAD: u32 = 4u;

// c after step s of a row.
fn c_after(m: u32, z: u32, unit: u32) -> vec4f {
    let b = m % back.batch;
    if (m / back.batch + 1u < lengths[b]) {
        return before[(z * row_count() + m + back.batch) * back.state4 + unit];
    }
    return cells[(z * back.batch + b) * back.state4 + unit];
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let n = id.x;
    let slice = id.y;
    let z = id.z;
    if (n >= back.columns4) {
        return;
    }
    var sum: vec4f;
    if (n >= AHEAD) {
        let peephole = (n - AHEAD) / back.state4;
        let unit = (n - AHEAD) % back.state4;
        // Gates i, f, g, o: the third peephole is o's.
        let gate = select(peephole, 3u, peephole == 2u);
        let first = slice * back.slice_rows;
        let end = min(first + back.slice_rows, row_count());
        for (var m = first; m < end; m++) {
            if (!is_valid(m)) {
                continue;
            }
            var c = before[(z * row_count() + m) * back.state4 + unit];
            if (peephole == 2u) {
                c = c_after(m, z, unit);
            }
            sum += d[((z * row_count() + m) * 4u + gate) * back.state4 + unit] * c;
        }
    }
    parts[(slice * back.directions + z) * back.columns4 + n] = sum;
}
