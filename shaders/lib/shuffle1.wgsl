// A register tile of 1 row as lane `lane` of the subgroup holds it. Needs: lib/rows1.

fn shuffled(rows: Rows, lane: u32) -> Rows {
    return subgroupShuffle(rows, lane);
}
