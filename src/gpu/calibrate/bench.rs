//! The stopwatch: runs a kernel until it is long enough to time, and checks what it left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::expect::{add, times};
use crate::error::Result;
use crate::gpu::pipelines::Pipeline;
use crate::gpu::{Gpu, Wait, read_back};
use crate::kernel::calibrate::Probe;
use crate::kernel::uniforms::Calibrate;
use crate::kernel::{Access, Kernel, Variant};

/// What a run must take to be timed.
const LONG_ENOUGH: Duration = Duration::from_millis(30);
/// Timed runs of which the median counts.
const SAMPLES: usize = 5;
/// Empty round trips of which the median counts.
const ROUND_TRIPS: usize = 33;
/// Iterations of one dispatch: below the 65 535 after which some software drivers end loops.
pub(super) const MOST_ROUNDS: u32 = 60_000;
/// Dispatches of one run.
const MOST_DISPATCHES: u32 = 1 << 16;
/// Invocations whose totals are compared.
const CHECKED: u32 = 4096;

/// How the iterations of a dispatch are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounds {
    /// Always these; a longer run has more dispatches.
    Fixed(u32),
    /// Doubled until the run is long enough or the loop limit is near, then more dispatches.
    Doubled,
}

/// One kernel to time.
pub(super) struct Job<'a> {
    pub(super) name: &'static str,
    pub(super) probe: Probe,
    /// Workgroups.
    pub(super) groups: u32,
    /// Invocations of a workgroup.
    pub(super) lanes: u32,
    /// Mask and stride; rounds are set here.
    pub(super) block: Calibrate,
    pub(super) rounds: Rounds,
    /// Read-only bindings.
    pub(super) inputs: &'a [wgpu::BindingResource<'a>],
    /// What invocation `.0` adds to its total in a dispatch of `.1` rounds.
    pub(super) expected: &'a dyn Fn(u32, u32) -> [u32; 4],
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Length {
    rounds: u32,
    dispatches: u32,
}

impl Length {
    fn work(self) -> f64 {
        f64::from(self.rounds) * f64::from(self.dispatches)
    }

    /// Twice as long, or `None` at the end.
    fn doubled(self, most_rounds: u32) -> Option<Self> {
        if self.rounds < most_rounds {
            let rounds = (self.rounds * 2).min(most_rounds);
            return Some(Self { rounds, ..self });
        }
        (self.dispatches < MOST_DISPATCHES)
            .then_some(Self { dispatches: self.dispatches * 2, ..self })
    }
}

/// A device with what all measurements need.
pub(super) struct Bench<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) max_rounds: u32,
    /// Takes the first total at the end of a run, so that the map waits for the run.
    staging: wgpu::Buffer,
    round_trip: f64,
}

impl<'a> Bench<'a> {
    /// Makes one and takes the round trip that later times are less.
    pub(super) fn new(gpu: &'a Gpu) -> Result<Self> {
        let limit = gpu.caps.loop_limit.map_or(MOST_ROUNDS, |limit| limit / 10 * 9);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = gpu.buffer("calibration staging", 16, usage);
        let max_rounds = limit.clamp(1, MOST_ROUNDS);
        let mut bench = Self { gpu, max_rounds, staging, round_trip: 0.0 };
        bench.round_trip = bench.measure_round_trip()?;
        Ok(bench)
    }

