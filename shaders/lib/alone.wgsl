// No sharing between lanes: what a subgroup of one lane would do. The alternative is lib/shuffleN.

fn across(rows: Rows, lane: u32) -> Rows {
    return rows;
}
