//! `rnn generate`: a text token by token, each drawn from what the network gives after those before it.
//!
//! [`wgpu_rnn::Generator`] draws; here texts become tokens, and tokens texts.

use clap::Args;
use serde_json::json;
use wgpu_rnn::model::{Unit, Vocabulary};
use wgpu_rnn::{Generator, Model, Sampling, Strategy};

use crate::args::{ModelArgs, parse_not_negative, parse_positive};
use crate::data::read::text::vocabulary as wanted;
use crate::device::DeviceArgs;
use crate::failure::{Failure, Result};
use crate::print;
use crate::report::{Reporter, count};

/// Tokens that are drawn before they are shown: one submit, one readback.
const AT_ONCE: usize = 8;

/// Go on with a text, token by token.
///
/// The network reads tokens and has as many outputs; tokens are drawn on the device. The same seed on the same
/// device gives the same text. Without a vocabulary the ids of tokens are written.
#[derive(Args, Debug)]
#[command(
    after_help = "Of the probabilities of the next token the K largest are kept (--top-k), then the fewest that \
together reach P (--top-p), both after --temperature; one is drawn.

Examples:
  rnn generate chars.safetensors --prompt \"Alice \" --length 300
  rnn generate chars.safetensors --prompt \"Alice \" --temperature 0          the likeliest token each time
  rnn generate chars.safetensors --prompt \"Alice \" --temperature 0.7 --top-k 8 --seed 3
  rnn generate chars.safetensors --prompt \"Alice \" --top-p 0.9 --json
  rnn generate events.safetensors --prompt-tokens 3,1,4 --length 20"
)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// The text to go on with
    #[arg(long, value_name = "TEXT", required_unless_present = "prompt_tokens")]
    prompt: Option<String>,

    /// The token ids to go on with, for a network with or without a vocabulary
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', conflicts_with = "prompt")]
    prompt_tokens: Vec<u32>,

    /// Tokens to generate
    #[arg(long, value_name = "N", default_value = "200", value_parser = parse_positive)]
    length: usize,

    /// What scores are divided by: below 1 likely tokens become likelier; 0 takes the likeliest
    #[arg(long, value_name = "X", default_value = "1", value_parser = parse_not_negative::<f32>,
        allow_negative_numbers = true)]
    temperature: f32,

    /// Draw from the K likeliest tokens [default: all]
    #[arg(long, value_name = "K", value_parser = parse_positive)]
    top_k: Option<usize>,

    /// Draw from the fewest likeliest tokens whose probabilities reach P together
    #[arg(long, value_name = "P", value_parser = parse_part, allow_negative_numbers = true)]
    top_p: Option<f32>,

    /// Starts the drawing
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,

    /// Print one object of JSON at the end in place of the text as it comes
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print nothing on standard error but warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

fn parse_part(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|value| *value > 0.0 && *value <= 1.0);
    value.ok_or_else(|| "expected a number above 0 and up to 1".to_owned())
}

/// Runs the subcommand.
///
/// # Errors
/// Usage for a network that cannot write texts; `Shape` for a prompt that its vocabulary lacks.
pub(crate) fn run(args: &GenerateArgs) -> Result<()> {
    let mut reporter = Reporter::new(args.quiet);
    let model = args.model.load(&reporter)?;
    let count_of_tokens = check(&model)?;
    let vocabulary = model.info.vocabulary.as_ref();
    let prompt = prompt(args, vocabulary, count_of_tokens)?;
    let engine = args.device.open(Strategy::Auto, &reporter)?;
    let loaded = engine.load(&model)?;
    let mut generator = loaded.generator(Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p.unwrap_or(1.0),
        seed: args.seed,
    })?;
    let mut writer =
        Writer { vocabulary, streams: !args.json, text: String::new(), has_begun: false };
    match &args.prompt {
        Some(text) => writer.add(text)?,
        None => prompt.iter().try_for_each(|token| writer.token(*token))?,
    }
    let begun = writer.text.len();
    reporter.start(None);
    generator.prompt(&prompt)?;
    let tokens = generate(args.length, &mut generator, &mut writer)?;
    let elapsed = reporter.stop();
    if args.json {
        let (before, text) = writer.text.split_at(begun);
        let object = json!({
            "prompt": before,
            "text": text,
            "tokens": tokens,
            "seed": args.seed,
            "temperature": args.temperature,
            "top_k": args.top_k,
            "top_p": args.top_p,
        });
        print(&format!("{object}\n"))?;
    } else {
        print("\n")?;
    }
    let made = u64::try_from(tokens.len()).unwrap_or(0);
    let seconds = elapsed.as_secs_f64();
    reporter.note(&format!("{} in {seconds:.2} s", count(made, "token")));
    Ok(())
}

