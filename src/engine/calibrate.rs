//! Measured speeds of the engine's device: how they are taken and given back.

use futures::channel::oneshot;

use super::{Constants, ConstantsSource, Engine, Target};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::calibrate::{self, CalibrationEvent};

impl Engine {
    /// Measures the device.
    ///
    /// Takes a few seconds, under 20 s on a software adapter, and up to 512 MiB of device memory; other
    /// work on the device at the same time spoils the figures. A thread of its own measures, so the
    /// executor stays free. The result serves [`Engine::with_constants`] and, stored with
    /// [`Constants::VERSION`] and the names in [`Engine::info`], [`crate::EngineOptions::constants`].
    ///
    /// # Errors
    /// `Unsupported` on the CPU path and in browsers; `Device` when the device fails, skips work, or a
    /// figure comes out useless.
    pub async fn calibrate(&self) -> Result<Constants> {
        let gpu = self.measurable()?.clone();
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::device("calibration: no thread to measure on").with_source(e)
        };
        let (sender, receiver) = oneshot::channel();
        std::thread::Builder::new()
            .name("wgpu-rnn calibrate".into())
            // The receiver is gone only when the caller dropped the future.
            .spawn(move || drop(sender.send(calibrate::calibrate(&gpu, &mut |_| {}))))
            .map_err(|e| failed(e.into()))?;
        receiver.await.map_err(|e| failed(e.into()))?
    }

    /// Measures the device on this thread; `tell` is told what comes next, and of figures that other work on the
    /// machine spoilt.
    ///
    /// # Errors
    /// As [`Engine::calibrate`].
    pub fn calibrate_blocking(&self, mut tell: impl FnMut(CalibrationEvent)) -> Result<Constants> {
        calibrate::calibrate(self.measurable()?, &mut tell)
    }

    fn measurable(&self) -> Result<&Gpu> {
        if cfg!(target_arch = "wasm32") {
            // No call in a browser may wait for the device.
            return Err(Error::unsupported(
                "calibration: expected a native program, got a browser",
            ));
        }
        self.gpu().ok_or_else(|| {
            let reason = &self.info().reason;
            Error::unsupported(format!("calibration: expected a GPU, got the CPU path ({reason})"))
        })
    }

    /// Shares the device and plans with these speeds; networks loaded from the result use them.
    ///
    /// # Errors
    /// `Unsupported` on the CPU path, and when a value is not a positive number.
    pub fn with_constants(&self, constants: Constants) -> Result<Self> {
        let mut gpu = self.measurable()?.share();
        gpu.set_constants(constants)?;
        let reason = self.info().reason.clone();
        Ok(Self::on(Target::Gpu(Box::new(gpu)), reason, self.shared.wishes))
    }

    /// Returns the speeds that the planner uses; `None` on the CPU path.
    pub fn constants(&self) -> Option<&Constants> {
        self.gpu().map(|gpu| &gpu.caps.constants)
    }

    /// Returns where [`Engine::constants`] come from; `None` on the CPU path.
    pub fn constants_source(&self) -> Option<ConstantsSource> {
        self.info().constants
    }
}
