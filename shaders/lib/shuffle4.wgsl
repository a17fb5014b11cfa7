// A register tile of 4 rows as lane `lane` of the subgroup holds it. Needs: lib/rows4.

fn shuffled(rows: Rows, lane: u32) -> Rows {
    return Rows(
        subgroupShuffle(rows[0], lane), subgroupShuffle(rows[1], lane),
        subgroupShuffle(rows[2], lane), subgroupShuffle(rows[3], lane),
    );
}

// The register tile of the rows from `first` on in the driver's `staged`.
fn staged_rows(first: u32) -> Rows {
    return Rows(staged[first], staged[first + 1u], staged[first + 2u], staged[first + 3u]);
}
