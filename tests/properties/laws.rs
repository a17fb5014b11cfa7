//! The laws as functions: a runner and a drawn case in, the first violation out.
//!
//! A runner is anything that gives answers (the f64 oracle, an engine, a runner broken on purpose),
//! so that one text of each law serves them all. Answers are compared with a tolerance that follows
//! from the case: how far the f64 oracle's own answer moves when every weight moves by two units in
//! its last place. Cases that move further than [`runner::WILD`] are no measure of an engine and are drawn
//! again.

mod layouts;
mod not_a_number;
mod rows;
mod runner;
mod stack;
mod time;

pub(crate) use layouts::{is_the_same_in_both_layouts, repeats};
pub(crate) use not_a_number::shows_nan_where_it_belongs;
pub(crate) use rows::{equals_its_rows, ignores_padding, permutes_with_its_rows};
pub(crate) use runner::{Answer, Runner, Verdict, wobble};
pub(crate) use stack::chains;
pub(crate) use time::{may_be_cut_in_time, mirrors};

use super::draw::Case;

/// The main law: the runner's answer is the f64 oracle's.
pub(crate) fn equals_the_oracle(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let want = runner::reference(&model, &batch, &case.options);
    runner.compare_all("oracle", &runner.run(&model, &batch, &case.options), &want, wobble)
}
