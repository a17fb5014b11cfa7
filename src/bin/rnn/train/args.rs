//! The arguments of `rnn train`, and which of them a resumed run must repeat.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use wgpu_rnn::train::{CrossEntropy, Loss, Optimizer, Schedule};
use wgpu_rnn::{Cell, TrainerOptions};

use super::checkpoint;
use crate::args::{parse_cell, parse_not_negative, parse_positive};
use crate::data::same_file;
use crate::device::DeviceArgs;
use crate::failure::{Failure, Result};

/// Train a network on a data file and write it.
///
/// Gradients, optimizer and weights stay on the GPU (a software adapter such as llvmpipe when it is
/// named); the loss is read back every few steps only.
#[derive(Args, Debug)]
#[command(after_help = "Data:
  .txt    a text; its characters become the vocabulary (language-model)
  .csv    a row per time step; --columns and --target choose columns (forecast)
  .npz    arrays input [N, T, I] of numbers or [N, T] of integer tokens, and optionally lengths [N];
          target [N] of integers (classify), [N, T] of integers (tag), [N, O] or [N, T, O] of floats
          (regress); tokens without target (language-model)

Networks that read numbers are trained on normalised ones, and the normalisation is folded into the
weights that are written: they take and give raw numbers.

Examples:
  rnn train -o chars.safetensors --data corpus.txt --validate 0.1
  rnn train -o sun.safetensors --data sunspots.csv --validate 29 --hidden 32 --epochs 200
  rnn train -o digits.safetensors --data digits-train.npz --validate digits-test.npz --cell gru
  rnn train -o m.safetensors --data corpus.txt --checkpoint run1 --log run1.jsonl --plot run1.svg
  rnn train -o m.safetensors --data corpus.txt --resume run1 --log run1.jsonl --plot run1.svg
  rnn train -o tuned.safetensors --data letters.txt --from chars.safetensors --lr 1e-4")]
pub(crate) struct TrainArgs {
    /// The model file to write (.safetensors, .onnx); it appears when training is over
    #[arg(short, long, value_name = "MODEL")]
    pub(super) output: PathBuf,

    /// The data file (.txt, .csv, .npz)
    #[arg(long, value_name = "FILE")]
    pub(super) data: PathBuf,

    /// What is learnt [default: what the data are for, see below]
    #[arg(long, value_enum)]
    pub(super) task: Option<Task>,

    /// Columns of a .csv that the network reads, by name, or by number from 1 [default: those of
    /// --target, else all that do not count the rows]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) columns: Vec<String>,

    /// Columns of a .csv that the network predicts one row ahead [default: those it reads]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) target: Vec<String>,

    #[command(flatten)]
    pub(super) network: NetworkArgs,

    #[command(flatten)]
    pub(super) optimizer: OptimizerArgs,

    /// How often all data are read
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_positive)]
    pub(super) epochs: usize,

    /// Sequences of a step
    #[arg(long, value_name = "N", default_value = "32", value_parser = parse_positive)]
    pub(super) batch_size: usize,

    /// Time steps that errors are carried back through, for texts and .csv files [default: 64]
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    seq_len: Option<usize>,

    /// Starts the first weights, the order of the examples and dropout; the same seed on the same
    /// device gives the same weights
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) seed: u64,

    /// Compute the recurrent product of all steps again for backpropagation instead of keeping what it
    /// gave: less memory, one more product a step
    #[arg(long)]
    pub(super) recompute: bool,

    /// Held out to measure on: a part of the data (0.1), a number of rows, characters or sequences
    /// (29), or a file; the end of a .csv or .txt, examples of an .npz chosen by --seed
    #[arg(long, value_name = "FRACTION|COUNT|FILE", value_parser = parse_validate)]
    pub(super) validate: Option<Validate>,

    /// Stop after this many epochs without a lower validation loss, and write the best weights
    #[arg(long, value_name = "EPOCHS", requires = "validate", value_parser = parse_positive)]
    pub(super) early_stop: Option<usize>,

    /// Keep a checkpoint in this folder, written whole at the end of every epoch
    #[arg(long, value_name = "DIR")]
    pub(super) checkpoint: Option<PathBuf>,

    /// Write the checkpoint every N steps too
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    pub(super) checkpoint_every: Option<usize>,

    /// Go on from the checkpoint in this folder, with the same options otherwise, to the same weights
    /// bit by bit as without the stop
    #[arg(long, value_name = "DIR")]
    pub(super) resume: Option<PathBuf>,

    /// Write a line of JSON every --log-every steps and every epoch; a resumed run appends
    #[arg(long, value_name = "FILE.jsonl")]
    pub(super) log: Option<PathBuf>,

    /// Steps between two looks at the loss
    #[arg(long, value_name = "N", default_value = "20", value_parser = parse_positive)]
    pub(super) log_every: usize,

    /// Draw the loss of training and validation
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,

    #[command(flatten)]
    pub(super) device: DeviceArgs,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// What the network is.