    /// Seconds from a submit of next to nothing to its mapped result.
    pub(super) fn measure_round_trip(&mut self) -> Result<f64> {
        let totals = self.totals(16)?;
        let mut seconds = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            seconds.push(self.time("round trip", &totals, |_| Ok(()))?);
        }
        Ok(median(&mut seconds))
    }

    /// Uploads a read-only binding.
    pub(super) fn upload(&self, label: &str, bytes: &[u8]) -> Result<wgpu::Buffer> {
        self.gpu.scoped(label, || self.gpu.buffer_with(label, bytes, wgpu::BufferUsages::STORAGE))
    }

    /// Runs `fill.wgsl` once, untimed.
    pub(super) fn fill(
        &self,
        target: &wgpu::Buffer,
        block: Calibrate,
        groups: [u32; 3],
    ) -> Result<()> {
        let kernel = self.pipeline(Probe::Fill)?;
        let binding = self.bind(&kernel, Probe::Fill, block, &[], target)?;
        let idle = self.totals(16)?;
        self.time("fill", &idle, |encoder| {
            dispatch(encoder, &kernel, &binding, groups, 1);
            Ok(())
        })?;
        Ok(())
    }

    /// Seconds of one round of one dispatch.
    ///
    /// # Errors
    /// `Device` when the device fails, no time passes, or a total is not what the formula gives.
    pub(super) fn seconds_per_round(&self, job: &Job<'_>) -> Result<f64> {
        let kernel = self.pipeline(job.probe)?;
        let totals = self.totals(u64::from(job.groups * job.lanes) * 16)?;
        let mut done: BTreeMap<u32, u32> = BTreeMap::new();
        let mut run = |length: Length| {
            let Length { rounds, dispatches } = length;
            let block = Calibrate { rounds, ..job.block };
            let binding = self.bind(&kernel, job.probe, block, job.inputs, &totals)?;
            let count = done.entry(rounds).or_default();
            *count = count.wrapping_add(dispatches);
            let seconds = self.time(job.name, &totals, |encoder| {
                dispatch(encoder, &kernel, &binding, [job.groups, 1, 1], dispatches);
                Ok(())
            })?;
            Ok::<f64, crate::Error>(seconds - self.round_trip)
        };
        let most_rounds = match job.rounds {
            Rounds::Fixed(rounds) => rounds,
            Rounds::Doubled => self.max_rounds,
        };
        let first = if job.rounds == Rounds::Doubled { 1 } else { most_rounds };
        let mut length = Length { rounds: first, dispatches: 1 };
        // The first run of a kernel compiles it on some drivers: not timed.
        run(length)?;
        while run(length)? < LONG_ENOUGH.as_secs_f64() {
            match length.doubled(most_rounds) {
                Some(longer) => length = longer,
                None => break,
            }
        }
        let mut seconds = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            seconds.push(run(length)?);
        }
        self.check(job, &totals, &done)?;
        let seconds = median(&mut seconds);
        if !(seconds.is_finite() && seconds > 0.0) {
            let text = format!("calibration, {}: expected a time, got {seconds} s", job.name);
            return Err(self.gpu.device_error(text));
        }
        Ok(seconds / length.work())
    }

    fn pipeline(&self, probe: Probe) -> Result<std::sync::Arc<Pipeline>> {
        self.gpu.pipelines.get(self.gpu, &Variant::of(Kernel::Calibrate(probe)))
    }

    fn totals(&self, bytes: u64) -> Result<wgpu::Buffer> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        self.gpu.scoped("calibration totals", || Ok(self.gpu.buffer("totals", bytes, usage)))
    }

    /// Binds block, inputs and output as far as the kernel's row of the table has them.
    fn bind(
        &self,
        kernel: &Pipeline,
        probe: Probe,
        block: Calibrate,
        inputs: &[wgpu::BindingResource<'_>],
        output: &wgpu::Buffer,
    ) -> Result<wgpu::BindGroup> {
        self.gpu.scoped("calibration bindings", || {
            let bytes = bytemuck::bytes_of(&block);
            let uniform = self.gpu.buffer_with("calibrate", bytes, wgpu::BufferUsages::UNIFORM)?;
            let mut inputs = inputs.iter().cloned();
            let resources =
                Kernel::Calibrate(probe).spec().bindings.iter().filter_map(|(_, access)| {
                    match access {
                        Access::Uniform | Access::StepUniform => Some(uniform.as_entire_binding()),
                        Access::Read | Access::ReadTexture => inputs.next(),
                        Access::ReadWrite | Access::WriteTexture | Access::ReadWriteTexture => {
                            Some(output.as_entire_binding())
                        }
                    }
                });
            let entries: Vec<_> = (0u32..)
                .zip(resources)
                .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
                .collect();
            Ok(self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("calibration"),
                layout: &kernel.layout,
                entries: &entries,
            }))
        })
    }

    /// Records, submits, waits; the clock runs from the submit to the mapped first total.
    fn time(
        &self,
        name: &str,
        totals: &wgpu::Buffer,
        record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>,
    ) -> Result<f64> {
        let (started, index) = self.gpu.scoped(name, || {
            let mut encoder =
                self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            record(&mut encoder)?;
            encoder.copy_buffer_to_buffer(totals, 0, &self.staging, 0, Some(16));
            let commands = encoder.finish();
            let started = Instant::now();
            Ok((started, self.gpu.queue.submit([commands])))
        })?;
        let waited = read_back::<u32>(self.gpu, &self.staging, 16, index, Wait::Blocking);
        pollster::block_on(waited)?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// Compares totals with the sum of everything that was run, `done`: rounds → dispatches.
    fn check(&self, job: &Job<'_>, totals: &wgpu::Buffer, done: &BTreeMap<u32, u32>) -> Result<()> {
        let bytes = totals.size();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let (staging, index) = self.gpu.scoped("calibration totals", || {
            let staging = self.gpu.buffer("calibration totals", bytes, usage);
            let mut encoder =
                self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(totals, 0, &staging, 0, Some(bytes));
            Ok((staging, self.gpu.queue.submit([encoder.finish()])))
        })?;
        let waited = read_back::<[u32; 4]>(self.gpu, &staging, bytes, index, Wait::Blocking);
        let found = pollster::block_on(waited)?;
        // An odd stride meets every lane of a workgroup.
        let stride = usize::try_from((job.groups * job.lanes / CHECKED) | 1).unwrap_or(1);
        for (at, got) in (0u32..).zip(&found).step_by(stride) {
            let each =
                done.iter().map(|(rounds, count)| times((job.expected)(at, *rounds), *count));
            let want = each.fold([0; 4], add);
            if *got != want {
                return Err(self.gpu.device_error(format!(
                    "calibration, {}: expected total {want:?} of invocation {at}, got {got:?} (the \
                     driver skipped work)",
                    job.name
                )));
            }
        }
        Ok(())
    }
}

fn dispatch(
    encoder: &mut wgpu::CommandEncoder,
    kernel: &Pipeline,
    binding: &wgpu::BindGroup,
    [x, y, z]: [u32; 3],
    count: u32,
) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&kernel.pipeline);
    pass.set_bind_group(0, binding, &[]);
    for _ in 0..count {
        pass.dispatch_workgroups(x, y, z);
    }
}

/// The middle value; NaN of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
