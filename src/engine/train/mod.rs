//! Training: forward, loss, backpropagation through time and the optimizer's step, in one submit that only the
//! watchdog budget cuts.

mod carried;
mod checkpoint;
mod explain;
mod options;
mod targets;
mod transfer;

pub use checkpoint::Checkpoint;
pub use explain::StepMemory;
pub use options::TrainerOptions;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use self::carried::{Carried, take_rows};
use self::transfer::{read_all, read_parts, record, wait_for};
use super::loaded::Loaded;
use super::part::Part;
use super::upload;
use super::{Engine, LoadedModel, Strategy};
use crate::batch::{Batch, Output, States, by_falling_length};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Weights, Workspace, unpack};
use crate::model::Model;
use crate::plan::{
    LossKind, OptimizerKind, Parameter, Plan, PlanRequest, TrainBuffer, TrainRequest, WeightId,
    padded, parameters, steps_capacity,
};
use crate::tensor::Tensor;
use crate::train::{CrossEntropy, Loss, Optimizer, Targets};

/// Steps that may be on the device at once: one computes while the host packs the next.
const DEPTH: usize = 2;

/// What training steps have come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Mean loss of the steps since the last time it was asked for; NaN when there was none.
    pub mean_loss: f32,
    /// Loss of the last step.
    pub loss: f32,
    /// Norm of all gradients of the last step, before clipping.
    pub gradient_norm: f32,
    /// Steps since the last time it was asked for.
    pub steps: u64,
    /// The part of classes that had the largest logit, alone, over those steps, each with the parameters that it
    /// found; for cross-entropy, where a class counted.
    pub accuracy: Option<f32>,
    /// Whether a gradient was no number: since then parameters have not changed.
    pub is_stopped: bool,
}

/// Gradients of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The loss.
    pub loss: f32,
    /// By parameter: a network whose weights are the gradients.
    pub parameters: Model,
    /// With respect to the initial states.
    pub states: States,
    /// With respect to dense inputs, `[B, T, I]`, zero beyond lengths; `None` for tokens.
    pub input: Option<Tensor>,
}

/// A network that is trained on a device. Parameters, gradients and the optimizer's moments stay there.
///
/// ```no_run
/// # fn main() -> wgpu_rnn::Result<()> {
/// use wgpu_rnn::train::Targets;
/// use wgpu_rnn::{Batch, Cell, Engine, HeadSpec, Init, InputSpec, LayerSpec, Layout, Model, TrainerOptions};
/// let model = Model::builder(InputSpec::Dense { size: 8 })
///     .layer(LayerSpec::new(Cell::Lstm, 32))
///     .head(HeadSpec::new(10))
///     .build(Init::PyTorch, 1)?;
/// let engine = pollster::block_on(Engine::new())?;
/// let mut trainer = engine.trainer(&model, TrainerOptions::default())?;
/// # let examples: Vec<(Batch, Targets)> = Vec::new();
/// for (batch, targets) in &examples {
///     trainer.step(batch, targets)?;
/// }
/// println!("mean loss {}", trainer.progress()?.mean_loss);
/// trainer.model()?.save("model.safetensors")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Trainer {
    model: LoadedModel,
    options: TrainerOptions,
    parameters: Vec<Parameter>,
    /// Steps taken.
    steps: u64,
    /// Steps since progress was asked for.
    unread: u64,
    /// What the device may still use, the oldest first.
    in_flight: VecDeque<(Workspace, wgpu::SubmissionIndex)>,
    /// The states that the last step ended with, where they are carried.
    carried: Option<Carried>,
}

impl Engine {
    /// Brings a network onto the device to be trained.
    ///
    /// # Errors
    /// `Unsupported` on the CPU path, in another precision than f32, and when the loss does not fit the network;
    /// `Shape` for a number out of range; as [`Engine::load`].
    pub fn trainer(&self, model: &Model, options: TrainerOptions) -> Result<Trainer> {
        self.trainer_with(model, options, None)
    }

