//! Who answers, and how far answers may be apart.

use wgpu_rnn::check::{ATOL, RTOL};
use wgpu_rnn::reference::{self, ReferenceOutput};
use wgpu_rnn::{Batch, Engine, Model, RunOptions, Tensor};

use crate::draw::{Case, noise, with_weights};

/// What a runner gives: f32 results widened.
pub(crate) type Answer = ReferenceOutput<f64>;

/// The outcome of a law.
pub(crate) type Verdict = Result<(), String>;

type Run = dyn Fn(&Model, &Batch, &RunOptions) -> Answer;

/// Something that gives answers.
pub(crate) struct Runner {
    pub(crate) name: String,
    run: Box<Run>,
    /// Computes in f64: answers that should be equal are equal, or nearly.
    exact: bool,
}

impl Runner {
    /// The f64 oracle.
    pub(crate) fn oracle() -> Self {
        Self::broken("oracle", reference)
    }

    /// The oracle with something around it.
    pub(crate) fn broken(
        name: &str,
        run: impl Fn(&Model, &Batch, &RunOptions) -> Answer + 'static,
    ) -> Self {
        Self { name: name.into(), run: Box::new(run), exact: true }
    }

    /// The oracle in f32.
    pub(crate) fn narrow_oracle() -> Self {
        let run = |model: &Model, batch: &Batch, options: &RunOptions| {
            let got = reference::run::<f32>(model, batch, options).expect("the batch fits");
            widened(&got.output, &got.h, &got.c)
        };
        Self { name: "oracle in f32".into(), run: Box::new(run), exact: false }
    }

    /// An engine.
    pub(crate) fn engine(name: &str, engine: Engine) -> Self {
        let run = move |model: &Model, batch: &Batch, options: &RunOptions| {
            let loaded = engine.load(model).expect("loads");
            let got = loaded.run_blocking_with(batch, options).expect("runs");
            widened(&got.output, &got.states.h, &got.states.c)
        };
        Self { name: name.into(), run: Box::new(run), exact: false }
    }

    /// Runs a batch.
    pub(crate) fn run(&self, model: &Model, batch: &Batch, options: &RunOptions) -> Answer {
        (self.run)(model, batch, options)
    }

    pub(crate) fn compare(
        &self,
        what: &str,
        got: &Tensor<f64>,
        want: &Tensor<f64>,
        wobble: f64,
    ) -> Verdict {
        let what = format!("{}: {what}", self.name);
        if got.shape() != want.shape() {
            return Err(format!("{what}: expected {:?}, got {:?}", want.shape(), got.shape()));
        }
        for (index, (got, want)) in got.data().iter().zip(want.data()).enumerate() {
            // Between f64 answers nothing but the order of sums, or f32 in between, may differ.
            let (atol, rtol) = if self.exact { (1e-6, 1e-6) } else { (ATOL, RTOL) };
            let tolerance = atol + 16.0 * wobble + (rtol + 16.0 * wobble) * want.abs();
            let is_same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            // Written so that NaN fails; the pad value and infinities have no tolerance.
            if !(is_same || (want.is_finite() && (got - want).abs() <= tolerance)) {
                return Err(format!("{what}: value {index}: expected {want:e}, got {got:e}"));
            }
        }
        Ok(())
    }

    pub(crate) fn compare_states(
        &self,
        what: &str,
        got: &Answer,
        want: &Answer,
        wobble: f64,
    ) -> Verdict {
        if got.h.len() != want.h.len() || got.c.len() != want.c.len() {
            return Err(format!("{}: {what}: other numbers of layers", self.name));
        }
        for (index, (got, want)) in got.h.iter().zip(&want.h).enumerate() {
            self.compare(&format!("{what}: h_n of layer {index}"), got, want, wobble)?;
        }
        for (index, (got, want)) in got.c.iter().zip(&want.c).enumerate() {
            match (got, want) {
                (Some(got), Some(want)) => {
                    self.compare(&format!("{what}: c_n of layer {index}"), got, want, wobble)?;
                }
                (None, None) => {}
                _ => return Err(format!("{}: {what}: c_n of layer {index}", self.name)),
            }
        }
        Ok(())
    }

    pub(crate) fn compare_all(
        &self,
        what: &str,
        got: &Answer,
        want: &Answer,
        wobble: f64,
    ) -> Verdict {
        self.compare(&format!("{what}: output"), &got.output, &want.output, wobble)?;
        self.compare_states(what, got, want, wobble)
    }
}

pub(crate) fn reference(model: &Model, batch: &Batch, options: &RunOptions) -> Answer {
    reference::run::<f64>(model, batch, options).expect("the batch fits")
}

fn widened(output: &Tensor, h: &[Tensor], c: &[Option<Tensor>]) -> Answer {
    let widen = |tensor: &Tensor| {
        let values = tensor.data().iter().copied().map(f64::from).collect();
        Tensor::new(tensor.shape(), values).expect("same shape")
    };
    Answer {
        output: widen(output),
        top: None,
        h: h.iter().map(widen).collect(),
        c: c.iter().map(|c| c.as_ref().map(widen)).collect(),
    }
}

/// Beyond this a case moves too much with its weights to measure an engine by.
const WILD: f64 = 1e-5;

/// Tells how far the oracle's answer moves when the weights move by two units in the last place;
/// `None` when that is too far, or values grow out of what f32 is good for.
pub(crate) fn wobble(case: &Case) -> Option<f64> {
    let model = case.model();
    let batch = case.batch(&model);
    let answer = reference(&model, &batch, &case.options);
    let values = |answer: &Answer| -> Vec<f64> {
        let states = answer.h.iter().chain(answer.c.iter().flatten());
        std::iter::once(&answer.output).chain(states).flat_map(|t| t.data()).copied().collect()
    };
    let want = values(&answer);
    if want.iter().any(|v| !v.is_finite() || v.abs() > 1e3) {
        return None;
    }
    let mut worst = 0.0f64;
    for sign in [1.0, -1.0] {
        let mut count = 0;
        let nudged = with_weights(&model, |_, tensor| {
            for value in tensor.data_mut() {
                count += 1;
                let side = if noise(case.network.seed, count) < 0.0 { sign } else { -sign };
                *value *= 1.0 + side * 2.0 * f32::EPSILON;
            }
        });
        let moved = values(&reference(&nudged, &batch, &case.options));
        for (moved, want) in moved.iter().zip(&want) {
            worst = worst.max((moved - want).abs() / (1.0 + want.abs()));
        }
    }
    (worst <= WILD).then_some(worst)
}
