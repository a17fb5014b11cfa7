//! The planner's best guesses measured against each other on a real shape.

use std::time::{Duration, Instant};

use super::{LoadedModel, Session, SessionOptions, Strategy};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Plan, steps_capacity};

/// Time of the measurement, beside the first runs.
const BUDGET: Duration = Duration::from_millis(500);
/// Runs of each candidate: at least, and at most.
const LEAST: usize = 3;
const MOST: usize = 50;

/// What was measured for a shape, and what runs of it use from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Sequences.
    pub batch: usize,
    /// Time steps, rounded up as plans are: shapes that share a plan share a tuning.
    pub steps: usize,
    /// The fastest.
    pub strategy: Strategy,
    /// Median seconds of a run on the device of each candidate, in the order of prediction.
    pub trials: Vec<(Strategy, f64)>,
}

impl LoadedModel {
    /// Measures the planner's choice for a shape and the driver that it predicts to be next, and lets
    /// runs and sessions of that shape use the faster one.
    ///
    /// Runs on zeros at full lengths, the candidates in turn, for up to half a second together after
    /// their first runs. Where a strategy was asked for, and where no other driver takes the network, it
    /// only reports.
    ///
    /// # Errors
    /// `Unsupported` on the CPU path; `Shape` when `batch` or `steps` is 0; as [`LoadedModel::session`]
    /// for the planner's own choice.
    pub fn autotune(&self, batch: usize, steps: usize) -> Result<Tuning> {
        let loaded = self.inner();
        let steps = steps_capacity(steps);
        let asked = loaded.engine.shared.wishes.strategy;
        let mut candidates = vec![asked];
        if asked == Strategy::Auto {
            loaded.set_tuned((batch, steps), None)?;
            candidates.extend(self.runner_up(batch, steps)?);
        }
        let mut sessions = Vec::new();
        for strategy in candidates {
            match self.warm(strategy, batch, steps) {
                Ok(session) => sessions.push((strategy, session)),
                // One that does not fit is no candidate; the planner's own choice must.
                Err(error) if sessions.is_empty() || error.kind() == ErrorKind::Device => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        let trials = measure(&sessions)?;
        let fastest =
            trials.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(strategy, _)| *strategy);
        let strategy = fastest.ok_or_else(|| Error::device("autotune: nothing was measured"))?;
        if asked == Strategy::Auto {
            loaded.set_tuned((batch, steps), Some(strategy))?;
        }
        Ok(Tuning { batch, steps, strategy, trials })
    }

    /// Lets runs and sessions of a shape use a strategy, as an earlier [`LoadedModel::autotune`] found it.
    ///
    /// # Errors
    /// `Unsupported` on the CPU path, and when the strategy does not take the network.
    pub fn set_tuned(&self, batch: usize, steps: usize, strategy: Strategy) -> Result<()> {
        let loaded = self.inner();
        let steps = steps_capacity(steps);
        self.plan_of(strategy, batch, steps)?;
        loaded.set_tuned((batch, steps), Some(strategy))
    }

    fn plan_of(
        &self,
        strategy: Strategy,
        batch: usize,
        steps: usize,
    ) -> Result<std::sync::Arc<Plan>> {
        let loaded = self.inner();
        let (gpu, _) = loaded.on_gpu().ok_or_else(|| {
            Error::unsupported("autotune: expected a model on a GPU, got the CPU path")
        })?;
        let request = loaded.request(batch, steps, None);
        loaded.plan(gpu, crate::plan::PlanRequest { strategy, ..request })
    }

    /// The driver, other than the planner's choice, with the least predicted time for the whole network.
    fn runner_up(&self, batch: usize, steps: usize) -> Result<Option<Strategy>> {
        let own = self.plan_of(Strategy::Auto, batch, steps)?;
        let mut best: Option<(Strategy, f64)> = None;
        for strategy in Strategy::DRIVERS {
            if own.choices.iter().all(|choice| choice.strategy == strategy) {
                continue;
            }
            let Ok(plan) = self.plan_of(strategy, batch, steps) else { continue };
            let seconds = plan.choices.iter().map(|choice| choice.step_seconds).sum::<f64>();
            // A diagonal runs every layer of its stack, which have the same entry each.
            let seconds = match strategy {
                Strategy::Wavefront => plan.choices.first().map_or(seconds, |c| c.step_seconds),
                _ => seconds,
            };
            if best.is_none_or(|(_, least)| seconds < least) {
                best = Some((strategy, seconds));
            }
        }
        Ok(best.map(|(strategy, _)| strategy))
    }

    /// A session that has run once, which compiles.
    fn warm(&self, strategy: Strategy, batch: usize, steps: usize) -> Result<Warm> {
        let session = self.session_with(strategy, batch, steps, SessionOptions::default())?;
        let device = self.engine().device().ok_or_else(|| Error::device("autotune: no device"))?;
        let buffer = |label: &str, bytes: u64| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes.max(16),
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let input = buffer("autotune input", session.input_bytes());
        let output = buffer("autotune output", session.output_bytes());
        session.submit_and_wait(&input, &output)?;
        Ok(Warm { session, input, output })
    }
}

/// A session with its buffers.
struct Warm {
    session: Session,
    input: wgpu::Buffer,
    output: wgpu::Buffer,
}

/// Median seconds of each from submit to idle, in turns.
fn measure(sessions: &[(Strategy, Warm)]) -> Result<Vec<(Strategy, f64)>> {
    let mut seconds = vec![Vec::new(); sessions.len()];
    let start = Instant::now();
    for round in 0..MOST {
        if round >= LEAST && start.elapsed() > BUDGET {
            break;
        }
        for ((_, warm), seconds) in sessions.iter().zip(&mut seconds) {
            let before = Instant::now();
            warm.session.submit_and_wait(&warm.input, &warm.output)?;
            seconds.push(before.elapsed().as_secs_f64());
        }
    }
    let median = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    };
    Ok(sessions
        .iter()
        .map(|(strategy, _)| *strategy)
        .zip(seconds.into_iter().map(median))
        .collect())
}
