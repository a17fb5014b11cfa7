//! `.npz`: sequences in the array `input`, their targets in `target`.

use std::fs::File;
use std::path::Path;

use super::{Dataset, Example, Held, Samples, Target, choose_task, held_count, no_columns, split};
use crate::data::Values;
use crate::data::array::Array;
use crate::data::read::npz::Archive;
use crate::failure::{Failure, Result, io_error, shape_error};
use crate::train::args::{IGNORED, Task, TrainArgs, Validate};
use crate::train::scaling::{Affine, Scaling};

/// What a file holds.
struct Arrays {
    examples: Vec<Example>,
    features: usize,
    /// The largest token, where the input is tokens.
    top_token: Option<u32>,
    /// Width of targets that are numbers.
    width: usize,
    /// The largest class.
    top_class: Option<i64>,
    per_sequence: bool,
    tasks: Vec<Task>,
}

/// Reads the sequences of `args`.
///
/// # Errors
/// Naming file and array.
pub(super) fn load(args: &TrainArgs) -> Result<Dataset> {
    no_columns(args)?;
    let first = read(&args.data, args.task)?;
    let task = choose_task(args, &first.tasks, "these arrays")?;
    let second = match &args.validate {
        Some(Validate::File(path)) => Some(read_alike(path, args.task, &first)?),
        _ => None,
    };
    let top = |of: fn(&Arrays) -> Option<i64>| of(&first).max(second.as_ref().and_then(of));
    let count = |top: i64| usize::try_from(top).unwrap_or(0) + 1;
    let vocab = top(|arrays| arrays.top_token.map(i64::from)).map(count);
    let outputs = match task {
        Task::LanguageModel => vocab.unwrap_or(1),
        Task::Regress => first.width,
        _ => top(|arrays| arrays.top_class).map_or(1, count),
    };
    let (features, per_sequence) = (first.features, first.per_sequence);
    let (train, held) = match (&args.validate, second) {
        (_, Some(second)) => (first.examples, Some(second.examples)),
        (Some(validate), None) => {
            let count = held_count(validate, first.examples.len(), "sequences")?;
            let (train, held) = split(first.examples, count, args.seed);
            (train, Some(held))
        }
        (None, None) => (first.examples, None),
    };
    let mut dataset = Dataset {
        task,
        features,
        vocab,
        outputs,
        per_sequence,
        vocabulary: None,
        columns: Vec::new(),
        names: Vec::new(),
        scaling: scaling(&train, features, outputs),
        train: Samples::Examples(train),
        held: held.map(|list| Held { samples: Samples::Examples(list), from: 0 }),
        fingerprint: String::new(),
    };
    normalise(&mut dataset);
    Ok(dataset)
}

/// Reads a second file, of the same kind as the first.
fn read_alike(path: &Path, task: Option<Task>, first: &Arrays) -> Result<Arrays> {
    let second = read(path, task)?;
    let kind = |arrays: &Arrays| {
        let tokens = arrays.top_token.is_some();
        (arrays.tasks.clone(), arrays.features, tokens, arrays.width, arrays.per_sequence)
    };
    if kind(&second) != kind(first) {
        let message = format!(
            "{}: expected arrays of the same kinds and widths as --data, got others",
            path.display()
        );
        return Err(shape_error(message).into());
    }
    Ok(second)
}

fn scaling(train: &[Example], features: usize, outputs: usize) -> Scaling {
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for example in train {
        if let Values::Dense(values) = &example.input {
            inputs.extend_from_slice(values);
        }
        if let Target::Values(values) = &example.target {
            targets.extend_from_slice(values);
        }
    }
    let measure =
        |values: &[f32], width| (!values.is_empty()).then(|| Affine::measure(values, width));
    Scaling { input: measure(&inputs, features), output: measure(&targets, outputs) }
}

fn normalise(dataset: &mut Dataset) {
    let scaling = dataset.scaling.clone();
    let held = dataset.held.as_mut().map(|held| &mut held.samples);
    for samples in std::iter::once(&mut dataset.train).chain(held) {
        let Samples::Examples(list) = samples else { continue };
        for example in list {
            if let Values::Dense(values) = &mut example.input {
                *values = scaling.inputs(values);
            }
            if let Target::Values(values) = &mut example.target {
                *values = scaling.outputs(values);
            }
        }
    }
}

