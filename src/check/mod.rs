//! The case table and its comparator: a device against the f64 oracle.
//!
//! One table, many readers: the tests, `rnn check` on a user's hardware, and the benches' own check
//! before they time. Inputs and weights come from formulas and seeds, so that any misplaced element
//! changes the answer; sizes are small and awkward, so that edges run.

mod cases;

pub use cases::{cases, formula_states, input_value, with_formula_norms};

use crate::batch::{Batch, RunOptions, Top};
use crate::engine::{Engine, Precision, Strategy};
use crate::error::{ErrorKind, Result};
use crate::model::Model;
use crate::reference::{self, ReferenceOutput};
use crate::tensor::Tensor;

/// Absolute tolerance of the comparator, for results of order one.
pub const ATOL: f64 = 1e-5;
/// Relative tolerance of the comparator.
pub const RTOL: f64 = 2e-5;

/// How far a result may be from the oracle's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub absolute: f64,
    /// Part of the oracle's magnitude.
    pub relative: f64,
}

impl Tolerance {
    /// f32 throughout: [`ATOL`] and [`RTOL`].
    pub const F32: Self = Self { absolute: ATOL, relative: RTOL };
    /// Weights and states of 11 significant bits: what a step rounds, the next ones see, and a layer
    /// normalisation divides by the spread of a row.
    pub const F16: Self = Self { absolute: 2e-2, relative: 2e-2 };

    /// Returns what a precision is held to.
    pub const fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
        }
    }
}

/// One network with one batch.
#[derive(Clone, Debug)]
pub struct Case {
    /// For example `lstm 2x13 bidirectional ragged`.
    pub name: String,
    /// The network.
    pub model: Model,
    /// The batch.
    pub batch: Batch,
    /// The options of the run.
    pub options: RunOptions,
}

/// The outcome of one case on one strategy.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// The case's name.
    pub case: String,
    /// The strategy that ran, or "cpu".
    pub strategy: String,
    /// Largest absolute difference to the oracle.
    pub max_abs: f64,
    /// What is wrong, where something is.
    pub fault: Option<String>,
    /// Why the strategy does not take this case, where it does not (then nothing was compared).
    pub refused: Option<String>,
}

/// How far two arrays are apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Largest absolute difference; NaN when one side has a NaN that the other has not.
    pub max_abs: f64,
    /// The first element beyond tolerance, in words.
    pub fault: Option<String>,
}

/// Compares a result with the oracle's, element by element.
///
/// An element passes when `|got − want| ≤ absolute + relative·|want|`, or both are NaN, or both are the
/// same infinity; a NaN on one side alone never passes.
pub fn compare(what: &str, got: &Tensor, want: &Tensor<f64>, tolerance: Tolerance) -> Difference {
    if got.shape() != want.shape() {
        let fault = format!("{what}: expected shape {:?}, got {:?}", want.shape(), got.shape());
        return Difference { max_abs: f64::NAN, fault: Some(fault) };
    }
    let mut difference = Difference { max_abs: 0.0, fault: None };
    let shape = want.shape();
    for (index, (got, want)) in got.data().iter().zip(want.data()).enumerate() {
        let got = f64::from(*got);
        if (got.is_nan() && want.is_nan()) || got.to_bits() == want.to_bits() {
            continue;
        }
        let diff = (got - want).abs();
        // Written so that NaN fails; equal infinities went on above, others have no tolerance.
        let is_close =
            want.is_finite() && diff <= tolerance.absolute + tolerance.relative * want.abs();
        if !is_close {
            let place = || place(index, shape);
            difference.fault.get_or_insert_with(|| {
                format!("{what}{}: expected {want:e}, got {got:e}", place())
            });
        }
        if diff.is_nan() || diff > difference.max_abs {
            difference.max_abs = diff;
        }
    }
    difference
}

/// Turns a row-major index into `[2, 0, 5]`.
fn place(mut index: usize, shape: &[usize]) -> String {
    let mut places = vec![0; shape.len()];
    for (place, axis) in places.iter_mut().zip(shape).rev() {
        *place = index % axis;
        index /= axis;
    }
    format!("{places:?}")
}

/// Compares largest values with the oracle's: values with the tolerance of [`compare`], places exactly,
/// but that two values of a row that are apart by less than the tolerance may have changed places.
pub fn compare_top(got: &Top, want: &Top<f64>, tolerance: Tolerance) -> Difference {
    let difference = compare("top values", &got.values, &want.values, tolerance);
    if difference.fault.is_some() {
        return difference;
    }
    let shape = want.indices.shape();
    if got.indices.shape() != shape {
        let got = got.indices.shape();
        let fault = format!("top indices: expected shape {shape:?}, got {got:?}");
        return Difference { max_abs: f64::NAN, fault: Some(fault) };
    }
    let k = shape.last().copied().unwrap_or(1).max(1);
    let misplaced = |(index, (got, place)): (usize, (&u32, &u32))| {
        if got == place {
            return None;
        }
        let row = index / k;
        let value = want.values.data()[index];
        let places = want.indices.row(row).iter().zip(want.values.row(row));
        let near = tolerance.absolute + tolerance.relative * value.abs();
        let is_near = places
            .filter(|(place, _)| *place == got)
            .any(|(_, other)| (other - value).abs() <= near);
        (!is_near).then(|| format!("{}: expected {place}, got {got}", self::place(index, shape)))
    };
    let mut pairs = got.indices.data().iter().zip(want.indices.data()).enumerate();
    let fault = pairs.find_map(misplaced).map(|fault| format!("top indices{fault}"));
    Difference { fault, ..difference }
}

