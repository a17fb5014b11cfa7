//! Measures what a device can do: fills [`Constants`].
//!
//! Each figure is the median time of a kernel of `shaders/calibrate/`, submit to idle, less the empty
//! round trip (`bench`); what the kernel computed is compared with a formula (`expect`), so that a
//! driver which skips work gives an error and not a record.

mod bench;
mod expect;

use super::Gpu;
use super::pipelines::Pipelines;
use super::weights::Part;
use crate::error::Result;
use crate::kernel::calibrate::Probe;
use crate::kernel::uniforms::Calibrate;
use crate::plan::Constants;
use bench::{Bench, Job, Rounds};

/// Invocations of a workgroup in all of these kernels but the empty dispatch.
const LANES: u32 = 256;
/// Bytes of a vec4.
const VEC4: u64 = 16;
/// Reads of an invocation in one iteration of `read.wgsl`.
const READS: u32 = 4;
/// What all workgroups read from cache: larger than a first-level cache, as most weights are.
const CACHED_BYTES: u64 = 512 << 10;
/// What is streamed from memory, where the device can bind it: several times any last-level cache of
/// hardware; software adapters pay for every byte in time.
const STREAMED_BYTES: u64 = 512 << 20;
const STREAMED_BYTES_SOFTWARE: u64 = 128 << 20;
/// Workgroups that fill a hardware device several times over: 2048 · 256 invocations.
const HARDWARE_GROUPS: u32 = 2048;
/// Workgroups of a software adapter, for each of its threads.
const GROUPS_PER_CORE: u32 = 4;

/// Seconds of work of a dispatch that stands for a time step's.
const STEP: f64 = 30e-6;
/// How often the multiply-adds of a software adapter are measured while its threads seem to have other work.
const TRIES: usize = 3;
/// The whole device to one workgroup: below, its threads have other work. Two threads that share a core's units come
/// to a little more than one.
const LEAST_GAIN: f64 = 1.15;

/// What a calibration tells while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CalibrationEvent {
    /// This is measured next.
    Measuring(&'static str),
    /// A software adapter with `threads` threads was no faster than one workgroup, by `gain`: other programs use
    /// the processor. Its figures of the whole device are estimates, those of one workgroup times its threads.
    Busy {
        /// Threads of the adapter.
        threads: u32,
        /// The speed of the whole device to that of one workgroup.
        gain: f64,
    },
}

/// Measures the device; `tell` is told what comes next.
///
/// # Errors
/// `Device` when the device fails, when a kernel did not do its work, or when a figure is useless.
pub(crate) fn calibrate(gpu: &Gpu, tell: &mut dyn FnMut(CalibrationEvent)) -> Result<Constants> {
    let progress = &mut |part| tell(CalibrationEvent::Measuring(part));
    let mut gpu = gpu.share();
    // The peak is that of unchecked code, whatever this engine's own kernels carry.
    gpu.pipelines = std::sync::Arc::new(Pipelines::new(false, None));
    let sizes = Sizes::of(&gpu);
    progress("round trip");
    let mut bench = Bench::new(&gpu)?;
    let (flops, group_flops) = multiply(&bench, sizes, progress)?;
    progress("memory");
    let memory_bytes = memory(&bench, sizes)?;
    progress("cache, whole device");
    let source = source(&bench, sizes.cached)?;
    let cache_bytes = cache(&bench, &source, sizes.groups)?;
    progress("cache, one workgroup");
    let group_cache_bytes = cache(&bench, &source, 1)?;
    progress("cache, through a texture");
    let has_textures = gpu.caps.texture_lines > 0;
    let texture_bytes = match has_textures {
        true => Some(texture(&bench, &source, sizes.groups)?),
        false => None,
    };
    progress("dispatch");
    let dispatch = dispatch(&bench)?;
    progress("barrier");
    let barrier = barrier(&bench)?;
    progress("round trip");
    // Again: a device that was idle when the first one was taken may have been at a low clock.
    let round_trip = bench.measure_round_trip()?;
    let cache_bytes = cache_bytes.max(group_cache_bytes);
    let measured = Constants {
        flops,
        group_flops,
        memory_bytes,
        cache_bytes,
        group_cache_bytes,
        // No kernel reads a texture then.
        texture_bytes: texture_bytes.unwrap_or(cache_bytes),
        dispatch,
        barrier,
        round_trip,
    };
    let threads = threads_of(&gpu);
    let (constants, busy) = mended(measured, threads);
    if let Some(gain) = busy {
        tell(CalibrationEvent::Busy { threads, gain });
    }
    match constants.fault() {
        Some(fault) => Err(gpu.device_error(format!("calibration: {fault}"))),
        None => Ok(constants),
    }
}

