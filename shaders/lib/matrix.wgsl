// Tiles of 16 × 16 that a subgroup holds and multiplies together: the hardware's cooperative matrices, f16 in
// and f32 out. The alternative is lib/matrix_emulated; the enabling directives are lib/matrix_enable's.
//
// The driver supplies `inputs: array<Half, _>` in workgroup memory, and `sums: array<f32, _>`. Every
// invocation of a subgroup must make each call, with the same arguments.

alias Half = f16;
alias TileA = coop_mat16x16<f16, A>;
alias TileB = coop_mat16x16<f16, B>;
alias TileC = coop_mat16x16<f32, C>;

fn half_of(v: f32) -> Half {
    return f16(v);
}

// Rows of `inputs` from `at` on, `stride` values apart.
fn tile_a(at: u32, stride: u32) -> TileA {
    return coopLoadT<coop_mat16x16<f16, A>>(&inputs[at], stride);
}

// Rows of `weights` from `at` on, `stride` values apart.
fn tile_b(at: u32, stride: u32) -> TileB {
    return coopLoadT<coop_mat16x16<f16, B>>(&weights[at], stride);
}

fn tile_c(at: u32, stride: u32) -> TileC {
    return coopLoadT<coop_mat16x16<f32, C>>(&sums[at], stride);
}

fn multiply_add(a: TileA, b: TileB, c: TileC) -> TileC {
    return coopMultiplyAdd(a, b, c);
}

fn store_c(c: TileC, at: u32, stride: u32) {
    coopStoreT(c, &sums[at], stride);
}

// Which subgroup of the workgroup an invocation belongs to: they lie one after the other.
fn subgroup_of(lane: u32) -> u32 {
    return lane / (THREADS / SUBGROUPS);
}
