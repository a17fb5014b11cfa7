//! Tokens drawn one after the other, each the input of the next step, on the device.
//!
//! A [`Session`] of one sequence and one step runs the network; `shaders/sample.wgsl` draws from its output and
//! writes the next input. Up to 64 tokens are one submit and one readback of their numbers. The CPU path runs
//! step by step and draws with the kernel's twin, `reference::sample`.

use std::sync::Arc;

use super::loaded::Loaded;
use super::{LoadedModel, Session, SessionOptions};
use crate::batch::{Batch, Layout, RunOptions, Sampling, States, gives_probabilities};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Gpu, Pipeline, Wait, count, read_back};
use crate::kernel::uniforms::Sample;
use crate::kernel::{Kernel, Variant};
use crate::plan::Strategy;
use crate::reference;

/// Tokens of one submit, at most; more are several submits.
const MOST: usize = 64;
/// What the device writes where an output was NaN.
const NO_TOKEN: u32 = u32::MAX;
/// Lanes of the kernel, at most and at least.
const LANES: [u32; 2] = [256, 16];

/// Goes on with a sequence of tokens. Its methods wait on this thread, which a browser does not allow.
///
/// ```
/// use wgpu_rnn::{Cell, Engine, HeadSpec, Init, InputSpec, LayerSpec, Model, Sampling};
///
/// # fn main() -> wgpu_rnn::Result<()> {
/// let model = Model::builder(InputSpec::OneHot { vocab: 5 })
///     .layer(LayerSpec::new(Cell::Gru, 8))
///     .head(HeadSpec::new(5))
///     .build(Init::PyTorch, 1)?;
/// let loaded = Engine::cpu().load(&model)?;
/// let mut generator = loaded.generator(Sampling { top_k: Some(3), ..Sampling::default() })?;
/// generator.prompt(&[0, 4])?;
/// assert_eq!(generator.generate(10)?.len(), 10);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Generator {
    model: LoadedModel,
    sampling: Sampling,
    /// Tokens drawn so far.
    drawn: u32,
    place: Place,
}

/// Where the next step starts from.
#[derive(Debug)]
enum Place {
    Host { token: Option<u32>, states: States },
    Device(Box<Device>),
}

/// What a generator has on the device.
#[derive(Debug)]
struct Device {
    loaded: Arc<Loaded>,
    session: Session,
    block: wgpu::Buffer,
    token: wgpu::Buffer,
    output: wgpu::Buffer,
    drawn: wgpu::Buffer,
    staging: wgpu::Buffer,
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    has_token: bool,
}

impl LoadedModel {
    /// Prepares to draw tokens, after [`Generator::prompt`].
    ///
    /// # Errors
    /// `Unsupported` for a network that does not read and give tokens step by step: numbers as input, fewer or
    /// more outputs than tokens, an output for the whole sequence, layers that read backwards; `Shape` for
    /// sampling numbers out of range; `Limit` for a vocabulary beyond what a driver's loops reach.
    pub fn generator(&self, sampling: Sampling) -> Result<Generator> {
        sampling.check()?;
        let loaded = Arc::clone(self.inner());
        let tokens = loaded.network.input.vocab();
        let outputs = self.model().output_size();
        let is_forward = self.model().is_forward();
        if tokens != Some(outputs) || self.model().is_per_sequence() || !is_forward {
            return Err(Error::unsupported(format!(
                "generator: expected a network that reads tokens forward and gives a score for each at every \
                 step, got {} tokens and {outputs} outputs{}{}",
                tokens.map_or_else(|| "no".to_owned(), |count| count.to_string()),
                if self.model().is_per_sequence() { " a sequence" } else { "" },
                if is_forward { "" } else { ", read in several directions" },
            )));
        }
        let place = match loaded.on_gpu() {
            None => Place::Host { token: None, states: States::zeros(self.model(), 1) },
            Some((gpu, _)) => Place::Device(Box::new(Device::new(self, gpu, outputs)?)),
        };
        Ok(Generator { model: self.clone(), sampling, drawn: 0, place })
    }
}

