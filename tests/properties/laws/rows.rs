//! Rows of a batch do not see each other, nor what stands beyond their length.

use wgpu_rnn::Tensor;

use super::runner::{Answer, Runner, Verdict};
use crate::draw::{Case, Sequences, noise};

/// Compares the rows `rows` of `all` with a run of those rows alone.
fn rows_of(
    runner: &Runner,
    case: &Case,
    all: &Answer,
    rows: &[usize],
    part: &Answer,
    wobble: f64,
) -> Verdict {
    let what = format!("rows {rows:?}");
    let (model, sequences) = (case.model(), &case.sequences);
    let want = select(all, rows);
    runner.compare_states(&what, part, &want, wobble)?;
    let count = sequences.lengths.len();
    if model.is_per_sequence() {
        return runner.compare(
            &what,
            &part.output,
            &pick(&all.output, rows.iter().copied(), rows.len()),
            wobble,
        );
    }
    // The part has the steps of its longest row.
    let lengths: Vec<usize> = rows.iter().map(|&b| length(sequences, b)).collect();
    let steps = lengths.iter().copied().max().unwrap_or(0);
    for (at, &b) in rows.iter().enumerate() {
        for t in 0..steps {
            let there = sequences.layout.index(b, t, count, sequences.steps());
            let here = sequences.layout.index(at, t, rows.len(), steps);
            runner.compare(
                &format!("{what}: row {b}, step {t}"),
                &pick(&part.output, [here], 1),
                &pick(&all.output, [there], 1),
                wobble,
            )?;
        }
    }
    Ok(())
}

fn length(sequences: &Sequences, b: usize) -> usize {
    if sequences.ragged { sequences.lengths[b] } else { sequences.steps() }
}

/// Copies rows of the array seen as `[.., last axis]`.
pub(crate) fn pick(
    tensor: &Tensor<f64>,
    rows: impl IntoIterator<Item = usize>,
    count: usize,
) -> Tensor<f64> {
    let width = tensor.shape().last().copied().unwrap_or(1);
    let data = rows.into_iter().flat_map(|row| tensor.row(row)).copied().collect();
    Tensor::new([count, width], data).expect("whole rows")
}

/// Copies the states of rows; the output stays behind.
fn select(answer: &Answer, rows: &[usize]) -> Answer {
    let pick = |tensor: &Tensor<f64>| {
        let [directions, batch, width] = tensor.shape().try_into().expect("three axes");
        let places = (0..directions).flat_map(|d| rows.iter().map(move |b| d * batch + b));
        let data = places.flat_map(|row| tensor.row(row)).copied().collect();
        Tensor::new([directions, rows.len(), width], data).expect("whole rows")
    };
    Answer {
        output: Tensor::default(),
        top: None,
        h: answer.h.iter().map(pick).collect(),
        c: answer.c.iter().map(|c| c.as_ref().map(pick)).collect(),
    }
}

/// A batch of n gives what n batches of one give.
pub(crate) fn equals_its_rows(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let all = runner.run(&model, &batch, &case.options);
    for b in 0..batch.batch_size() {
        let alone = runner.run(&model, &batch.select(&[b]), &case.options);
        rows_of(runner, case, &all, &[b], &alone, wobble)?;
    }
    Ok(())
}

/// Permuted rows give permuted results.
pub(crate) fn permutes_with_its_rows(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let mut order: Vec<usize> = (0..batch.batch_size()).collect();
    order.sort_by(|a, b| {
        let key = |row: usize| noise(case.sequences.seed ^ 0x0DE4, row);
        key(*a).total_cmp(&key(*b))
    });
    let all = runner.run(&model, &batch, &case.options);
    let permuted = runner.run(&model, &batch.select(&order), &case.options);
    rows_of(runner, case, &all, &order, &permuted, wobble)
}

/// What stands beyond a row's length changes nothing, NaN included.
pub(crate) fn ignores_padding(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let clean = runner.run(&model, &case.batch(&model), &case.options);
    let dirty = case.sequences.dirty_batch(&model);
    let dirty = runner.run(&model, &dirty, &case.options);
    runner.compare_all("padding", &dirty, &clean, wobble)
}
