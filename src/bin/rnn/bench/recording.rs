//! What a run costs the host before the device starts: recording its commands.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wgpu_rnn::{Result, wgpu};

use super::measure::Stats;

/// The cost of recording one run into a command buffer that is not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recording {
    /// Dispatches recorded.
    pub(super) dispatches: usize,
    /// Median seconds from making the encoder to the finished command buffer.
    pub(super) seconds: f64,
    /// Seconds of that before the encoder is finished: the session's own part. The rest is wgpu's
    /// validation and the driver.
    pub(super) encode_s: f64,
    /// Median seconds of the whole for one empty compute pass.
    pub(super) empty_pass_s: f64,
    /// The first over the second.
    pub(super) ratio: f64,
}

/// How often a recording is timed at most, and for how long.
const MOST: usize = 200;
const LONGEST: Duration = Duration::from_millis(200);

impl Recording {
    /// Times `encode`, and then an empty pass: by itself, because the driver takes back the memory of a
    /// large command buffer when the next one is made.
    ///
    /// # Errors
    /// What `encode` gives.
    pub(super) fn of(
        device: &wgpu::Device,
        dispatches: usize,
        mut encode: impl FnMut(&mut wgpu::CommandEncoder) -> Result<()>,
    ) -> Result<Self> {
        let [seconds, encode_s] = medians(|| time(device, &mut encode))?;
        let empty = |encoder: &mut wgpu::CommandEncoder| {
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            Ok(())
        };
        let [empty_pass_s, _] = medians(|| time(device, empty))?;
        Ok(Self { dispatches, seconds, encode_s, empty_pass_s, ratio: seconds / empty_pass_s })
    }
}

fn medians(mut time: impl FnMut() -> Result<[f64; 2]>) -> Result<[f64; 2]> {
    // The first is warm-up.
    time()?;
    let (mut times, started) = (Vec::new(), Instant::now());
    while times.len() < 3 || (times.len() < MOST && started.elapsed() < LONGEST) {
        times.push(time()?);
    }
    Ok([0, 1].map(|which| {
        let times: Vec<f64> = times.iter().map(|pair: &[f64; 2]| pair[which]).collect();
        Stats::of(&times).map_or(f64::NAN, |stats| stats.median)
    }))
}

fn time(
    device: &wgpu::Device,
    encode: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>,
) -> Result<[f64; 2]> {
    let started = Instant::now();
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encode(&mut encoder)?;
    let encoded = started.elapsed().as_secs_f64();
    let commands = encoder.finish();
    let took = started.elapsed().as_secs_f64();
    drop(commands);
    Ok([took, encoded])
}