impl Generator {
    /// Starts anew, after `tokens`.
    ///
    /// # Errors
    /// `Shape` when there are none; what a run gives.
    pub fn prompt(&mut self, tokens: &[u32]) -> Result<()> {
        let Some((last, before)) = tokens.split_last() else {
            return Err(Error::shape("prompt: expected at least 1 token, got none"));
        };
        let vocab = self.model.model().output_size();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(Error::shape(format!(
                "prompt: expected tokens below {vocab}, got {token}"
            )));
        }
        let mut from = States::zeros(self.model.model(), 1);
        if !before.is_empty() {
            // All of the prompt but its last token only leads to the states.
            let options = RunOptions { output: false, ..RunOptions::default() };
            let batch = Batch::tokens(before, 1, before.len(), Layout::BatchFirst)?;
            from = self.model.run_blocking_with(&batch, &options)?.states;
        }
        self.drawn = 0;
        match &mut self.place {
            Place::Host { token, states } => (*token, *states) = (Some(*last), from),
            Place::Device(device) => device.start(*last, &from)?,
        }
        Ok(())
    }

    /// Draws `count` tokens. Any number of calls gives what one call for all of them gives.
    ///
    /// # Errors
    /// `Shape` without a prompt; `Weights` when an output is NaN (the tokens before it are lost); `Device` when
    /// the device fails.
    pub fn generate(&mut self, count: usize) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        while tokens.len() < count {
            let some = (count - tokens.len()).min(MOST);
            let drawn = match &mut self.place {
                Place::Device(device) => device.draw(&self.sampling, self.drawn, some)?,
                Place::Host { token, states } => {
                    let last = token.ok_or_else(no_prompt)?;
                    let batch = Batch::tokens([last], 1, 1, Layout::BatchFirst)?;
                    let output = self.model.run_blocking(&batch.with_initial(states.clone()))?;
                    let scores = output.output.data();
                    let form = gives_probabilities(self.model.model());
                    let drawn = reference::sample(&self.sampling, scores, form, self.drawn);
                    *states = output.states;
                    // After a NaN the states hold it, and so does what follows.
                    *token = drawn.or(*token);
                    vec![drawn.unwrap_or(NO_TOKEN)]
                }
            };
            if let Some(at) = drawn.iter().position(|token| *token == NO_TOKEN) {
                return Err(Error::new(
                    ErrorKind::Weights,
                    format!(
                        "output: expected a score for every token, got NaN after {} tokens",
                        tokens.len() + at
                    ),
                ));
            }
            self.drawn = self.drawn.wrapping_add(u32::try_from(drawn.len()).unwrap_or(0));
            tokens.extend(drawn);
        }
        Ok(tokens)
    }
}

fn no_prompt() -> Error {
    Error::shape("generate: expected a prompt before it, got none")
}

