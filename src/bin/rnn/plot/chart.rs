//! Points and lines over two logarithmic axes, with the legend at the right.

use super::series::title;
use super::svg::{Anchor, Font, Svg, wrap};
use super::{CURVES, GRID, INK, MUTED};

/// Points that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Its name in the legend.
    pub(crate) name: String,
    /// Points (x, y); those that are not positive are left out.
    pub(crate) points: Vec<(f64, f64)>,
    /// Its colour's place in the palette.
    pub(crate) colour: usize,
    /// Whether a line joins the points, and whether dots mark them.
    pub(crate) mark: Mark,
}

/// How a group is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Dots alone.
    Dots,
    /// A line through dots.
    Line,
    /// A dashed line without dots: a bound.
    Bound,
}

/// A picture of groups over one pair of axes.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// First line.
    pub(crate) title: String,
    /// Second line.
    pub(crate) subtitle: String,
    /// What the horizontal axis shows.
    pub(crate) x_name: String,
    /// What the vertical axis shows.
    pub(crate) y_name: String,
    /// The groups, drawn in this order.
    pub(crate) groups: Vec<Group>,
}

const SIZE: (f64, f64) = (1000.0, 520.0);
const CORNER: (f64, f64) = (96.0, 86.0);
const AREA: (f64, f64) = (560.0, 360.0);
/// Names in the legend at most; the picture grows with them.
const LEGEND: usize = 200;
/// Characters of a line of it, and pixels from line to line and from name to name.
const WIDTH: usize = 36;
const LINE: f64 = 17.0;
const GAP: f64 = 4.0;
/// How lines are broken that share a colour.
const DASHES: [&str; 4] = ["", "3 3", "9 3", "9 3 3 3"];
const SMALL: Font = Font { size: 13.0, fill: MUTED, bold: false };
const LABEL: Font = Font { size: 14.0, fill: INK, bold: false };

/// A logarithmic axis from `low` to `high`, both powers of ten or of two in between.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Log {
    low: f64,
    high: f64,
}

impl Log {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let values = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = values
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            Self { low: 1.0, high: 10.0 }
        } else {
            Self { low: low / 1.3, high: high * 1.3 }
        }
    }

    fn part(self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln()
    }

    /// Returns 1, 2 and 5 times powers of ten inside, fewer where many fit.
    fn ticks(self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let steps: &[f64] = if decades < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut ticks = Vec::new();
        let mut decade = 10f64.powf(self.low.log10().floor());
        while decade <= self.high && ticks.len() < 40 {
            ticks.extend(
                steps.iter().map(|s| s * decade).filter(|t| *t >= self.low && *t <= self.high),
            );
            decade *= 10.0;
        }
        ticks
    }
}

