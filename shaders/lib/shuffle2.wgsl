// A register tile of 2 rows as lane `lane` of the subgroup holds it. Needs: lib/rows2.

fn shuffled(rows: Rows, lane: u32) -> Rows {
    return Rows(subgroupShuffle(rows[0], lane), subgroupShuffle(rows[1], lane));
}

// The register tile of the rows from `first` on in the driver's `staged`.
fn staged_rows(first: u32) -> Rows {
    return Rows(staged[first], staged[first + 1u]);
}