#[derive(Args, Debug)]
pub(super) struct NetworkArgs {
    /// Start from the weights of this model, whose sizes and vocabulary then hold
    #[arg(long, value_name = "MODEL",
        conflicts_with_all = ["cell", "layers", "hidden", "bidirectional", "embedding"])]
    pub(super) from: Option<PathBuf>,

    /// The cell
    #[arg(long, default_value = "lstm", value_parser = parse_cell, value_name = "rnn-tanh|rnn-relu|lstm|gru|gru-reset-before")]
    pub(super) cell: Cell,

    /// Recurrent layers
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_positive)]
    pub(super) layers: usize,

    /// Units of each layer and direction
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_positive)]
    pub(super) hidden: usize,

    /// Read in both directions (not for language-model and forecast, which must not see what comes)
    #[arg(long)]
    pub(super) bidirectional: bool,

    /// The part of values dropped between recurrent layers while training, as PyTorch's dropout
    #[arg(long, value_name = "P", default_value = "0", allow_negative_numbers = true)]
    pub(super) dropout: f32,

    /// The part of the state h dropped on its way from step to step while training, the same values at
    /// all steps of a sequence
    #[arg(long, value_name = "P", default_value = "0", allow_negative_numbers = true)]
    pub(super) recurrent_dropout: f32,

    /// Width of the embedding of tokens; 0 reads them as one-hot vectors
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) embedding: usize,
}

/// How weights follow their gradients.
#[derive(Args, Debug)]
pub(super) struct OptimizerArgs {
    /// The optimizer, with PyTorch's constants
    #[arg(long, default_value = "adam", value_parser = ["sgd", "adam", "adamw", "rmsprop"])]
    pub(super) optimizer: String,

    /// The learning rate (the largest one of a schedule)
    #[arg(long, value_name = "X", default_value = "0.001", value_parser = parse_not_negative::<f32>,
        allow_negative_numbers = true)]
    pub(super) lr: f32,

    /// The optimizer's weight decay, for weights and not for biases
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse_not_negative::<f32>,
        allow_negative_numbers = true)]
    pub(super) weight_decay: f32,

    /// Momentum of sgd
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse_not_negative::<f32>,
        allow_negative_numbers = true)]
    pub(super) momentum: f32,

    /// Nesterov's form of --momentum
    #[arg(long)]
    pub(super) nesterov: bool,

    /// How the learning rate changes: not; times --gamma every --step-size steps; up over --warm-up
    /// steps and down along half a cosine; up for 0.3 of all steps and down again
    #[arg(long, value_enum, default_value = "constant")]
    pub(super) schedule: ScheduleName,

    /// Steps between two changes of --schedule step [default: a third of all]
    #[arg(long, value_name = "N", value_parser = parse_positive)]
    pub(super) step_size: Option<usize>,

    /// The factor of --schedule step [default: 0.1]
    #[arg(long, value_name = "X", value_parser = parse_not_negative::<f64>, allow_negative_numbers = true)]
    pub(super) gamma: Option<f64>,

    /// Steps of linear warm-up of --schedule cosine [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) warm_up: Option<u64>,

    /// The largest norm of all gradients together; 0 for no bound
    #[arg(long, value_name = "X", default_value = "1", value_parser = parse_not_negative::<f32>,
        allow_negative_numbers = true)]
    pub(super) clip_norm: f32,

    /// Bounds every value of a gradient to this, either way, after --clip-norm; 0 for no bound
    #[arg(long, value_name = "X", default_value = "0", value_parser = parse_not_negative::<f32>,
        allow_negative_numbers = true)]
    pub(super) clip_value: f32,

    /// The part of a class that is spread over all of them, for classes and tokens
    #[arg(long, value_name = "P", default_value = "0", value_parser = parse_not_negative::<f32>,
        allow_negative_numbers = true)]
    pub(super) label_smoothing: f32,
}

