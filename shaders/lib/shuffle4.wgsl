// A register tile of 4 rows as lane `lane` of the subgroup holds it. Needs: lib/rows4.

fn shuffled(rows: Rows, lane: u32) -> Rows {
    return Rows(
        subgroupShuffle(rows[0], lane), subgroupShuffle(rows[1], lane),
        subgroupShuffle(rows[2], lane), subgroupShuffle(rows[3], lane),
    );
}
