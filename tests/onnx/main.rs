//! ONNX models: what exporters write is read and gives what ONNX Runtime gives; every attribute of
//! the recurrent operators matters; what is not understood is named; damage is an error.

mod border;
mod damage;
mod export;
mod fixtures;
mod graph;
mod operators;
mod plumbing;
mod refused;
