//! Loads the bundled forecaster, runs the sunspot series, prints the forecast for the next year.
//!
//! ```text
//! cargo run --example quickstart
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use wgpu_rnn::{Batch, Engine, Layout, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = env!("CARGO_MANIFEST_DIR");
    let model = Model::load(format!("{root}/models/sunspots.safetensors"))?;
    let csv = std::fs::read_to_string(format!("{root}/data/sunspots.csv"))?;
    let sunspots: Vec<f32> =
        csv.lines().skip(1).filter_map(|line| line.split(',').nth(1)?.parse().ok()).collect();

    let engine = pollster::block_on(Engine::new())?;
    println!("running on {} ({})", engine.info().name, engine.info().reason);
    let loaded = engine.load(&model)?;
    let steps = sunspots.len();
    let result = loaded.run_blocking(&Batch::dense(sunspots, 1, steps, 1, Layout::BatchFirst)?)?;

    // The output at step t predicts the input at t + 1.
    let forecast = result.output.data().last().copied().unwrap_or(f32::NAN);
    println!("{steps} years read; forecast for the next: {forecast:.1} sunspots");
    Ok(())
}