    fn trainer_with(
        &self,
        model: &Model,
        options: TrainerOptions,
        moments: Option<[&Model; 2]>,
    ) -> Result<Trainer> {
        options.check()?;
        options.loss.check(model)?;
        crate::train::check_trainable(model)?;
        // These keep no input gates, or may have to run again.
        let engine = match self.shared.wishes.strategy {
            Strategy::Wavefront | Strategy::GridPersistent => self.with_strategy(Strategy::Auto),
            strategy => self.with_strategy(strategy),
        };
        let loaded = LoadedModel::for_training(engine, model, moments)?;
        let parameters = parameters(&loaded.inner().network);
        let trainer = Trainer {
            model: loaded,
            options,
            parameters,
            steps: 0,
            unread: 0,
            in_flight: VecDeque::new(),
            carried: None,
        };
        Ok(trainer)
    }
}

impl Trainer {
    /// Takes one training step: forward, loss, gradients, update. Returns once it is submitted; nothing is read
    /// back.
    ///
    /// # Errors
    /// `Shape` when batch or targets do not fit; `Limit` when the batch exceeds the device; `Device` when the
    /// device fails.
    pub fn step(&mut self, batch: &Batch, targets: &Targets) -> Result<()> {
        let wish =
            Wish { optimizer: Some(self.kind()), gradients: true, dropout: true, carry: true };
        if self.submit(batch, targets, wish)?.is_some() {
            self.steps += 1;
            self.unread += 1;
        }
        Ok(())
    }

