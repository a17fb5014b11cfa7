//! `rnn calibrate`: measures how fast a device is, and keeps it for later runs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use wgpu_rnn::{CalibrationEvent, Constants, Engine, EngineInfo, Strategy};

use crate::calibration::{self, Key};
use crate::device::{DeviceArgs, describe};
use crate::failure::{Failure, Result};
use crate::print;
use crate::report::Reporter;
use crate::table::{Align, Table};

/// Measure how fast a device computes, reads and answers.
///
/// Later runs on the device choose their kernels by these figures. They are kept in calibration.json
/// in the user's cache folder and measured again when the driver changes. Other work on the device
/// spoils them: measure on an idle machine. With --device all every adapter is measured.
#[derive(Args, Debug)]
#[command(
    after_help = "The environment variable WGPU_RNN_CACHE names another folder for calibration.json.

Examples:
  rnn calibrate                      measure the best hardware GPU, or show what was measured
  rnn calibrate --force              measure again
  rnn calibrate --device all --json  every adapter, as JSON
  rnn calibrate --device llvmpipe    a software adapter"
)]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    device: DeviceArgs,

    /// Measure even where the cache has the device
    #[arg(long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

/// Measured constants of one device.
struct Measured {
    info: EngineInfo,
    constants: Constants,
    /// Seconds that measuring took; `None` when they come from the cache.
    seconds: Option<f64>,
}

/// Runs the subcommand.
///
/// # Errors
/// Usage for the CPU path; `Device` when there is no such device, or one fails or skips work; `Io` when
/// the cache cannot be written.
pub(crate) fn run(args: &CalibrateArgs) -> Result<()> {
    let reporter = Reporter::new(args.quiet);
    let cache = calibration::file();
    let mut measured = Vec::new();
    for device in devices(args, &reporter)? {
        let engine = device.open(Strategy::Auto, &reporter)?;
        if engine.info().is_cpu_path {
            return Err(Failure::usage(format!(
                "--device: expected a GPU to measure, got the CPU path: {}; name a software adapter \
                 to measure it",
                engine.info().reason
            )));
        }
        measured.push(measure(&engine, args, cache.as_deref(), &reporter)?);
    }
    if cache.is_none() {
        reporter.warn("nothing is kept: this system names no cache folder (set WGPU_RNN_CACHE)");
    }
    if args.json {
        let devices: Vec<Value> = measured.iter().map(as_json).collect();
        let record = json!({ "cache": cache, "devices": devices });
        return print(&format!("{record:#}\n"));
    }
    let mut text: String = measured.iter().map(as_text).collect();
    if let Some(path) = cache {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "kept in {}", path.display());
    }
    print(&text)
}

/// Lists what to measure: the device that was asked for, or every usable adapter.
fn devices(args: &CalibrateArgs, reporter: &Reporter) -> Result<Vec<DeviceArgs>> {
    let of = |device: &str| DeviceArgs { device: device.to_owned() };
    if !args.device.device.eq_ignore_ascii_case("all") {
        return Ok(vec![of(&args.device.device)]);
    }
    let mut devices = Vec::new();
    for adapter in pollster::block_on(Engine::adapters()) {
        match &adapter.unusable {
            None => devices.push(of(&adapter.index.to_string())),
            Some(why) => reporter.warn(&format!("{}: skipped: {why}", adapter.info.name)),
        }
    }
    if devices.is_empty() {
        return Err(Failure::usage("--device all: expected an adapter to measure, got none"));
    }
    Ok(devices)
}