/// Reads a file; `task` is the one that was asked for.
fn read(path: &Path, task: Option<Task>) -> Result<Arrays> {
    let in_file = |e: Failure| match e {
        Failure::Failed(error) => Failure::Failed(error.in_context(path.display())),
        other => other,
    };
    let file = File::open(path).map_err(|e| io_error(path.display(), "read", e))?;
    Archive::open(file)
        .map_err(Failure::from)
        .and_then(|archive| parse(archive, task))
        .map_err(in_file)
}

fn parse(mut archive: Archive, task: Option<Task>) -> Result<Arrays> {
    let input = archive.input()?;
    let target = archive.array("target")?;
    let (count, steps) = match input.shape() {
        [n, t] | [n, t, _] => (*n, *t),
        other => {
            return Err(shape_error(format!(
                "input: expected [N, T, I] numbers or [N, T] tokens, got {other:?}"
            ))
            .into());
        }
    };
    let lengths = lengths(&mut archive, count, steps)?;
    let inputs = Inputs::of(&input, (steps, &lengths))?;
    let features = inputs.features;
    let mut arrays = Arrays {
        examples: Vec::new(),
        features,
        top_token: inputs.tokens.iter().flatten().copied().max(),
        width: 0,
        top_class: None,
        per_sequence: false,
        tasks: vec![match task {
            Some(Task::Regress) if target.is_some() => Task::Regress,
            _ => Task::LanguageModel,
        }],
    };
    let sequences = inputs.cut(steps, &lengths);
    let targets = match &target {
        Some(target) => targets(target, (count, steps), &lengths, &mut arrays)?,
        None => next_tokens(&sequences)?,
    };
    // A language model reads all but the last token.
    let cut = |input: Values| match input {
        Values::Tokens(mut tokens) if target.is_none() => {
            tokens.pop();
            Values::Tokens(tokens)
        }
        other => other,
    };
    let pairs = sequences.into_iter().zip(targets);
    arrays.examples = pairs.map(|(input, target)| Example { input: cut(input), target }).collect();
    if arrays.examples.is_empty() {
        return Err(shape_error("input: expected at least 1 sequence, got none").into());
    }
    Ok(arrays)
}

fn lengths(archive: &mut Archive, count: usize, steps: usize) -> Result<Vec<usize>> {
    let Some(given) = archive.lengths()? else { return Ok(vec![steps; count]) };
    if given.len() != count {
        let got = given.len();
        let message = format!("lengths: expected one for each sequence = {count}, got {got}");
        return Err(shape_error(message).into());
    }
    let length = |(row, length): (usize, &i128)| {
        usize::try_from(*length).ok().filter(|length| *length <= steps).ok_or_else(|| {
            shape_error(format!("lengths: expected 0 to T = {steps}, got {length} in row {row}"))
        })
    };
    Ok(given.iter().enumerate().map(length).collect::<wgpu_rnn::Result<_>>()?)
}

/// The array `input` in memory.
struct Inputs {
    dense: Vec<f32>,
    tokens: Option<Vec<u32>>,
    features: usize,
}

impl Inputs {
    /// Takes the array, of which only the steps within `lengths` are looked at.
    fn of(array: &Array, (steps, lengths): (usize, &[usize])) -> Result<Self> {
        let features = array.shape().get(2).copied().unwrap_or(1);
        let counts = |at: usize| {
            let row = at / features;
            row % steps < lengths[row / steps]
        };
        if array.is_float() || array.shape().len() == 3 {
            let dense = numbers(array, "input", counts)?;
            return Ok(Self { dense, tokens: None, features });
        }
        let token = |(at, id): (usize, i128)| {
            let id = if counts(at) { id } else { 0 };
            u32::try_from(id).ok().filter(|id| *id < 1 << 24).ok_or_else(|| {
                shape_error(format!("input: expected token ids from 0, got {id} at place {at}"))
            })
        };
        let ids = array.to_whole().into_iter().enumerate();
        let tokens = ids.map(token).collect::<wgpu_rnn::Result<Vec<u32>>>()?;
        Ok(Self { dense: Vec::new(), tokens: Some(tokens), features: 1 })
    }

    fn cut(&self, steps: usize, lengths: &[usize]) -> Vec<Values> {
        let one = |(n, length): (usize, &usize)| match &self.tokens {
            Some(tokens) => Values::Tokens(tokens[n * steps..][..*length].to_vec()),
            None => {
                let from = n * steps * self.features;
                Values::Dense(self.dense[from..][..length * self.features].to_vec())
            }
        };
        lengths.iter().enumerate().map(one).collect()
    }
}

