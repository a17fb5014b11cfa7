//! Recurrent neural networks on any GPU that wgpu reaches, and on the CPU where there is none.
//!
//! ```text
//! h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)      y_t = g(W_y·h_t + b_y)
//! ```
//! Vanilla RNN (tanh, ReLU), LSTM and GRU; stacks, both directions, batches of different lengths,
//! projections, embeddings, output layers. WGSL compute shaders do the products and the
//! non-linearity of each step; a host-side plan orders the steps; the hidden state stays in GPU
//! buffers; an f64 reference checks every result.
//!
//! ```
//! use wgpu_rnn::{Batch, Cell, Engine, HeadSpec, Init, InputSpec, LayerSpec, Model};
//!
//! // A network in PyTorch's terms, with drawn weights; Model::load reads a state_dict.
//! let model = Model::builder(InputSpec::Dense { size: 2 })
//!     .layer(LayerSpec::new(Cell::Lstm, 16).bidirectional())
//!     .head(HeadSpec::new(3))
//!     .build(Init::PyTorch, 42)?;
//! // A hardware GPU if there is one, else the CPU path.
//! let engine = pollster::block_on(Engine::new())?;
//! let loaded = engine.load(&model)?;
//! // Two sequences of three and one time steps, two features a step.
//! let batch = Batch::ragged(&[vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6], vec![0.7, 0.8]], 2)?;
//! let result = loaded.run_blocking(&batch)?;
//! assert_eq!(result.output.shape(), [2, 3, 3]); // [B, T, O]
//! # Ok::<(), wgpu_rnn::Error>(())
//! ```
//!
//! | to | start at |
//! |---|---|
//! | make or load a network | [`Model`], [`Model::builder`], [`Model::load`] |
//! | bring sequences | [`Batch`], [`bucket`] |
//! | run them | [`Engine`], [`LoadedModel::run`], [`RunOptions`] |
//! | record into your own frame | [`LoadedModel::session`], [`Session`], [`Engine::from_device`] |
//! | see what a run will do | [`LoadedModel::explain`], [`plan`] |
//! | check a device | [`check`] |
//! | compute gradients in f64 | [`train`], [`reference::gradients`] |
//! | read the mathematics | [`cell`], [`mod@reference`] |
//!
//! # Letters
//!
//! T time steps · B batch · I input features · H hidden units · R width of the state h (P with
//! projection, else H) · G gates · D directions · L layers · O outputs. Arrays are row-major and
//! written outermost axis first, as in `[T, B, H]`.
//!
//! # NaN
//!
//! A NaN or infinity in an input or weight shows in every output that depends on it; padding is never
//! read. Activations are finite for every finite input.

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
pub mod train;

pub use batch::{Batch, Layout, Output, RunOptions, Sampling, States, Top, ZeroLength, bucket};
pub use cell::{Cell, CellFunction, CellOptions};
pub use engine::{
    AdapterReport, CalibrationEvent, Checkpoint, Constants, ConstantsSource, CooperativeMatrix,
    Counters, DeviceChoice, Engine, EngineInfo, EngineOptions, Generator, Gradients,
    GridPersistent, LoadedModel, PipelineCache, Precision, Progress, Session, SessionOptions,
    StepMemory, Strategy, Stream, StreamOptions, Trainer, TrainerOptions, Tuning,
};
pub use error::{Error, ErrorKind, Result};
pub use formats::{LoadOptions, onnx};
pub use model::{
    Activation, Direction, Head, HeadSpec, HeadSteps, Init, Input, InputSpec, Layer, LayerSpec,
    Model,
};
pub use tensor::Tensor;
pub use wgpu;

/// The examples of README.md, compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
