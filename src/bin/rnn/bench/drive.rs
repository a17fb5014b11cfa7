//! The sweep: every workload on every device, measure by measure.

use std::time::Duration;

use wgpu_rnn::plan::{Constants, WORTH_COMPILING, Work};
use wgpu_rnn::{Engine, Precision, Strategy};

use super::args::BenchArgs;
use super::calibration::NOT_CALIBRATED;
use super::measure::{Runner, Samples, Stats, sample};
use super::oracle::Prepared;
use super::prepare::{Missing, prepare};
use super::record::{Build, BusyClock, Figures, Record, Status};
use super::sites::Site;
use super::verdict::{Contender, Verdict, judge};
use super::workload::{Measure, Workload, as_f64};

/// Everything that a sweep gives.
#[derive(Default)]
pub(super) struct Results {
    /// In the order of measuring.
    pub(super) records: Vec<Record>,
    /// Of `--assert`: the choices that were compared with something.
    pub(super) judged: Vec<Judged>,
}

/// A choice of the planner, compared.
pub(super) struct Judged {
    /// Workload and device.
    pub(super) what: String,
    /// The drivers that it chose.
    pub(super) used: String,
    /// How they stand to the others.
    pub(super) verdict: Verdict,
}

/// A sweep in progress.
pub(super) struct Sweep<'a> {
    /// The command line.
    pub(super) args: &'a BenchArgs,
    /// What all records have in common.
    pub(super) build: Build,
    /// The strategies, each once.
    pub(super) strategies: Vec<Strategy>,
    /// How weights and states are stored.
    pub(super) precision: Precision,
}

impl Sweep<'_> {
    /// Measures one workload on one device, and gives `each` the records of a measure as soon as they are
    /// there.
    pub(super) fn workload(
        &self,
        site: &Site,
        workload: &Workload,
        results: &mut Results,
        each: &mut dyn FnMut(&[Record]),
    ) {
        let first = results.records.len();
        let engine = self.refusal(site, workload);
        let (mut dense, mut tokens) = (None, None);
        for measure in &self.args.measures(workload) {
            let done = results.records.len();
            let place = if measure.takes_tokens() { &mut tokens } else { &mut dense };
            let made = engine.as_ref().and_then(|engine| {
                let made = place.get_or_insert_with(|| {
                    Prepared::new(workload, measure.takes_tokens(), self.precision)
                        .map_err(Missing::from)
                });
                made.as_ref().map(|made| (engine, made))
            });
            match made {
                Ok((engine, made)) => {
                    self.measure(site, engine, workload, made, *measure, results);
                }
                Err(missing) => {
                    let all = self.strategies.iter();
                    let records = all.map(|s| self.missing(site, workload, *measure, *s, missing));
                    results.records.extend(records);
                }
            }
            fill_busy(&mut results.records[first..]);
            each(&results.records[done..]);
        }
    }

    fn refusal<'a>(&self, site: &'a Site, workload: &Workload) -> Result<&'a Engine, Missing> {
        let engine =
            site.engine.as_ref().map_err(|reason| Missing::NotApplicable(reason.clone()))?;
        let most = u64::try_from(self.args.max_memory).unwrap_or(u64::MAX).saturating_mul(1 << 30);
        let bytes = workload.host_bytes();
        if bytes > most {
            return Err(Missing::NotApplicable(format!(
                "weights, inputs and outputs take {} (--max-memory)",
                crate::table::bytes(bytes)
            )));
        }
        Ok(engine)
    }

    fn measure(
        &self,
        site: &Site,
        engine: &Engine,
        workload: &Workload,
        prepared: &Prepared,
        measure: Measure,
        results: &mut Results,
    ) {
        let mut records = Vec::new();
        // Runners, and which record each fills.
        let (mut runners, mut places) = (Vec::new(), Vec::new());
        for strategy in &self.strategies {
            match prepare(engine, workload, prepared, measure, *strategy) {
                Ok(ready) => {
                    let mut record = self.record(site, workload, measure, *strategy);
                    record.check = Some(ready.checked);
                    record.record = ready.recording;
                    record.strategy_used = Some(ready.runner.used.clone());
                    places.push((records.len(), ready.is_resident, ready.busy));
                    records.push(record);
                    runners.push(ready.runner);
                }
                Err(missing) => {
                    records.push(self.missing(site, workload, measure, *strategy, &missing));
                }
            }
        }
        let samples = self.sample(workload, site, measure, &mut runners, results);
        let facts = Facts { workload, work: &prepared.work, constants: site.constants.as_ref() };
        for ((runner, samples), (place, is_resident, busy)) in
            runners.iter().zip(samples).zip(places)
        {
            let record = &mut records[place];
            match samples {
                Ok(samples) => {
                    record.figures = facts.figures(samples, runner.memory, is_resident);
                    if let (Some(busy), Some(figures)) = (busy, &mut record.figures) {
                        figures.busy_fraction = Some(busy);
                        figures.busy_clock = Some(BusyClock::Timestamps);
                    }
                    record.status = Status::Ok;
                }
                Err(error) => {
                    record.status = Status::Error;
                    record.reason = Some(error.to_string());
                }
            }
        }
        results.records.extend(records);
    }

    /// Takes the samples, and with --assert judges the choice: a first failure may be noise, so it is
    /// measured again three times as long.
    fn sample(
        &self,
        workload: &Workload,
        site: &Site,
        measure: Measure,
        runners: &mut [Runner<'_>],
        results: &mut Results,
    ) -> Vec<wgpu_rnn::Result<Samples>> {
        let least = Duration::from_millis(u64::try_from(self.args.sample_ms).unwrap_or(u64::MAX));
        let repetitions = self.args.repetitions;
        let samples = sample(runners, repetitions, least);
        if !self.args.assert || !measure.is_judged() {
            return samples;
        }
        let mut samples = samples;
        let mut verdict = judge(&contenders(runners, &samples));
        if verdict.is_some_and(|verdict| !verdict.is_good()) {
            samples = sample(runners, repetitions.saturating_mul(3), least);
            verdict = judge(&contenders(runners, &samples));
        }
        let chosen = runners.iter().find(|runner| runner.strategy == Strategy::Auto);
        if let (Some(verdict), Some(chosen)) = (verdict, chosen) {
            let what = format!("{} on {}", workload.name(), site.device.title());
            results.judged.push(Judged { what, used: chosen.used.clone(), verdict });
        }
        samples
    }

    fn record(&self, site: &Site, workload: &Workload, measure: Measure, of: Strategy) -> Record {
        Record::new(&self.build, &site.device, workload, measure, (of, self.precision))
    }

    fn missing(
        &self,
        site: &Site,
        workload: &Workload,
        measure: Measure,
        strategy: Strategy,
        missing: &Missing,
    ) -> Record {
        let mut record = self.record(site, workload, measure, strategy);
        let (status, reason) = match missing {
            Missing::NotApplicable(reason) => (Status::NotApplicable, reason),
            Missing::Failed(reason) => (Status::Error, reason),
        };
        (record.status, record.reason) = (status, Some(reason.clone()));
        record
    }
}

