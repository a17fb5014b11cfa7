//! What a network is: pure data in PyTorch's names and layout, validated when it is made.
//!
//! A [`Model`] is an input (dense features, an embedding table, or one-hot tokens), a stack of
//! recurrent [`Layer`]s, and an optional output layer ([`Head`]). It knows nothing of devices, files
//! or batches. `spec` holds the descriptions, `weights` the arrays, `init` the initialisers, `names`
//! the tensor names, `vocabulary` the token texts.

mod init;
mod names;
mod spec;
mod vocabulary;
mod weights;

pub use init::Init;
pub(crate) use names::NO_MODULE;
pub use names::{TensorRef, layer_tensor_name};
pub use spec::{Activation, Direction, HeadSpec, HeadSteps, InputSpec, LayerSpec};
pub use vocabulary::{Unit, Vocabulary};
pub(crate) use weights::NORM_STEMS;
pub use weights::{DirectionWeights, Head, Layer, LayerNorm};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The largest size accepted for any one axis of a network: products of two stay far inside u64.
pub(crate) const MAX_AXIS: usize = 1 << 24;

/// What enters the first layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// `size` features per time step.
    Dense {
        /// Features per time step, I.
        size: usize,
    },
    /// Tokens that select rows of a table `[V, E]`.
    Embedding {
        /// The table `[vocab, size]`.
        table: Tensor,
    },
    /// Tokens that stand for one-hot vectors of width `vocab`; computed as a row gather.
    OneHot {
        /// Number of tokens, V.
        vocab: usize,
    },
}

impl Input {
    /// Describes the input without its weights.
    pub fn spec(&self) -> InputSpec {
        match self {
            Self::Dense { size } => InputSpec::Dense { size: *size },
            Self::Embedding { table } => {
                InputSpec::Embedding { vocab: table.shape()[0], size: table.shape()[1] }
            }
            Self::OneHot { vocab } => InputSpec::OneHot { vocab: *vocab },
        }
    }
}

/// Texts that travel with a model and change no number.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ModelInfo {
    /// Token texts, for `.txt` input, traces and generation.
    pub vocabulary: Option<Vocabulary>,
    /// Names of the input features; select the columns of a `.csv`.
    pub columns: Vec<String>,
    /// Names of the output features.
    pub outputs: Vec<String>,
    /// The output at step t predicts the input at t + 1.
    pub forecast: bool,
    /// What the model is.
    pub description: String,
    /// The command that made it.
    pub command: String,
    /// What was read off names and shapes because the file does not say it, in words; not saved.
    pub guesses: Vec<String>,
    /// Module name of the recurrent tensors in files; `rnn` when empty, `.` for names without a
    /// module (`weight_ih_l0`), as the `state_dict` of a bare `nn.LSTM` has them.
    pub recurrent_name: String,
    /// Module name of the output layer in files; `fc` when empty.
    pub head_name: String,
    /// Module name of the embedding in files; `embedding` when empty.
    pub embedding_name: String,
}

/// A recurrent network: input, layers, optional output layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    input: Input,
    layers: Vec<Layer>,
    head: Option<Head>,
    /// Texts that travel with the model.
    pub info: ModelInfo,
}

impl Model {
    /// Joins the parts of a network.
    ///
    /// # Errors
    /// `Weights`, listing every tensor whose shape does not fit; `Shape` when a size is zero or the
    /// layers do not follow each other.
    pub fn new(input: Input, layers: Vec<Layer>, head: Option<Head>) -> Result<Self> {
        let model = Self { input, layers, head, info: ModelInfo::default() };
        model.check()?;
        Ok(model)
    }