/// Threads of a software adapter, which are equal; 1 for hardware, whose workgroups are no threads.
fn threads_of(gpu: &Gpu) -> u32 {
    if gpu.caps.is_software { gpu.caps.workgroups_at_once } else { 1 }
}

/// Puts estimates in the place of what `threads` equal threads did beside other work on the machine, and returns the
/// speed of them all to that of one where it did.
fn mended(measured: Constants, threads: u32) -> (Constants, Option<f64>) {
    let gain = measured.flops / measured.group_flops;
    if threads < 2 || gain >= LEAST_GAIN {
        // The whole device does at least what one workgroup does; the measurements are only close.
        return (Constants { flops: measured.flops.max(measured.group_flops), ..measured }, None);
    }
    let all = f64::from(threads);
    let reads_textures = measured.texture_bytes > measured.cache_bytes;
    let cache_bytes = measured.cache_bytes.max(all * measured.group_cache_bytes);
    let constants = Constants {
        flops: all * measured.group_flops,
        cache_bytes,
        texture_bytes: if reads_textures {
            measured.texture_bytes * all / gain
        } else {
            cache_bytes
        },
        ..measured
    };
    (constants, Some(gain))
}

/// How much work each kernel gets.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Workgroups of the whole device, a power of two.
    groups: u32,
    /// vec4s to read from cache, a power of two.
    cached: u32,
    /// vec4s to read from memory, a power of two.
    streamed: u32,
}

impl Sizes {
    fn of(gpu: &Gpu) -> Self {
        let caps = &gpu.caps;
        let binding = caps.max_binding.min(caps.max_buffer);
        let wanted = if caps.is_software { STREAMED_BYTES_SOFTWARE } else { STREAMED_BYTES };
        let groups = if caps.is_software {
            caps.workgroups_at_once.saturating_mul(GROUPS_PER_CORE)
        } else {
            HARDWARE_GROUPS
        };
        // The totals of all invocations must fit one binding too.
        let bound = binding / (VEC4 * u64::from(LANES));
        Self {
            groups: below(u64::from(groups.min(HARDWARE_GROUPS)).next_power_of_two().min(bound)),
            cached: below(CACHED_BYTES.min(binding) / VEC4),
            streamed: below(wanted.min(binding) / VEC4),
        }
    }
}

/// The largest power of two that is no more than `count`.
fn below(count: u64) -> u32 {
    let exponent = count.max(1).ilog2().min(31);
    1 << exponent
}

