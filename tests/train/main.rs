//! Training on every device: gradients against the f64 oracle and PyTorch, optimizers against their formulas, runs
//! that are carried on, stopped and resumed.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod cases;
mod gradients;
mod optimizers;
mod runs;
#[path = "../support/mod.rs"]
mod support;
