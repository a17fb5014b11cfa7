//! From a workload on a device to something that can be timed: loaded, checked and warm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wgpu_rnn::check::{Tolerance, compare};
use wgpu_rnn::plan::Plan;
use wgpu_rnn::{
    Engine, Error, ErrorKind, LoadedModel, Precision, Result, Strategy, Stream, StreamOptions,
    Tensor,
};

use super::measure::{Runner, Stats};
use super::oracle::{Checked, Prepared, wrong};
use super::recording::Recording;
use super::session::OnDevice;
use super::workload::{Kind, Measure, Workload};

/// Batches of a call of the stream.
const STREAM: usize = 16;

/// A runner and what was found out on the way to it.
pub(super) struct Ready<'a> {
    /// The runner, warm.
    pub(super) runner: Runner<'a>,
    /// What was compared.
    pub(super) checked: Checked,
    /// Whether every layer runs its time loop inside one dispatch.
    pub(super) is_resident: bool,
    /// What recording a run costs, where the measure starts with it.
    pub(super) recording: Option<Recording>,
    /// The part of a stream's time in which the device computed, where it has a clock.
    pub(super) busy: Option<f64>,
}

/// Why a measure was not taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Missing {
    /// The device cannot, with the reason.
    NotApplicable(String),
    /// Something is wrong.
    Failed(String),
}

impl From<Error> for Missing {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Unsupported | ErrorKind::Limit => Self::NotApplicable(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Loads, checks and warms up.
///
/// # Errors
/// The reason why there is nothing to time.
pub(super) fn prepare<'a>(
    engine: &Engine,
    workload: &'a Workload,
    prepared: &'a Prepared,
    measure: Measure,
    strategy: Strategy,
) -> std::result::Result<Ready<'a>, Missing> {
    let is_cpu = engine.info().is_cpu_path;
    if is_cpu && strategy != Strategy::Auto {
        return Err(Missing::NotApplicable("the CPU path has one strategy".into()));
    }
    let on_device = matches!(measure, Measure::Recurrence | Measure::Layer | Measure::Frame);
    if is_cpu && (on_device || measure == Measure::Stream) {
        let reason = "the CPU path computes where its data is; see end_to_end";
        return Err(Missing::NotApplicable(reason.into()));
    }
    let loaded = engine.with_strategy(strategy).load(&prepared.model)?;
    let checked = prepared.check(&loaded)?;
    let ready = match measure {
        Measure::Frame => frames(&loaded, prepared, strategy)?,
        Measure::Recurrence | Measure::Layer => session(&loaded, prepared, strategy, checked)?,
        Measure::EndToEnd if workload.kind == Kind::Frames => {
            carried(loaded, prepared, strategy, checked)?
        }
        Measure::EndToEnd | Measure::Stream => {
            let batch = &prepared.batch;
            let mut facts = of_run(&loaded, prepared)?;
            let is_stream = measure == Measure::Stream;
            if is_stream {
                stream(&loaded, prepared)?;
            } else {
                loaded.run_blocking(batch)?;
            }
            let busy = is_stream.then(|| busy(&loaded, prepared)).transpose()?.flatten();
            let call: Box<dyn FnMut() -> Result<()> + 'a> = if is_stream {
                Box::new(move || stream(&loaded, prepared).map(drop))
            } else {
                Box::new(move || loaded.run_blocking(batch).map(drop))
            };
            let units = if is_stream { STREAM } else { 1 };
            let depth = if is_stream { StreamOptions::default().depth as u64 } else { 1 };
            facts.memory = facts.memory.saturating_mul(depth);
            let is_resident = facts.is_resident;
            let runner = facts.runner(strategy, units, call);
            Ready { runner, checked, is_resident, recording: None, busy }
        }
    };
    Ok(ready)
}

/// Runs a stream of batches, its fill and its end included.
fn stream(loaded: &LoadedModel, prepared: &Prepared) -> Result<Duration> {
    drain(&mut loaded.stream(StreamOptions::default())?, prepared)
}

