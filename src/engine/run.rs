//! A batch through the device: plan, submit, read back, unpack.
//!
//! Rows go sorted by falling length. A batch that fits the device is one part; else rows go in groups
//! that fit its bindings, and where even one row is too long, time is cut and the states are carried,
//! which networks that only read forward allow. `part` carries a part out.

use std::sync::Arc;

use super::loaded::Loaded;
use super::part::{Flight, Part, PartResult, Reading};
use super::results::unpack;
use crate::batch::{
    Batch, Layout, Output, RunOptions, States, ZeroLength, by_falling_length, empty_output,
};
use crate::error::{ErrorKind, Result};
use crate::gpu::{Gpu, Span, Wait};
use crate::plan::{Plan, PlanRequest, steps_capacity};

/// Rows and time steps that one run of a plan takes.
pub(super) struct Cut {
    rows: usize,
    steps: usize,
}

/// What is needed of a batch once its input is on the device.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) lengths: Vec<usize>,
    pub(super) layout: Layout,
    pub(super) steps: usize,
}

impl Outline {
    fn of(batch: &Batch) -> Self {
        let lengths = (0..batch.batch_size()).map(|b| batch.length(b)).collect();
        Self { lengths, layout: batch.layout(), steps: batch.steps() }
    }

    fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }
}

/// Results that are being put together, in the caller's order.
#[derive(Debug)]
pub(super) struct Assembly {
    outline: Outline,
    options: RunOptions,
    output: Output,
}

impl Assembly {
    fn new(loaded: &Loaded, batch: &Batch, options: &RunOptions) -> Self {
        let mut output = empty_output(&loaded.model, batch, options);
        if options.states {
            // What a row of no steps ends with.
            let zeros = || States::zeros(&loaded.model, batch.batch_size());
            output.states = batch.initial().cloned().unwrap_or_else(zeros);
        }
        Self { outline: Outline::of(batch), options: *options, output }
    }

    fn take(&mut self, result: &PartResult) {
        unpack(&self.outline, result, &mut self.output);
        if let (true, Some(states)) = (self.options.states, &result.states) {
            self.output.states.scatter(states, &result.part.rows);
        }
    }

    fn finish(mut self) -> Output {
        if self.options.states && self.options.zero_length == ZeroLength::Zeros {
            clear_rows(&mut self.output.states, &self.outline.lengths);
        }
        self.output
    }
}

fn clear_rows(states: &mut States, lengths: &[usize]) {
    let empty: Vec<usize> = (0..lengths.len()).filter(|b| lengths[*b] == 0).collect();
    let zeros = states.select(&empty).zeroed();
    states.scatter(&zeros, &empty);
}

/// A batch that was started.
pub(super) enum Started {
    /// There was nothing to compute.
    Done(Output),
    /// The whole batch is on the device.
    InFlight(Box<InFlight>),
    /// It exceeds the device and was not submitted.
    TooLarge(Assembly, Cut),
}

/// A batch that the device computes.
#[derive(Debug)]
pub(super) struct InFlight {
    assembly: Assembly,
    flight: Flight,
    /// The batch, where it may have to run again.
    again: Option<Box<Batch>>,
}

/// What a batch came to.
pub(super) enum Taken {
    /// Results, and when the device computed them.
    Output(Box<Output>, Option<Span>),
    /// Its workgroups waited in vain: it is to run again.
    GivenUp(Box<Batch>),
}

impl InFlight {
    /// Waits for the device. May be dropped and called again.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(super) async fn ready(&mut self, gpu: &Gpu, wait: Wait) -> Result<()> {
        self.flight.ready(gpu, wait).await
    }

    /// Takes the results out, once they are there.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub(super) fn take(mut self, loaded: &Loaded, gpu: &Gpu) -> Result<Taken> {
        let result = self.flight.take(loaded, gpu)?;
        if let (true, Some(batch)) = (result.has_given_up, self.again) {
            loaded.give_up();
            return Ok(Taken::GivenUp(batch));
        }
        self.assembly.take(&result);
        Ok(Taken::Output(Box::new(self.assembly.finish()), result.span))
    }
}

/// Runs a batch, in parts where it must be.
///
/// # Errors
/// `Limit` when one sequence alone exceeds the device; `Device` when the device fails.
pub(super) async fn run(
    loaded: &Loaded,
    gpu: &Gpu,
    batch: &Batch,
    options: &RunOptions,
    wait: Wait,
) -> Result<Output> {
    loop {
        return match start(loaded, gpu, batch, options, false).await? {
            Started::Done(output) => Ok(output),
            Started::InFlight(mut flight) => {
                flight.ready(gpu, wait).await?;
                match flight.take(loaded, gpu)? {
                    Taken::Output(output, _) => Ok(*output),
                    // Once: the strategy that gives up is not used again.
                    Taken::GivenUp(_) => continue,
                }
            }
            Started::TooLarge(assembly, cut) => {
                in_parts(loaded, gpu, batch, assembly, &cut, wait).await
            }
        };
    }
}

