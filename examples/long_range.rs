//! Two tasks whose answer lies many steps before the question, learnt by each cell from the same data.
//!
//! ```text
//! cargo run --release --example long_range -- adding --device llvmpipe --steps 800
//! cargo run --release --example long_range -- copy --device llvmpipe --steps 2000
//! ```
//!
//! *Adding* (Hochreiter and Schmidhuber 1997): of T pairs (number, mark) two are marked, one in each half;
//! the answer is the sum of their numbers. Saying 1 every time has an error of 1/6.
//! *Copy*: K symbols, a delay, then a sign to repeat them. Guessing is right once in eight.
//!
//! A vanilla RNN multiplies its state by one matrix and a slope in every step, and gradients vanish on the
//! way; the gates of LSTM and GRU let both pass. How far a vanilla RNN comes hangs on its first W_hh: `--init keras`
//! (the default) is orthogonal and keeps norms, `--init pytorch` is small and uniform.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use wgpu_rnn::train::{CrossEntropy, Loss, Targets};
use wgpu_rnn::{
    Batch, Cell, Engine, EngineOptions, HeadSpec, Init, InputSpec, LayerSpec, Layout, Model,
    Tensor, Trainer, TrainerOptions,
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Sequences of a step.
const BATCH: usize = 32;
/// Units of the layer.
const HIDDEN: usize = 32;
/// Symbols that are copied, and how many different ones there are.
const COPIED: usize = 4;
const SYMBOLS: u32 = 8;

/// Random numbers (xorshift64*), the same on every platform.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        u32::try_from((word * u64::from(bound)) >> 32).unwrap_or(0)
    }

    fn place(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(u32::try_from(bound).unwrap_or(1))).unwrap_or(0)
    }

    fn unit(&mut self) -> f32 {
        f32::from(u16::try_from(self.below(1 << 16)).unwrap_or(0)) / 65_536.0
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Task {
    Adding,
    Copy,
}

struct Choice {
    task: Task,
    device: String,
    /// Sequence length, or delay.
    length: usize,
    steps: usize,
    rate: f32,
    init: Init,
}

fn arguments() -> Result<Choice> {
    let mut words = std::env::args().skip(1);
    let task = match words.next().as_deref() {
        Some("adding") => Task::Adding,
        Some("copy") => Task::Copy,
        other => return Err(format!("task: expected adding or copy, got {other:?}").into()),
    };
    let (length, steps, rate) = match task {
        Task::Adding => (60, 1500, 0.01),
        Task::Copy => (20, 2000, 0.01),
    };
    let (device, init) = ("auto".to_owned(), Init::Keras);
    let mut choice = Choice { task, device, length, steps, rate, init };
    while let Some(option) = words.next() {
        let value = words.next().ok_or_else(|| format!("{option}: expected a value"))?;
        match option.as_str() {
            "--device" => choice.device = value,
            "--length" => choice.length = value.parse()?,
            "--steps" => choice.steps = value.parse()?,
            "--lr" => choice.rate = value.parse()?,
            "--init" if value == "keras" => choice.init = Init::Keras,
            "--init" if value == "pytorch" => choice.init = Init::PyTorch,
            "--init" => {
                return Err(format!("--init: expected keras or pytorch, got {value}").into());
            }
            _ => {
                let known = "--device, --length, --steps, --lr or --init";
                return Err(format!("expected {known}, got {option}").into());
            }
        }
    }
    Ok(choice)
}

fn main() -> Result<()> {
    let choice = arguments()?;
    let device = choice.device.parse()?;
    let options = EngineOptions { device, ..EngineOptions::default() };
    let engine = pollster::block_on(Engine::with_options(&options))?;
    println!("{} ({})", engine.info().name, engine.info().reason);
    let (name, measure) = match choice.task {
        Task::Adding => ("length", "mean squared error"),
        Task::Copy => ("delay", "part of symbols repeated"),
    };
    let (length, guess) = (choice.length, guess(&choice)?);
    println!("{name} {length}; {measure} on 512 new sequences; without learning {guess:.4}\n");
    for cell in [Cell::RnnTanh, Cell::Gru, Cell::Lstm] {
        let begun = Instant::now();
        print!("{:>9}", cell.name());
        learn(&engine, &choice, cell, |measured| {
            print!("  {measured:.4}");
            Ok(std::io::Write::flush(&mut std::io::stdout())?)
        })?;
        println!("  ({:.0} s)", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Trains a cell, tells `show` what it has come to after each fifth of the steps, and returns the last.
fn learn(
    engine: &Engine,
    choice: &Choice,
    cell: Cell,
    mut show: impl FnMut(f64) -> Result<()>,
) -> Result<f64> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut trainer = engine.trainer(&network(choice, cell)?, trainer_options(choice))?;
    let mut measured = f64::NAN;
    for step in 1..=choice.steps {
        let (batch, targets) = examples(choice, BATCH, &mut random)?;
        trainer.step(&batch, &targets)?;
        if step % (choice.steps / 5).max(1) == 0 {
            measured = judge(&trainer, choice)?;
            show(measured)?;
        }
    }
    Ok(measured)
}

fn network(choice: &Choice, cell: Cell) -> Result<Model> {
    let (input, head) = match choice.task {
        Task::Adding => (InputSpec::Dense { size: 2 }, HeadSpec::new(1).last_step()),
        Task::Copy => (InputSpec::OneHot { vocab: 10 }, HeadSpec::new(8)),
    };
    let builder = Model::builder(input).layer(LayerSpec::new(cell, HIDDEN)).head(head);
    Ok(builder.build(choice.init, 1)?)
}

fn trainer_options(choice: &Choice) -> TrainerOptions {
    let cross_entropy = CrossEntropy { ignore_index: Some(-1), ..CrossEntropy::default() };
    let loss = match choice.task {
        Task::Adding => Loss::Mse,
        Task::Copy => Loss::CrossEntropy(cross_entropy),
    };
    let clip_norm = Some(1.0);
    TrainerOptions { loss, learning_rate: choice.rate, clip_norm, ..TrainerOptions::default() }
}

fn examples(choice: &Choice, rows: usize, random: &mut Random) -> Result<(Batch, Targets)> {
    match choice.task {
        Task::Adding => adding(rows, choice.length, random),
        Task::Copy => copying(rows, choice.length, random),
    }
}

fn adding(rows: usize, steps: usize, random: &mut Random) -> Result<(Batch, Targets)> {
    let (mut inputs, mut sums) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let half = steps / 2;
        let marked = [random.place(half), half + random.place(steps - half)];
        let mut sum = 0.0;
        for t in 0..steps {
            let number = random.unit();
            let is_marked = marked.contains(&t);
            sum += if is_marked { number } else { 0.0 };
            inputs.extend([number, f32::from(u8::from(is_marked))]);
        }
        sums.push(sum);
    }
    let batch = Batch::dense(inputs, rows, steps, 2, Layout::BatchFirst)?;
    Ok((batch, Targets::Values(Tensor::new([rows, 1], sums)?)))
}

/// Symbols 0 to 7, then 8 for the delay, then 9 for as long as the answer takes.
fn copying(rows: usize, delay: usize, random: &mut Random) -> Result<(Batch, Targets)> {
    let steps = COPIED + delay + COPIED;
    let (mut inputs, mut classes) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let symbols: Vec<u32> = (0..COPIED).map(|_| random.below(SYMBOLS)).collect();
        inputs.extend(&symbols);
        inputs.extend(std::iter::repeat_n(SYMBOLS, delay));
        inputs.extend(std::iter::repeat_n(SYMBOLS + 1, COPIED));
        classes.extend(std::iter::repeat_n(-1, COPIED + delay));
        classes.extend(symbols.into_iter().map(i64::from));
    }
    let batch = Batch::tokens(inputs, rows, steps, Layout::BatchFirst)?;
    Ok((batch, Targets::Classes(Tensor::new([rows, steps], classes)?)))
}

/// Sequences that are not learnt from.
fn judged(choice: &Choice) -> Result<(Batch, Targets)> {
    examples(choice, 512, &mut Random(0x2545_f491_4f6c_dd1d))
}

/// The error of saying 1 every time, or the part of symbols that are right by chance.
fn guess(choice: &Choice) -> Result<f64> {
    let (_, targets) = judged(choice)?;
    let Targets::Values(sums) = targets else { return Ok(1.0 / f64::from(SYMBOLS)) };
    let error: f64 = sums.data().iter().map(|sum| f64::from(sum - 1.0).powi(2)).sum();
    Ok(error / 512.0)
}

/// The error of sums, or the part of symbols that are repeated, on sequences of their own.
fn judge(trainer: &Trainer, choice: &Choice) -> Result<f64> {
    let (batch, targets) = judged(choice)?;
    let output = trainer.run(&batch)?.output;
    let (mut sum, mut count) = (0.0, 0.0);
    match &targets {
        Targets::Values(values) => {
            for (got, want) in output.data().iter().zip(values.data()) {
                sum += f64::from(got - want).powi(2);
                count += 1.0;
            }
        }
        Targets::Classes(classes) => {
            for (at, class) in classes.data().iter().enumerate().filter(|(_, class)| **class >= 0) {
                let row = output.row(at);
                let likeliest = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
                let is_right = likeliest.and_then(|k| i64::try_from(k).ok()) == Some(*class);
                sum += f64::from(u8::from(is_right));
                count += 1.0;
            }
        }
        Targets::Labels(_) => {}
    }
    Ok(sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the cells come to on the first adapter; `None` without one.
    fn learnt(choice: &Choice, cells: &[Cell]) -> Option<Vec<f64>> {
        let reports = pollster::block_on(Engine::adapters());
        let Some(report) = reports.into_iter().find(|report| report.unusable.is_none()) else {
            assert!(std::env::var("REQUIRE_GPU").as_deref() != Ok("1"), "no adapter");
            println!("skipped (no adapter)");
            return None;
        };
        let device = wgpu_rnn::DeviceChoice::Index(report.index);
        let options = EngineOptions { device, ..EngineOptions::default() };
        let engine = pollster::block_on(Engine::with_options(&options)).expect("opens");
        let one = |cell: &Cell| learn(&engine, choice, *cell, |_| Ok(())).expect("learns");
        Some(cells.iter().map(one).collect())
    }

    fn choice(task: Task, steps: usize, init: Init) -> Choice {
        Choice { task, device: String::new(), length: 20, steps, rate: 0.01, init }
    }

    #[test]
    fn gates_add_what_a_vanilla_rnn_forgets() {
        let choice = choice(Task::Adding, 180, Init::Keras);
        let guess = guess(&choice).expect("sequences");
        let Some(errors) = learnt(&choice, &[Cell::RnnTanh, Cell::Gru, Cell::Lstm]) else { return };
        assert!(errors[0] > 0.8 * guess, "the RNN is no better than {guess}: {errors:?}");
        assert!(errors[1] < 0.1 * guess && errors[2] < 0.6 * guess, "{guess}: {errors:?}");
    }

    #[test]
    fn gates_copy_what_a_vanilla_rnn_forgets() {
        let choice = choice(Task::Copy, 300, Init::PyTorch);
        let Some(parts) = learnt(&choice, &[Cell::RnnTanh, Cell::Gru]) else { return };
        assert!(parts[0] < 0.4 && parts[1] > 0.6, "{parts:?}");
    }
}
