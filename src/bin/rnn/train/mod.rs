//! `rnn train`: a network from a data file.
//!
//! `args` says what can be asked for, `data` reads, `scaling` normalises, `network` makes what training
//! starts from, `batches` cuts, `fit` is the loop, `measure` and `baseline` judge, `checkpoint`, `log` and
//! `curve` write, `fault` finds where numbers stopped being finite.

mod args;
mod baseline;
mod batches;
mod checkpoint;
mod curve;
mod data;
mod fault;
mod fit;
mod log;
mod measure;
mod network;
mod scaling;

pub(crate) use args::TrainArgs;

use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};
use wgpu_rnn::{Engine, Model, Strategy, Trainer};

use self::args::Task;
use self::batches::{Batches, Form};
use self::checkpoint::{Place, Saved};
use self::data::Dataset;
use self::fit::{Course, Fit};
use self::log::{Log, number};
use self::measure::{Measured, Probe};
use crate::data::Draft;
use crate::describe;
use crate::failure::{Failure, Result};
use crate::plot;
use crate::report::{Reporter, count};
use crate::table::{Align, Table, bytes};

/// Runs the subcommand.
///
/// # Errors
/// Usage for options that contradict each other or the data; data, device and I/O failures; `Weights`
/// where numbers are no longer finite.
pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let reporter = Reporter::new(args.quiet);
    let saved = args.resume.as_deref().map(Saved::read).transpose()?;
    // A resumed run takes the vocabulary from its checkpoint, whose network is normalised already.
    let from = match (&saved, &args.network.from) {
        (None, Some(path)) => Some(Model::load(path)?),
        _ => None,
    };
    let base = saved.as_ref().map(|saved| &saved.training.model).or(from.as_ref());
    let data = data::load(args, base)?;
    let settings = args.settings(data.task);
    if let (Some(saved), Some(folder)) = (&saved, &args.resume) {
        check_alike(saved, &settings, &data, folder)?;
    }
    let start = match &saved {
        Some(saved) => saved.training.model.clone(),
        None => network::start(args, &data, from.as_ref())?,
    };
    if args.network.dropout > 0.0 && start.layers().len() < 2 {
        return Err(Failure::usage(
            "--dropout: expected at least 2 layers to drop values between, got 1",
        ));
    }
    for path in [Some(&args.output), args.plot.as_ref()].into_iter().flatten() {
        // Learns whether it can be written before any work.
        drop(Draft::create(path)?);
    }
    learn(args, &data, &start, (saved, settings), reporter)
}

/// Opens the device and trains from where `saved` is, or from the beginning.
fn learn(
    args: &TrainArgs,
    data: &Dataset,
    start: &Model,
    (saved, settings): (Option<Saved>, Map<String, Value>),
    mut reporter: Reporter,
) -> Result<()> {
    if let Some(folder) =
        args.folder().filter(|folder| saved.is_none() && checkpoint::is_in(folder))
    {
        reporter.warn(&format!(
            "--checkpoint: the one in {} is replaced at the end of the first epoch; --resume {0} goes on with it",
            folder.display()
        ));
    }
    let folder = args.folder().map(checkpoint::prepare).transpose()?;
    let engine = args.device.open(Strategy::Auto, &reporter)?;
    introduce(args, data, start, &reporter);
    let form = form(args, data, start);
    let batches = Batches::new(&data.train, form)?;
    let done = saved.as_ref().map(|saved| saved.place.epoch);
    let course = course(args, data, (settings, done), &batches, &engine, folder)?;
    let log = Log::open(args.log.as_deref(), saved.is_some())?;
    let options = args.trainer(data.task, batches.carries())?;
    let mut trainer = match &saved {
        Some(saved) => engine.resume(&saved.training, options.clone())?,
        None => engine.trainer(start, options.clone())?,
    };
    note_memory(&trainer, &batches, &reporter)?;
    if saved.as_ref().is_some_and(|saved| saved.place.batch == 0) {
        // An epoch starts from zero.
        trainer.reset_states();
    }
    let kept = trainer.checkpoint()?;
    let probe = data.held.as_ref().map(|held| Probe::new(held, form)).transpose()?;
    let (place, best) = match saved {
        Some(saved) => {
            note_device(&saved, &engine, &reporter);
            (saved.place, saved.best)
        }
        None => (Place { best_loss: f64::INFINITY, ..Place::default() }, None),
    };
    let mut fit = Fit {
        course,
        engine: &engine,
        trainer,
        start,
        batches,
        probe,
        place,
        best,
        log,
        reporter: &mut reporter,
        options,
        kept,
        since: Vec::new(),
        well: 0,
        pace: (Instant::now(), 0),
    };
    finish(args, data, &mut fit)
}