/// What is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Task {
    /// The next token of a text; loss and perplexity
    LanguageModel,
    /// The next row of a series; beside the same row again and a linear autoregression
    Forecast,
    /// One class for each sequence; accuracy
    Classify,
    /// One class for each time step; accuracy
    Tag,
    /// Numbers for each sequence or time step; root of the mean squared error
    Regress,
}

impl Task {
    /// Returns the name used on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::LanguageModel => "language-model",
            Self::Forecast => "forecast",
            Self::Classify => "classify",
            Self::Tag => "tag",
            Self::Regress => "regress",
        }
    }

    /// Tells whether classes are learnt, and not numbers.
    pub(super) const fn is_of_classes(self) -> bool {
        matches!(self, Self::LanguageModel | Self::Classify | Self::Tag)
    }
}

/// The class of a step or sequence that counts nowhere, PyTorch's `ignore_index`.
pub(super) const IGNORED: i64 = -100;

/// A schedule by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ScheduleName {
    /// Always --lr
    Constant,
    /// PyTorch's StepLR
    Step,
    /// Warm-up, then half a cosine down to 0
    Cosine,
    /// PyTorch's OneCycleLR
    OneCycle,
}

/// What is held out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Validate {
    /// A part of the data.
    Fraction(f64),
    /// That many rows, characters or sequences.
    Count(usize),
    /// A file of its own.
    File(PathBuf),
}

fn parse_validate(text: &str) -> Result<Validate, String> {
    if let Ok(count) = text.parse::<usize>() {
        return match count {
            0 => Err("expected at least 1, a fraction between 0 and 1, or a file".to_owned()),
            count => Ok(Validate::Count(count)),
        };
    }
    match text.parse::<f64>() {
        Ok(part) if part > 0.0 && part < 1.0 => Ok(Validate::Fraction(part)),
        Ok(_) => Err("expected a fraction between 0 and 1, a count, or a file".to_owned()),
        Err(_) => Ok(Validate::File(text.into())),
    }
}

impl OptimizerArgs {
    fn optimizer(&self) -> Result<Optimizer> {
        match Optimizer::from_name(&self.optimizer) {
            Some(Optimizer::Sgd { .. }) => {
                Ok(Optimizer::Sgd { momentum: self.momentum, nesterov: self.nesterov })
            }
            Some(_) if self.momentum > 0.0 || self.nesterov => Err(Failure::usage(format!(
                "--momentum: expected --optimizer sgd to apply it to, got {}",
                self.optimizer
            ))),
            Some(optimizer) => Ok(optimizer),
            None => Err(Failure::usage("--optimizer: expected sgd, adam, adamw or rmsprop")),
        }
    }

    /// Returns the schedule over `total` steps.
    pub(super) fn schedule(&self, total: u64) -> Schedule {
        let every = self.step_size.and_then(|size| u64::try_from(size).ok());
        match self.schedule {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Step => Schedule::Step {
                every: every.unwrap_or(total.div_ceil(3).max(1)),
                gamma: self.gamma(),
            },
            ScheduleName::Cosine => Schedule::Cosine { warm_up: self.warm_up.unwrap_or(0) },
            ScheduleName::OneCycle => Schedule::OneCycle { rise: 0.3 },
        }
    }

