// A register tile of 2 rows: four values of each row, as one WGSL value.
//
// A 4×4 block of weights, columns = input k, times a tile, columns = rows, is the block's product
// for all rows at once, so a driver writes `acc += weights * tile` whatever the number of rows.
// The driver supplies `source_row(index) -> vec4f`.

const ROWS: u32 = 2u;
alias Rows = mat2x4f;

fn load_rows(base: array<u32, ROWS>, k4: u32) -> Rows {
    return Rows(source_row(base[0] + k4), source_row(base[1] + k4));
}

fn row_of(rows: Rows, r: u32) -> vec4f {
    return rows[r];
}

fn with_row(rows: Rows, r: u32, value: vec4f) -> Rows {
    var changed = rows;
    changed[r] = value;
    return changed;
}

// Of two tiles the second where `takes`.
fn chosen(rows: Rows, other: Rows, takes: bool) -> Rows {
    return Rows(select(rows[0], other[0], takes), select(rows[1], other[1], takes));
}

// A row by an index that the compiler does not know, without a way through memory.
fn picked(rows: Rows, r: u32) -> vec4f {
    return select(rows[0], rows[1], r == 1u);
}
