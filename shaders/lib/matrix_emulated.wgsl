// What lib/matrix does, for a subgroup of one invocation and without hardware's help: so that drivers that use
// it can be tested anywhere. Values are f32 that were rounded to f16.

alias Half = f32;
// A tile is kept by where it starts, and sums stay in `sums`; the strides are the same for all tiles of a kind.
alias TileA = u32;
alias TileB = u32;
alias TileC = u32;

var<private> stride_a: u32;
var<private> stride_b: u32;
var<private> stride_c: u32;

fn half_of(v: f32) -> Half {
    return unpack2x16float(half_bits(v)).x;
}

fn tile_a(at: u32, stride: u32) -> TileA {
    stride_a = stride;
    return at;
}

fn tile_b(at: u32, stride: u32) -> TileB {
    stride_b = stride;
    return at;
}

fn tile_c(at: u32, stride: u32) -> TileC {
    stride_c = stride;
    return at;
}

fn multiply_add(a: TileA, b: TileB, c: TileC) -> TileC {
    for (var i = 0u; i < 256u; i++) {
        let at = c + i / 16u * stride_c + i % 16u;
        var sum = sums[at];
        for (var k = 0u; k < 16u; k++) {
            sum += inputs[a + i / 16u * stride_a + k] * weights[b + k * stride_b + i % 16u];
        }
        sums[at] = sum;
    }
    return c;
}

// Sums are there already.
fn store_c(c: TileC, at: u32, stride: u32) {
}

// Which subgroup of the workgroup an invocation belongs to.
fn subgroup_of(lane: u32) -> u32 {
    return lane;
}
