//! What the fuzz targets call: see `entries`.
//!
//! The readers of data files belong to the program, not to the library's interface, so they are taken
//! in by path.

#[path = "../../src/bin/rnn/data/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the writers are not fuzzed")]
mod data;
pub mod entries;
#[path = "../../src/bin/rnn/failure.rs"]
#[allow(dead_code, reason = "exit codes are the program's")]
mod failure;
#[path = "../../src/bin/rnn/interrupt.rs"]
#[allow(dead_code, reason = "only the program handles interrupts")]
mod interrupt;
