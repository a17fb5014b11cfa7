//! The clock: samples of calls that take turns, and their percentiles.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wgpu_rnn::{Result, Strategy};

use super::workload::as_f64;

/// Something that can be timed, warm.
pub(super) struct Runner<'a> {
    /// What was asked for.
    pub(super) strategy: Strategy,
    /// What runs: the strategy of each layer, or why there is none to name.
    pub(super) used: String,
    /// Whether the planner left out drivers that compile for longer than the run is worth.
    pub(super) leaves_slow_out: bool,
    /// Bytes it holds on its device.
    pub(super) memory: u64,
    /// Units of work of one call, such as the batches of a stream.
    pub(super) units: usize,
    /// One call; returns when the work is done.
    pub(super) call: Box<dyn FnMut() -> Result<()> + 'a>,
}

/// What the clock gave for one runner.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Samples {
    /// Seconds of one unit of work, one entry a sample.
    pub(super) seconds: Vec<f64>,
    /// Calls of a sample.
    pub(super) calls: usize,
}

/// Percentiles of samples, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stats {
    /// The middle.
    pub(super) median: f64,
    /// A tenth of the samples is faster.
    pub(super) p10: f64,
    /// A tenth of the samples is slower.
    pub(super) p90: f64,
}

impl Stats {
    /// Takes the percentiles, interpolated between samples; `None` without any.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |part: f64| {
            let place = part * as_f64(last);
            let below = (0..=last).rev().find(|i| as_f64(*i) <= place).unwrap_or(0);
            let above = (below + 1).min(last);
            sorted[below] + (sorted[above] - sorted[below]) * (place - as_f64(below))
        };
        Some(Self { median: at(0.5), p10: at(0.1), p90: at(0.9) })
    }
}

/// Takes `repetitions` samples of each runner, in turn, so that a slow spell of the machine meets
/// all of them. A sample repeats the call until it has lasted `least`.
pub(super) fn sample(
    runners: &mut [Runner<'_>],
    repetitions: usize,
    least: Duration,
) -> Vec<Result<Samples>> {
    let mut results: Vec<Result<Samples>> = runners
        .iter_mut()
        .map(|runner| {
            // The first call of a runner was its warm-up; this one finds how often to call.
            let took = time(runner, 1)?;
            let calls = (least.as_secs_f64() / took.max(1e-9)).ceil().clamp(1.0, 1e6);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to [1, 1e6] before"
            )]
            let calls = calls as usize;
            // A call that lasts long enough is a sample already.
            let seconds = if calls == 1 { vec![took / as_f64(runner.units)] } else { Vec::new() };
            Ok(Samples { seconds, calls })
        })
        .collect();
    for _ in 0..repetitions {
        for (runner, result) in runners.iter_mut().zip(&mut results) {
            let Ok(samples) = result else { continue };
            if samples.seconds.len() == repetitions {
                continue;
            }
            match time(runner, samples.calls) {
                Ok(took) => samples.seconds.push(took / as_f64(samples.calls * runner.units)),
                Err(error) => *result = Err(error),
            }
        }
    }
    results
}

fn time(runner: &mut Runner<'_>, calls: usize) -> Result<f64> {
    let started = Instant::now();
    for _ in 0..calls {
        (runner.call)()?;
    }
    Ok(started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_interpolate_between_samples() {
        let stats = Stats::of(&[3.0, 1.0, 2.0]).expect("samples");
        let close = |got: f64, want: f64| (got - want).abs() < 1e-12;
        assert!(close(stats.median, 2.0) && close(stats.p10, 1.2) && close(stats.p90, 2.8));
        let one = Stats::of(&[5.0]).expect("a sample");
        assert!(close(one.p10, 5.0) && close(one.p90, 5.0));
        assert_eq!(Stats::of(&[]), None);
    }

    #[test]
    fn samples_take_turns_and_count_units() {
        let order = std::cell::RefCell::new(Vec::new());
        let runner = |name: char, units: usize| Runner {
            strategy: Strategy::Auto,
            used: String::new(),
            leaves_slow_out: false,
            memory: 0,
            units,
            call: Box::new({
                let order = &order;
                move || {
                    order.borrow_mut().push(name);
                    std::thread::sleep(Duration::from_millis(2));
                    Ok(())
                }
            }),
        };
        let mut runners = [runner('a', 1), runner('b', 4)];
        let results = sample(&mut runners, 3, Duration::from_micros(1));
        drop(runners);
        assert_eq!(order.into_inner().iter().collect::<String>(), "ababab");
        let seconds = |i: usize| results[i].as_ref().expect("samples").seconds.clone();
        assert_eq!((seconds(0).len(), seconds(1).len()), (3, 3));
        assert!(seconds(0).iter().all(|s| *s >= 2e-3));
        assert!(seconds(1).iter().all(|s| *s >= 5e-4));
    }
}
