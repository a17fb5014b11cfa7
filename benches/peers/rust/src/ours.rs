//! wgpu-rnn: `LoadedModel::run` for the host clock, a `Session` on a device of its own for the device clock.

use wgpu_rnn::wgpu::{self, DeviceType};
use wgpu_rnn::{
    AdapterReport, Batch, DeviceChoice, Engine, EngineOptions, Layout, LoadedModel, Model,
    RunOptions, Session, SessionOptions, Tensor, Trainer, TrainerOptions,
};
use wgpu_rnn::train::{Loss, Targets};

use crate::workload::{Order, Workload};
use crate::{About, Finished, Result, Runtime};

/// Finds the adapter that `device` names, and its place among those of its type and backend; `auto` is
/// the first hardware GPU, else the first software adapter.
pub fn choose(device: &str) -> Result<(AdapterReport, usize)> {
    let adapters = pollster::block_on(Engine::adapters());
    let usable = || adapters.iter().filter(|adapter| adapter.unusable.is_none());
    let found = match device.parse::<DeviceChoice>()? {
        DeviceChoice::Index(index) => usable().find(|adapter| adapter.index == index),
        DeviceChoice::Name(name) => usable().find(|adapter| {
            let info = &adapter.info;
            let text = format!("{} {} {}", info.name, info.driver, info.device_pci_bus_id);
            text.to_lowercase().contains(&name.to_lowercase())
        }),
        _ => usable()
            .min_by_key(|adapter| (adapter.info.device_type == DeviceType::Cpu, adapter.index)),
    };
    let found = found.ok_or_else(|| format!("no usable adapter for device {device}"))?;
    let same = |other: &&AdapterReport| {
        other.index < found.index
            && other.info.device_type == found.info.device_type
            && other.info.backend == found.info.backend
    };
    Ok((found.clone(), adapters.iter().filter(same).count()))
}

/// The buffers and session of the device clock.
struct Resident {
    device: wgpu::Device,
    session: Session,
    input: wgpu::Buffer,
    output: wgpu::Buffer,
}

pub struct Ours {
    engine: Engine,
    /// The index of the adapter; `None` on the CPU path.
    adapter: Option<usize>,
    loaded: Option<(LoadedModel, Batch)>,
    resident: Option<Resident>,
    trainer: Option<(Trainer, Targets)>,
}

impl Ours {
    pub fn cpu() -> Self {
        Self { engine: Engine::cpu(), adapter: None, loaded: None, resident: None, trainer: None }
    }

    pub fn gpu(device: &str) -> Result<Self> {
        let index = choose(device)?.0.index;
        let options =
            EngineOptions { device: DeviceChoice::Index(index), ..EngineOptions::default() };
        let engine = pollster::block_on(Engine::with_options(&options))?;
        Ok(Self { engine, adapter: Some(index), loaded: None, resident: None, trainer: None })
    }

    /// Puts input, output and network on a second device handle of the same adapter.
    fn make_resident(&self) -> Result<Resident> {
        let index = self.adapter.ok_or("no device memory")?;
        let (loaded, batch) = self.loaded.as_ref().ok_or("nothing is prepared")?;
        let (device, queue) = open(index)?;
        let engine = Engine::from_device(device.clone(), queue.clone())?;
        let session = engine.load(loaded.model())?.session(
            batch.batch_size(),
            batch.steps(),
            SessionOptions::default(),
        )?;
        if let Some(lengths) = batch.lengths() {
            session.set_lengths(lengths)?;
        }
        let buffer = |size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: usage | wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let input = buffer(session.input_bytes(), wgpu::BufferUsages::COPY_DST);
        let output = buffer(session.output_bytes(), wgpu::BufferUsages::COPY_SRC);
        let mut bytes = Vec::new();
        for t in 0..batch.steps() {
            for b in 0..batch.batch_size() {
                bytes.extend(batch.features(b, t).iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        queue.write_buffer(&input, 0, &bytes);
        Ok(Resident { device, session, input, output })
    }
}

/// Opens the adapter at `index` as an application would, with all it has.
fn open(index: usize) -> Result<(wgpu::Device, wgpu::Queue)> {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let backends = wgpu::Backends::from_env().unwrap_or(wgpu::Backends::all());
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let adapter = adapters.into_iter().nth(index).ok_or("the adapter is gone")?;
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: adapter.limits(),
        required_features: adapter.features() - wgpu::Features::all_experimental_mask(),
        ..wgpu::DeviceDescriptor::default()
    };
    Ok(pollster::block_on(adapter.request_device(&descriptor))?)
}

impl Runtime for Ours {
    fn about(&self) -> About {
        let info = self.engine.info();
        About {
            device: format!("{} ({})", info.name, info.backend),
            driver: info.driver.clone(),
            is_software: info.is_software,
        }
    }

    fn prepare(&mut self, workload: &Workload) -> Result<()> {
        (self.loaded, self.resident, self.trainer) = (None, None, None);
        let model = Model::load(&workload.weights_path)?;
        let mut batch = Batch::dense(
            workload.input.clone(),
            workload.batch,
            workload.steps,
            workload.inputs,
            Layout::TimeMajor,
        )?;
        if let Some(lengths) = &workload.lengths {
            batch = batch.with_lengths(lengths.clone())?;
        }
        self.loaded = Some((self.engine.load(&model)?, batch));
        Ok(())
    }

    fn order(&self) -> Order {
        Order::TimeMajor
    }

    fn run(&mut self) -> Result<Finished> {
        let (loaded, batch) = self.loaded.as_ref().ok_or("nothing is prepared")?;
        let options = RunOptions { states: false, ..RunOptions::default() };
        let result = loaded.run_blocking_with(batch, &options)?;
        Ok(Box::new(move || Ok(result.output.data().to_vec())))
    }

    fn run_on_device(&mut self) -> Result<()> {
        if self.resident.is_none() {
            self.resident = Some(self.make_resident()?);
        }
        let resident = self.resident.as_ref().ok_or("nothing is prepared")?;
        let index = resident.session.submit(&resident.input, &resident.output)?;
        let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
        resident.device.poll(wait)?;
        Ok(())
    }

    fn train(&mut self) -> Result<()> {
        let (loaded, batch) = self.loaded.as_ref().ok_or("nothing is prepared")?;
        if self.trainer.is_none() {
            let options = TrainerOptions { loss: Loss::Mse, ..TrainerOptions::default() };
            let trainer = self.engine.trainer(loaded.model(), options)?;
            let shape = [batch.batch_size(), batch.steps(), loaded.model().output_size()];
            self.trainer = Some((trainer, Targets::Values(Tensor::zeros(shape))));
        }
        let (trainer, targets) = self.trainer.as_mut().ok_or("nothing is prepared")?;
        trainer.step(batch, targets)?;
        if trainer.progress()?.is_stopped {
            return Err("a gradient is no number".into());
        }
        Ok(())
    }

    fn plan(&self) -> String {
        let Some((loaded, batch)) = &self.loaded else { return String::new() };
        loaded.explain(batch.batch_size(), batch.steps()).unwrap_or_default()
    }
}
