//! The public engine: joins model, plan and device; the only orchestrator.
//!
//! [`Engine`] owns (or borrows) a device, [`Engine::load`] packs a [`Model`] for it, and
//! [`LoadedModel::run`] takes a [`Batch`] to an [`Output`].

use crate::batch::{Batch, Output, RunOptions};
use crate::cpu::CpuModel;
use crate::error::{Error, Result};
use crate::model::Model;

/// Which device computes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A hardware GPU, else the CPU path. A software adapter is never taken.
    #[default]
    Auto,
    /// The CPU path: threads over sequences, f32.
    Cpu,
    /// The best hardware GPU; an error where there is none.
    Gpu,
    /// The adapter at this place in [`Engine::adapters`].
    Index(usize),
    /// The first adapter whose name, driver or PCI bus id contains this text, letter case ignored.
    Name(String),
}

impl std::str::FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            other => other.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Index),
        })
    }
}

/// How the time loop runs on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Strategy {
    /// The planner picks, layer by layer.
    #[default]
    Auto,
    /// One dispatch per time step; works for any size.
    StepPerDispatch,
    /// The whole time loop inside one dispatch, one workgroup per tile of sequences; refused where
    /// the state does not fit workgroup memory.
    Resident,
}

/// How an [`Engine`] is made.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Which device computes. Default: a hardware GPU, else the CPU.
    pub device: DeviceChoice,
    /// How the time loop runs. Default: the planner picks.
    pub strategy: Strategy,
}

/// What an engine runs on, for people and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Adapter name, or "CPU".
    pub name: String,
    /// wgpu backend ("vulkan", "metal", …), or "cpu".
    pub backend: String,
    /// Driver and its version; empty for the CPU path.
    pub driver: String,
    /// Why this device was taken.
    pub reason: String,
    /// Whether this is the CPU path (no wgpu device).
    pub is_cpu_path: bool,
    /// Whether the adapter is a software rasteriser.
    pub is_software: bool,
}

/// One adapter of this machine.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Its place in the list, for [`DeviceChoice::Index`].
    pub index: usize,
    /// wgpu's description: name, backend, driver, PCI bus id, subgroup sizes.
    pub info: wgpu::AdapterInfo,
    /// Its limits.
    pub limits: wgpu::Limits,
    /// Its features.
    pub features: wgpu::Features,
    /// Why the engine cannot use it, where it cannot.
    pub unusable: Option<String>,
}

/// A device with everything that networks on it share.
#[derive(Debug)]
pub struct Engine {
    info: EngineInfo,
}

/// A network packed for a device.
#[derive(Debug)]
pub struct LoadedModel {
    model: Model,
    cpu: CpuModel,
}

impl Engine {
    /// Takes a hardware GPU, else the CPU path.
    ///
    /// # Errors
    /// `Device` when a GPU is there and refuses.
    pub async fn new() -> Result<Self> {
        Self::with_options(&EngineOptions::default()).await
    }

    /// Takes the device that the options name.
    ///
    /// # Errors
    /// `Device` when there is no such adapter, or it refuses.
    pub async fn with_options(options: &EngineOptions) -> Result<Self> {
        match options.device {
            DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Self::cpu()),
            _ => Err(Error::device("gpu: skeleton")),
        }
    }

    /// Uses the CPU path.
    pub fn cpu() -> Self {
        Self {
            info: EngineInfo {
                name: "CPU".into(),
                backend: "cpu".into(),
                driver: String::new(),
                reason: "the CPU path was asked for".into(),
                is_cpu_path: true,
                is_software: false,
            },
        }
    }

    /// Lists every adapter of this machine.
    pub async fn adapters() -> Vec<AdapterReport> {
        Vec::new()
    }

    /// Returns what the engine runs on.
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Packs a network for this device.
    ///
    /// # Errors
    /// `Limit` when its weights exceed what the device can bind.
    pub fn load(&self, model: &Model) -> Result<LoadedModel> {
        Ok(LoadedModel { model: model.clone(), cpu: CpuModel::new(model) })
    }
}

impl LoadedModel {
    /// Returns the network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Runs a batch and reads output and states back.
    ///
    /// # Errors
    /// `Shape` when the batch does not fit; `Limit` when it is too large; `Device` when the GPU fails.
    pub async fn run(&self, batch: &Batch) -> Result<Output> {
        self.run_with(batch, &RunOptions::default()).await
    }

    /// Runs a batch with options.
    ///
    /// # Errors
    /// As [`LoadedModel::run`].
    pub async fn run_with(&self, batch: &Batch, options: &RunOptions) -> Result<Output> {
        self.cpu.run(&self.model, batch, options)
    }

    /// Runs a batch and waits for it.
    ///
    /// # Errors
    /// As [`LoadedModel::run`].
    pub fn run_blocking(&self, batch: &Batch) -> Result<Output> {
        pollster::block_on(self.run(batch))
    }

    /// Runs a batch with options and waits for it.
    ///
    /// # Errors
    /// As [`LoadedModel::run`].
    pub fn run_blocking_with(&self, batch: &Batch, options: &RunOptions) -> Result<Output> {
        pollster::block_on(self.run_with(batch, options))
    }

    /// Describes the plan for a shape: strategy per layer, dispatches, bytes, and why a faster path
    /// was refused.
    ///
    /// # Errors
    /// `Limit` when the shape is too large for the device.
    pub fn explain(&self, batch: usize, steps: usize) -> Result<String> {
        Ok(format!("skeleton {batch} {steps}"))
    }
}