/// Multiply-adds of the best form: whole device, one workgroup.
fn multiply(
    bench: &Bench<'_>,
    sizes: Sizes,
    progress: &mut dyn FnMut(&'static str),
) -> Result<(f64, f64)> {
    // Nine vectors are more than the registers of a CPU hold.
    let vectors = if bench.gpu.caps.is_software { Probe::FewVectors } else { Probe::Vectors };
    let mut best = [0.0f64; 2];
    progress("multiply-add");
    for attempt in 0..TRIES {
        // The fastest of all: other work only slows down.
        measure_multiply(bench, sizes, vectors, &mut best)?;
        if threads_of(bench.gpu) < 2 || best[0] >= LEAST_GAIN * best[1] {
            break;
        }
        if attempt + 1 < TRIES {
            progress("multiply-add, again");
        }
    }
    Ok((best[0], best[1]))
}

/// Raises the multiply-adds of the whole device and of one workgroup to what is measured.
fn measure_multiply(
    bench: &Bench<'_>,
    sizes: Sizes,
    vectors: Probe,
    best: &mut [f64; 2],
) -> Result<()> {
    for probe in [Probe::Matrices, vectors] {
        let (weights, per_round) = expect::multiply(probe);
        let weights = bench.upload("weights", bytemuck::cast_slice(&weights))?;
        for (best, groups) in best.iter_mut().zip([sizes.groups, 1]) {
            let seconds = bench.seconds_per_round(&Job {
                name: "multiply-add",
                probe,
                groups,
                lanes: LANES,
                block: Calibrate::default(),
                rounds: Rounds::Doubled,
                inputs: &[weights.as_entire_binding()],
                expected: &|at, rounds| expect::multiplied(probe, at, rounds),
            })?;
            *best = best.max(per_round * f64::from(LANES) * f64::from(groups) / seconds);
        }
    }
    Ok(())
}

/// Makes a buffer of `count` vec4s that holds what the expectation says.
fn source(bench: &Bench<'_>, count: u32) -> Result<wgpu::Buffer> {
    let bytes = u64::from(count) * VEC4;
    let source = bench.gpu.scoped("calibration source", || {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        Ok(bench.gpu.buffer("calibration source", bytes, usage))
    })?;
    let groups = count.div_ceil(LANES);
    let x = groups.min(1024);
    let block = Calibrate { rounds: 0, mask: count - 1, group_stride: x * LANES };
    bench.fill(&source, block, [x, groups.div_ceil(x), 1])?;
    Ok(source)
}

fn read_bytes(groups: u32) -> f64 {
    f64::from(READS * LANES * 16) * f64::from(groups)
}

/// Bytes per second, each workgroup reading its own part of a buffer beyond all caches.
fn memory(bench: &Bench<'_>, sizes: Sizes) -> Result<f64> {
    let source = source(bench, sizes.streamed)?;
    let part = (sizes.streamed / sizes.groups).max(READS * LANES);
    let rounds = (part / (READS * LANES)).clamp(1, bench.max_rounds);
    let seconds = bench.seconds_per_round(&Job {
        name: "memory",
        probe: Probe::Read,
        groups: sizes.groups.min(sizes.streamed / part),
        lanes: LANES,
        block: Calibrate { rounds, mask: part - 1, group_stride: part },
        // One pass over the buffer is one dispatch: a second would find what the first left in cache.
        rounds: Rounds::Fixed(rounds),
        inputs: &[source.as_entire_binding()],
        expected: &|at, rounds| expect::read(at, rounds, part - 1, part),
    })?;
    Ok(read_bytes(sizes.groups.min(sizes.streamed / part)) / seconds)
}

/// Bytes per second through a texture, `groups` workgroups reading the same.
fn texture(bench: &Bench<'_>, source: &wgpu::Buffer, groups: u32) -> Result<f64> {
    let view = bench.gpu.scoped("calibration texture", || {
        Ok(bench.gpu.texture_of("calibration texture", &Part::whole(source.clone())))
    })?;
    let input = wgpu::BindingResource::TextureView(&view);
    cached(bench, Probe::ReadTexture, (input, source.size()), groups)
}

/// Bytes per second, `groups` workgroups reading the same.
fn cache(bench: &Bench<'_>, source: &wgpu::Buffer, groups: u32) -> Result<f64> {
    cached(bench, Probe::Read, (source.as_entire_binding(), source.size()), groups)
}

/// Bytes per second of a kernel whose workgroups all read the same bytes.
fn cached(
    bench: &Bench<'_>,
    probe: Probe,
    (input, bytes): (wgpu::BindingResource<'_>, u64),
    groups: u32,
) -> Result<f64> {
    let count = u32::try_from(bytes / VEC4).unwrap_or(u32::MAX);
    let seconds = bench.seconds_per_round(&Job {
        name: "cache",
        probe,
        groups,
        lanes: LANES,
        block: Calibrate { rounds: 0, mask: count - 1, group_stride: 0 },
        rounds: Rounds::Doubled,
        inputs: &[input],
        expected: &|at, rounds| expect::read(at, rounds, count - 1, 0),
    })?;
    Ok(read_bytes(groups) / seconds)
}

/// Seconds from one dispatch to the next.
///
/// Of hardware, between dispatches of nothing. The threads of a software adapter sleep where they wait, and wake for
/// work: of two on llvmpipe dispatches of nothing took 28 to 60 us, where those of a time step took 70. There it is what
/// dispatches of a step's length take, less what the same work takes in one dispatch.
fn dispatch(bench: &Bench<'_>) -> Result<f64> {
    let groups = bench.gpu.caps.workgroups_at_once.clamp(1, 1024);
    if bench.gpu.caps.is_software {
        let work = |rounds| work(bench, groups, rounds);
        let whole = work(Rounds::Doubled)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive count"
        )]
        let rounds = ((STEP / whole).ceil() as u32).clamp(1, bench.max_rounds);
        let cut = work(Rounds::Fixed(rounds))?;
        let seconds = f64::from(rounds) * (cut - whole);
        if seconds > 0.0 {
            return Ok(seconds);
        }
    }
    bench.seconds_per_round(&Job {
        name: "dispatch",
        probe: Probe::Dispatch,
        groups,
        lanes: 1,
        block: Calibrate::default(),
        rounds: Rounds::Fixed(1),
        inputs: &[],
        expected: &|_, _| [1; 4],
    })
}

