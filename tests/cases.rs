//! The case table on every device and strategy against the f64 oracle.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use wgpu_rnn::check::{self, Case};
use wgpu_rnn::{Engine, Layer, LayerSpec, Strategy};

fn failures(name: &str, engine: &Engine, cases: &[Case]) -> (usize, Vec<String>) {
    let (mut compared, mut failures) = (0, Vec::new());
    for (index, case) in cases.iter().enumerate() {
        // The second form of the shaders takes other cases than the first.
        let index = index + if name.contains("trusted") { 4 } else { 0 };
        let mut drivers = check::drivers(engine, index);
        if engine.info().is_software && alternates(case) {
            let skipped =
                if index % 2 == 0 { Strategy::Resident } else { Strategy::StepPerDispatch };
            drivers.retain(|driver| *driver != skipped);
        }
        let run = check::run_case(engine, case, &drivers);
        let reports = pollster::block_on(run).expect("the oracle runs");
        for report in reports {
            if let Some(fault) = report.fault {
                failures.push(format!("{name} / {} / {}: {fault}", report.case, report.strategy));
            } else if let Some(why) = report.refused {
                let step = Strategy::StepPerDispatch.name();
                assert_ne!(report.strategy, step, "{name} / {}", report.case);
                let start = format!("strategy {}: expected ", report.strategy);
                assert!(why.starts_with(&start), "{why}");
            } else {
                compared += 1;
            }
        }
    }
    (compared, failures)
}

/// Whether a case has options that both quick drivers take. Its rules are the same text in either, and each is a pipeline
/// that only this case needs: a software adapter, which compiles for most of a test's time, runs one of them.
fn alternates(case: &Case) -> bool {
    let takes_both = |spec: &LayerSpec| {
        spec.cell.spec().pointwise && spec.proj_size == 0 && spec.options.layer_norm.is_none()
    };
    let specs = || case.model.layers().iter().map(Layer::spec);
    specs().all(takes_both) && specs().any(|spec| !spec.options.is_default())
}

#[test]
fn gpu_matches_the_oracle_on_every_case_and_strategy() {
    let cases = check::cases();
    for (name, engine) in support::gpus() {
        // Software adapters compile for most of a test's time. The first form of the shaders runs every case,
        // and every third of those with an output layer; the second form every sixth. Mesa's GL takes a
        // second or more for a pipeline: every other plain layer and a sixth of the rest in the first form, a twelfth
        // in the second.
        let (is_gl, is_second) = (name.contains("(gl)"), name.contains("trusted"));
        let is_software = engine.info().is_software;
        let runs = |(index, case): &(usize, &Case)| {
            let has_options = case.model.layers().iter().any(|l| !l.spec().options.is_default());
            let has_head = case.model.head().is_some();
            match (is_gl, is_second) {
                _ if !is_software => true,
                (false, false) => !has_head || index % 3 == 1,
                (false, true) => index % 6 == 1,
                (true, false) => index % 6 == 1 || (index % 2 == 0 && !has_options && !has_head),
                (true, true) => index % 12 == 1,
            }
        };
        let cases: Vec<Case> =
            cases.iter().enumerate().filter(runs).map(|(_, case)| case.clone()).collect();
        let (compared, failures) = failures(name, engine, &cases);
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
        assert!(compared >= cases.len(), "{name}: only {compared} comparisons");
        println!("{name}: {compared} comparisons");
    }
}

#[test]
fn cpu_matches_the_oracle_on_every_case() {
    let cases = check::cases();
    let (compared, failures) = failures("cpu", &Engine::cpu(), &cases);
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(compared, cases.len());
}

#[test]
fn case_table_keeps_all_its_rows() {
    // A row whose network is invalid would vanish; count them where they are listed.
    assert_eq!(check::cases().len(), 5 * 13 + 3 + 6 + 19 + 7 + 2 + 4 + 24 + 20 + 29 + 7);
}
