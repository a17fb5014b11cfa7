//! What the integration tests share: devices, and how a test says that it had none.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

pub(crate) mod compare;
pub(crate) mod golden;

use std::sync::OnceLock;

use wgpu_rnn::{DeviceChoice, Engine, EngineOptions, Strategy};

/// Returns one engine per adapter of this machine, checked and trusted shaders both, with poisoned
/// memory; shared by the tests of a process, since opening a device costs more than most tests.
///
/// With no adapter the list is empty and "skipped (no adapter)" is printed, unless `REQUIRE_GPU=1`,
/// which makes it a failure.
pub(crate) fn gpus() -> &'static [(String, Engine)] {
    static ENGINES: OnceLock<Vec<(String, Engine)>> = OnceLock::new();
    ENGINES.get_or_init(open_all)
}

/// Returns those of [`gpus`] that compile a pipeline in a moment: Mesa's GL takes a second or more for each,
/// and only the tests of what differs between backends are worth that.
pub(crate) fn quick_gpus() -> impl Iterator<Item = &'static (String, Engine)> {
    gpus().iter().filter(|(name, _)| !name.contains("(gl)"))
}

fn open_all() -> Vec<(String, Engine)> {
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| v == "1");
    let mut engines = Vec::new();
    for report in pollster::block_on(Engine::adapters()) {
        let name = format!("{} ({})", report.info.name, report.info.backend);
        if let Some(why) = report.unusable {
            println!("skipped {name}: {why}");
            continue;
        }
        for checked in [true, false] {
            let options = EngineOptions {
                device: DeviceChoice::Index(report.index),
                checked_shaders: Some(checked),
                poison_memory: true,
                ..EngineOptions::default()
            };
            let engine = pollster::block_on(Engine::with_options(&options))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let form = if checked { "checked" } else { "trusted" };
            engines.push((format!("{name}, {form}"), engine));
        }
    }
    assert!(!(required && engines.is_empty()), "REQUIRE_GPU=1 and no usable adapter");
    if engines.is_empty() {
        println!("skipped (no adapter)");
    }
    engines
}

/// Returns the CPU path and every device with every strategy that takes all cases, with names.
///
/// Mesa's GL takes a second or more to compile a pipeline: it comes in one form and with one strategy.
pub(crate) fn engines() -> Vec<(String, Engine)> {
    let mut engines = vec![("cpu".to_owned(), Engine::cpu())];
    for (name, engine) in gpus() {
        let is_gl = name.contains("(gl)");
        if is_gl && name.contains("checked") {
            continue;
        }
        let strategies: &[Strategy] =
            if is_gl { &[Strategy::Auto] } else { &[Strategy::Auto, Strategy::StepPerDispatch] };
        for &strategy in strategies {
            engines.push((format!("{name}, {strategy:?}"), engine.with_strategy(strategy)));
        }
    }
    engines
}
