// A register tile of 2 rows as lane `lane` of the subgroup holds it. Needs: lib/rows2.

fn shuffled(rows: Rows, lane: u32) -> Rows {
    return Rows(subgroupShuffle(rows[0], lane), subgroupShuffle(rows[1], lane));
}
