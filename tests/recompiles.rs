//! A driver that compiles a kernel when it is first dispatched does not compile it again.
//!
//! Mesa's llvmpipe writes numbers of uniform buffers that decide loops and branches into a kernel's code, and where
//! that unrolls something it compiles the kernel again at every use and keeps the old code
//! (`docs/design.md`, "Which driver runs a layer"). Compiled code lies in anonymous executable memory, which a test can
//! see on Linux.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod support;

use wgpu_rnn::check::input_value;
use wgpu_rnn::train::{Loss, Targets};
use wgpu_rnn::{
    Batch, Cell, Engine, HeadSpec, Init, InputSpec, LayerSpec, Layout, Model, Strategy, Tensor,
    TrainerOptions,
};

const FEATURES: usize = 20;

/// Bytes of executable memory that belong to no file.
fn compiled_bytes() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
    let hex = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    let anonymous = maps.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (from, to) = words[0].split_once('-')?;
        (words.len() == 5 && words[1].contains('x')).then(|| hex(to) - hex(from))
    });
    anonymous.sum()
}

fn dense(batch: usize, steps: usize, features: usize) -> Batch {
    let values: Vec<f32> = (0..batch * steps * features).map(input_value).collect();
    Batch::dense(values, batch, steps, features, Layout::BatchFirst).expect("valid")
}

fn model(cell: Cell, hidden: usize) -> Model {
    Model::builder(InputSpec::Dense { size: FEATURES })
        .layer(LayerSpec::new(cell, hidden))
        .head(HeadSpec::new(2))
        .build(Init::PyTorch, 1)
        .expect("valid")
}

/// Uses something twice, and returns how much code further uses add.
fn growth(mut act: impl FnMut()) -> u64 {
    act();
    act();
    let warm = compiled_bytes();
    for _ in 0..6 {
        act();
    }
    compiled_bytes().saturating_sub(warm)
}

/// Engines of llvmpipe, in the form of shaders that users run.
fn llvmpipe() -> impl Iterator<Item = &'static (String, Engine)> {
    support::quick_gpus().filter(|(name, _)| name.contains("llvmpipe") && name.contains("trusted"))
}

// One test, because tests of one process run side by side and each compiles.
#[test]
fn what_ran_twice_adds_no_code() {
    let strategies = [
        Strategy::StepPerDispatch,
        Strategy::Resident,
        Strategy::StepTile,
        Strategy::ResidentTile,
        Strategy::Stationary,
        Strategy::StepSplit,
    ];
    if llvmpipe().next().is_none() {
        println!("skipped (no llvmpipe)");
    }
    for (name, engine) in llvmpipe() {
        assert!(compiled_bytes() > 0, "{name}: expected compiled code in anonymous memory");
        for (cell, hidden, batch) in [(Cell::RnnTanh, 72, 40), (Cell::Gru, 24, 3)] {
            let model = model(cell, hidden);
            let input = dense(batch, 5, FEATURES);
            let mut ran = 0;
            for strategy in strategies {
                let loaded = engine.with_strategy(strategy).load(&model).expect("loads");
                if loaded.plan(batch, 5).is_err() {
                    continue;
                }
                let grown = growth(|| {
                    loaded.run_blocking(&input).expect("runs");
                });
                assert_eq!(grown, 0, "{name}: {cell}, {strategy:?}, bytes of new code");
                ran += 1;
            }
            assert!(ran >= 3, "{name}: {cell}: {ran} strategies took the shape");
            let options = TrainerOptions { loss: Loss::Mse, ..TrainerOptions::default() };
            let mut trainer = engine.trainer(&model, options).expect("trains");
            let targets = Targets::Values(Tensor::from_fn([batch, 5, 2], |_| 0.5));
            let grown = growth(|| {
                trainer.step(&input, &targets).expect("steps");
                trainer.progress().expect("reads");
            });
            assert_eq!(grown, 0, "{name}: {cell}, training, bytes of new code");
        }
    }
}
