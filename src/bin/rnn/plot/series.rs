//! Curves over time steps: what went in, what came out, and where the forecast goes on.

use super::axes::{Axes, Range};
use super::svg::{Anchor, Font, Svg, clip, text_width};
use super::{CURVES, INK, MUTED};

/// What a curve shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Known or computed values.
    Solid,
    /// Values past the end of what is known.
    Dashed,
}

/// A curve.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// Its name in the legend.
    pub(crate) name: String,
    /// Points (step, value).
    pub(crate) points: Vec<(f64, f64)>,
    /// Its colour's place in the palette.
    pub(crate) colour: usize,
    /// Its line.
    pub(crate) line: Line,
}

/// One pair of axes with its curves.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// What the vertical axis shows.
    pub(crate) name: String,
    /// The curves, drawn in this order.
    pub(crate) curves: Vec<Curve>,
}

/// A picture of panels above each other that share the axis of time.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// First line.
    pub(crate) title: String,
    /// Second line.
    pub(crate) subtitle: String,
    /// What the horizontal axis shows.
    pub(crate) x_name: String,
    /// The panels, from the top.
    pub(crate) panels: Vec<Panel>,
    /// The step after which nothing is known.
    pub(crate) known_until: Option<f64>,
}

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 92.0;

impl Series {
    /// Draws the picture.
    pub(crate) fn draw(&self) -> String {
        let inner = if self.panels.len() > 1 { 210.0 } else { 340.0 };
        let pitch = inner + 104.0;
        let count = self.panels.iter().map(|_| 1.0).sum::<f64>();
        let mut svg = Svg::new(WIDTH, TOP + pitch * count);
        title(&mut svg, &self.title, &self.subtitle);
        let points = || self.panels.iter().flat_map(|p| &p.curves).flat_map(|c| &c.points);
        let x = Range::of(points().map(|point| point.0)).padded(0.01);
        let mut top = TOP;
        for panel in &self.panels {
            let values = panel.curves.iter().flat_map(|c| &c.points).map(|point| point.1);
            let y = Range::of(values).padded(0.06);
            let corner = (LEFT, top + 26.0);
            let axes = Axes { corner, size: (WIDTH - LEFT - RIGHT, inner), x, y };
            self.shade(&mut svg, &axes);
            axes.draw(&mut svg, &self.x_name, &clip(&panel.name, 36));
            legend(&mut svg, &panel.curves, top + 10.0);
            for curve in &panel.curves {
                let points: Vec<_> = curve.points.iter().map(|point| axes.place(*point)).collect();
                let colour = CURVES[curve.colour % CURVES.len()];
                let dash = if curve.line == Line::Dashed { "7 4" } else { "" };
                svg.curve(&points, colour, dash);
            }
            top += pitch;
        }
        svg.finish()
    }

    /// Lays a tint under the steps past the end.
    fn shade(&self, svg: &mut Svg, axes: &Axes) {
        let Some(until) = self.known_until else { return };
        let (x, _) = axes.place((until, axes.y.low));
        let right = axes.corner.0 + axes.size.0;
        svg.rect((x, axes.corner.1), (right - x, axes.size.1), "#fdf3ec", None, 0.0);
    }
}

/// Writes the two lines above a picture.
pub(super) fn title(svg: &mut Svg, title: &str, subtitle: &str) {
    let font = Font { size: 20.0, fill: INK, bold: true };
    svg.text((24.0, 36.0), &svg.fit(title, font), font, Anchor::Start, 0.0);
    let font = Font { size: 13.0, fill: MUTED, bold: false };
    svg.text((24.0, 60.0), &svg.fit(subtitle, font), font, Anchor::Start, 0.0);
}

fn legend(svg: &mut Svg, curves: &[Curve], y: f64) {
    let mut x = LEFT;
    for curve in curves {
        let colour = CURVES[curve.colour % CURVES.len()];
        let dash = if curve.line == Line::Dashed { "7 4" } else { "" };
        svg.line((x, y - 4.5), (x + 28.0, y - 4.5), colour, 2.4, dash);
        let name = clip(&curve.name, 40);
        let font = Font { size: 13.0, fill: INK, bold: false };
        svg.text((x + 36.0, y), &name, font, Anchor::Start, 0.0);
        x += 36.0 + text_width(&name, 13.0) + 26.0;
    }
}
