// What the matrix products share: their uniform block, and which row of `a` a row of the product reads.
//
// The driver supplies the bindings `gemm`, `lengths`, `tokens` and the overrides MODE, GATHER:
//   0  recurrence order: m = (s, b) of a chunk, read at t = time_of(s); rows past their end skipped
//   1  natural order:    m = (t, b) of a chunk; rows past their end skipped
//   2  last valid step:  m = b, read at t = len − 1; empty rows skipped
//   3  final states:     m = b, read at row b; empty rows skipped
//   4  as it lies:       m = (s, b) of a chunk, read at row (d, m); rows past their end skipped
// With GATHER the row of `a` is the one that the token at (t, b) names; a token outside the table
// gives NaN. Needs: lib/index. Rust twin of the block: src/kernel/uniforms.rs.

struct Gemm {
    batch: u32,         // B
    first_step: u32,    // first s (mode 0) or t (mode 1) of this chunk
    step_count: u32,    // steps in this chunk
    reverse_mask: u32,  // bit d: direction d reads backwards
    inner4: u32,        // K/4
    columns4: u32,      // N/4
    vocab: u32,         // rows of the gathered table
    zero: u32,          // always 0
    columns: u32,       // N, unpadded; for the function of the output layer
}

// What became of a row: it has none to read, one, or a token outside the table.
const MISSING: u32 = 0u;
const KNOWN: u32 = 1u;
const UNKNOWN: u32 = 2u;

struct Place {
    base: u32,  // where the row's values start in `a`
    found: u32,
}

// The time step of row m, or the largest u32 for a row to skip.
fn step_of(m: u32, d: u32) -> u32 {
    let len = lengths[m % gemm.batch];
    if (MODE == 2u) {
        return len - 1u; // wraps to the largest u32 for an empty row
    }
    if (MODE == 3u) {
        return select(0u, 0xffffffffu, len == 0u);
    }
    let s = gemm.first_step + m / gemm.batch;
    if (s >= len) {
        return 0xffffffffu;
    }
    return time_of(s, len, MODE == 0u && reads_backwards(gemm.reverse_mask, d));
}

fn place_of(m: u32, d: u32) -> Place {
    if (MODE == 4u) {
        if (gemm.first_step + m / gemm.batch >= lengths[m % gemm.batch]) {
            return Place(0u, MISSING);
        }
        return Place((d * gemm.step_count * gemm.batch + m) * gemm.inner4, KNOWN);
    }
    let t = step_of(m, d);
    if (t == 0xffffffffu) {
        return Place(0u, MISSING);
    }
    var row = t * gemm.batch + m % gemm.batch;
    if (GATHER) {
        row = tokens[row];
        if (row >= gemm.vocab) {
            return Place(0u, UNKNOWN);
        }
    }
    return Place(row * gemm.inner4, KNOWN);
}

// NaN for a token outside the table, else 0: added to the product.
fn unknown_value(found: u32) -> f32 {
    return select(0.0, quiet_nan(gemm.zero), found == UNKNOWN);
}