    /// Computes the gradients of a batch and leaves the parameters as they are.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn gradients(&mut self, batch: &Batch, targets: &Targets) -> Result<Gradients> {
        let loaded = Arc::clone(self.model.inner());
        let (gpu, weights) = on_gpu(&loaded)?;
        let before = self.read_progress()?;
        let mut gradients = Gradients {
            loss: 0.0,
            parameters: unpack::model(&loaded.model, &HashMap::new(), true)?,
            states: States::zeros(&loaded.model, batch.batch_size()),
            input: (!batch.is_tokens()).then(|| {
                let width = loaded.network.input.width();
                Tensor::zeros([batch.batch_size(), batch.steps(), width])
            }),
        };
        let wish = Wish { gradients: true, ..Wish::default() };
        let Some(part) = self.submit(batch, targets, wish)? else { return Ok(gradients) };
        self.write_progress(&before)?;
        let Some((workspace, _)) = self.in_flight.pop_back() else { return Ok(gradients) };
        let missing = || Error::device("training: expected a plan for it");
        let train = workspace.plan.train.as_ref().ok_or_else(missing)?;
        let mut sources: Vec<(&wgpu::Buffer, u64)> = Vec::new();
        for parameter in &self.parameters {
            let buffer = weights.training(TrainBuffer::Gradient(parameter.id));
            sources.push((buffer.ok_or_else(missing)?, parameter.bytes));
        }
        let carries = train.carries.iter().flat_map(|c| [Some(c.both), c.h]).flatten();
        for id in [train.losses].into_iter().chain(carries).chain(train.input_gradient) {
            sources.push((&workspace.buffers[id], workspace.plan.buffers[id].bytes));
        }
        let mut arrays = read_all(gpu, &loaded, &sources)?.into_iter();
        let by_id: HashMap<WeightId, Vec<f32>> =
            self.parameters.iter().map(|p| p.id).zip(arrays.by_ref()).collect();
        gradients.parameters = unpack::model(&loaded.model, &by_id, true)?;
        let rows = if workspace.plan.output.last_only { 1 } else { workspace.plan.request.steps };
        let losses = arrays.next().unwrap_or_default();
        gradients.loss = losses.iter().take(rows * part.rows.len()).sum();
        for (layer, carry) in train.carries.iter().enumerate() {
            let both = arrays.next().unwrap_or_default();
            let (h, c) = both.split_at(both.len() / 2);
            let own = carry.h.and_then(|_| arrays.next());
            let states = &mut gradients.states;
            take_rows(&mut states.h[layer], own.as_deref().unwrap_or(h), &part.rows);
            if let Some(into) = &mut states.c[layer] {
                take_rows(into, c, &part.rows);
            }
        }
        if let (Some(into), Some(values)) = (&mut gradients.input, arrays.next()) {
            let width = loaded.network.input.width();
            part.for_each_step(|at, b, t| {
                let target = (b * batch.steps() + t) * width;
                let source = &values[at * padded(width)..][..width];
                into.data_mut()[target..target + width].copy_from_slice(source);
            });
        }
        loaded.give_workspace(gpu, workspace);
        Ok(gradients)
    }

    /// Runs the network as it is trained so far, without dropout, as [`LoadedModel::run`] does: the outputs that a
    /// loss of the caller's own is computed from ([`Loss::OutputGradient`]).
    ///
    /// # Errors
    /// As [`LoadedModel::run`].
    pub fn run(&self, batch: &Batch) -> Result<Output> {
        self.model.run_blocking(batch)
    }

    /// Computes the loss of a batch, without dropout, and leaves everything as it is.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn evaluate(&mut self, batch: &Batch, targets: &Targets) -> Result<f32> {
        let loaded = Arc::clone(self.model.inner());
        let (gpu, _) = on_gpu(&loaded)?;
        let before = self.read_progress()?;
        if self.submit(batch, targets, Wish::default())?.is_none() {
            return Ok(0.0);
        }
        let loss = self.read_progress()?[1];
        self.write_progress(&before)?;
        if let Some((workspace, _)) = self.in_flight.pop_back() {
            loaded.give_workspace(gpu, workspace);
        }
        Ok(loss)
    }

    /// Lets the next step start with states of zero.
    pub fn reset_states(&mut self) {
        let loaded = Arc::clone(self.model.inner());
        // Buffers that are let go of use the device.
        let _turn = loaded.on_gpu().and_then(|(gpu, _)| gpu.exclusive());
        self.carried = None;
    }

    /// Reads how training goes, and waits for what was submitted.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub fn progress(&mut self) -> Result<Progress> {
        let words = self.read_progress()?;
        let steps = std::mem::take(&mut self.unread);
        #[expect(clippy::cast_precision_loss, reason = "a mean over few steps")]
        let mean_loss = words[0] / steps as f32;
        let mut cleared = words.clone();
        [cleared[0], cleared[5], cleared[6]] = [0.0; 3];
        self.write_progress(&cleared)?;
        Ok(Progress {
            mean_loss,
            loss: words[1],
            gradient_norm: words[3],
            steps,
            accuracy: (words[6] > 0.0).then(|| words[5] / words[6]),
            is_stopped: words[4].to_bits() != 0,
        })
    }

    /// Returns the network as it is trained so far.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub fn model(&mut self) -> Result<Model> {
        let loaded = self.model.inner();
        let (gpu, weights) = on_gpu(loaded)?;
        let mut arrays = HashMap::new();
        for parameter in &self.parameters {
            let part = weights.get(parameter.id)?;
            let read = read_parts(gpu, loaded, &[(&part.buffer, part.at, parameter.bytes)])?;
            arrays.extend(read.into_iter().map(|values| (parameter.id, values)));
        }
        unpack::model(&loaded.model, &arrays, false)
    }

    /// Returns the engine that it trains on, for its counters.
    pub fn engine(&self) -> &Engine {
        self.model.engine()
    }

    /// Describes a training step for `batch` sequences of `steps` time steps: how each layer runs forward, dispatches,
    /// bytes by buffer, and what is computed again instead of kept.
    ///
    /// # Errors
    /// `Limit` when the shape is too large for the device.
    pub fn explain(&self, batch: usize, steps: usize) -> Result<String> {
        let plan = self.step_plan(batch, steps)?;
        Ok(explain::text(&plan, &self.parameters, (batch, steps)))
    }

    /// Returns what a training step for `batch` sequences of `steps` time steps takes on the device.
    ///
    /// # Errors
    /// `Limit` when the shape is too large for the device.
    pub fn memory(&self, batch: usize, steps: usize) -> Result<StepMemory> {
        Ok(StepMemory::of(&*self.step_plan(batch, steps)?, &self.parameters))
    }

    fn step_plan(&self, batch: usize, steps: usize) -> Result<Arc<Plan>> {
        let loaded = self.model.inner();
        let (gpu, _) = on_gpu(loaded)?;
        let wish =
            Wish { optimizer: Some(self.kind()), gradients: true, dropout: true, carry: false };
        let train = TrainRequest { input_gradient: false, ..self.request_of(wish, false) };
        let request = loaded.request(batch, steps_capacity(steps), None);
        loaded.plan(gpu, PlanRequest { train: Some(train), ..request })
    }

    /// Returns the number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Sets the learning rate of the steps to come, as a schedule wants it.
    ///
    /// # Errors
    /// `Shape` when it is negative or no number.
    pub fn set_learning_rate(&mut self, learning_rate: f32) -> Result<()> {
        let options = TrainerOptions { learning_rate, ..self.options.clone() };
        options.check()?;
        self.options = options;
        Ok(())
    }

    /// Uploads and submits; `None` when no sequence has a step.
    fn submit(&mut self, batch: &Batch, targets: &Targets, wish: Wish) -> Result<Option<Part>> {
        let loaded = Arc::clone(self.model.inner());
        let (gpu, weights) = on_gpu(&loaded)?;
        gpu.check_alive()?;
        batch.check_fits(&loaded.model)?;
        targets.check(&self.options.loss, &loaded.model, batch)?;
        let lengths: Vec<usize> = (0..batch.batch_size()).map(|b| batch.length(b)).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if longest == 0 {
            return Ok(None);
        }
        let carries = wish.carry && self.options.carry_states;
        if carries && lengths.iter().any(|len| *len != longest) {
            return Err(Error::unsupported(
                "training: expected sequences of one length with carry_states, got several lengths",
            ));
        }
        let rows = by_falling_length(&lengths);
        let initial = batch.initial().map(|states| states.select(&rows));
        let part = Part::new(batch, rows, 0..longest);
        let train = self.request_of(wish, batch.is_tokens());
        let steps = steps_capacity(longest);
        let request = loaded.request(part.rows.len(), steps, None);
        let plan = loaded.plan(gpu, PlanRequest { train: Some(train), ..request })?;
        let more =
            targets::uploads(&loaded.model, &self.options.loss, batch, targets, &part, &plan)?;
        self.make_room(gpu, &loaded)?;
        let mut workspace = loaded.take_workspace(gpu, &plan)?;
        let missing = || Error::device("training: expected a plan without a caller's buffers");
        let transfers = workspace.transfers.as_mut().ok_or_else(missing)?;
        pollster::block_on(transfers.upload.ready(gpu))?;
        // What does not carry leaves what is carried alone.
        let kept = if carries { None } else { self.carried.take() };
        if self.carried.as_ref().is_some_and(|c| c.rows != part.rows.len()) {
            self.reset_states();
        }
        let carried = match self.carried.take() {
            None if carries => {
                let new = || Ok(Carried::new(gpu, &plan, part.rows.len()));
                Some((gpu.scoped("carried states", new)?, false))
            }
            other => other.map(|carried| (carried, initial.is_none())),
        };
        let index = gpu.scoped("training step", || {
            self.write_hyper(gpu, weights, &workspace);
            let copies =
                upload::fill(&loaded, gpu, &workspace, batch, &part, initial.as_ref(), &more)?;
            let states = carried.as_ref().map(|(carried, starts)| (carried, *starts));
            let index = record(gpu, &loaded, &workspace, &part, &copies, states)?;
            workspace.transfers.as_mut().ok_or_else(missing)?.upload.reclaim();
            Ok(index)
        })?;
        workspace.has_zero_states = initial.is_none() && !carries;
        self.carried = carried.map(|(carried, _)| carried).or(kept);
        self.in_flight.push_back((workspace, index));
        Ok(Some(part))
    }

    const fn kind(&self) -> OptimizerKind {
        match self.options.optimizer {
            Optimizer::Sgd { .. } => OptimizerKind::Sgd,
            Optimizer::Adam { .. } => OptimizerKind::Adam,
            Optimizer::AdamW { .. } => OptimizerKind::AdamW,
            Optimizer::RmsProp { .. } => OptimizerKind::RmsProp,
        }
    }

    fn request_of(&self, wish: Wish, is_tokens: bool) -> TrainRequest {
        TrainRequest {
            loss: kind_of(&self.options.loss),
            weighted: matches!(
                &self.options.loss,
                Loss::CrossEntropy(CrossEntropy { class_weights: Some(_), .. })
            ),
            optimizer: wish.optimizer,
            gradients: wish.gradients,
            input_gradient: wish.gradients && wish.optimizer.is_none() && !is_tokens,
            dropout: wish.dropout && self.options.dropout > 0.0,
            recurrent_dropout: wish.dropout && self.options.recurrent_dropout > 0.0,
            recompute: self.options.recompute,
        }
    }

    /// Writes the numbers of the next step to the device.
    fn write_hyper(&self, gpu: &Gpu, weights: &Weights, workspace: &Workspace) {
        let hyper = self.options.hyper(self.steps + 1);
        let bytes: &[u8] = bytemuck::cast_slice(&hyper);
        if let Some(buffer) = weights.training(TrainBuffer::Hyper) {
            gpu.queue.write_buffer(buffer, 0, bytes);
        }
        let plan = &workspace.plan;
        if plan.request.train.is_some_and(|train| train.recurrent_dropout) {
            // Masks are drawn by kernels that bind no more than the lengths.
            let lengths = &workspace.buffers[plan.lengths];
            gpu.queue.write_buffer(lengths, plan.request.batch as u64 * 4, bytes);
        }
    }

    /// Waits until fewer than [`DEPTH`] steps are on the device.
    fn make_room(&mut self, gpu: &Gpu, loaded: &Loaded) -> Result<()> {
        while self.in_flight.len() >= DEPTH {
            let Some((workspace, index)) = self.in_flight.pop_front() else { break };
            wait_for(gpu, index)?;
            loaded.give_workspace(gpu, workspace);
        }
        Ok(())
    }

    fn read_progress(&self) -> Result<Vec<f32>> {
        let loaded = self.model.inner();
        let (gpu, weights) = on_gpu(loaded)?;
        let missing = || Error::device("training: expected its numbers on the device");
        let buffer = weights.training(TrainBuffer::Progress).ok_or_else(missing)?;
        Ok(read_all(gpu, loaded, &[(buffer, 32)])?.remove(0))
    }

    fn write_progress(&self, words: &[f32]) -> Result<()> {
        let (gpu, weights) = on_gpu(self.model.inner())?;
        gpu.scoped("training progress", || {
            if let Some(buffer) = weights.training(TrainBuffer::Progress) {
                gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(words));
            }
            Ok(())
        })
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        // Buffers that are let go of use the device.
        let _turn = self.model.inner().on_gpu().and_then(|(gpu, _)| gpu.exclusive());
        self.in_flight.clear();
        self.carried = None;
    }
}

/// What is done with a batch.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    optimizer: Option<OptimizerKind>,
    gradients: bool,
    dropout: bool,
    carry: bool,
}

fn on_gpu(loaded: &Loaded) -> Result<(&Gpu, &Weights)> {
    loaded.on_gpu().ok_or_else(|| {
        Error::unsupported(format!(
            "training: expected a GPU, got the CPU path ({}; name a software adapter to use it)",
            loaded.engine.info().reason
        ))
    })
}

const fn kind_of(loss: &Loss) -> LossKind {
    match loss {
        Loss::CrossEntropy(_) => LossKind::CrossEntropy,
        Loss::BinaryCrossEntropy => LossKind::BinaryCrossEntropy,
        Loss::Mse => LossKind::Mse,
        Loss::L1 => LossKind::L1,
        Loss::Huber { .. } => LossKind::Huber,
        Loss::OutputGradient => LossKind::OutputGradient,
        Loss::Ctc { .. } => LossKind::Ctc,
    }
}
