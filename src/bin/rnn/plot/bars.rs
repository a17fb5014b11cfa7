//! Horizontal bars, a block of them a row: how devices stand against each other.

use super::series::title;
use super::svg::{Anchor, Font, Svg, clip, text_width};
use super::{CURVES, GRID, INK, MUTED};

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Its length, from 0 to 1; `None` draws no bar.
    pub(crate) part: Option<f64>,
    /// What stands behind it.
    pub(crate) text: String,
}

/// A picture of rows, each with a bar for every name of the legend.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// First line.
    pub(crate) title: String,
    /// Second line.
    pub(crate) subtitle: String,
    /// The legend; each name has a colour.
    pub(crate) names: Vec<String>,
    /// The rows, from the top.
    pub(crate) rows: Vec<(String, Vec<Bar>)>,
}

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 24.0;
const SPAN: f64 = 620.0;
const BAR: f64 = 16.0;
const LABEL: Font = Font { size: 13.0, fill: INK, bold: false };
const SMALL: Font = Font { size: 12.0, fill: MUTED, bold: false };

impl Bars {
    /// Draws the picture.
    pub(crate) fn draw(&self) -> String {
        let bars = |row: &(String, Vec<Bar>)| row.1.iter().map(|_| BAR + 2.0).sum::<f64>();
        let height = 130.0 + self.rows.iter().map(|row| bars(row) + 36.0).sum::<f64>();
        let mut svg = Svg::new(WIDTH, height);
        title(&mut svg, &self.title, &self.subtitle);
        let mut x = LEFT;
        for (index, name) in self.names.iter().enumerate() {
            let name = clip(name, 40);
            svg.rect((x, 78.0), (12.0, 12.0), CURVES[index % CURVES.len()], None, 2.0);
            svg.text((x + 18.0, 89.0), &name, LABEL, Anchor::Start, 0.0);
            x += 18.0 + text_width(&name, 13.0) + 22.0;
        }
        let mut y = 118.0;
        for (name, bars) in &self.rows {
            svg.text((LEFT, y), name, LABEL, Anchor::Start, 0.0);
            y += 8.0;
            for (index, bar) in bars.iter().enumerate() {
                let length = bar.part.map_or(0.0, |part| part.clamp(0.0, 1.0) * SPAN);
                svg.rect((LEFT, y), (SPAN, BAR), GRID, None, 2.0);
                svg.rect((LEFT, y), (length, BAR), CURVES[index % CURVES.len()], None, 2.0);
                let text = clip(&bar.text, 48);
                svg.text((LEFT + SPAN + 10.0, y + 12.0), &text, SMALL, Anchor::Start, 0.0);
                y += BAR + 2.0;
            }
            y += 28.0;
        }
        svg.finish()
    }
}
