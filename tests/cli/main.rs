//! The program `rnn`, driven as people drive it: arguments in, files and exit codes out.

mod bench;
mod calibrate;
mod commands;
mod faults;
mod formats;
mod onnx;
mod runs;
mod shipped;
mod support;
mod tasks;
mod top;
mod train;
mod train_ends;
