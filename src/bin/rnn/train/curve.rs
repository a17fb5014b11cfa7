//! The curve of training: loss by epoch, and what it means beside it.

use serde::{Deserialize, Serialize};

use super::args::Task;
use crate::plot::series::{Curve, Line, Panel, Series};

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    /// The epoch, from 1.
    pub(super) epoch: u64,
    /// The mean loss of its steps.
    pub(super) loss: f64,
    /// The loss on what is held out.
    pub(super) validation: Option<f64>,
    /// The accuracy there.
    pub(super) accuracy: Option<f64>,
}

/// Draws the epochs so far.
pub(super) fn draw(points: &[Point], task: Task, title: &str, subtitle: &str) -> String {
    let curve = |name: &str, colour: usize, value: &dyn Fn(&Point) -> Option<f64>| {
        #[expect(clippy::cast_precision_loss, reason = "epochs stay far below 2^53")]
        let place = |point: &Point| Some((point.epoch as f64, value(point)?));
        let points: Vec<(f64, f64)> = points.iter().filter_map(place).collect();
        Curve { name: name.to_owned(), points, colour, line: Line::Solid }
    };
    let panel = |name: &str, curves: Vec<Curve>| Panel {
        name: name.to_owned(),
        curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
    };
    let mut panels = vec![panel(
        "loss",
        vec![
            curve("training", 0, &|point| Some(point.loss)),
            curve("validation", 1, &|point| point.validation),
        ],
    )];
    match task {
        Task::LanguageModel => panels.push(panel(
            "perplexity",
            vec![
                curve("training", 0, &|point| Some(point.loss.exp())),
                curve("validation", 1, &|point| point.validation.map(f64::exp)),
            ],
        )),
        Task::Classify | Task::Tag => {
            panels.push(panel("accuracy", vec![curve("validation", 1, &|point| point.accuracy)]));
        }
        Task::Forecast | Task::Regress => {}
    }
    panels.retain(|panel| !panel.curves.is_empty());
    Series {
        title: title.to_owned(),
        subtitle: subtitle.to_owned(),
        x_name: "epoch".to_owned(),
        panels,
        known_until: None,
    }
    .draw()
}