/// Takes constants from the cache, or measures and stores them.
fn measure(
    engine: &Engine,
    args: &CalibrateArgs,
    cache: Option<&Path>,
    reporter: &Reporter,
) -> Result<Measured> {
    let info = engine.info().clone();
    let known = engine.constants().filter(|_| {
        !args.force && engine.constants_source() == Some(wgpu_rnn::ConstantsSource::Calibrated)
    });
    if let Some(constants) = known {
        return Ok(Measured { info, constants: *constants, seconds: None });
    }
    let started = Instant::now();
    let constants = engine.calibrate_blocking(|event| match event {
        CalibrationEvent::Measuring(part) => reporter.note(&format!("measuring: {part}")),
        CalibrationEvent::Busy { threads, gain } => reporter.warn(&format!(
            "{threads} threads computed {gain:.2} times as fast as one: the processor seems to have other work. Figures of \
             the whole device are those of one thread times {threads}; measure again when it is idle (rnn calibrate --force)"
        )),
    })?;
    let seconds = Some(started.elapsed().as_secs_f64());
    if let Some(path) = cache {
        calibration::store(path, Key::of(&info), constants)?;
    }
    Ok(Measured { info, constants, seconds })
}

/// Name, value with unit, and meaning of every constant.
fn rows(constants: &Constants) -> [(&'static str, String, &'static str); 9] {
    let rate = |value: f64, unit: &str| format!("{}{unit}", scaled(value));
    let time = |value: f64| format!("{}s", scaled(value));
    let flops = |value| rate(value, "FLOP/s");
    let bytes = |value| rate(value, "B/s");
    [
        ("multiply-add", flops(constants.flops), "f32, whole device; a multiply-add counts as two"),
        ("  one workgroup", flops(constants.group_flops), "what a sequential time loop can use"),
        ("memory", bytes(constants.memory_bytes), "read, each workgroup its own data"),
        ("cache", bytes(constants.cache_bytes), "read, all workgroups the same 512 KiB"),
        ("  one workgroup", bytes(constants.group_cache_bytes), "read by one workgroup alone"),
        (
            "  through a texture",
            // Where kernels read no texture the figure is that of the cache.
            match constants.texture_bytes.total_cmp(&constants.cache_bytes) {
                std::cmp::Ordering::Equal => "n/a (not read here)".into(),
                _ => bytes(constants.texture_bytes),
            },
            "read, all workgroups the same 512 KiB",
        ),
        ("dispatch", time(constants.dispatch), "to the next one that depends on it"),
        ("barrier", time(constants.barrier), "of a workgroup of 256, with its exchange"),
        ("round trip", time(constants.round_trip), "from a submit to its mapped result"),
    ]
}

/// Writes a value with three digits and a decimal unit prefix, and a space between them.
fn scaled(value: f64) -> String {
    const PREFIXES: [(f64, &str); 8] = [
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1.0, ""),
        (1e-3, "m"),
        (1e-6, "µ"),
        (1e-9, "n"),
    ];
    let (unit, prefix) =
        PREFIXES.into_iter().find(|(unit, _)| value >= *unit).unwrap_or(PREFIXES[7]);
    let scaled = value / unit;
    let places = match scaled {
        s if s < 10.0 => 2,
        s if s < 100.0 => 1,
        _ => 0,
    };
    format!("{scaled:.places$} {prefix}")
}

fn as_text(measured: &Measured) -> String {
    let how = match measured.seconds {
        Some(seconds) => format!("measured in {seconds:.1} s"),
        None => "measured earlier (--force measures again)".to_owned(),
    };
    let mut table =
        Table::new([("speed", Align::Left), ("value", Align::Right), ("meaning", Align::Left)]);
    for (name, value, meaning) in rows(&measured.constants) {
        table.row([name.to_owned(), value, meaning.to_owned()]);
    }
    format!("{}: {how}\n{}\n", describe(&measured.info), table.render("  "))
}

fn as_json(measured: &Measured) -> Value {
    let info = &measured.info;
    json!({
        "name": info.name,
        "backend": info.backend,
        "driver": info.driver,
        "is_software": info.is_software,
        "version": Constants::VERSION,
        "seconds": measured.seconds,
        "constants": measured.constants,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_picks_a_prefix_and_three_digits() {
        for (value, want) in [
            (1.5e12, "1.50 T"),
            (12.34e9, "12.3 G"),
            (999e3, "999 k"),
            (2e-3, "2.00 m"),
            (25e-6, "25.0 µ"),
            (5e-10, "0.50 n"),
        ] {
            assert_eq!(scaled(value), want);
        }
    }
}