/// Trains, and writes what came of it.
fn finish(args: &TrainArgs, data: &Dataset, fit: &mut Fit<'_>) -> Result<()> {
    let begun = fit.place.step;
    let trained = fit.run();
    let elapsed = fit.reporter.stop();
    let model = trained?;
    let measured = match &fit.probe {
        Some(probe) => Some(probe.measure(fit.engine, &model)?),
        None => None,
    };
    // The picture before the model: whoever finds the model has everything.
    if let Some(path) = &args.plot {
        let title = format!("{}: {}", data.task.name(), args.data.display());
        let line = describe::model_line(&model);
        let picture = curve::draw(&fit.place.points, data.task, &title, &line);
        plot::save(&picture, Draft::create(path)?)?;
    }
    let folded = data.scaling.fold(&model)?;
    // What the file gives for raw numbers, which f32 may round away.
    let written = match (&data.held, data.scaling.output.is_some()) {
        (Some(held), true) => {
            let probe = Probe::new(&data.scaling.raw(held), form(args, data, fit.start))?;
            Some(probe.measure(fit.engine, &folded)?)
        }
        _ => None,
    };
    folded.save(&args.output)?;
    let mut end = json!({
        "event": "end",
        "step": fit.place.step,
        "seconds": number(elapsed.as_secs_f64()),
        "best_epoch": fit.place.best_epoch,
    });
    if let Some(measured) = &measured {
        end["validation"] = number(measured.loss);
        end["accuracy"] = json!(measured.accuracy);
    }
    if let (Some(measured), Some(written)) = (&measured, &written) {
        report(data, (measured, written), &mut end, fit.reporter);
    }
    fit.log.line(&end)?;
    let steps = count(fit.place.step - begun, "step");
    let seconds = elapsed.as_secs_f64();
    fit.reporter.note(&format!("{steps} in {seconds:.1} s; wrote {}", args.output.display()));
    Ok(())
}

/// Prints how numbers that were held out are predicted by the network that is `written`, beside simpler ways;
/// `measured` is the network for normalised numbers.
fn report(
    data: &Dataset,
    (measured, written): (&Measured, &Measured),
    end: &mut Value,
    reporter: &Reporter,
) {
    let Some(scale) = &data.scaling.output else { return };
    let raw = |normalised: Vec<f64>| -> Vec<f64> {
        normalised.iter().enumerate().map(|(place, v)| v * scale.deviation(place)).collect()
    };
    let mut rows = vec![("this network".to_owned(), written.rmse.clone(), written.mae.clone())];
    if let (Task::Forecast, Some(held)) = (data.task, &data.held) {
        let list = baseline::measure(&data.train, held).into_iter();
        rows.extend(list.map(|one| (one.name, raw(one.rmse), raw(one.mae))));
    }
    let pairs = || raw(measured.rmse.clone()).into_iter().zip(&written.rmse).zip(&data.names);
    // A tenth more comes from nowhere but rounding.
    if let Some(((before, after), name)) =
        pairs().find(|((before, after), _)| **after > 1.1 * before)
    {
        reporter.warn(&format!(
            "{name}: the network errs by {before:.4} on normalised numbers and by {after:.4} on raw ones, which \
             f32 rounds: take a constant off them, or divide them, before training"
        ));
    }
    let mut table = Table::new([
        ("held out", Align::Left),
        ("output", Align::Left),
        ("RMSE", Align::Right),
        ("MAE", Align::Right),
    ]);
    let mut list = Vec::new();
    for (name, rmse, mae) in rows {
        for (place, (rmse, mae)) in rmse.iter().zip(&mae).enumerate() {
            let output = data.names.get(place).cloned().unwrap_or_else(|| format!("y{place}"));
            list.push(json!({
                "by": name, "output": output, "rmse": number(*rmse), "mae": number(*mae),
            }));
            table.row([name.clone(), output, format!("{rmse:.4}"), format!("{mae:.4}")]);
        }
    }
    end["errors"] = Value::Array(list);
    reporter.note(table.render("").trim_end());
}

