// Counts to 70 000 and says how far it came.
//
// Some software drivers end every loop after 65 535 iterations, silently; the engine asks at start
// and then keeps each dispatch's loops below that. Grid: one invocation. Host: src/gpu/canary.rs.

struct Canary {
    limit: u32, // iterations asked for
}

@group(0) @binding(0) var<uniform> canary: Canary;
@group(0) @binding(1) var<storage, read_write> reached: array<u32>;         // [2]: iterations, mixed value

@compute @workgroup_size(1, 1, 1)
fn main() {
    var mixed = 1u;
    var i = 0u;
    loop {
        if (i >= canary.limit) {
            break;
        }
        // A value that no closed form replaces, so that the loop really runs.
        mixed = mixed * 1664525u + 1013904223u + (mixed >> 7u);
        i++;
    }
    reached[0] = i;
    reached[1] = mixed;
}