/// Pairs those that could be measured with their samples; no rivals are drivers that the planner leaves out because they
/// compile for seconds, unless they gain what is worth it.
fn contenders<'a>(
    runners: &'a [Runner<'_>],
    samples: &'a [wgpu_rnn::Result<Samples>],
) -> Vec<Contender<'a>> {
    let of = |(runner, samples): (&'a Runner<'_>, &'a wgpu_rnn::Result<Samples>)| {
        let seconds = &samples.as_ref().ok()?.seconds;
        Some((runner, Contender { strategy: runner.strategy, used: &runner.used, seconds }))
    };
    let all: Vec<_> = runners.iter().zip(samples).filter_map(of).collect();
    let median = |contender: &Contender<'_>| Stats::of(contender.seconds).map(|s| s.median);
    let auto = all.iter().find(|(runner, _)| runner.strategy == Strategy::Auto);
    let leaves_slow_out = auto.is_some_and(|(runner, _)| runner.leaves_slow_out);
    let auto = auto.and_then(|(_, contender)| median(contender));
    let is_rival = |(runner, contender): &(&Runner<'_>, Contender<'_>)| {
        let gain = auto.zip(median(contender)).map(|(auto, own)| auto - own);
        let pays = gain.is_some_and(|gain| gain >= WORTH_COMPILING);
        !leaves_slow_out || runner.strategy.compiles_fast() || pays
    };
    all.into_iter().filter(is_rival).map(|(_, contender)| contender).collect()
}

/// What turns seconds into figures.
struct Facts<'a> {
    workload: &'a Workload,
    work: &'a Work,
    constants: Option<&'a Constants>,
}

impl Facts<'_> {
    fn figures(&self, samples: Samples, memory: u64, is_resident: bool) -> Option<Figures> {
        let seconds = Stats::of(&samples.seconds)?;
        let Stats { median, p10, p90 } = seconds;
        let steps = as_f64(self.workload.steps);
        let floor = self.constants.map(|constants| {
            let step = if is_resident { constants.barrier } else { constants.dispatch };
            self.work.floor(constants, step)
        });
        let (hardware, algorithm) =
            (floor.map(|floor| floor.hardware()), floor.map(|floor| floor.algorithm()));
        Some(Figures {
            samples_s: samples.seconds,
            calls_per_sample: samples.calls,
            seconds,
            seconds_per_step: Stats { median: median / steps, p10: p10 / steps, p90: p90 / steps },
            time_steps_per_s: as_f64(self.workload.total_steps()) / median,
            sequences_per_s: as_f64(self.workload.batch) / median,
            flops: self.work.flops(),
            bytes: self.work.bytes(),
            gflop_per_s: self.work.flops() / median / 1e9,
            memory_bytes: memory,
            floor_hardware_s: hardware,
            floor_algorithm_s: algorithm,
            roofline_hardware: hardware.map(|floor| floor / median),
            roofline_algorithm: algorithm.map(|floor| floor / median),
            roofline_reason: floor.is_none().then(|| NOT_CALIBRATED.to_owned()),
            busy_fraction: None,
            busy_clock: None,
        })
    }
}

/// Fills the busy fraction of streams on devices without a clock: the time of a batch from submit to
/// idle, with nothing else under way, over the stream's.
fn fill_busy(records: &mut [Record]) {
    for index in 0..records.len() {
        let is_known = records[index].figures.as_ref().is_some_and(|f| f.busy_fraction.is_some());
        if records[index].measure != Measure::Stream || is_known {
            continue;
        }
        let strategy = &records[index].strategy;
        let layer = records
            .iter()
            .find(|other| other.measure == Measure::Layer && other.strategy == *strategy)
            .and_then(Record::median);
        if let (Some(layer), Some(figures)) = (layer, &mut records[index].figures) {
            figures.busy_fraction = Some(layer / figures.seconds.median);
            figures.busy_clock = Some(BusyClock::SubmitToIdle);
        }
    }
}
