//! A Rust runtime as a worker process: one JSON request a line in, one JSON answer a line out.
//!
//! The protocol is that of `../../worker.py`: a line that says what the worker is, then `prepare`
//! (load, run once, compare with the oracle) and `run` (seconds of each of N runs on a clock).
//!
//! ```text
//! peers RUNTIME THREADS DEVICE     RUNTIME: ours-gpu, ours-cpu, burn-wgpu, burn-flex, candle-cpu, tract-cpu, rten-cpu
//! ```
//! DEVICE is as in `rnn --device`, for ours-gpu and burn-wgpu; `auto` is the first hardware GPU, else
//! the first software adapter.

mod ours;
#[cfg_attr(
    not(all(feature = "burn", feature = "candle", feature = "tract", feature = "rten")),
    allow(dead_code, reason = "each runtime takes its part of a workload")
)]
mod workload;

#[cfg(feature = "burn")]
mod on_burn;
#[cfg(feature = "candle")]
mod on_candle;
#[cfg(feature = "rten")]
mod on_rten;
#[cfg(feature = "tract")]
mod on_tract;

use std::any::Any;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use serde_json::{Value, json};
use workload::{Order, Workload};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What a worker says of itself.
struct About {
    /// The adapter or "CPU".
    device: String,
    driver: String,
    is_software: bool,
}

impl About {
    #[cfg_attr(not(feature = "default"), allow(dead_code, reason = "for the runtimes on the CPU"))]
    fn cpu() -> Self {
        Self { device: "CPU".into(), driver: String::new(), is_software: false }
    }
}

/// A result in host memory, in whatever type the runtime gives; copied out after the clock stopped.
type Finished = Box<dyn FnOnce() -> Result<Vec<f32>>>;

/// A runtime with one workload loaded.
trait Runtime {
    fn about(&self) -> About;

    /// Loads weights and input. An error is the reason why the runtime cannot.
    fn prepare(&mut self, workload: &Workload) -> Result<()>;

    /// Axis order of what `run` gives.
    fn order(&self) -> Order;

    /// Makes the next `run`'s input, where it is used up by one; outside the clock.
    fn refill(&mut self) {}

    /// From input in host memory to output in host memory.
    fn run(&mut self) -> Result<Finished>;

    /// From input to output in the device's memory, to the end of its work.
    fn run_on_device(&mut self) -> Result<()> {
        Err("no device memory".into())
    }

    /// One training step: forward, mean squared error against zeros, gradients, Adam; to the end of its work.
    fn train(&mut self) -> Result<()> {
        Err("does not train here".into())
    }

    /// How the runtime computes the workload, where it says.
    fn plan(&self) -> String {
        String::new()
    }
}

fn open(name: &str, threads: usize, device: &str) -> Result<Box<dyn Runtime>> {
    let _ = threads;
    match name {
        "ours-gpu" => Ok(Box::new(ours::Ours::gpu(device)?)),
        "ours-cpu" => Ok(Box::new(ours::Ours::cpu())),
        #[cfg(feature = "burn")]
        "burn-wgpu" => Ok(Box::new(on_burn::Burn::wgpu(&ours::choose(device)?)?)),
        #[cfg(feature = "burn")]
        "burn-flex" => Ok(Box::new(on_burn::Burn::flex())),
        #[cfg(feature = "candle")]
        "candle-cpu" => Ok(Box::new(on_candle::OnCandle::default())),
        #[cfg(feature = "tract")]
        "tract-cpu" => Ok(Box::new(on_tract::OnTract::new(threads))),
        #[cfg(feature = "rten")]
        "rten-cpu" => Ok(Box::new(on_rten::OnRten::default())),
        other => Err(format!("{other} is not in this build").into()),
    }
}

fn prepare(runtime: &mut dyn Runtime, path: &str) -> Result<Value> {
    let workload = Workload::read(path)?;
    runtime.prepare(&workload)?;
    runtime.refill();
    let output = runtime.run()?()?;
    Ok(match workload.largest_error(&output, runtime.order()) {
        Ok(error) => json!({ "ok": true, "error": error, "plan": runtime.plan() }),
        Err(reason) => json!({ "wrong": reason }),
    })
}

fn run(runtime: &mut dyn Runtime, count: u64, clock: &str) -> Result<Value> {
    let mut seconds = Vec::new();
    for _ in 0..count {
        runtime.refill();
        let start = Instant::now();
        let kept: Box<dyn Any> = match clock {
            "device" => Box::new(runtime.run_on_device()?),
            "train" => Box::new(runtime.train()?),
            _ => Box::new(runtime.run()?),
        };
        seconds.push(start.elapsed().as_secs_f64());
        drop(kept);
    }
    Ok(json!({ "seconds": seconds }))
}

fn answer(runtime: &mut dyn Runtime, line: &str) -> Result<Value> {
    let request: Value = serde_json::from_str(line)?;
    let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
    match request["do"].as_str() {
        Some("prepare") => prepare(runtime, &text("workload")),
        Some("run") => run(runtime, request["count"].as_u64().unwrap_or(1), &text("clock")),
        _ => Err(format!("unknown request {line}").into()),
    }
}

/// A panic of a runtime is an answer too.
fn caught<T>(work: impl FnOnce() -> Result<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| shortened(&with_causes(error.as_ref()))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(shortened(&format!("panicked: {}", text.unwrap_or_default())))
        }
    }
}

/// The error and its causes, each unless what stands there already holds it.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) {
            text
        } else if text.is_empty() {
            cause
        } else {
            format!("{text}: {cause}")
        }
    })
}

fn shortened(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(200).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, threads, device] = &arguments[..] else {
        eprintln!("usage: peers RUNTIME THREADS DEVICE");
        std::process::exit(2);
    };
    let say = |value: &Value| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{value}").and_then(|()| out.flush()).expect("the driver reads");
    };
    let mut runtime = match caught(|| open(name, threads.parse()?, device)) {
        Ok(runtime) => runtime,
        Err(reason) => return say(&json!({ "na": reason })),
    };
    let about = runtime.about();
    say(&json!({
        "name": name, "device": about.device, "driver": about.driver, "software": about.is_software,
    }));
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        say(&caught(|| answer(runtime.as_mut(), &line)).unwrap_or_else(|why| json!({ "na": why })));
    }
}
