//! What is said on standard error beside errors: notes, warnings, progress and the last line.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The voice of a run on standard error.
///
/// `--quiet` silences everything but warnings and errors.
#[derive(Debug)]
pub(crate) struct Reporter {
    quiet: bool,
    bar: ProgressBar,
    started: Instant,
    sequences: u64,
    steps: u64,
}

impl Reporter {
    /// Makes a reporter whose progress bar is not shown yet.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = ProgressBar::hidden();
        Self { quiet, bar, started: Instant::now(), sequences: 0, steps: 0 }
    }

    /// Prints a line unless quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// Prints a warning, quiet or not.
    pub(crate) fn warn(&self, text: &str) {
        self.bar.suspend(|| eprintln!("warning: {text}"));
    }

    /// Does something with the progress bar out of the way, such as printing.
    pub(crate) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// Starts the clock and, on a terminal, the progress bar; `total` counts sequences.
    pub(crate) fn start(&mut self, total: Option<usize>) {
        self.started = Instant::now();
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let (bar, template) = match total.and_then(|total| u64::try_from(total).ok()) {
            Some(total) => (
                ProgressBar::new(total),
                "{bar:40} {pos}/{len} sequences, {msg}, {elapsed} elapsed, {eta} left",
            ),
            None => (ProgressBar::no_length(), "{spinner} {msg}, {elapsed} elapsed"),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bar = bar;
    }

    /// Starts the clock and, on a terminal, the progress bar over `total` units of work.
    pub(crate) fn start_work(&mut self, total: u64) {
        self.started = Instant::now();
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(total);
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        let template = "{bar:30} {percent} %, {elapsed} elapsed, about {eta} left, {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bar = bar;
    }

    /// Says beside the progress bar what is being done.
    pub(crate) fn doing(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }

    /// Counts finished work of [`Reporter::start_work`].
    pub(crate) fn advance_work(&self, work: u64) {
        self.bar.inc(work);
    }

    /// Counts finished work.
    pub(crate) fn advance(&mut self, sequences: usize, steps: usize) {
        let widen = |n| u64::try_from(n).unwrap_or(u64::MAX);
        self.sequences += widen(sequences);
        self.steps += widen(steps);
        self.bar.inc(widen(sequences));
        self.bar.set_message(format!("{} steps", self.steps));
    }

    /// Returns how many sequences and time steps were counted.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.sequences, self.steps)
    }

    /// Takes the progress bar away and freezes the clock.
    pub(crate) fn stop(&self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }

    /// Prints `N sequences, M steps, X seq/s, Y steps/s`.
    pub(crate) fn last_line(&self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let (sequences, steps) = (self.sequences, self.steps);
        self.note(&format!(
            "{}, {}, {} seq/s, {} steps/s",
            count(sequences, "sequence"),
            count(steps, "step"),
            rate(sequences, seconds),
            rate(steps, seconds)
        ));
    }
}

/// Writes a number with its noun.
pub(crate) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is read by people")]
fn rate(n: u64, seconds: f64) -> String {
    let rate = n as f64 / seconds;
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}