/// Pushes batches and takes all results; returns how long it took.
fn drain(stream: &mut Stream, prepared: &Prepared) -> Result<Duration> {
    let started = Instant::now();
    for _ in 0..STREAM {
        stream.push_blocking(&prepared.batch)?;
    }
    while stream.pop_blocking()?.is_some() {}
    Ok(started.elapsed())
}

/// Returns the part of a stream's time in which the device computed, by its own clock: the median of
/// three; `None` where it has none.
fn busy(loaded: &LoadedModel, prepared: &Prepared) -> Result<Option<f64>> {
    let mut fractions = Vec::new();
    // The first makes the time stamps.
    for _ in 0..4 {
        let mut stream =
            loaded.stream(StreamOptions { timed: true, ..StreamOptions::default() })?;
        let wall = drain(&mut stream, prepared)?;
        let Some(device) = stream.device_time() else { return Ok(None) };
        fractions.push(device.as_secs_f64() / wall.as_secs_f64());
    }
    Ok(Stats::of(&fractions[1..]).map(|stats| stats.median))
}

/// Names the strategies of a plan's layers, each once, in order.
fn strategies(plan: &Plan) -> String {
    let mut names: Vec<&str> = plan.choices.iter().map(|choice| choice.strategy.name()).collect();
    names.dedup();
    names.join(" + ")
}

fn is_resident(plan: &Plan) -> bool {
    plan.choices.iter().all(|choice| !choice.strategy.is_step())
}

/// Bytes of the weights as they are stored; biases, which stay f32, count as if they were not.
fn weight_bytes(prepared: &Prepared, precision: Precision) -> u64 {
    prepared.model.parameter_count() as u64 * u64::from(precision.bytes())
}

/// What a plan says of a runner.
struct Facts {
    /// The strategy of each layer.
    used: String,
    /// Whether drivers that compile for long were left out.
    leaves_slow_out: bool,
    /// Bytes of the plan.
    memory: u64,
    /// Whether every time loop is inside one dispatch.
    is_resident: bool,
}

impl Facts {
    fn of(plan: &Plan, weights: u64) -> Self {
        let leaves_slow_out = plan.choices.iter().any(|choice| choice.leaves_slow_out);
        let memory = weights + plan.bytes();
        Self { used: strategies(plan), leaves_slow_out, memory, is_resident: is_resident(plan) }
    }

    /// Of what has no plan.
    fn unplanned(used: &str, memory: u64) -> Self {
        Self { used: used.into(), leaves_slow_out: false, memory, is_resident: false }
    }

    fn runner<'a>(
        self,
        strategy: Strategy,
        units: usize,
        call: Box<dyn FnMut() -> Result<()> + 'a>,
    ) -> Runner<'a> {
        let Self { used, leaves_slow_out, memory, .. } = self;
        Runner { strategy, used, leaves_slow_out, memory, units, call }
    }
}

/// Returns the facts of a run with upload and readback.
fn of_run(loaded: &LoadedModel, prepared: &Prepared) -> Result<Facts> {
    let batch = &prepared.batch;
    let weights = weight_bytes(prepared, loaded.engine().precision());
    match loaded.plan(batch.batch_size(), batch.steps()) {
        Ok(Some(plan)) => Ok(Facts::of(&plan, weights)),
        Ok(None) => {
            let width = batch.features(0, 0).len() + prepared.model.output_size();
            let values = batch.batch_size() * batch.steps() * width;
            Ok(Facts::unplanned("cpu", weights + values as u64 * 4))
        }
        // One part is on the device at a time.
        Err(error) if error.kind() == ErrorKind::Limit => {
            let part = part_of_run(loaded, prepared)?;
            let facts = Facts::of(&part, weights);
            Ok(Facts { used: "in parts".into(), ..facts })
        }
        Err(error) => Err(error),
    }
}