/// Returns the tokens of what is gone on with.
fn prompt(args: &GenerateArgs, vocabulary: Option<&Vocabulary>, tokens: usize) -> Result<Vec<u32>> {
    let known = |token: &u32| usize::try_from(*token).is_ok_and(|token| token < tokens);
    let prompt = match &args.prompt {
        Some(text) => wanted(vocabulary)
            .and_then(|vocabulary| vocabulary.encode(text))
            .map_err(|e| e.in_context("--prompt (--prompt-tokens takes ids)"))?,
        None => args.prompt_tokens.clone(),
    };
    match prompt.iter().find(|token| !known(token)) {
        _ if prompt.is_empty() => {
            Err(Failure::usage("--prompt: expected at least 1 token, got none"))
        }
        Some(token) => Err(Failure::usage(format!(
            "--prompt-tokens: expected ids below {tokens}, got {token}"
        ))),
        None => Ok(prompt),
    }
}

/// Refuses a network that cannot write tokens, and returns how many there are.
fn check(model: &Model) -> Result<usize> {
    let refuse = |expected: &str, got: String| {
        Err(Failure::usage(format!("MODEL: expected {expected}, got {got}")))
    };
    let Some(tokens) = model.input().spec().vocab() else {
        return refuse("a network that reads tokens", "one of numbers".to_owned());
    };
    if model.is_per_sequence() {
        return refuse("an output for every step", "one for each sequence".to_owned());
    }
    if model.output_size() != tokens {
        let got = format!("{} outputs for {tokens} tokens", model.output_size());
        return refuse("as many outputs as tokens", got);
    }
    if !model.is_forward() {
        return refuse("layers that read forward", "one that must see the end first".to_owned());
    }
    Ok(tokens)
}

fn generate(length: usize, generator: &mut Generator, writer: &mut Writer<'_>) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    while tokens.len() < length {
        let part = if writer.streams { AT_ONCE } else { usize::MAX };
        for token in generator.generate(part.min(length - tokens.len()))? {
            tokens.push(token);
            writer.token(token)?;
        }
    }
    Ok(tokens)
}

/// What is written, at once or at the end.
struct Writer<'a> {
    vocabulary: Option<&'a Vocabulary>,
    streams: bool,
    text: String,
    /// Whether an id was written.
    has_begun: bool,
}

impl Writer<'_> {
    fn token(&mut self, token: u32) -> Result<()> {
        let Some(vocabulary) = self.vocabulary else {
            let has_begun = std::mem::replace(&mut self.has_begun, true);
            return self.add(&if has_begun { format!(" {token}") } else { token.to_string() });
        };
        let text = vocabulary.text(token).unwrap_or("?");
        match vocabulary.unit() {
            Unit::Char => self.add(text),
            Unit::Word => self.add(&format!(" {text}")),
        }
    }

    fn add(&mut self, text: &str) -> Result<()> {
        if self.streams {
            print(text)?;
        } else {
            self.text.push_str(text);
        }
        Ok(())
    }
}
