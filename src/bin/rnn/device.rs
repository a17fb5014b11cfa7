//! The choice of the device that several subcommands share.

use clap::Args;
use wgpu_rnn::{
    CooperativeMatrix, DeviceChoice, Engine, EngineInfo, EngineOptions, GridPersistent, Precision,
    Strategy,
};

use crate::calibration::{self, Key};
use crate::failure::{Failure, Result};
use crate::report::Reporter;

/// What an engine does only when it was asked for by name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowed {
    /// Workgroups that wait for one another.
    pub(crate) grid_persistent: bool,
    /// Cooperative matrices.
    pub(crate) cooperative_matrix: bool,
}

impl Allowed {
    /// What these strategies need.
    pub(crate) fn by(strategies: &[Strategy]) -> Self {
        Self {
            grid_persistent: strategies.contains(&Strategy::GridPersistent),
            cooperative_matrix: strategies.contains(&Strategy::StepMatrix),
        }
    }

    /// The strategies that are allowed.
    pub(crate) fn strategies(self) -> impl Iterator<Item = Strategy> {
        let grid = self.grid_persistent.then_some(Strategy::GridPersistent);
        grid.into_iter().chain(self.cooperative_matrix.then_some(Strategy::StepMatrix))
    }
}

/// Options that choose the device.
#[derive(Args, Debug)]
pub(crate) struct DeviceArgs {
    /// Where to compute: auto (a hardware GPU, else the CPU), cpu, gpu, an index or a part of a
    /// name from `rnn adapters`
    #[arg(long, value_name = "auto|cpu|gpu|INDEX|NAME", default_value = "auto", value_parser = parse_device)]
    pub(crate) device: String,
}

impl DeviceArgs {
    /// Opens the engine and says on standard error which device was taken and why.
    ///
    /// # Errors
    /// `Device` when there is no such device; usage when `strategy` is given and a CPU is taken.
    pub(crate) fn open(&self, strategy: Strategy, reporter: &Reporter) -> Result<Engine> {
        self.open_for(strategy, Allowed::by(&[strategy]), reporter)
    }

    /// As [`DeviceArgs::open`], and lets networks run with what must be allowed, where the device can.
    ///
    /// # Errors
    /// As [`DeviceArgs::open`].
    pub(crate) fn open_for(
        &self,
        strategy: Strategy,
        allowed: Allowed,
        reporter: &Reporter,
    ) -> Result<Engine> {
        if is_reference(self) {
            return Err(Failure::usage(
                "--device reference: expected rnn check --onnx, which alone runs on the f64 \
                 reference (rnn check compares with it)",
            ));
        }
        let device: DeviceChoice = match self.device.parse() {
            Ok(device) => device,
            Err(never) => match never {},
        };
        let engine = if device == DeviceChoice::Cpu {
            // Asking drivers for their adapters takes longer than many a run.
            Engine::cpu()
        } else {
            let pipeline_cache = calibration::pipelines();
            let options = EngineOptions {
                device,
                strategy,
                pipeline_cache,
                grid_persistent: if allowed.grid_persistent {
                    GridPersistent::Probe
                } else {
                    GridPersistent::Off
                },
                cooperative_matrix: if allowed.cooperative_matrix {
                    CooperativeMatrix::Use
                } else {
                    CooperativeMatrix::Off
                },
                ..EngineOptions::default()
            };
            with_cached_constants(pollster::block_on(Engine::with_options(&options))?, reporter)?
        };
        let info = engine.info();
        if info.is_cpu_path && strategy != Strategy::Auto {
            return Err(Failure::usage(format!(
                "--strategy: expected a GPU to apply it to, got the CPU path ({})",
                info.reason
            )));
        }
        reporter.note(&format!("device: {} ({})", describe(info), info.reason));
        if info.is_software {
            reporter.warn("this adapter is a software rasteriser: its speed says nothing of a GPU");
        }
        Ok(engine)
    }
}

/// The option of how weights are stored.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct PrecisionArgs {
    /// How weights and hidden states are stored on a GPU; sums are f32 always. f16 halves the bytes of
    /// weights and rounds states to 11 significant bits (three decimal digits)
    #[arg(long, value_name = "f32|f16", default_value = "f32", value_parser = parse_precision)]
    pub(crate) precision: Precision,
}

impl PrecisionArgs {
    /// Gives the engine this precision.
    ///
    /// # Errors
    /// Usage when it is not f32 and a CPU was taken.
    pub(crate) fn apply(self, engine: Engine) -> Result<Engine> {
        if engine.info().is_cpu_path && self.precision != Precision::F32 {
            return Err(Failure::usage(format!(
                "--precision {}: expected a GPU, got the CPU path ({})",
                self.precision.name(),
                engine.info().reason
            )));
        }
        Ok(engine.with_precision(self.precision))
    }
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    Precision::from_name(text).ok_or_else(|| "expected f32 or f16".to_owned())
}

/// Gives the engine what `rnn calibrate` measured on its device, where it did.
fn with_cached_constants(engine: Engine, reporter: &Reporter) -> Result<Engine> {
    if engine.info().is_cpu_path {
        return Ok(engine);
    }
    match calibration::find(&Key::of(engine.info()), reporter) {
        Some(constants) => Ok(engine.with_constants(constants)?),
        None => Ok(engine),
    }
}

/// Tells whether the f64 reference was asked for, which is no device of an engine.
pub(crate) fn is_reference(args: &DeviceArgs) -> bool {
    args.device == "reference"
}

/// Takes any name but an empty one, which would be a part of every name.
pub(crate) fn parse_device(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("expected auto, cpu, gpu, an index or a part of a name, got none".to_owned());
    }
    Ok(text.to_owned())
}

/// Names the device with backend and driver.
pub(crate) fn describe(info: &EngineInfo) -> String {
    if info.is_cpu_path {
        return info.name.clone();
    }
    let driver = if info.driver.is_empty() { String::new() } else { format!(", {}", info.driver) };
    format!("{}, {}{driver}", info.name, info.backend)
}
