//! A training loop of one's own: which of two halves of a sequence sums to more, learned by a GRU.
//!
//! `cargo run --release --example train` takes a hardware GPU; `-- llvmpipe` names another adapter.
#![allow(clippy::print_stdout, reason = "an example shows what it computes")]

use wgpu_rnn::train::Targets;
use wgpu_rnn::{
    Batch, Cell, DeviceChoice, Engine, EngineOptions, HeadSpec, HeadSteps, Init, InputSpec,
    LayerSpec, Layout, Model, Tensor, TrainerOptions,
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    learn(std::env::args().nth(1).map_or(DeviceChoice::Gpu, DeviceChoice::Name)).map(drop)
}

/// Returns the mean loss of the last hundred steps.
fn learn(device: DeviceChoice) -> Result<f32> {
    let engine =
        pollster::block_on(Engine::with_options(&EngineOptions { device, ..Default::default() }))?;
    let model = Model::builder(InputSpec::Dense { size: 1 })
        .layer(LayerSpec::new(Cell::Gru, 16))
        .head(HeadSpec { steps: HeadSteps::Last, ..HeadSpec::new(2) })
        .build(Init::PyTorch, 1)?;
    let options = TrainerOptions { learning_rate: 1e-2, ..TrainerOptions::default() };
    let mut trainer = engine.trainer(&model, options)?;
    let mut noise = 1u32;
    let mut loss = f32::NAN;
    for step in 1..=600 {
        let values: Vec<f32> = (0..64 * 10)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f32::from(u16::try_from(noise >> 16).unwrap_or(0)) / 65_536.0
            })
            .collect();
        let is_larger = |row: &[f32]| row[..5].iter().sum::<f32>() > row[5..].iter().sum();
        let classes = values.chunks(10).map(|row| i64::from(is_larger(row))).collect();
        let batch = Batch::dense(values, 64, 10, 1, Layout::BatchFirst)?;
        trainer.step(&batch, &Targets::Classes(Tensor::new([64], classes)?))?;
        if step % 100 == 0 {
            loss = trainer.progress()?.mean_loss;
            println!("step {step}: mean loss {loss:.3}");
        }
    }
    trainer.model()?.save(std::env::temp_dir().join("halves.safetensors"))?;
    Ok(loss)
}

#[test]
fn the_loop_learns() {
    let reports = pollster::block_on(Engine::adapters());
    let Some(report) = reports.into_iter().find(|report| report.unusable.is_none()) else {
        assert!(std::env::var("REQUIRE_GPU").as_deref() != Ok("1"), "no adapter");
        return println!("skipped (no adapter)");
    };
    let loss = learn(DeviceChoice::Index(report.index)).expect("learns");
    assert!(loss < 0.35, "{loss}, after ln 2 = 0.693 to begin with");
}
