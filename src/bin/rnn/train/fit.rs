//! The loop: steps, a look at the loss every few of them, a measurement and a checkpoint every epoch.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Map, Value, json};
use wgpu_rnn::train::Schedule;
use wgpu_rnn::{Checkpoint, Engine, Model, Trainer, TrainerOptions};

use super::args::Task;
use super::batches::{Batches, Pick};
use super::checkpoint::{self, Place, Saved};
use super::curve::Point;
use super::fault::Replay;
use super::log::{Log, number};
use super::measure::{self, Measured, Probe};
use crate::failure::Result;
use crate::report::Reporter;

/// How a run goes.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// What is learnt.
    pub(super) task: Task,
    /// Epochs in all.
    pub(super) epochs: u64,
    /// The largest learning rate.
    pub(super) learning_rate: f32,
    /// What it is multiplied by.
    pub(super) schedule: Schedule,
    /// Steps in all.
    pub(super) total: u64,
    /// Steps between two looks at the loss.
    pub(super) log_every: u64,
    /// Steps between two checkpoints within an epoch.
    pub(super) checkpoint_every: Option<u64>,
    /// Epochs to wait for a lower validation loss.
    pub(super) patience: Option<u64>,
    /// The folder of checkpoints.
    pub(super) folder: Option<PathBuf>,
    /// What a checkpoint says of the run.
    pub(super) settings: Map<String, Value>,
    /// Tells the data from others.
    pub(super) fingerprint: String,
    /// The device.
    pub(super) device: String,
}

/// A run under way.
pub(super) struct Fit<'a> {
    /// How it goes.
    pub(super) course: Course,
    /// The device, for measurements.
    pub(super) engine: &'a Engine,
    /// What is trained.
    pub(super) trainer: Trainer,
    /// The texts of the network.
    pub(super) start: &'a Model,
    /// What is learnt from.
    pub(super) batches: Batches<'a>,
    /// What is held out.
    pub(super) probe: Option<Probe>,
    /// Where the run is.
    pub(super) place: Place,
    /// The parameters with the lowest validation loss.
    pub(super) best: Option<Model>,
    /// The log.
    pub(super) log: Log,
    /// The voice.
    pub(super) reporter: &'a mut Reporter,
    /// How steps are taken.
    pub(super) options: TrainerOptions,
    /// The last state that was kept.
    pub(super) kept: Checkpoint,
    /// The steps since: number, learning rate, batch.
    pub(super) since: Vec<(u64, f32, Pick)>,
    /// How many of them the last look found well.
    pub(super) well: usize,
    /// When the clock was started, and time steps since.
    pub(super) pace: (Instant, u64),
}