fn introduce(args: &TrainArgs, data: &Dataset, start: &Model, reporter: &Reporter) {
    let guessed =
        if args.task.is_none() { " (guessed from the data; --task names another)" } else { "" };
    reporter.note(&format!("task: {}{guessed}", data.task.name()));
    reporter.note(&format!("network: {}", describe::model_line(start)));
}

/// Says what a step takes on the device, and what --recompute has to do with it.
fn note_memory(trainer: &Trainer, batches: &Batches<'_>, reporter: &Reporter) -> Result<()> {
    let order = batches.order(0);
    let Some(pick) = order.first() else { return Ok(()) };
    let (batch, _) = batches.make(pick)?;
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let memory = trainer.memory(rows, steps.max(1))?;
    let mut line = format!(
        "memory: {} for a step of {rows} × {steps} and {} for parameters, gradients and moments",
        bytes(memory.step),
        bytes(memory.parameters)
    );
    if memory.kept > 0 {
        let kept = bytes(memory.kept);
        line += &format!(
            "; {kept} keep what W_hh gave at each time step, which --recompute computes again"
        );
    }
    if memory.again > 0 {
        let again = bytes(memory.again);
        line += &format!("; {again} take what W_hh gave at each time step, computed again");
    }
    reporter.note(&line);
    Ok(())
}

fn form(args: &TrainArgs, data: &Dataset, start: &Model) -> Form {
    Form {
        batch_size: args.batch_size,
        seq_len: args.seq_len(),
        features: data.features,
        vocab: data.vocab,
        outputs: start.output_size(),
        per_sequence: data.per_sequence,
        seed: args.seed,
    }
}

fn course(
    args: &TrainArgs,
    data: &Dataset,
    (settings, done): (Map<String, Value>, Option<u64>),
    batches: &Batches<'_>,
    engine: &Engine,
    folder: Option<std::path::PathBuf>,
) -> Result<Course> {
    let whole = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let epochs = whole(args.epochs);
    if let Some(done) = done.filter(|done| *done > epochs) {
        return Err(Failure::usage(format!(
            "--epochs: expected at least the {done} that the checkpoint has behind it, got {epochs}"
        )));
    }
    let total = epochs.saturating_mul(whole(batches.per_epoch()));
    Ok(Course {
        task: data.task,
        epochs,
        learning_rate: args.optimizer.lr,
        schedule: args.optimizer.schedule(total),
        total,
        log_every: whole(args.log_every),
        checkpoint_every: args.checkpoint_every.map(whole),
        patience: args.early_stop.map(whole),
        folder,
        settings,
        fingerprint: data.fingerprint.clone(),
        device: crate::device::describe(engine.info()),
    })
}

/// Refuses to go on with other options or data than the checkpoint's.
fn check_alike(
    saved: &Saved,
    settings: &Map<String, Value>,
    data: &Dataset,
    folder: &Path,
) -> Result<()> {
    let absent = |name: &&String| !settings.contains_key(*name) && *name != "checkpoint-every";
    let names = settings.keys().chain(saved.settings.keys().filter(absent));
    for name in names {
        let value = settings.get(name).unwrap_or(&Value::Null);
        let known = saved.settings.get(name).unwrap_or(&Value::Null);
        if known != value {
            let text = |value: &Value| match value {
                Value::String(text) => text.clone(),
                Value::Null => "none".to_owned(),
                other => other.to_string(),
            };
            return Err(Failure::usage(format!(
                "--{name}: expected {} as in the checkpoint in {}, got {}",
                text(known),
                folder.display(),
                text(value)
            )));
        }
    }
    if saved.fingerprint != data.fingerprint {
        return Err(Failure::usage(format!(
            "--data: expected the bytes that the checkpoint in {} was trained on, got others",
            folder.display()
        )));
    }
    Ok(())
}

fn note_device(saved: &Saved, engine: &Engine, reporter: &Reporter) {
    let place = &saved.place;
    reporter.note(&format!(
        "resumed in epoch {}, after {}",
        place.epoch + 1,
        count(place.step, "step")
    ));
    let device = crate::device::describe(engine.info());
    if device != saved.device {
        reporter.warn(&format!(
            "the checkpoint is of {}: {device} may round differently, so that the weights may not \
             be those of a run without the stop",
            saved.device
        ));
    }
}