/// Seconds of a round of multiply-adds, a workgroup wherever one can run.
fn work(bench: &Bench<'_>, groups: u32, rounds: Rounds) -> Result<f64> {
    let probe = Probe::FewVectors;
    let (weights, _) = expect::multiply(probe);
    let weights = bench.upload("weights", bytemuck::cast_slice(&weights))?;
    bench.seconds_per_round(&Job {
        name: "dispatch of work",
        probe,
        groups,
        lanes: LANES,
        block: Calibrate::default(),
        rounds,
        inputs: &[weights.as_entire_binding()],
        expected: &|at, rounds| expect::multiplied(probe, at, rounds),
    })
}

/// Seconds of a barrier; a round has two.
fn barrier(bench: &Bench<'_>) -> Result<f64> {
    let seconds = bench.seconds_per_round(&Job {
        name: "barrier",
        probe: Probe::Barrier,
        groups: 1,
        lanes: LANES,
        block: Calibrate::default(),
        rounds: Rounds::Doubled,
        inputs: &[],
        expected: &expect::passed,
    })?;
    Ok(seconds / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_noticed_and_its_figures_are_mended() {
        let idle = Constants::for_software(2, true);
        assert_eq!(mended(idle, 2), (idle, None));
        // One of two threads had other work.
        let busy = Constants {
            flops: idle.group_flops * 1.02,
            cache_bytes: idle.group_cache_bytes * 1.02,
            texture_bytes: idle.texture_bytes * 0.51,
            ..idle
        };
        let (constants, gain) = mended(busy, 2);
        assert!((gain.expect("noticed") - 1.02).abs() < 1e-9, "{gain:?}");
        for ((name, got), (_, want)) in constants.fields().into_iter().zip(idle.fields()) {
            assert!((got / want - 1.0).abs() < 1e-9, "{name}: {got} {want}");
        }
        // One thread, and hardware, whose workgroups are not threads.
        let (constants, gain) = mended(Constants { flops: 79e9, ..idle }, 1);
        assert_eq!((constants.flops, gain), (idle.group_flops, None));
    }
}