    fn gamma(&self) -> f64 {
        self.gamma.unwrap_or(0.1)
    }

    /// Refuses what the schedule, the optimizer or the task does not use.
    fn check(&self) -> Result<()> {
        let is = |name: ScheduleName| self.schedule == name;
        let lacks = [
            ("--step-size", self.step_size.is_some(), ScheduleName::Step, "step"),
            ("--gamma", self.gamma.is_some(), ScheduleName::Step, "step"),
            ("--warm-up", self.warm_up.is_some(), ScheduleName::Cosine, "cosine"),
        ];
        for (option, is_given, schedule, name) in lacks {
            if is_given && !is(schedule) {
                return Err(Failure::usage(format!(
                    "{option}: expected --schedule {name} to apply it to"
                )));
            }
        }
        self.optimizer()?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(Failure::usage("--nesterov: expected --momentum above 0 with it"));
        }
        if self.label_smoothing >= 1.0 {
            return Err(Failure::usage("--label-smoothing: expected 0 to below 1"));
        }
        Ok(())
    }

    /// Tells whether the learning rate depends on the number of all steps.
    fn depends_on_total(&self) -> bool {
        match self.schedule {
            ScheduleName::Constant => false,
            ScheduleName::Step => self.step_size.is_none(),
            ScheduleName::Cosine | ScheduleName::OneCycle => true,
        }
    }
}

impl TrainArgs {
    /// Refuses what no run can follow.
    ///
    /// # Errors
    /// Usage, naming the option.
    pub(super) fn check(&self) -> Result<()> {
        self.optimizer.check()?;
        let ending = |path: &Path, list: &[&str]| {
            list.iter().any(|e| path.extension().is_some_and(|x| x.eq_ignore_ascii_case(e)))
        };
        let refuse = |option: &str, expected: &str, path: &Path| {
            Failure::usage(format!("{option}: expected {expected}, got {}", path.display()))
        };
        if !ending(&self.output, &["safetensors", "onnx"]) {
            let expected = "a file ending in .safetensors or .onnx";
            return Err(refuse("--output", expected, &self.output));
        }
        if let Some(path) = self.plot.as_deref().filter(|path| !ending(path, &["svg"])) {
            return Err(refuse("--plot", "a file ending in .svg", path));
        }
        if self.seq_len.is_some() && ending(&self.data, &["npz"]) {
            return Err(Failure::usage(
                "--seq-len: expected a text or series to cut (.txt, .csv), got sequences of their own",
            ));
        }
        if self.checkpoint_every.is_some() && self.folder().is_none() {
            return Err(Failure::usage("--checkpoint-every: expected --checkpoint with it"));
        }
        let validation = match &self.validate {
            Some(Validate::File(path)) => Some(path.as_path()),
            _ => None,
        };
        let inputs = [Some(self.data.as_path()), validation];
        let outputs = [
            ("--output", Some(self.output.as_path())),
            ("--log", self.log.as_deref()),
            ("--plot", self.plot.as_deref()),
        ];
        let checkpoint = self.folder().map(checkpoint::file_in);
        let mut taken: Vec<&Path> =
            inputs.into_iter().flatten().chain(checkpoint.as_deref()).collect();
        for (option, path) in outputs.iter().filter_map(|(o, p)| Some((*o, (*p)?))) {
            if taken.iter().any(|other| same_file(other, path)) {
                return Err(refuse(option, "a file of its own", path));
            }
            taken.push(path);
        }
        Ok(())
    }

