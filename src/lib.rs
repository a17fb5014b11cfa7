//! (crate docs come with the engine)
pub mod batch;
pub mod cell;
pub mod check;
mod cpu;
pub mod engine;
pub mod error;
pub mod formats;
mod gpu;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod reference;
mod tensor;

pub use batch::{Batch, Layout, Output, RunOptions, States, ZeroLength, bucket};
pub use cell::Cell;
pub use engine::{
    AdapterReport, Counters, DeviceChoice, Engine, EngineInfo, EngineOptions, LoadedModel, Session,
    SessionOptions, Strategy,
};
pub use error::{Error, ErrorKind, Result};
pub use formats::LoadOptions;
pub use model::{
    Activation, Direction, Head, HeadSpec, HeadSteps, Init, Input, InputSpec, Layer, LayerSpec,
    Model,
};
pub use tensor::Tensor;
pub use wgpu;
