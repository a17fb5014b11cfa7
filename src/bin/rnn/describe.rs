//! Words for people: a network in a line, names of its inputs and outputs, its most likely choices.

use wgpu_rnn::cell::CellFunction;
use wgpu_rnn::model::Vocabulary;
use wgpu_rnn::{Activation, Direction, HeadSteps, InputSpec, LayerSpec, Model};

use crate::report::count;

/// Describes a network in one line.
pub(crate) fn model_line(model: &Model) -> String {
    let layers: Vec<String> = model
        .layers()
        .iter()
        .map(|layer| {
            let spec = layer.spec();
            let projected =
                if spec.proj_size > 0 { format!(" → {}", spec.proj_size) } else { String::new() };
            let direction = match spec.direction {
                Direction::Forward => String::new(),
                other => format!(" {}", other.name()),
            };
            let options = options(spec);
            let options = if options.is_empty() {
                String::new()
            } else {
                format!(" ({})", options.join(", "))
            };
            format!("{} {}{projected}{direction}{options}", spec.cell, spec.hidden_size)
        })
        .collect();
    let head = model.head().map_or_else(String::new, |head| {
        let function = match head.activation {
            Activation::None => String::new(),
            other => format!(" {}", other.name()),
        };
        let steps = match head.steps {
            HeadSteps::Every => "",
            HeadSteps::Last => " of the last step",
            HeadSteps::Final => " of the final states",
        };
        format!(" → output {}{function}{steps}", head.output_size())
    });
    let parameters = u64::try_from(model.parameter_count()).unwrap_or(u64::MAX);
    format!(
        "{} → {}{head} ({})",
        input_line(model),
        layers.join(" → "),
        count(parameters, "parameter")
    )
}

/// Lists what a layer's cell has beside its equation, in words; empty for the cell as its paper has it.
pub(crate) fn options(spec: &LayerSpec) -> Vec<String> {
    let options = &spec.options;
    let mut list = Vec::new();
    if !options.functions.is_empty() {
        let names = |list: &Vec<CellFunction>| {
            list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let mut directions: Vec<String> = options.functions.iter().map(names).collect();
        directions.dedup();
        list.push(format!("functions {}", directions.join(" | ")));
    }
    if let Some(clip) = options.clip {
        list.push(format!("clip {clip}"));
    }
    if let Some([low, high]) = options.cell_clip {
        list.push(format!("cell clip {low} to {high}"));
    }
    if options.peephole {
        list.push("peepholes".to_owned());
    }
    if options.input_forget {
        list.push("forget = 1 - input".to_owned());
    }
    if let Some(epsilon) = options.layer_norm {
        list.push(format!("layer norm {epsilon}"));
    }
    list
}

/// Returns the first clause of a model's description, for the title of a picture.
pub(crate) fn headline(model: &Model) -> Option<String> {
    let description = model.info.description.as_str();
    let ends = [description.find(". "), description.find("; "), Some(description.len())];
    let end = ends.into_iter().flatten().min().unwrap_or_default();
    let headline = description[..end].trim_end_matches('.').to_owned();
    (!headline.is_empty()).then_some(headline)
}

/// Describes what enters a network.
pub(crate) fn input_line(model: &Model) -> String {
    match model.input().spec() {
        InputSpec::Dense { size: 1 } => "1 feature".to_owned(),
        InputSpec::Dense { size } => format!("{size} features"),
        InputSpec::Embedding { vocab, size } => format!("{vocab} tokens → embedding {size}"),
        InputSpec::OneHot { vocab } => format!("{vocab} tokens, one-hot"),
    }
}

/// Names the outputs: as the model says, else as the inputs that they predict, else y0, y1, ….
pub(crate) fn output_names(model: &Model) -> Vec<String> {
    let (info, width) = (&model.info, model.output_size());
    if info.outputs.len() == width {
        return info.outputs.clone();
    }
    if info.forecast && info.columns.len() == width {
        return info.columns.clone();
    }
    (0..width).map(|index| format!("y{index}")).collect()
}

/// Names the places of an output row as the model does: its outputs, or the tokens of its vocabulary;
/// empty where it names none.
pub(crate) fn labels(model: &Model) -> Vec<String> {
    let (info, width) = (&model.info, model.output_size());
    match &info.vocabulary {
        _ if info.outputs.len() == width => info.outputs.clone(),
        Some(vocabulary) if vocabulary.tokens().len() == width => vocabulary.tokens().to_vec(),
        _ => Vec::new(),
    }
}

/// A distribution over named choices that an output row stands for.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    activation: Activation,
    names: Vec<String>,
}

impl Choices {
    /// Tells whether the rows of `model` are distributions: after a softmax, or as raw scores over
    /// its own vocabulary.
    pub(crate) fn of(model: &Model) -> Option<Self> {
        let activation = model.head()?.activation;
        let width = model.output_size();
        let over_tokens = model.input().spec().vocab() == Some(width);
        let distribution = match activation {
            Activation::Softmax | Activation::LogSoftmax => true,
            Activation::None => over_tokens,
            _ => false,
        };
        if !distribution {
            return None;
        }
        let names = match &model.info.vocabulary {
            Some(vocabulary) if over_tokens => {
                (0..width).map(|id| token_text(Some(vocabulary), id)).collect()
            }
            _ if model.info.outputs.len() == width => model.info.outputs.clone(),
            _ => (0..width).map(|id| id.to_string()).collect(),
        };
        Some(Self { activation, names })
    }

    /// Names every choice.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Turns an output row into probabilities.
    pub(crate) fn probabilities(&self, row: &[f32]) -> Vec<f32> {
        match self.activation {
            Activation::Softmax => row.to_vec(),
            Activation::LogSoftmax => row.iter().map(|value| value.exp()).collect(),
            _ => {
                let mut row = row.to_vec();
                wgpu_rnn::reference::activate(Activation::Softmax, &mut row);
                row
            }
        }
    }

    /// Lists the `count` most likely choices of an output row, the likeliest first.
    pub(crate) fn top(&self, row: &[f32], count: usize) -> Vec<(usize, f32)> {
        let mut all: Vec<(usize, f32)> = self.probabilities(row).into_iter().enumerate().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(count);
        all
    }

    /// Writes a choice as `"e" 0.93`.
    pub(crate) fn write(&self, (id, probability): (usize, f32)) -> String {
        format!("{} {probability:.2}", self.names.get(id).map_or("?", String::as_str))
    }
}

/// Writes a token: its text in quotes, or its id where there is no text.
pub(crate) fn token_text(vocabulary: Option<&Vocabulary>, id: usize) -> String {
    let text = u32::try_from(id).ok().and_then(|id| vocabulary?.text(id));
    text.map_or_else(|| id.to_string(), |text| format!("{text:?}"))
}