/// Plans the largest part of a run that exceeds the device. It is cut as the library cuts it: sequences are
/// halved until they fit, then time where every layer reads forward.
fn part_of_run(loaded: &LoadedModel, prepared: &Prepared) -> Result<Arc<Plan>> {
    let (mut rows, mut steps) = (prepared.batch.batch_size(), prepared.batch.steps());
    loop {
        let error = match loaded.plan(rows, steps) {
            Ok(Some(plan)) => return Ok(plan),
            Ok(None) => {
                return Err(Error::new(
                    ErrorKind::Device,
                    "plan: expected a GPU, got the CPU path",
                ));
            }
            Err(error) => error,
        };
        if error.kind() == ErrorKind::Limit && rows > 1 {
            rows = rows.div_ceil(2);
        } else if error.kind() == ErrorKind::Limit && steps > 1 && prepared.model.is_forward() {
            steps = steps.div_ceil(2);
        } else {
            return Err(error);
        }
    }
}

/// From submit to idle.
fn session<'a>(
    loaded: &LoadedModel,
    prepared: &Prepared,
    strategy: Strategy,
    checked: Checked,
) -> std::result::Result<Ready<'a>, Missing> {
    let run = OnDevice::new(loaded, &prepared.batch, false)?;
    run.run()?;
    if run.gave_up()? {
        return Err(Missing::NotApplicable("its workgroups did not run side by side".into()));
    }
    // The output of the shape that is timed equals that of a run, whose kernels were compared.
    let whole = loaded.run_blocking(&prepared.batch)?;
    let got = run.read()?;
    let count = got.len().min(whole.output.len());
    let want = whole.output.data()[..count].iter().map(|value| f64::from(*value));
    let want = Tensor::new([count], want.collect())?;
    let got = Tensor::new([count], got.into_iter().take(count).collect())?;
    let tolerance = Tolerance::of(loaded.engine().precision());
    if let Some(fault) = compare("output of the session", &got, &want, tolerance).fault {
        return Err(wrong(&fault).into());
    }
    Ok(of_session(run, prepared, strategy, checked, |run| run.run())?)
}

/// One step a call, with the upload of its input.
fn frames<'a>(loaded: &LoadedModel, prepared: &Prepared, strategy: Strategy) -> Result<Ready<'a>> {
    let run = OnDevice::new(loaded, &prepared.batch, true)?;
    let mut output = Vec::new();
    for t in 0..prepared.short.steps() {
        run.write(bytemuck::cast_slice(prepared.short.features(0, t)))?;
        run.run()?;
        output.extend(run.read()?);
    }
    let checked = prepared.check_frames(output, loaded.engine().precision())?;
    let frame = prepared.short.features(0, 0).to_vec();
    of_session(run, prepared, strategy, checked, move |run| {
        run.write(bytemuck::cast_slice(&frame))?;
        run.run()
    })
}

fn of_session<'a>(
    run: OnDevice,
    prepared: &Prepared,
    strategy: Strategy,
    checked: Checked,
    call: impl Fn(&OnDevice) -> Result<()> + 'a,
) -> Result<Ready<'a>> {
    let session = run.session();
    let plan = session.plan();
    let buffers = session.input_bytes() + session.output_bytes();
    let facts = Facts::of(plan, weight_bytes(prepared, plan.request.precision) + buffers);
    let is_resident = facts.is_resident;
    let request = &plan.request;
    let steps = u32::try_from(request.steps).unwrap_or(u32::MAX);
    let recording = Some(run.recording(&vec![steps; request.batch])?);
    let call = Box::new(move || call(&run));
    let runner = facts.runner(strategy, 1, call);
    Ok(Ready { runner, checked, is_resident, recording, busy: None })
}

/// One step a run, from the states of the run before.
fn carried<'a>(
    loaded: LoadedModel,
    prepared: &'a Prepared,
    strategy: Strategy,
    checked: Checked,
) -> Result<Ready<'a>> {
    let facts = of_run(&loaded, prepared)?;
    let is_resident = facts.is_resident;
    let mut states = loaded.run_blocking(&prepared.batch)?.states;
    let call = move || {
        let batch = prepared.batch.clone().with_initial(states.clone());
        states = loaded.run_blocking(&batch)?.states;
        Ok(())
    };
    let runner = facts.runner(strategy, 1, Box::new(call));
    Ok(Ready { runner, checked, is_resident, recording: None, busy: None })
}
