// Sharing between the lanes of a subgroup. The alternative is lib/alone. Needs: lib/shuffleN.

fn passed(rows: Rows, lane: u32) -> Rows {
    return shuffled(rows, lane);
}