/// Compares output and states of a run in f32 with the oracle's.
pub fn compare_output(got: &crate::Output, want: &ReferenceOutput<f64>) -> Difference {
    compare_output_within(got, want, Tolerance::F32)
}

/// Compares output and states of a run with the oracle's.
pub fn compare_output_within(
    got: &crate::Output,
    want: &ReferenceOutput<f64>,
    tolerance: Tolerance,
) -> Difference {
    let mut parts = vec![compare("output", &got.output, &want.output, tolerance)];
    match (&got.top, &want.top) {
        (Some(got), Some(want)) => parts.push(compare_top(got, want, tolerance)),
        (None, None) => {}
        _ => parts.push(Difference {
            max_abs: f64::NAN,
            fault: Some("top: expected the largest values exactly where they are asked for".into()),
        }),
    }
    for (index, want) in want.h.iter().enumerate() {
        let empty = Tensor::default();
        let got = got.states.h.get(index).unwrap_or(&empty);
        parts.push(compare(&format!("h_n of layer {index}"), got, want, tolerance));
    }
    for (index, want) in want.c.iter().enumerate() {
        let got = got.states.c.get(index).and_then(Option::as_ref);
        match (got, want) {
            (Some(got), Some(want)) => {
                parts.push(compare(&format!("c_n of layer {index}"), got, want, tolerance));
            }
            (None, None) => {}
            _ => parts.push(Difference {
                max_abs: f64::NAN,
                fault: Some(format!("c_n of layer {index}: expected one exactly for lstm")),
            }),
        }
    }
    parts.into_iter().fold(Difference { max_abs: 0.0, fault: None }, |all, part| Difference {
        max_abs: if all.max_abs.is_nan() || part.max_abs.is_nan() {
            f64::NAN
        } else {
            all.max_abs.max(part.max_abs)
        },
        fault: all.fault.or(part.fault),
    })
}

/// One in how many cases runs on the drivers that a software adapter compiles for a second or two each.
pub const SOFTWARE_SAMPLE: usize = 61;

/// Returns the drivers on which case number `index` runs: all of them, but on a software adapter those
/// that it compiles slowly only for one case in [`SOFTWARE_SAMPLE`], and under GL for none: Mesa's GL
/// takes as long for a short shader as its Vulkan for a long one.
pub fn drivers(engine: &Engine, index: usize) -> Vec<Strategy> {
    if engine.info().is_cpu_path {
        return vec![Strategy::Auto];
    }
    let info = engine.info();
    let is_sample =
        !info.is_software || (info.backend != "gl" && index.is_multiple_of(SOFTWARE_SAMPLE));
    // The wavefront refuses all but a few cases.
    let runs = |s: &Strategy| {
        is_sample || s.compiles_fast() || (*s == Strategy::Wavefront && info.backend != "gl")
    };
    Strategy::DRIVERS.into_iter().filter(runs).collect()
}

/// Runs one case on `strategies` of the engine's device and compares with the oracle.
///
/// # Errors
/// What the oracle refuses; a failing case is a report with a fault.
pub async fn run_case(
    engine: &Engine,
    case: &Case,
    strategies: &[Strategy],
) -> Result<Vec<CaseReport>> {
    let want = reference::run::<f64>(&case.model, &case.batch, &case.options)?;
    let mut reports = Vec::new();
    for &strategy in strategies {
        let name = if engine.info().is_cpu_path { "cpu" } else { strategy.name() };
        let mut report = CaseReport {
            case: case.name.clone(),
            strategy: name.into(),
            max_abs: 0.0,
            fault: None,
            refused: None,
        };
        match run_on(engine, case, strategy).await {
            Ok((output, reruns)) => {
                let tolerance = Tolerance::of(engine.precision());
                let difference = compare_output_within(&output, &want, tolerance);
                report.max_abs = difference.max_abs;
                report.fault = difference.fault;
                if reruns > 0 && report.fault.is_none() {
                    report.refused = Some("its workgroups did not run side by side".into());
                }
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                report.refused = Some(error.to_string());
            }
            Err(error) => report.fault = Some(error.to_string()),
        }
        reports.push(report);
    }
    Ok(reports)
}

/// Runs a case; returns how often it had to run again, too.
async fn run_on(engine: &Engine, case: &Case, strategy: Strategy) -> Result<(crate::Output, u64)> {
    let loaded = engine.with_strategy(strategy).load(&case.model)?;
    let output = loaded.run_with(&case.batch, &case.options).await?;
    Ok((output, loaded.engine().counters().reruns))
}