/// Submits a batch that fits the device whole; `stamps` asks for the device's time stamps.
///
/// # Errors
/// As [`run`].
pub(super) async fn start(
    loaded: &Loaded,
    gpu: &Gpu,
    batch: &Batch,
    options: &RunOptions,
    stamps: bool,
) -> Result<Started> {
    let assembly = Assembly::new(loaded, batch, options);
    let longest = assembly.outline.longest();
    if longest == 0 {
        return Ok(Started::Done(assembly.finish()));
    }
    let cut = cut(loaded, gpu, (batch.batch_size(), longest), options.top)?;
    if (cut.rows, cut.steps) != (batch.batch_size(), longest) {
        return Ok(Started::TooLarge(assembly, cut));
    }
    let rows = by_falling_length(&assembly.outline.lengths);
    let initial = batch.initial().map(|states| states.select(&rows));
    let part = Part::new(batch, rows, 0..longest);
    let reading =
        Reading { output: options.output, top: options.top, states: options.states, stamps };
    let flight = Flight::submit(loaded, gpu, batch, part, initial.as_ref(), reading).await?;
    let again = flight.may_give_up().then(|| Box::new(batch.clone()));
    Ok(Started::InFlight(Box::new(InFlight { assembly, flight, again })))
}

/// Runs a batch that exceeds the device, part after part.
///
/// # Errors
/// As [`run`].
pub(super) async fn in_parts(
    loaded: &Loaded,
    gpu: &Gpu,
    batch: &Batch,
    mut assembly: Assembly,
    cut: &Cut,
    wait: Wait,
) -> Result<Output> {
    let order = by_falling_length(&assembly.outline.lengths);
    for rows in order.chunks(cut.rows) {
        let longest = batch.length(rows[0]);
        let mut states = batch.initial().map(|states| states.select(rows));
        for first in (0..longest).step_by(cut.steps) {
            let last = (first + cut.steps).min(longest);
            let part = Part::new(batch, rows.to_vec(), first..last);
            let reading = Reading {
                output: assembly.options.output,
                top: assembly.options.top,
                // Time that is cut needs the states to go on with.
                states: assembly.options.states || last < longest,
                stamps: false,
            };
            let submit =
                || Flight::submit(loaded, gpu, batch, part.clone(), states.as_ref(), reading);
            let mut result = submit().await?.finish(loaded, gpu, wait).await?;
            if result.has_given_up {
                loaded.give_up();
                result = submit().await?.finish(loaded, gpu, wait).await?;
            }
            assembly.take(&result);
            states = result.states;
        }
    }
    Ok(assembly.finish())
}

/// Finds how many rows and steps fit: fewer rows first, then fewer steps where states can be carried.
fn cut(
    loaded: &Loaded,
    gpu: &Gpu,
    (batch, steps): (usize, usize),
    top: Option<usize>,
) -> Result<Cut> {
    let mut cut = Cut { rows: batch, steps };
    loop {
        let error = match plan(loaded, gpu, (cut.rows, cut.steps), top) {
            Ok(_) => return Ok(cut),
            Err(error) if error.kind() == ErrorKind::Limit => error,
            Err(error) => return Err(error),
        };
        if cut.rows > 1 {
            cut.rows = cut.rows.div_ceil(2);
        } else if cut.steps > 1 && loaded.model.is_forward() {
            cut.steps = cut.steps.div_ceil(2);
        } else {
            return Err(error.in_context(gpu.place()));
        }
    }
}

/// Returns the plan that a run of `rows` sequences of up to `steps` steps uses, with so many of the largest
/// values in place of the output.
pub(super) fn plan(
    loaded: &Loaded,
    gpu: &Gpu,
    (rows, steps): (usize, usize),
    top: Option<usize>,
) -> Result<Arc<Plan>> {
    let exact = PlanRequest { top, ..loaded.request(rows, steps, None) };
    let roomy = PlanRequest { steps: steps_capacity(steps), ..exact };
    match loaded.plan(gpu, roomy) {
        // The rounding may be what does not fit.
        Err(error) if error.kind() == ErrorKind::Limit && roomy != exact => loaded.plan(gpu, exact),
        other => other,
    }
}
