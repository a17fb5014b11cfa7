//! The case table and its comparator: a device against the f64 oracle.
//!
//! Tests, `rnn check` and benches read the same table.

use crate::batch::{Batch, RunOptions};
use crate::engine::{Engine, EngineOptions};
use crate::error::Result;
use crate::model::Model;

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

/// Lists every case.
pub fn cases() -> Vec<Case> {
    Vec::new()
}

/// Runs one case on every strategy that the device of `options` offers.
///
/// # Errors
/// None of the case's own: a failing case is a report with a fault.
pub async fn run_case(engine: &Engine, case: &Case) -> Result<Vec<CaseReport>> {
    let _ = (engine, case, EngineOptions::default());
    Ok(Vec::new())
}
