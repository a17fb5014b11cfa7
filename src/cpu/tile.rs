//! A few sequences that run together, without their padding.
//!
//! The rows of a tile are sorted by falling length, so that the rows that are active at step t are
//! the first few. Inputs and outputs are packed as PyTorch packs sequences: the active rows of step
//! 0, then those of step 1, and so on.

use std::ops::Range;

use crate::batch::Batch;
use crate::model::Input;

/// The shape of a tile.
#[derive(Debug)]
pub(super) struct Tile {
    /// Rows of the batch, longest first.
    members: Vec<usize>,
    /// Per step the number of active rows.
    active: Vec<usize>,
    /// Per step the number of packed rows before it; one entry more than steps.
    offsets: Vec<usize>,
}

impl Tile {
    /// Makes a tile of rows that are sorted by falling length.
    pub(super) fn new(batch: &Batch, members: &[usize]) -> Self {
        let steps = members.first().map_or(0, |&b| batch.length(b));
        let active: Vec<usize> =
            (0..steps).map(|t| members.partition_point(|&b| batch.length(b) > t)).collect();
        let mut offsets = vec![0; steps + 1];
        for (t, rows) in active.iter().enumerate() {
            offsets[t + 1] = offsets[t] + rows;
        }
        Self { members: members.to_vec(), active, offsets }
    }

    /// Returns the batch's rows, in the order of the tile.
    pub(super) fn members(&self) -> &[usize] {
        &self.members
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> usize {
        self.members.len()
    }

    /// Returns the number of packed rows, M: the valid steps of all rows.
    pub(super) fn total(&self) -> usize {
        self.offset(self.active.len())
    }

    /// Returns the number of rows that are active at step `t`.
    pub(super) fn active(&self, t: usize) -> usize {
        self.active[t]
    }

    /// Returns the packed row of the first tile row at step `t`.
    pub(super) fn offset(&self, t: usize) -> usize {
        self.offsets[t]
    }

    /// Cuts the steps into runs of at most `rows` packed rows (but at least one step), in the order
    /// in which a direction reads them.
    pub(super) fn chunks(&self, rows: usize, reverse: bool) -> Vec<Range<usize>> {
        let steps = self.active.len();
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < steps {
            let limit = self.offsets[start] + rows;
            let end = self.offsets.partition_point(|&offset| offset <= limit) - 1;
            let end = end.clamp(start + 1, steps);
            chunks.push(start..end);
            start = end;
        }
        if reverse {
            chunks.reverse();
        }
        chunks
    }

    /// Lists (batch row, step) of every packed row, in order.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.active
            .iter()
            .enumerate()
            .flat_map(|(t, &rows)| self.members[..rows].iter().map(move |&b| (b, t)))
    }

    /// Copies the tokens, packed.
    pub(super) fn tokens(&self, batch: &Batch) -> Vec<usize> {
        // Checked against the vocabulary before the run.
        let token = |(b, t)| batch.token(b, t).and_then(|id| usize::try_from(id).ok()).unwrap_or(0);
        self.places().map(token).collect()
    }

    /// Copies the features, or the embedding's rows, packed.
    pub(super) fn features(&self, batch: &Batch, input: &Input) -> Vec<f32> {
        let width = input.spec().width();
        let mut values = Vec::with_capacity(self.total() * width);
        match input {
            Input::Embedding { table } => {
                self.tokens(batch).iter().for_each(|&id| values.extend_from_slice(table.row(id)));
            }
            _ => self.places().for_each(|(b, t)| values.extend_from_slice(batch.features(b, t))),
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Layout;

    fn tile() -> Tile {
        let batch = Batch::tokens(vec![0; 12], 3, 4, Layout::BatchFirst).expect("a batch");
        let batch = batch.with_lengths(vec![0, 4, 2]).expect("lengths");
        Tile::new(&batch, &[1, 2, 0])
    }

    #[test]
    fn packed_rows_hold_no_padding() {
        let tile = tile();
        assert_eq!(tile.active, [2, 2, 1, 1]);
        assert_eq!(tile.total(), 6);
        let places: Vec<_> = tile.places().collect();
        assert_eq!(places, [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn chunks_cover_every_step_once() {
        let tile = tile();
        assert_eq!(tile.chunks(1, false), [0..1, 1..2, 2..3, 3..4]);
        assert_eq!(tile.chunks(3, false), [0..1, 1..3, 3..4]);
        assert_eq!(tile.chunks(100, true), vec![0..4; 1]);
        assert_eq!(tile.chunks(3, true), [3..4, 1..3, 0..1]);
    }
}