/// Copies an array of any numbers out as floats; those at places that count must be finite.
fn numbers(array: &Array, name: &str, counts: impl Fn(usize) -> bool) -> Result<Vec<f32>> {
    let values = if array.is_float() {
        array.to_tensor().map_err(|e| e.in_context(name))?.into_data()
    } else {
        #[expect(clippy::cast_precision_loss, reason = "a network computes in f32")]
        let values = array.to_whole().into_iter().map(|value| value as f32).collect();
        values
    };
    match values.iter().enumerate().position(|(at, value)| !value.is_finite() && counts(at)) {
        Some(at) => Err(shape_error(format!(
            "{name}: expected finite numbers to learn from, got {} at place {at} (row-major)",
            values[at]
        ))
        .into()),
        None => Ok(values),
    }
}

/// Cuts the array `target`, and notes in `arrays` what it is.
fn targets(
    array: &Array,
    (count, steps): (usize, usize),
    lengths: &[usize],
    arrays: &mut Arrays,
) -> Result<Vec<Target>> {
    let shape = array.shape();
    // Whole numbers may be numbers too.
    let is_float = array.is_float() || arrays.tasks == [Task::Regress];
    arrays.per_sequence = if is_float { shape.len() < 3 } else { shape.len() == 1 };
    let fits = match (is_float, shape) {
        (true, [n] | [n, _]) | (false, [n]) => *n == count,
        (true, [n, t, _]) | (false, [n, t]) => (*n, *t) == (count, steps),
        _ => false,
    };
    if !fits {
        return Err(shape_error(format!(
            "target: expected integers [{count}] or [{count}, {steps}], or floats [{count}, O] or \
             [{count}, {steps}, O], got {} {shape:?}",
            array.type_name()
        ))
        .into());
    }
    let rows = |n: usize| if arrays.per_sequence { (n, 1) } else { (n * steps, lengths[n]) };
    if is_float {
        arrays.tasks = vec![Task::Regress];
        let width = if shape.len() == 1 { 1 } else { shape[shape.len() - 1] };
        arrays.width = width;
        let counts = |at: usize| {
            let row = at / width;
            arrays.per_sequence || row % steps < lengths[row / steps]
        };
        let values = numbers(array, "target", counts)?;
        let cut = |(first, len): (usize, usize)| values[first * width..][..len * width].to_vec();
        return Ok((0..count).map(|n| Target::Values(cut(rows(n)))).collect());
    }
    arrays.tasks = vec![if arrays.per_sequence { Task::Classify } else { Task::Tag }];
    let ids = array.to_whole();
    let class = |at: usize| {
        let fits = |id: &i64| *id == IGNORED || (0..1 << 24).contains(id);
        let id = i64::try_from(ids[at]).ok().filter(fits);
        id.ok_or_else(|| {
            let got = ids[at];
            shape_error(format!(
                "target: expected classes from 0, or {IGNORED} for what does not count, got {got} at \
                 place {at}"
            ))
        })
    };
    // What stands beyond a sequence's length is not read.
    let cut = |(first, len): (usize, usize)| {
        (first..first + len).map(class).collect::<wgpu_rnn::Result<Vec<i64>>>()
    };
    let lists = (0..count).map(|n| cut(rows(n))).collect::<wgpu_rnn::Result<Vec<_>>>()?;
    arrays.top_class = lists.iter().flatten().copied().max().filter(|top| *top != IGNORED);
    if arrays.top_class.is_none() && lists.iter().any(|list| !list.is_empty()) {
        let message = format!("target: expected a class that counts, got {IGNORED} everywhere");
        return Err(shape_error(message).into());
    }
    Ok(lists.into_iter().map(Target::Classes).collect())
}

/// The target of every token is the next one.
fn next_tokens(sequences: &[Values]) -> Result<Vec<Target>> {
    let next = |sequence: &Values| match sequence {
        Values::Tokens(tokens) => {
            let rest = tokens.iter().skip(1).map(|id| i64::from(*id));
            Ok(Target::Classes(rest.collect()))
        }
        Values::Dense(_) => {
            Err(shape_error("npz: expected an array named target beside numbers, got none").into())
        }
    };
    sequences.iter().map(next).collect()
}