impl Fit<'_> {
    /// Trains to the end, and returns the network that is to be kept: the last, or with early stopping
    /// the best.
    ///
    /// # Errors
    /// `Weights` where numbers are no longer finite; what steps and checkpoints give.
    pub(super) fn run(&mut self) -> Result<Model> {
        let taken = self.place.step;
        self.reporter.start_work(self.course.total.saturating_sub(taken));
        self.pace = (Instant::now(), 0);
        let mut stops = self.is_over();
        while !stops && self.place.epoch < self.course.epochs {
            self.epoch()?;
            stops = self.is_over();
        }
        if stops && self.place.epoch < self.course.epochs {
            self.reporter.note(&format!(
                "stopped early: no lower validation loss since epoch {}, whose weights are written",
                self.place.best_epoch
            ));
        }
        let last = self.network()?;
        Ok(match (&self.best, self.course.patience) {
            (Some(best), Some(_)) => best.clone(),
            _ => last,
        })
    }

    /// Tells whether waiting for a lower validation loss has come to its end.
    fn is_over(&self) -> bool {
        let waited = self.place.epoch.saturating_sub(self.place.best_epoch);
        self.course.patience.is_some_and(|patience| self.best.is_some() && waited >= patience)
    }

    /// Returns the network as it is trained so far, with its texts.
    fn network(&mut self) -> Result<Model> {
        let mut model = self.trainer.model()?;
        model.info = self.start.info.clone();
        Ok(model)
    }

    fn epoch(&mut self) -> Result<()> {
        let order = self.batches.order(self.place.epoch);
        if self.place.batch == 0 {
            self.trainer.reset_states();
        }
        while let Some(pick) = order.get(self.place.batch) {
            self.step(pick)?;
        }
        self.look()?;
        self.end_epoch()
    }

    fn step(&mut self, pick: &Pick) -> Result<()> {
        let (batch, targets) = self.batches.make(pick)?;
        let rate = self.learning_rate();
        self.trainer.set_learning_rate(rate)?;
        self.trainer.step(&batch, &targets)?;
        self.place.batch += 1;
        self.place.step += 1;
        self.pace.1 += u64::try_from(batch.total_steps()).unwrap_or(0);
        self.since.push((self.place.step, rate, pick.clone()));
        self.reporter.advance_work(1);
        if self.place.step.is_multiple_of(self.course.log_every) {
            self.look()?;
        }
        if self.course.checkpoint_every.is_some_and(|every| self.place.step.is_multiple_of(every)) {
            self.look()?;
            self.save()?;
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
    fn learning_rate(&self) -> f32 {
        let factor = self.course.schedule.factor(self.place.step, self.course.total);
        (f64::from(self.course.learning_rate) * factor) as f32
    }

    /// Reads the loss back, and stops where it is no number.
    fn look(&mut self) -> Result<()> {
        if self.well == self.since.len() {
            return Ok(());
        }
        let progress = self.trainer.progress()?;
        if progress.is_stopped || progress.steps > 0 && !progress.mean_loss.is_finite() {
            let replay = Replay {
                engine: self.engine,
                options: &self.options,
                kept: &self.kept,
                steps: &self.since,
                well: self.well,
                hint: &self.advice(),
            };
            let error = replay.explain(&self.batches)?;
            self.log.line(&json!({ "event": "stopped", "error": error.to_string() }))?;
            return Err(error.into());
        }
        self.well = self.since.len();
        if progress.steps == 0 {
            return Ok(());
        }
        let mean = f64::from(progress.mean_loss);
        #[expect(clippy::cast_precision_loss, reason = "steps stay far below 2^53")]
        let weight = progress.steps as f64;
        self.place.loss_sum += mean * weight;
        self.place.loss_count += progress.steps;
        let task = self.course.task;
        let rate = self.rate();
        let epoch = self.place.epoch + 1;
        let found = progress.accuracy.map(f64::from).filter(|_| measure::shows_accuracy(task));
        let accuracy = found.map_or_else(String::new, |a| format!(", accuracy {:.1} %", 100.0 * a));
        self.reporter.doing(&format!(
            "epoch {epoch} of {}, loss {}{accuracy}, {rate:.0} time steps/s",
            self.course.epochs,
            measure::describe(task, mean)
        ));
        self.log.line(&json!({
            "event": "steps",
            "epoch": epoch,
            "step": self.place.step,
            "loss": number(mean),
            "accuracy": progress.accuracy,
            "gradient_norm": number(f64::from(progress.gradient_norm)),
            "lr": number(f64::from(self.since.last().map_or(0.0, |(_, rate, _)| *rate))),
            "time_steps_per_second": number(rate.round()),
        }))?;
        Ok(())
    }

    /// Returns time steps per second since the clock was started.
    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate is read by people")]
        let steps = self.pace.1 as f64;
        steps / self.pace.0.elapsed().as_secs_f64().max(1e-9)
    }

    /// Says what may help where numbers are no longer finite, and what is left.
    fn advice(&self) -> String {
        let is_there = |folder: &&PathBuf| checkpoint::is_in(folder);
        let kept = match self.course.folder.as_ref().filter(is_there) {
            Some(folder) => format!("; the last checkpoint stays in {}", folder.display()),
            None => String::new(),
        };
        let clip = match self.options.clip_norm {
            Some(_) => "a lower --lr or --clip-norm may help",
            None => "a lower --lr, or a --clip-norm, may help",
        };
        format!("{clip}{kept}")
    }

    /// Measures, keeps what is best, writes log and checkpoint.
    fn end_epoch(&mut self) -> Result<()> {
        let model = self.network()?;
        let measured = match &self.probe {
            Some(probe) => Some(probe.measure(self.engine, &model)?),
            None => None,
        };
        let place = &mut self.place;
        place.epoch += 1;
        place.batch = 0;
        #[expect(clippy::cast_precision_loss, reason = "steps stay far below 2^53")]
        let loss = place.loss_sum / place.loss_count.max(1) as f64;
        (place.loss_sum, place.loss_count) = (0.0, 0);
        let point = Point {
            epoch: place.epoch,
            loss,
            validation: measured.as_ref().map(|measured| measured.loss),
            accuracy: measured.as_ref().and_then(|measured| measured.accuracy),
        };
        if let Some(loss) = point.validation.filter(|loss| *loss < place.best_loss) {
            place.best_loss = loss;
            place.best_epoch = place.epoch;
            self.best = self.course.patience.map(|_| model);
        }
        place.points.push(point.clone());
        self.tell(&point, measured.as_ref())?;
        self.save()
    }

    fn tell(&mut self, point: &Point, measured: Option<&Measured>) -> Result<()> {
        let task = self.course.task;
        let mut line = format!(
            "epoch {}/{}: loss {}",
            point.epoch,
            self.course.epochs,
            measure::describe(task, point.loss)
        );
        if let Some(measured) = measured {
            line += &format!(", validation {}", measure::describe(task, measured.loss));
            let shown = |_: &f64| measure::shows_accuracy(task);
            if let Some(accuracy) = measured.accuracy.filter(shown) {
                line += &format!(", accuracy {:.2} %", 100.0 * accuracy);
            }
        }
        let rate = self.rate();
        self.reporter.note(&format!("{line}, {rate:.0} time steps/s"));
        self.log.line(&json!({
            "event": "epoch",
            "epoch": point.epoch,
            "step": self.place.step,
            "loss": number(point.loss),
            "validation": measured.map(|m| number(m.loss)),
            "accuracy": measured.and_then(|m| m.accuracy),
            "time_steps_per_second": number(rate.round()),
        }))?;
        Ok(())
    }

    /// Keeps the state, and writes it where there is a folder.
    fn save(&mut self) -> Result<()> {
        if self.place.batch == 0 {
            // An epoch starts from zero, and so do its steps when they are taken again.
            self.trainer.reset_states();
        }
        self.kept = self.trainer.checkpoint()?;
        self.since.clear();
        self.well = 0;
        let Some(folder) = self.course.folder.clone() else { return Ok(()) };
        let mut training = self.kept.clone();
        training.model.info = self.start.info.clone();
        let saved = Saved {
            training,
            best: self.best.clone(),
            place: self.place.clone(),
            settings: self.course.settings.clone(),
            fingerprint: self.course.fingerprint.clone(),
            device: self.course.device.clone(),
        };
        Ok(saved.write(&folder)?)
    }
}
