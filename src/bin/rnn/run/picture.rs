//! Which picture shows a run best: curves for numbers, a heat map or bars for distributions.

use wgpu_rnn::Model;

use super::Labels;
use super::collect::Collected;
use crate::data::Values;
use crate::describe::{self, Choices};
use crate::plot::probabilities::{Column, Probabilities};
use crate::plot::series::{Curve, Line, Panel, Series};

/// Most features that get a curve.
const FEATURES: usize = 4;

/// Draws the first sequence, its output and the forecast as SVG.
pub(super) fn draw(
    model: &Model,
    collected: &Collected,
    labels: &Labels,
    forecast: &[Vec<f32>],
) -> String {
    let view = View { model, collected, labels, forecast };
    match Choices::of(model) {
        Some(choices) => view.distributions(&choices).draw(),
        None if view.predicts_input() => view.prediction().draw(),
        None => view.curves().draw(),
    }
}

struct View<'a> {
    model: &'a Model,
    collected: &'a Collected,
    labels: &'a Labels,
    forecast: &'a [Vec<f32>],
}

impl View<'_> {
    fn predicts_input(&self) -> bool {
        self.model.info.forecast && super::forecast::obstacle(self.model).is_none()
    }

    fn title(&self) -> String {
        describe::headline(self.model).unwrap_or_else(|| self.labels.file.clone())
    }

    fn subtitle(&self) -> String {
        let count = self.collected.lengths.len();
        let which = if count > 1 { format!(", sequence 0 of {count}") } else { String::new() };
        let file = describe::headline(self.model).map_or("Data", |_| self.labels.file.as_str());
        let cut = if self.collected.sample.start > 0 { ", last steps" } else { "" };
        format!("{file}{which}{cut}: {}", describe::model_line(self.model))
    }

    /// Returns the place of step `t` (counted from the first kept one) on the axis of time.
    #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
    fn x(&self, t: usize) -> f64 {
        self.labels.number(self.collected.sample.start + t) as f64
    }

    fn input_points(&self, feature: usize) -> Vec<(f64, f64)> {
        let width = self.model.input().spec().width();
        match &self.collected.sample.input {
            Values::Dense(values) => values
                .chunks_exact(width)
                .enumerate()
                .map(|(t, row)| (self.x(t), f64::from(row[feature])))
                .collect(),
            Values::Tokens(tokens) => {
                tokens.iter().enumerate().map(|(t, id)| (self.x(t), f64::from(*id))).collect()
            }
        }
    }

    fn output_points(&self, column: usize, shift: usize) -> Vec<(f64, f64)> {
        let sample = &self.collected.sample;
        let rows = sample.output.chunks_exact(self.model.output_size());
        // With one row per sequence that row belongs to the last step.
        let first = sample.steps().saturating_sub(rows.len());
        let places = rows.enumerate();
        places.map(|(t, row)| (self.x(first + t + shift), f64::from(row[column]))).collect()
    }

    /// Input, prediction of the next step, and the forecast: one panel per feature.
    fn prediction(&self) -> Series {
        let sample = &self.collected.sample;
        let steps = sample.steps();
        let names = describe::output_names(self.model);
        let features = self.model.output_size().min(FEATURES);
        let panels = (0..features).map(|feature| {
            let mut predicted = self.output_points(feature, 1);
            let mut ahead: Vec<(f64, f64)> = Vec::new();
            if !self.forecast.is_empty() {
                // The last output is the first point of the forecast; both curves meet before it.
                predicted.pop();
                ahead.extend(predicted.last());
                let rows = self.forecast.iter().enumerate();
                ahead.extend(rows.map(|(k, row)| (self.x(steps + k), f64::from(row[feature]))));
            }
            let curve = |name: &str, points, colour, line| Curve {
                name: name.into(),
                points,
                colour,
                line,
            };
            let mut curves = vec![
                curve("input", self.input_points(feature), 0, Line::Solid),
                curve("prediction, one step ahead", predicted, 1, Line::Solid),
            ];
            if !ahead.is_empty() {
                curves.push(curve("forecast, fed back", ahead, 1, Line::Dashed));
            }
            let input = self.labels.inputs.get(feature).or(names.get(feature));
            Panel { name: input.cloned().unwrap_or_default(), curves }
        });
        let known_until = (!self.forecast.is_empty() && steps > 0).then(|| self.x(steps - 1));
        Series {
            title: self.title(),
            subtitle: self.subtitle(),
            x_name: self.labels.index_name().to_owned(),
            panels: panels.collect(),
            known_until,
        }
    }

    /// Inputs in one panel, outputs in another.
    fn curves(&self) -> Series {
        let curve = |(index, name): (usize, &String), points| Curve {
            name: name.clone(),
            points,
            colour: index,
            line: Line::Solid,
        };
        let panel = |kind: &str, names: &[String], points: &dyn Fn(usize) -> Vec<(f64, f64)>| {
            let shown = names.iter().take(FEATURES).enumerate();
            let more = if names.len() > FEATURES { " (first ones)" } else { "" };
            let curves = shown.map(|named| curve(named, points(named.0))).collect();
            Panel { name: format!("{kind}{more}"), curves }
        };
        let inputs = match &self.collected.sample.input {
            Values::Dense(_) => self.labels.inputs.clone(),
            Values::Tokens(_) => vec!["token id".to_owned()],
        };
        let outputs = describe::output_names(self.model);
        Series {
            title: self.title(),
            subtitle: self.subtitle(),
            x_name: self.labels.index_name().to_owned(),
            panels: vec![
                panel("input", &inputs, &|feature| self.input_points(feature)),
                panel("output", &outputs, &|column| self.output_points(column, 0)),
            ],
            known_until: None,
        }
    }

    fn distributions(&self, choices: &Choices) -> Probabilities {
        let sample = &self.collected.sample;
        let rows = sample.output.chunks_exact(self.model.output_size());
        let first = sample.steps().saturating_sub(rows.len());
        let vocabulary = self.model.info.vocabulary.as_ref();
        let token = |id: u32| describe::token_text(vocabulary, usize::try_from(id).unwrap_or(0));
        let mut columns: Vec<Column> = rows
            .enumerate()
            .map(|(index, row)| {
                let label = match &sample.input {
                    Values::Tokens(tokens) => token(tokens[first + index]),
                    Values::Dense(_) => self.labels.step(sample.start + first + index),
                };
                let probabilities = choices.probabilities(row);
                Column { label, probabilities, is_forecast: false }
            })
            .collect();
        // The first forecast row is the last known output, which has its column already; the step
        // after it takes what that row made likeliest.
        for pair in self.forecast.windows(2) {
            let fed = choices.top(&pair[0], 1).first().map_or(0, |choice| choice.0);
            let label = choices.names().get(fed).cloned().unwrap_or_default();
            let probabilities = choices.probabilities(&pair[1]);
            columns.push(Column { label, probabilities, is_forecast: true });
        }
        let over_tokens = self.model.input().spec().vocab() == Some(self.model.output_size());
        let single = columns.len() == 1;
        let y_name = match (single, over_tokens) {
            (true, _) => "probability",
            (false, true) => "next token",
            (false, false) => "output",
        };
        Probabilities {
            title: self.title(),
            subtitle: self.subtitle(),
            x_name: "input, step by step".to_owned(),
            y_name: y_name.to_owned(),
            names: choices.names().to_vec(),
            columns,
        }
    }
}