impl Device {
    fn new(model: &LoadedModel, gpu: &Gpu, outputs: usize) -> Result<Self> {
        let [most, least] = LANES.map(|lanes| lanes.min(gpu.caps.max_invocations));
        let lanes = u32::try_from(outputs.next_power_of_two()).unwrap_or(most).clamp(least, most);
        // Passes over a row that keep the K likeliest, and as many for P: the bits of a key and of a place.
        let passes = 2 * (32 + u64::from(usize::BITS - outputs.leading_zeros())) + 3;
        let loops = passes * ((outputs as u64).div_ceil(u64::from(lanes)) + 10);
        if gpu.caps.loop_limit.is_some_and(|limit| loops > u64::from(limit)) {
            return Err(Error::limit(format!(
                "generator: expected fewer outputs on a driver that ends loops early, got {outputs}"
            )));
        }
        let options = SessionOptions { carry_state: true, ..SessionOptions::default() };
        let mut variant = Variant::of(Kernel::Sample);
        variant.consts = vec![("LANES", lanes)];
        let mut session = model.session(1, 1, options)?;
        if session.plan().gives_up.is_some() {
            // What may have to run again cannot be drawn from.
            session = model.session_with(Strategy::StepPerDispatch, 1, 1, options)?;
        }
        let pipeline = gpu.pipelines.get(gpu, &variant)?;
        gpu.scoped("generator", || {
            use wgpu::BufferUsages as Usage;
            let buffer = |label: &str, bytes: u64, usage: Usage| gpu.buffer(label, bytes, usage);
            let block_bytes = size_of::<Sample>() as u64;
            let block = buffer("sample", block_bytes, Usage::UNIFORM | Usage::COPY_DST);
            let both = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
            let token = buffer("token", session.input_bytes(), both);
            let output = buffer("scores", session.output_bytes(), both);
            let words = 4 * (MOST as u64 + 1);
            let drawn = buffer("tokens", words, both);
            let staging = buffer("tokens read back", words, Usage::MAP_READ | Usage::COPY_DST);
            let resources = [
                block.as_entire_binding(),
                output.as_entire_binding(),
                token.as_entire_binding(),
                drawn.as_entire_binding(),
            ];
            let entries: Vec<_> = (0u32..)
                .zip(resources)
                .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
                .collect();
            let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("sample"),
                layout: &pipeline.layout,
                entries: &entries,
            });
            let loaded = Arc::clone(model.inner());
            let has_token = false;
            Ok(Self {
                loaded,
                session,
                block,
                token,
                output,
                drawn,
                staging,
                pipeline,
                group,
                has_token,
            })
        })
    }

    fn gpu(&self) -> Result<&Gpu> {
        let found = self.loaded.on_gpu().map(|(gpu, _)| gpu);
        found.ok_or_else(|| Error::device("generator: expected a GPU"))
    }

    fn start(&mut self, token: u32, states: &States) -> Result<()> {
        self.session.set_states(Some(states))?;
        let gpu = self.gpu()?;
        gpu.scoped("prompt", || {
            gpu.queue.write_buffer(&self.token, 0, bytemuck::bytes_of(&token));
            Ok(())
        })?;
        self.has_token = true;
        Ok(())
    }

    fn draw(&self, sampling: &Sampling, first: u32, tokens: usize) -> Result<Vec<u32>> {
        if !self.has_token {
            return Err(no_prompt());
        }
        let gpu = self.gpu()?;
        let model = &self.loaded.model;
        let narrow = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let half = |shift: u32| u32::try_from(sampling.seed >> shift & 0xffff_ffff).unwrap_or(0);
        let block = Sample {
            count: narrow(model.output_size()),
            is_probability: u32::from(gives_probabilities(model)),
            top_k: sampling.top_k.map_or(u32::MAX, narrow),
            top_p: sampling.top_p.to_bits(),
            // −0 is 0.
            temperature: (sampling.temperature + 0.0).to_bits(),
            seed_low: half(0),
            seed_high: half(32),
            first,
        };
        let descriptor = wgpu::CommandEncoderDescriptor { label: Some("generate") };
        let mut encoder = gpu.device.create_command_encoder(&descriptor);
        for _ in 0..tokens {
            self.session.encode(&mut encoder, &self.token, &self.output)?;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        let bytes = 4 * (tokens as u64 + 1);
        encoder.copy_buffer_to_buffer(&self.drawn, 0, &self.staging, 0, Some(bytes));
        count(&self.loaded.engine.shared.counts.submits);
        let index = gpu.scoped("generate", || {
            gpu.queue.write_buffer(&self.block, 0, bytemuck::bytes_of(&block));
            gpu.queue.write_buffer(&self.drawn, 0, &[0; 4]);
            Ok(gpu.queue.submit([encoder.finish()]))
        })?;
        let reading = read_back(gpu, &self.staging, bytes, index, Wait::Blocking);
        let words: Vec<u32> = pollster::block_on(reading)?;
        count(&self.loaded.engine.shared.counts.readbacks);
        Ok(words.into_iter().skip(1).collect())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // Buffers that are let go of use the device.
        let _turn = self.model.inner().on_gpu().and_then(|(gpu, _)| gpu.exclusive());
        self.place = Place::Host { token: None, states: States { h: Vec::new(), c: Vec::new() } };
    }
}
