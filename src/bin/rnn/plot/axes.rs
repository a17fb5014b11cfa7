//! An area with two linear axes: ticks at round numbers, grid, labels.

use super::svg::{Anchor, Font, Svg};
use super::{GRID, INK, MUTED};

/// A range of values on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    /// Smallest value.
    pub(super) low: f64,
    /// Largest value.
    pub(super) high: f64,
}

impl Range {
    /// Spans the finite ones of `values`; never empty.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        match high - low {
            span if span > 0.0 => Self { low, high },
            _ if low.is_finite() => Self { low: low - 0.5, high: low + 0.5 },
            _ => Self { low: 0.0, high: 1.0 },
        }
    }

    /// Widens the range by a part of itself.
    pub(super) fn padded(self, part: f64) -> Self {
        let pad = (self.high - self.low) * part;
        Self { low: self.low - pad, high: self.high + pad }
    }

    /// Returns round numbers inside, about `count` of them; whole ones where `whole`.
    pub(super) fn ticks(self, count: f64, whole: bool) -> Vec<f64> {
        let rough = (self.high - self.low) / count;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        let step = if whole { step.max(1.0) } else { step };
        let mut ticks = Vec::new();
        let mut tick = (self.low / step).ceil() * step;
        while tick <= self.high + step * 1e-9 && ticks.len() < 50 {
            // The sum of steps drifts; the rounded multiple does not.
            ticks.push((tick / step).round() * step);
            tick += step;
        }
        ticks
    }
}

/// A rectangle on the canvas with its two ranges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axes {
    /// Upper left corner.
    pub(super) corner: (f64, f64),
    /// Width and height.
    pub(super) size: (f64, f64),
    /// Range of the horizontal axis.
    pub(super) x: Range,
    /// Range of the vertical axis.
    pub(super) y: Range,
}

const SMALL: Font = Font { size: 13.0, fill: MUTED, bold: false };
const LABEL: Font = Font { size: 14.0, fill: INK, bold: false };

impl Axes {
    /// Turns values into a point of the canvas.
    pub(super) fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part = |value: f64, range: Range| (value - range.low) / (range.high - range.low);
        (
            self.corner.0 + part(x, self.x) * self.size.0,
            self.corner.1 + (1.0 - part(y, self.y)) * self.size.1,
        )
    }

    /// Draws grid, ticks and names.
    pub(super) fn draw(&self, svg: &mut Svg, x_name: &str, y_name: &str) {
        let (left, top) = self.corner;
        let (right, bottom) = (left + self.size.0, top + self.size.1);
        for tick in self.y.ticks(5.0, false) {
            let (_, y) = self.place((0.0, tick));
            svg.line((left, y), (right, y), GRID, 1.0, "");
            svg.text((left - 10.0, y + 4.5), &label(tick), SMALL, Anchor::End, 0.0);
        }
        for tick in self.x.ticks(9.0, true) {
            let (x, _) = self.place((tick, 0.0));
            svg.line((x, bottom), (x, bottom + 5.0), MUTED, 1.0, "");
            svg.text((x, bottom + 21.0), &label(tick), SMALL, Anchor::Middle, 0.0);
        }
        svg.line((left, bottom), (right, bottom), MUTED, 1.0, "");
        let middle = (left + right) / 2.0;
        svg.text((middle, bottom + 44.0), x_name, LABEL, Anchor::Middle, 0.0);
        svg.text((left - 62.0, (top + bottom) / 2.0), y_name, LABEL, Anchor::Middle, -90.0);
    }
}

fn label(tick: f64) -> String {
    let size = tick.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{tick:e}");
    }
    let text = format!("{tick:.6}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = Range { low: -0.3, high: 1.1 }.ticks(5.0, false);
        let labels: Vec<String> = ticks.iter().map(|tick| label(*tick)).collect();
        assert_eq!(labels, ["0", "0.5", "1"]);
        let years = Range { low: 1700.0, high: 2019.0 }.ticks(9.0, true);
        assert_eq!(years.first().map(|tick| label(*tick)).as_deref(), Some("1700"));
        assert_eq!(years.len(), 7);
    }

    #[test]
    fn range_is_never_empty() {
        for values in [vec![], vec![f64::NAN], vec![3.0, 3.0]] {
            let range = Range::of(values.into_iter());
            assert!(range.high > range.low, "{range:?}");
        }
    }
}
