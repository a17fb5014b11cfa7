//! A workload made ready: weights, input, and the f64 results that a device must give before it is
//! timed.
//!
//! The reference computes three sequences over as many steps as are cheap; the device runs the whole
//! batch over them, so that it takes the kernels of the real shape.

use serde::{Deserialize, Serialize};
use wgpu_rnn::check::{Difference, Tolerance, compare, compare_output_within};
use wgpu_rnn::plan::Work;
use wgpu_rnn::reference::{self, ReferenceOutput};
use wgpu_rnn::{Batch, LoadedModel, Model, Output, Precision, Result, RunOptions, Tensor};

use super::workload::{Kind, Workload, as_f64};

/// Operations that the reference may spend on a workload: a fraction of a second.
const BUDGET: f64 = 3e7;
/// Frames that are compared.
const FRAMES: usize = 8;

/// How much was compared with the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Checked {
    /// Sequences of the batch that were compared.
    pub(super) sequences: usize,
    /// Time steps that they were run for.
    pub(super) steps: usize,
    /// The largest absolute difference.
    pub(super) max_abs: f64,
}

/// A workload with its weights, its input and what must come out.
pub(super) struct Prepared {
    /// The network.
    pub(super) model: Model,
    /// The whole batch.
    pub(super) batch: Batch,
    /// Operations and bytes.
    pub(super) work: Work,
    /// The batch over the steps that are compared.
    pub(super) short: Batch,
    rows: Vec<usize>,
    want: ReferenceOutput<f64>,
}

impl Prepared {
    /// Draws weights and input and runs the reference.
    ///
    /// # Errors
    /// What the library refuses.
    pub(super) fn new(workload: &Workload, tokens: bool, precision: Precision) -> Result<Self> {
        let model = workload.model(tokens)?;
        let (mut rows, steps) = sample_of(workload);
        rows.dedup();
        let short = workload.input(tokens, steps)?;
        let want = reference::run(&model, &short.select(&rows), &RunOptions::default())?;
        let work = workload.work(&model, tokens, precision);
        let batch = workload.input(tokens, workload.steps)?;
        Ok(Self { model, batch, work, short, rows, want })
    }

    /// Runs the short batch and compares it.
    ///
    /// # Errors
    /// What the device refuses; [`wrong`] for a wrong result.
    pub(super) fn check(&self, loaded: &LoadedModel) -> Result<Checked> {
        let got = loaded.run_blocking(&self.short)?;
        let output = select(&got.output, &self.rows);
        let got = Output { output, top: None, states: got.states.select(&self.rows) };
        let tolerance = Tolerance::of(loaded.engine().precision());
        self.judge(compare_output_within(&got, &self.want, tolerance))
    }

    /// Compares the output of one sequence, `[T, 1, O]`, that was computed frame by frame.
    ///
    /// # Errors
    /// [`wrong`] for a wrong result.
    pub(super) fn check_frames(&self, output: Vec<f32>, precision: Precision) -> Result<Checked> {
        let got = Tensor::new(self.want.output.shape(), output)?;
        let tolerance = Tolerance::of(precision);
        self.judge(compare("output", &got, &self.want.output, tolerance))
    }

    fn judge(&self, difference: Difference) -> Result<Checked> {
        let Difference { max_abs, fault } = difference;
        match fault {
            Some(fault) => Err(wrong(&fault)),
            None => Ok(Checked { sequences: self.rows.len(), steps: self.short.steps(), max_abs }),
        }
    }
}

/// Makes the error of a wrong result.
pub(super) fn wrong(fault: &str) -> wgpu_rnn::Error {
    wgpu_rnn::Error::new(wgpu_rnn::ErrorKind::Device, format!("wrong result: {fault}"))
}

/// Picks rows and steps whose reference stays within its budget.
fn sample_of(workload: &Workload) -> (Vec<usize>, usize) {
    if workload.kind == Kind::Frames {
        return (vec![0], FRAMES);
    }
    let last = workload.batch - 1;
    let one = workload.flops() / as_f64(workload.total_steps());
    let rows = if one * 9.0 > BUDGET { vec![last] } else { vec![0, last / 2, last] };
    let most = BUDGET / (one * as_f64(rows.len()));
    let steps = (1..=workload.steps.min(64)).rev().find(|steps| as_f64(*steps) <= most);
    (rows, steps.unwrap_or(1).max(3).min(workload.steps))
}

/// Takes sequences out of `[T, B, O]`.
fn select(output: &Tensor, rows: &[usize]) -> Tensor {
    let [steps, batch, width] = *output.shape() else { return Tensor::default() };
    let row = |t: usize, b: usize| &output.data()[(t * batch + b) * width..][..width];
    let data = (0..steps).flat_map(|t| rows.iter().flat_map(move |b| row(t, *b)));
    let data: Vec<f32> = data.copied().collect();
    Tensor::new([steps, rows.len(), width], data).unwrap_or_default()
}
