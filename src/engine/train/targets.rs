//! What a training step uploads beside a run: targets, scales, places of tokens.

use super::super::part::Part;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::plan::{Plan, TrainPlan};
use crate::train::{Loss, Targets};

/// Targets, scales and places of tokens, in the order of the device's rows.
pub(super) fn uploads(
    model: &Model,
    loss: &Loss,
    batch: &Batch,
    targets: &Targets,
    part: &Part,
    plan: &Plan,
) -> Result<Vec<(usize, Vec<u8>)>> {
    let missing = || Error::device("training: expected a plan for it");
    let train: &TrainPlan = plan.train.as_ref().ok_or_else(missing)?;
    let denominator = loss.denominator(model, batch, targets);
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
    let scale = (1.0 / denominator) as f32;
    let mut scales = vec![scale, 0.0, 0.0, 0.0];
    match loss {
        Loss::CrossEntropy(options) => {
            scales[1] = options.label_smoothing;
            scales.extend(options.class_weights.iter().flatten());
        }
        Loss::Huber { delta } => scales[2] = *delta,
        #[expect(clippy::cast_precision_loss, reason = "classes are below 2^24")]
        Loss::Ctc { blank } => scales[3] = *blank as f32,
        _ => {}
    }
    let bytes = |values: &[u32]| bytemuck::cast_slice(values).to_vec();
    let words = match targets {
        Targets::Labels(labels) => label_words(labels, part),
        _ => target_words(model, loss, batch, targets, part),
    };
    let mut more = vec![
        (train.targets, bytes(&words)),
        (train.scales, bytemuck::cast_slice(&scales).to_vec()),
    ];
    if let (Some(id), Some(vocab)) = (train.places, model.input().spec().vocab()) {
        more.push((id, bytes(&places_of_tokens(batch, part, vocab))));
    }
    Ok(more)
}

/// Class ids or bits of values for every row that the loss sees, in the device's order.
fn target_words(
    model: &Model,
    loss: &Loss,
    batch: &Batch,
    targets: &Targets,
    part: &Part,
) -> Vec<u32> {
    let is_per_sequence = model.is_per_sequence();
    let width = if matches!(targets, Targets::Classes(_)) { 1 } else { model.output_size() };
    let rows = if is_per_sequence { 1 } else { part.steps } * part.rows.len();
    let ignored = match loss {
        Loss::CrossEntropy(options) => options.ignore_index,
        _ => None,
    };
    let mut words = vec![0u32; rows * width];
    let mut put = |at: usize, index: usize| match targets {
        Targets::Classes(classes) => {
            let class = classes.data()[index];
            let is_ignored = ignored == Some(class);
            words[at] =
                if is_ignored { u32::MAX } else { u32::try_from(class).unwrap_or(u32::MAX) };
        }
        Targets::Values(values) => {
            let row = values.row(index).iter().map(|v| v.to_bits());
            words[at * width..][..width].iter_mut().zip(row).for_each(|(word, bits)| *word = bits);
        }
        Targets::Labels(_) => {}
    };
    if is_per_sequence {
        for (column, (&b, &len)) in part.rows.iter().zip(&part.lengths).enumerate() {
            if len > 0 {
                put(column, b);
            }
        }
    } else {
        part.for_each_step(|at, b, t| put(at, b * batch.steps() + t));
    }
    words
}

/// B + 1 starts, then the labels of every sequence in the device's order; no more than one beyond what its steps
/// can hold, which is as impossible as any more.
fn label_words(labels: &[Vec<u32>], part: &Part) -> Vec<u32> {
    let kept = part.rows.iter().zip(&part.lengths).map(|(&b, &len)| {
        let most = usize::try_from(len).unwrap_or(0) + 1;
        if len == 0 { &[][..] } else { &labels[b][..labels[b].len().min(most)] }
    });
    let mut words = vec![0];
    let mut all = Vec::new();
    for list in kept {
        all.extend_from_slice(list);
        words.push(u32::try_from(all.len()).unwrap_or(u32::MAX));
    }
    words.extend(all);
    words
}

/// V + 1 starts, then the places t·B + b of all valid steps, sorted by token.
fn places_of_tokens(batch: &Batch, part: &Part, vocab: usize) -> Vec<u32> {
    let mut by_token: Vec<(u32, u32)> = Vec::new();
    part.for_each_step(|at, b, t| {
        by_token.push((batch.token(b, t).unwrap_or(0), u32::try_from(at).unwrap_or(0)));
    });
    by_token.sort_unstable();
    let mut words = vec![0u32; vocab + 1];
    for (token, _) in &by_token {
        if let Some(next) = usize::try_from(*token).ok().and_then(|token| words.get_mut(token + 1))
        {
            *next += 1;
        }
    }
    for token in 0..vocab {
        words[token + 1] += words[token];
    }
    words.extend(by_token.into_iter().map(|(_, place)| place));
    words
}
