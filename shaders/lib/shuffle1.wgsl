// A register tile of 1 row as lane `lane` of the subgroup holds it. Needs: lib/rows1.

fn shuffled(rows: Rows, lane: u32) -> Rows {
    return subgroupShuffle(rows, lane);
}

// The register tile of the rows from `first` on in the driver's `staged`.
fn staged_rows(first: u32) -> Rows {
    return staged[first];
}