    /// Starts the description of a network whose weights are then drawn.
    ///
    /// ```
    /// use wgpu_rnn::{Cell, Init, LayerSpec, Model, HeadSpec, InputSpec};
    /// let model = Model::builder(InputSpec::Dense { size: 3 })
    ///     .layer(LayerSpec::new(Cell::Lstm, 16).bidirectional())
    ///     .layer(LayerSpec::new(Cell::Gru, 8))
    ///     .head(HeadSpec::new(2))
    ///     .build(Init::PyTorch, 42)?;
    /// assert_eq!(model.layers()[1].spec().input_size, 32);
    /// # Ok::<(), wgpu_rnn::Error>(())
    /// ```
    pub fn builder(input: InputSpec) -> ModelBuilder {
        ModelBuilder { input, layers: Vec::new(), head: None }
    }

    /// Returns the input part.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Returns the recurrent layers, first layer first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns the output layer.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Replaces the output layer.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn with_head(mut self, head: Option<Head>) -> Result<Self> {
        self.head = head;
        self.check()?;
        Ok(self)
    }

    /// Returns the width of the last recurrent layer's output: H (or P) times directions.
    pub fn recurrent_width(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.spec().output_size())
    }

    /// Returns the width of the output: the head's, or the last layer's.
    pub fn output_size(&self) -> usize {
        self.head.as_ref().map_or_else(|| self.recurrent_width(), Head::output_size)
    }

    /// Tells whether the output has one row per sequence instead of one per time step.
    pub fn is_per_sequence(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.steps.is_per_sequence())
    }

    /// Tells whether a sequence can be computed piece by piece: no layer needs its end first.
    pub fn is_forward(&self) -> bool {
        self.layers.iter().all(|layer| layer.spec().direction == Direction::Forward)
    }

    /// Counts the trainable numbers.
    pub fn parameter_count(&self) -> usize {
        self.tensors().iter().map(|tensor| tensor.values.len()).sum()
    }

    /// Lists every tensor under the name that PyTorch gives it.
    pub fn tensors(&self) -> Vec<TensorRef<'_>> {
        names::tensors(self)
    }

    fn check(&self) -> Result<()> {
        if let Input::Embedding { table } = &self.input
            && table.shape().len() != 2
        {
            return Err(Error::weights(format!(
                "embedding weight: expected [V, E], got {:?}",
                table.shape()
            )));
        }
        spec::check_chain(
            &self.input.spec(),
            &self.layers.iter().map(|layer| layer.spec().clone()).collect::<Vec<_>>(),
        )?;
        let mut faults = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            layer.collect_faults(index, &mut faults);
        }
        if let Some(head) = &self.head {
            head.collect_faults(self.recurrent_width(), &mut faults);
        }
        if faults.is_empty() { Ok(()) } else { Err(Error::weights(faults.join("\n"))) }
    }
}

/// A network described layer by layer; [`ModelBuilder::build`] draws its weights.
#[derive(Clone, Debug)]
pub struct ModelBuilder {
    input: InputSpec,
    layers: Vec<LayerSpec>,
    head: Option<HeadSpec>,
}

impl ModelBuilder {
    /// Adds a recurrent layer; its input size is what the layer before it puts out.
    #[must_use]
    pub fn layer(mut self, spec: LayerSpec) -> Self {
        let width = self.layers.last().map_or_else(|| self.input.width(), LayerSpec::output_size);
        self.layers.push(LayerSpec { input_size: width, ..spec });
        self
    }

    /// Adds `count` equal recurrent layers.
    #[must_use]
    pub fn layers(mut self, count: usize, spec: &LayerSpec) -> Self {
        for _ in 0..count {
            self = self.layer(spec.clone());
        }
        self
    }

    /// Adds the output layer.
    #[must_use]
    pub fn head(mut self, spec: HeadSpec) -> Self {
        self.head = Some(spec);
        self
    }

    /// Draws the weights with `init` from `seed` and checks the whole.
    ///
    /// The same seed gives the same weights on every platform.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn build(self, init: Init, seed: u64) -> Result<Model> {
        spec::check_chain(&self.input, &self.layers)?;
        if let Some(head) = &self.head {
            spec::check_axis("head output size", head.output_size)?;
        }
        init::draw(&self.input, &self.layers, self.head.as_ref(), init, seed)
    }
}
