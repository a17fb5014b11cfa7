//! Training data: what a file holds, which task it is for, and what is held out.
//!
//! `load` gives a [`Dataset`] whose numbers are normalised; `text`, `series` and `arrays` read one
//! format each.

mod arrays;
mod series;
mod text;

use std::path::Path;

use wgpu_rnn::model::Vocabulary;
use wgpu_rnn::{InputSpec, Model};

use super::args::{Task, TrainArgs, Validate};
use super::scaling::Scaling;
use crate::data::Values;
use crate::data::read::Format;
use crate::failure::{Failure, Result, io_error, shape_error};
use crate::random::{Purpose, Random};

/// What the output of an example is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// A class, or one for each time step.
    Classes(Vec<i64>),
    /// O numbers, or O for each time step.
    Values(Vec<f32>),
}

/// A sequence with its target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Example {
    /// What the network reads.
    pub(super) input: Values,
    /// What it is to give.
    pub(super) target: Target,
}

/// One long sequence of rows, normalised: `inputs` `[N, I]`, `targets` `[N, O]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// What is read in each row.
    pub(super) inputs: Vec<f32>,
    /// What is predicted of each row.
    pub(super) targets: Vec<f32>,
    /// N.
    pub(super) rows: usize,
}

/// Data in the form that batches are made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Samples {
    /// A text as tokens, read on from batch to batch.
    Stream(Vec<u32>),
    /// A series, of which windows are taken.
    Series(Series),
    /// Sequences of their own.
    Examples(Vec<Example>),
}

/// What is measured on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    /// The data; a series starts with the rows that are known before.
    pub(super) samples: Samples,
    /// The first row of a series that counts.
    pub(super) from: usize,
}

/// Data for training.
#[derive(Clone, Debug)]
pub(super) struct Dataset {
    /// What is learnt.
    pub(super) task: Task,
    /// Dense features per time step, or 1 for tokens.
    pub(super) features: usize,
    /// Number of tokens, where the network reads tokens.
    pub(super) vocab: Option<usize>,
    /// Width of the output: classes, or numbers.
    pub(super) outputs: usize,
    /// Whether there is one target for each sequence.
    pub(super) per_sequence: bool,
    /// Texts of the tokens.
    pub(super) vocabulary: Option<Vocabulary>,
    /// Names of the inputs.
    pub(super) columns: Vec<String>,
    /// Names of the outputs.
    pub(super) names: Vec<String>,
    /// From raw numbers to normalised ones.
    pub(super) scaling: Scaling,
    /// What is learnt from.
    pub(super) train: Samples,
    /// What is held out.
    pub(super) held: Option<Held>,
    /// Tells one content of the files from another.
    pub(super) fingerprint: String,
}

impl Dataset {
    /// Describes what enters the network, with an embedding of `embedding` values for tokens.
    pub(super) fn input(&self, embedding: usize) -> InputSpec {
        match (self.vocab, embedding) {
            (None, _) => InputSpec::Dense { size: self.features },
            (Some(vocab), 0) => InputSpec::OneHot { vocab },
            (Some(vocab), size) => InputSpec::Embedding { vocab, size },
        }
    }
}

/// Reads the data of `args`; `base` is the network that training starts from, where there is one.
///
/// # Errors
/// Naming the file and what does not fit; usage for a task that the data are not for.
pub(super) fn load(args: &TrainArgs, base: Option<&Model>) -> Result<Dataset> {
    let mut dataset = match Format::of(&args.data)? {
        Format::Text => text::load(args, base)?,
        Format::Csv => series::load(args)?,
        Format::Npz => arrays::load(args)?,
        Format::Npy | Format::Jsonl => {
            return Err(Failure::usage(format!(
                "--data: expected .txt, .csv or .npz, got {}",
                args.data.display()
            )));
        }
    };
    dataset.fingerprint = fingerprint(&args.data)?;
    if let Some(Validate::File(path)) = &args.validate {
        dataset.fingerprint += &fingerprint(path)?;
    }
    Ok(dataset)
}

/// Refuses a task that the data are not for; without one, takes the first of `fits`.
fn choose_task(args: &TrainArgs, fits: &[Task], what: &str) -> Result<Task> {
    match args.task {
        None => Ok(fits[0]),
        Some(task) if fits.contains(&task) => Ok(task),
        Some(task) => {
            let names: Vec<&str> = fits.iter().map(|task| task.name()).collect();
            Err(Failure::usage(format!(
                "--task: expected {} for {what}, got {}",
                names.join(" or "),
                task.name()
            )))
        }
    }
}

/// Refuses --columns and --target for data without columns.
fn no_columns(args: &TrainArgs) -> Result<()> {
    for (option, list) in [("--columns", &args.columns), ("--target", &args.target)] {
        if !list.is_empty() {
            let message = format!("{option}: expected --data with columns (.csv) to choose from");
            return Err(Failure::usage(message));
        }
    }
    Ok(())
}

/// Counts what is held out of `total` rows, characters or sequences.
fn held_count(validate: &Validate, total: usize, what: &str) -> Result<usize> {
    let count = match validate {
        Validate::File(_) => 0,
        Validate::Count(count) => *count,
        Validate::Fraction(part) => {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a part of a count, rounded"
            )]
            let count = (total as f64 * part).round() as usize;
            count.max(1)
        }
    };
    if count >= total {
        return Err(shape_error(format!(
            "--validate: expected fewer than all {total} {what}, got {count}"
        ))
        .into());
    }
    Ok(count)
}

/// Takes `count` examples out by chance.
fn split(mut list: Vec<Example>, count: usize, seed: u64) -> (Vec<Example>, Vec<Example>) {
    let mut order: Vec<usize> = (0..list.len()).collect();
    Random::new(seed, Purpose::Split).shuffle(&mut order);
    let mut is_held = vec![false; list.len()];
    order.iter().take(count).for_each(|&index| is_held[index] = true);
    let mut flags = is_held.into_iter();
    let held = list.extract_if(.., |_| flags.next().unwrap_or(false)).collect();
    (list, held)
}

/// Tells one content of a file from another (FNV-1a of 64 bits).
fn fingerprint(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| io_error(path.display(), "read", e))?;
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(format!("{hash:016x}"))
}
