//! The named lists of workloads.

use clap::ValueEnum;
use wgpu_rnn::Cell;

use super::workload::{Kind, Lengths, Workload};

/// A named list of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Suite {
    /// Seven small ones that cover the shapes people use; about a minute on two cores
    Quick,
    /// The recurrent layers of Baidu's DeepBench, training and inference; hours without a GPU
    Deepbench,
    /// Many short and long sequences, full and of log-normal lengths; hours without a GPU
    Sets,
    /// Latency of one frame after the other, and batches without a pause
    Stream,
    /// The constants of each device instead of workloads
    Calibration,
}

impl Suite {
    /// Returns the name on the command line and in records.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Deepbench => "deepbench",
            Self::Sets => "sets",
            Self::Stream => "stream",
            Self::Calibration => "calibration",
        }
    }

    /// Lists the workloads.
    pub(super) fn workloads(self) -> Vec<Workload> {
        match self {
            Self::Quick => quick(),
            Self::Deepbench => deepbench(),
            Self::Sets => sets(),
            Self::Stream => stream(),
            Self::Calibration => Vec::new(),
        }
    }
}

/// Shapes are `[I, H, B, T]`, as in [`Workload::new`].
fn quick() -> Vec<Workload> {
    let rnn = |shape| Workload::new(Cell::RnnTanh, shape);
    let stacked = Workload::new(Cell::Lstm, [80, 256, 2, 6]);
    vec![
        rnn([64, 128, 1, 400]),
        rnn([128, 256, 16, 16]),
        rnn([256, 512, 32, 4]),
        rnn([1024, 1760, 4, 2]),
        Workload::new(Cell::Lstm, [512, 512, 4, 4]),
        Workload { layers: 2, bidirectional: true, ..stacked },
        Workload { lengths: Lengths::LogNormal, ..Workload::new(Cell::Gru, [128, 256, 16, 16]) },
    ]
}

/// DeepBench's layers have as many inputs as units. Some of its larger GRU rows come with one batch
/// only; inference repeats the shapes with 1, 2 and 4 sequences.
fn deepbench() -> Vec<Workload> {
    let mut list = Vec::new();
    let mut add = |cell, hidden: usize, batches: &[usize], steps: usize| {
        list.extend(batches.iter().map(|b| Workload::new(cell, [hidden, hidden, *b, steps])));
    };
    for hidden in [1760, 2048, 2560] {
        add(Cell::RnnTanh, hidden, &[16, 32, 64, 128, 1, 2, 4], 50);
    }
    for hidden in [512, 1024, 2048, 4096] {
        add(Cell::Lstm, hidden, &[16, 32, 64, 128, 1, 2, 4], 25);
    }
    add(Cell::Lstm, 1536, &[8, 16, 32, 1, 2, 4], 50);
    add(Cell::Lstm, 256, &[16, 32, 64, 1, 2, 4], 150);
    for (hidden, steps) in [(2816, 1500), (2048, 750), (1536, 375), (2560, 187)] {
        add(Cell::Gru, hidden, &[32, 1, 2, 4], steps);
    }
    add(Cell::Gru, 1024, &[32, 64, 1, 2, 4], 1500);
    add(Cell::Gru, 512, &[32, 1, 2, 4], 1);
    add(Cell::RnnTanh, 32, &[1], 672);
    add(Cell::RnnTanh, 64, &[1], 96);
    add(Cell::Lstm, 768, &[16], 1024);
    list
}

fn sets() -> Vec<Workload> {
    let mut list = Vec::new();
    for batch in [256, 1024, 8192] {
        for hidden in [64, 128, 256] {
            for steps in [100, 1000] {
                for lengths in [Lengths::Full, Lengths::LogNormal] {
                    let workload = Workload::new(Cell::Lstm, [64, hidden, batch, steps]);
                    list.push(Workload { lengths, ..workload });
                }
            }
        }
    }
    list
}

fn stream() -> Vec<Workload> {
    let of = |cell, shape, kind| Workload { kind, ..Workload::new(cell, shape) };
    vec![
        of(Cell::RnnTanh, [64, 128, 1, 1], Kind::Frames),
        of(Cell::Gru, [80, 256, 1, 1], Kind::Frames),
        of(Cell::Lstm, [512, 512, 1, 1], Kind::Frames),
        of(Cell::Lstm, [64, 128, 16, 16], Kind::Batches),
        of(Cell::Gru, [128, 256, 16, 16], Kind::Batches),
    ]
}
