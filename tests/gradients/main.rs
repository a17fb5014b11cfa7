//! The oracle of training: losses and gradients against finite differences, against PyTorch, and
//! against what must hold whatever the numbers. CPU only.

mod cases;
mod differences;
mod laws;
#[path = "../support/mod.rs"]
mod support;