    /// Returns the folder of checkpoints.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.checkpoint.as_deref().or(self.resume.as_deref())
    }

    /// Returns the time steps of a batch of a text or series.
    pub(super) fn seq_len(&self) -> usize {
        self.seq_len.unwrap_or(64)
    }

    /// Returns what is minimised.
    fn loss(&self, task: Task) -> Loss {
        if !task.is_of_classes() {
            return Loss::Mse;
        }
        Loss::CrossEntropy(CrossEntropy {
            label_smoothing: self.optimizer.label_smoothing,
            ignore_index: Some(IGNORED),
            ..CrossEntropy::default()
        })
    }

    /// Returns what the trainer is told.
    ///
    /// # Errors
    /// Usage for an option that the optimizer does not have.
    pub(super) fn trainer(&self, task: Task, carries: bool) -> Result<TrainerOptions> {
        let optimizer = &self.optimizer;
        if optimizer.label_smoothing > 0.0 && !task.is_of_classes() {
            return Err(Failure::usage(format!(
                "--label-smoothing: expected classes or tokens to apply it to, got {}",
                task.name()
            )));
        }
        let bound = |value: f32| Some(value).filter(|value| *value > 0.0);
        Ok(TrainerOptions {
            loss: self.loss(task),
            optimizer: optimizer.optimizer()?,
            learning_rate: optimizer.lr,
            weight_decay: optimizer.weight_decay.into(),
            clip_norm: bound(optimizer.clip_norm),
            clip_value: bound(optimizer.clip_value),
            dropout: self.network.dropout,
            recurrent_dropout: self.network.recurrent_dropout,
            seed: self.seed,
            recompute: self.recompute,
            carry_states: carries,
        })
    }

    /// Lists every option that the weights depend on, by its name on the command line.
    pub(super) fn settings(&self, task: Task) -> Map<String, Value> {
        let (network, optimizer) = (&self.network, &self.optimizer);
        let validate = match &self.validate {
            None => Value::Null,
            Some(Validate::Fraction(part)) => json!(part.to_string()),
            Some(Validate::Count(count)) => json!(count),
            Some(Validate::File(path)) => json!(path.to_string_lossy()),
        };
        let epochs = if optimizer.depends_on_total() { json!(self.epochs) } else { Value::Null };
        let entries = [
            ("task", json!(task.name())),
            ("from", json!(network.from)),
            ("columns", json!(self.columns)),
            ("target", json!(self.target)),
            ("cell", json!(network.cell.name())),
            ("layers", json!(network.layers)),
            ("hidden", json!(network.hidden)),
            ("bidirectional", json!(network.bidirectional)),
            ("dropout", json!(network.dropout.to_string())),
            ("recurrent-dropout", json!(network.recurrent_dropout.to_string())),
            ("embedding", json!(network.embedding)),
            ("optimizer", json!(optimizer.optimizer)),
            ("lr", json!(optimizer.lr.to_string())),
            ("weight-decay", json!(optimizer.weight_decay.to_string())),
            ("momentum", json!(optimizer.momentum.to_string())),
            ("schedule", json!(format!("{:?}", optimizer.schedule))),
            ("step-size", json!(optimizer.step_size)),
            ("gamma", json!(optimizer.gamma().to_string())),
            ("warm-up", json!(optimizer.warm_up.unwrap_or(0))),
            ("clip-norm", json!(optimizer.clip_norm.to_string())),
            ("epochs", epochs),
            ("batch-size", json!(self.batch_size)),
            ("seq-len", json!(self.seq_len())),
            ("seed", json!(self.seed)),
            ("validate", validate),
            ("early-stop", json!(self.early_stop)),
        ];
        // Checkpoints of earlier versions know no such options.
        let number = |name, value: f32| (value > 0.0).then(|| (name, json!(value.to_string())));
        let later = [
            self.recompute.then_some(("recompute", json!(true))),
            optimizer.nesterov.then_some(("nesterov", json!(true))),
            number("clip-value", optimizer.clip_value),
            number("label-smoothing", optimizer.label_smoothing),
        ];
        entries
            .into_iter()
            .chain(later.into_iter().flatten())
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}
