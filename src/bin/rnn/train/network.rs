//! The network that training starts from, and what its file says of it.

use wgpu_rnn::{Activation, Direction, HeadSpec, Init, LayerSpec, Model};

use super::args::{Task, TrainArgs};
use super::data::Dataset;
use crate::failure::{Failure, Result, shape_error};

/// Makes the network for `data`: with the sizes of `args`, or `base` with its weights for normalised
/// numbers.
///
/// # Errors
/// Usage for an option that the task does not allow; `Shape` when `base` does not fit the data.
pub(super) fn start(args: &TrainArgs, data: &Dataset, base: Option<&Model>) -> Result<Model> {
    let mut model = match base {
        Some(base) => {
            check_fits(base, data)?;
            data.scaling.unfold(base)?
        }
        None => draw(args, data)?,
    };
    let looks_ahead = matches!(data.task, Task::LanguageModel | Task::Forecast);
    if looks_ahead && !model.is_forward() {
        let option = if base.is_some() { "--from" } else { "--bidirectional" };
        return Err(Failure::usage(format!(
            "{option}: expected layers that read forward for {}, got one that sees what is to be \
             predicted",
            data.task.name()
        )));
    }
    let info = &mut model.info;
    info.vocabulary.clone_from(&data.vocabulary);
    info.columns.clone_from(&data.columns);
    info.outputs.clone_from(&data.names);
    info.forecast = data.task == Task::Forecast && data.columns == data.names;
    info.description = format!(
        "{} trained on {}",
        data.task.name(),
        args.data.file_name().unwrap_or_default().to_string_lossy()
    );
    info.command = command();
    Ok(model)
}

fn draw(args: &TrainArgs, data: &Dataset) -> Result<Model> {
    let network = &args.network;
    if network.embedding > 0 && data.vocab.is_none() {
        return Err(Failure::usage("--embedding: expected data of tokens to apply it to"));
    }
    let direction =
        if network.bidirectional { Direction::Bidirectional } else { Direction::Forward };
    let layer = LayerSpec::new(network.cell, network.hidden).direction(direction);
    let activation = match data.task {
        Task::Forecast | Task::Regress => Activation::None,
        _ => Activation::Softmax,
    };
    let head = HeadSpec::new(data.outputs).activation(activation);
    let head = match (data.per_sequence, network.bidirectional) {
        (false, _) => head,
        (true, false) => head.last_step(),
        (true, true) => head.final_states(),
    };
    Ok(Model::builder(data.input(network.embedding))
        .layers(network.layers, &layer)
        .head(head)
        .build(Init::PyTorch, args.seed)?)
}

fn check_fits(base: &Model, data: &Dataset) -> Result<()> {
    let spec = base.input().spec();
    let refuse = |expected: String, got: String| {
        Err(shape_error(format!("--from: expected {expected}, got {got}")).into())
    };
    match (data.vocab, spec.vocab()) {
        (Some(vocab), Some(known)) if vocab > known => {
            return refuse(format!("a network of at least {vocab} tokens"), known.to_string());
        }
        (Some(_), None) => return refuse("a network of tokens".into(), "one of numbers".into()),
        (None, Some(_)) => return refuse("a network of numbers".into(), "one of tokens".into()),
        (None, None) if spec.width() != data.features => {
            let got = spec.width().to_string();
            return refuse(format!("a network of {} features", data.features), got);
        }
        _ => {}
    }
    let outputs = base.output_size();
    let exact = matches!(data.task, Task::Forecast | Task::Regress);
    if outputs < data.outputs || exact && outputs != data.outputs {
        let bound = if exact { "" } else { "at least " };
        return refuse(
            format!("a network of {bound}{} outputs", data.outputs),
            outputs.to_string(),
        );
    }
    if base.is_per_sequence() != data.per_sequence {
        let name = |per_sequence| if per_sequence { "one for each sequence" } else { "every step" };
        let expected = format!("a network with an output for {}", name(data.per_sequence));
        return refuse(expected, name(base.is_per_sequence()).to_owned());
    }
    Ok(())
}

/// Writes the command line as a shell takes it.
fn command() -> String {
    let quoted = |word: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            return word;
        }
        format!("'{}'", word.replace('\'', "'\\''"))
    };
    let words = std::env::args_os().skip(1).map(|word| quoted(word.to_string_lossy().into_owned()));
    std::iter::once("rnn".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
