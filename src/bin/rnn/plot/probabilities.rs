//! Distributions: a heat map over time steps, or bars for a single one.

use super::series::title;
use super::svg::{Anchor, Font, Svg, clip, text_width};
use super::{GRID, INK, MUTED};

/// One column of a heat map.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// What stands under it: the input of the step.
    pub(crate) label: String,
    /// Probability of every choice.
    pub(crate) probabilities: Vec<f32>,
    /// Whether the step is past the end of what is known.
    pub(crate) is_forecast: bool,
}

/// A picture of distributions.
#[derive(Clone, Debug)]
pub(crate) struct Probabilities {
    /// First line.
    pub(crate) title: String,
    /// Second line.
    pub(crate) subtitle: String,
    /// What the horizontal axis shows.
    pub(crate) x_name: String,
    /// What the vertical axis shows.
    pub(crate) y_name: String,
    /// Names of the choices.
    pub(crate) names: Vec<String>,
    /// The columns.
    pub(crate) columns: Vec<Column>,
}

/// Most choices that are shown; the likeliest ones.
const ROWS: usize = 14;
/// Most columns that are shown; the last ones.
const COLUMNS: usize = 48;
const SMALL: Font = Font { size: 13.0, fill: INK, bold: false };
const FAINT: Font = Font { size: 13.0, fill: MUTED, bold: false };

impl Probabilities {
    /// Draws bars for one column, else a heat map.
    pub(crate) fn draw(&self) -> String {
        let surplus = self.columns.len().saturating_sub(COLUMNS);
        let columns = &self.columns[surplus..];
        let rows = self.likeliest(columns);
        let names: Vec<String> = rows
            .iter()
            .map(|&id| clip(self.names.get(id).map_or("?", String::as_str), 18))
            .collect();
        match columns {
            [column] => self.bars(column, &rows, &names),
            _ => self.map(columns, &rows, &names),
        }
    }

    /// Picks the choices with the highest probability in any column, in the order of their ids.
    fn likeliest(&self, columns: &[Column]) -> Vec<usize> {
        let highest = |id: &usize| {
            let values = columns.iter().filter_map(|column| column.probabilities.get(*id));
            values.fold(0f32, |most, value| most.max(*value))
        };
        let mut ids: Vec<usize> = (0..self.names.len()).collect();
        ids.sort_by(|a, b| highest(b).total_cmp(&highest(a)));
        ids.truncate(ROWS);
        ids.sort_unstable();
        ids
    }

    fn bars(&self, column: &Column, rows: &[usize], names: &[String]) -> String {
        let (left, top, pitch, full) = (self.margin(names), 96.0, 34.0, 560.0);
        let height = top + pitch * size(rows.len()) + 40.0;
        let mut svg = Svg::new(left + full + 120.0, height);
        title(&mut svg, &self.title, &self.subtitle);
        let best = rows
            .iter()
            .copied()
            .max_by(|a, b| column.probabilities[*a].total_cmp(&column.probabilities[*b]));
        let mut y = top;
        for (&id, name) in rows.iter().zip(names) {
            let p = f64::from(column.probabilities[id]);
            let fill = if Some(id) == best { "#d9572b" } else { "#7c98b3" };
            svg.text((left - 12.0, y + 18.0), name, SMALL, Anchor::End, 0.0);
            svg.rect((left, y + 2.0), (full, 22.0), "#f3f5f7", None, 3.0);
            svg.rect((left, y + 2.0), (full * p.clamp(0.0, 1.0), 22.0), fill, None, 3.0);
            svg.text((left + full + 12.0, y + 18.0), &format!("{p:.3}"), SMALL, Anchor::Start, 0.0);
            y += pitch;
        }
        let middle = left + full / 2.0;
        svg.text((middle, y + 20.0), &self.y_name, FAINT, Anchor::Middle, 0.0);
        svg.finish()
    }

    fn map(&self, columns: &[Column], rows: &[usize], names: &[String]) -> String {
        let (left, top) = (self.margin(names) + 24.0, 132.0);
        let cell = ((1080.0 - left) / size(columns.len().max(1))).clamp(20.0, 56.0);
        let row = 28.0;
        let width = (left + cell * size(columns.len()) + 40.0).max(760.0);
        let bottom = top + row * size(rows.len());
        let mut svg = Svg::new(width, bottom + 74.0);
        title(&mut svg, &self.title, &self.subtitle);
        scale(&mut svg, left);
        for (r, name) in names.iter().enumerate() {
            let y = top + row * size(r) + row * 0.65;
            svg.text((left - 12.0, y), name, SMALL, Anchor::End, 0.0);
        }
        for (c, column) in columns.iter().enumerate() {
            let x = left + cell * size(c);
            let best = column.probabilities.iter().copied().fold(0f32, f32::max);
            for (r, &id) in rows.iter().enumerate() {
                let (p, y) = (column.probabilities[id], top + row * size(r));
                svg.rect((x, y), (cell, row), &shade(p), Some("#ffffff"), 2.0);
                if p >= best && p > 0.0 {
                    let fill = if p > 0.55 { "#ffffff" } else { INK };
                    let font = Font { size: 11.0, fill, bold: true };
                    let text = if cell < 34.0 { "●".to_owned() } else { format!("{p:.2}") };
                    svg.text((x + cell / 2.0, y + 18.5), &text, font, Anchor::Middle, 0.0);
                }
            }
            let font = if column.is_forecast { FAINT } else { SMALL };
            let most = if cell < 34.0 { 3 } else { 6 };
            let label = clip(&column.label, most);
            svg.text((x + cell / 2.0, bottom + 20.0), &label, font, Anchor::Middle, 0.0);
            if column.is_forecast && !c.checked_sub(1).is_some_and(|b| columns[b].is_forecast) {
                svg.line((x, top - 4.0), (x, bottom + 26.0), INK, 1.4, "5 4");
            }
        }
        svg.rect((left, top), (cell * size(columns.len()), bottom - top), "none", Some(GRID), 2.0);
        let middle = left + cell * size(columns.len()) / 2.0;
        svg.text((middle, bottom + 50.0), &self.x_name, FAINT, Anchor::Middle, 0.0);
        svg.text((22.0, (top + bottom) / 2.0), &self.y_name, FAINT, Anchor::Middle, -90.0);
        svg.finish()
    }

    fn margin(&self, names: &[String]) -> f64 {
        let widest = names.iter().map(|name| text_width(name, 13.0)).fold(40.0, f64::max);
        widest + 40.0
    }
}

/// Draws what the shades mean.
fn scale(svg: &mut Svg, left: f64) {
    svg.text((left, 96.0), "0", FAINT, Anchor::Start, 0.0);
    for part in 0..20u16 {
        let p = f32::from(part) / 19.0;
        let x = left + 16.0 + 7.0 * f64::from(part);
        svg.rect((x, 84.0), (7.0, 14.0), &shade(p), None, 0.0);
    }
    svg.text((left + 164.0, 96.0), "1   probability", FAINT, Anchor::Start, 0.0);
}

/// Blends from near white to a deep blue; the root lets small probabilities show.
fn shade(p: f32) -> String {
    let part = f64::from(p.clamp(0.0, 1.0)).sqrt();
    let blend = |from: f64, to: f64| from + (to - from) * part;
    format!("rgb({:.0},{:.0},{:.0})", blend(244.0, 24.0), blend(247.0, 73.0), blend(250.0, 122.0))
}

/// Turns a small count into pixels.
pub(super) fn size(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
