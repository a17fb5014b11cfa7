//! `.txt`: a text as one stream of tokens, its characters as the vocabulary.

use std::collections::BTreeSet;
use std::path::Path;

use wgpu_rnn::Model;
use wgpu_rnn::model::{Unit, Vocabulary};

use super::{Dataset, Held, Samples, choose_task, held_count, no_columns};
use crate::data::read::text::vocabulary as wanted;
use crate::failure::{Result, format_error, io_error, shape_error};
use crate::train::args::{Task, TrainArgs, Validate};
use crate::train::scaling::Scaling;

/// Reads the text of `args`.
///
/// # Errors
/// Naming the file; `Shape` for a character that the vocabulary of `base` lacks.
pub(super) fn load(args: &TrainArgs, base: Option<&Model>) -> Result<Dataset> {
    let task = choose_task(args, &[Task::LanguageModel], "a text")?;
    no_columns(args)?;
    let text = read(&args.data)?;
    let file = match &args.validate {
        Some(Validate::File(path)) => Some((path.as_path(), read(path)?)),
        _ => None,
    };
    let vocabulary = match base {
        Some(model) => wanted(model.info.vocabulary.as_ref())?.clone(),
        None => {
            let more = file.iter().flat_map(|(_, text)| text.chars());
            characters(text.chars().chain(more))?
        }
    };
    let encode =
        |path: &Path, text: &str| vocabulary.encode(text).map_err(|e| e.in_context(path.display()));
    let mut train = encode(&args.data, &text)?;
    let held = match (&args.validate, file) {
        (_, Some((path, text))) => Some(encode(path, &text)?),
        (Some(validate), None) => {
            let count = held_count(validate, train.len(), "characters")?;
            Some(train.split_off(train.len() - count))
        }
        (None, None) => None,
    };
    for tokens in std::iter::once(&train).chain(&held) {
        if tokens.len() < 2 {
            let got = tokens.len();
            return Err(
                shape_error(format!("text: expected at least 2 characters, got {got}")).into()
            );
        }
    }
    let vocab = base.and_then(|model| model.input().spec().vocab());
    let vocab = vocab.unwrap_or(vocabulary.tokens().len());
    Ok(Dataset {
        task,
        features: 1,
        vocab: Some(vocab),
        outputs: vocab,
        per_sequence: false,
        vocabulary: Some(vocabulary),
        columns: Vec::new(),
        names: Vec::new(),
        scaling: Scaling::default(),
        train: Samples::Stream(train),
        held: held.map(|tokens| Held { samples: Samples::Stream(tokens), from: 0 }),
        fingerprint: String::new(),
    })
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| io_error(path.display(), "read", e))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        format_error(format!("{}: expected UTF-8 text: {e}", path.display())).with_source(e)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}

/// Makes a vocabulary of all characters, in their order.
fn characters(text: impl Iterator<Item = char>) -> Result<Vocabulary> {
    let set: BTreeSet<char> = text.collect();
    Ok(Vocabulary::new(Unit::Char, set.into_iter().map(String::from).collect())?)
}