fn label(tick: f64) -> String {
    if (0.001..1e5).contains(&tick) {
        let text = format!("{tick:.4}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    format!("{tick:.0e}")
}

impl Chart {
    /// Draws the picture.
    pub(crate) fn draw(&self) -> String {
        let points = || self.groups.iter().flat_map(|group| &group.points);
        let (x, y) = (Log::of(points().map(|p| p.0)), Log::of(points().map(|p| p.1)));
        let mut svg = Svg::new(SIZE.0, SIZE.1.max(self.legend_end() + 24.0));
        title(&mut svg, &self.title, &self.subtitle);
        let (right, bottom) = (CORNER.0 + AREA.0, CORNER.1 + AREA.1);
        for tick in y.ticks() {
            let at = CORNER.1 + (1.0 - y.part(tick)) * AREA.1;
            svg.line((CORNER.0, at), (right, at), GRID, 1.0, "");
            svg.text((CORNER.0 - 10.0, at + 4.5), &label(tick), SMALL, Anchor::End, 0.0);
        }
        for tick in x.ticks() {
            let at = CORNER.0 + x.part(tick) * AREA.0;
            svg.line((at, bottom), (at, bottom + 5.0), MUTED, 1.0, "");
            svg.text((at, bottom + 21.0), &label(tick), SMALL, Anchor::Middle, 0.0);
        }
        svg.line((CORNER.0, bottom), (right, bottom), MUTED, 1.0, "");
        let middle = (CORNER.0 + AREA.0 / 2.0, bottom + 46.0);
        svg.text(middle, &self.x_name, LABEL, Anchor::Middle, 0.0);
        let middle = (CORNER.0 - 66.0, CORNER.1 + AREA.1 / 2.0);
        svg.text(middle, &self.y_name, LABEL, Anchor::Middle, -90.0);
        for group in &self.groups {
            group.draw(&mut svg, x, y);
        }
        self.legend(&mut svg, right + 28.0);
        svg.finish()
    }

    /// Where the legend ends.
    fn legend_end(&self) -> f64 {
        let groups = self.groups.iter().take(LEGEND);
        let names = groups.map(|g| wrap(&g.name, WIDTH).iter().map(|_| LINE).sum::<f64>() + GAP);
        CORNER.1 + 6.0 + names.sum::<f64>()
    }

    fn legend(&self, svg: &mut Svg, x: f64) {
        let mut y = CORNER.1 + 6.0;
        for group in self.groups.iter().take(LEGEND) {
            svg.line((x, y - 4.5), (x + 20.0, y - 4.5), group.stroke(), 3.0, group.dash());
            for line in wrap(&group.name, WIDTH) {
                svg.text((x + 28.0, y), &line, LABEL, Anchor::Start, 0.0);
                y += LINE;
            }
            y += GAP;
        }
        if let Some(more) = self.groups.len().checked_sub(LEGEND + 1) {
            svg.text((x, y), &format!("and {} more", more + 1), SMALL, Anchor::Start, 0.0);
        }
    }
}

impl Group {
    fn stroke(&self) -> &'static str {
        CURVES[self.colour % CURVES.len()]
    }

    fn dash(&self) -> &'static str {
        match self.mark {
            Mark::Bound => "6 4",
            Mark::Dots | Mark::Line => DASHES[self.colour / CURVES.len() % DASHES.len()],
        }
    }

    fn draw(&self, svg: &mut Svg, x: Log, y: Log) {
        svg.open(&self.name);
        let mut points: Vec<(f64, f64)> =
            self.points.iter().copied().filter(|(x, y)| *x > 0.0 && *y > 0.0).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let place = |(px, py): &(f64, f64)| {
            (CORNER.0 + x.part(*px) * AREA.0, CORNER.1 + (1.0 - y.part(*py)) * AREA.1)
        };
        let points: Vec<(f64, f64)> = points.iter().map(place).collect();
        if self.mark != Mark::Dots {
            svg.curve(&points, self.stroke(), self.dash());
        }
        if self.mark != Mark::Bound {
            for point in points {
                svg.curve(&[point], self.stroke(), "");
            }
        }
        svg.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_axis_has_round_ticks_inside() {
        let axis = Log::of([64.0, 512.0].into_iter());
        assert_eq!(
            axis.ticks().iter().map(|t| label(*t)).collect::<Vec<_>>(),
            ["50", "100", "200", "500"]
        );
        assert!(axis.part(64.0) > 0.0 && axis.part(512.0) < 1.0);
        let empty = Log::of(std::iter::empty());
        assert!(empty.high > empty.low);
        assert_eq!(label(2e-7), "2e-7");
    }

    #[test]
    fn chart_draws_a_mark_for_every_positive_point() {
        let group = |mark| Group {
            name: "a < b".into(),
            points: vec![(2.0, 1.0), (1.0, 1.0), (0.0, 3.0)],
            colour: 7,
            mark,
        };
        let groups = vec![group(Mark::Line), group(Mark::Bound), group(Mark::Dots)];
        let text = |s: &str| s.to_owned();
        let chart = Chart {
            title: text("t"),
            subtitle: text("s"),
            x_name: text("x"),
            y_name: text("y"),
            groups,
        };
        let svg = chart.draw();
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polyline").count()), (4, 2));
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"));
    }
    #[test]
    fn legend_holds_long_names_whole_and_the_picture_grows() {
        let name =
            "lstm I=64 B=8192 T=1000 L=2 bidirectional log-normal on a long name of an adapter";
        let group = |colour| Group {
            name: format!("{name} {colour}"),
            points: vec![(1.0, 1.0)],
            colour,
            mark: Mark::Line,
        };
        let draw = |count: usize| {
            let text = String::new;
            let groups = (0..count).map(group).collect();
            Chart { title: text(), subtitle: text(), x_name: text(), y_name: text(), groups }.draw()
        };
        let svg = draw(40);
        assert!(!svg.contains('…') && !svg.contains("more"), "{svg}");
        assert_eq!(svg.matches("<title>").count(), 40);
        assert!(svg.contains(&format!("<title>{name} 39</title>")));
        let height = |svg: &str| -> f64 {
            let text = svg.split("height=\"").nth(1).and_then(|rest| rest.split('"').next());
            text.and_then(|text| text.parse().ok()).expect("a height")
        };
        let places = svg.split("<text x=\"").filter_map(|rest| rest.split("y=\"").nth(1));
        let places = places.filter_map(|rest| rest.split('"').next()?.parse().ok());
        let lowest = places.fold(0.0, f64::max);
        assert!(lowest < height(&svg) && height(&svg) > height(&draw(1)), "{lowest}");
        assert!(draw(LEGEND + 5).contains("and 5 more"));
    }
}
