//! An SVG canvas: lines, boxes, text.

use std::fmt::Write as _;

/// Fonts that are there on most systems, the more readable ones first.
const FONTS: &str =
    "Inter, 'Helvetica Neue', Helvetica, Arial, 'Noto Sans', 'DejaVu Sans', sans-serif";

/// How a text stands at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Starts there.
    Start,
    /// Is centred there.
    Middle,
    /// Ends there.
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Font {
    /// Size in pixels.
    pub(super) size: f64,
    /// Colour.
    pub(super) fill: &'static str,
    /// Bold or not.
    pub(super) bold: bool,
}

/// A picture that is being drawn. Writing to its String cannot fail, hence the ignored results.
#[derive(Clone, Debug)]
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    /// Starts a picture with a white background.
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut svg = Self { body: String::new(), width, height };
        svg.rect((0.0, 0.0), (width, height), "#ffffff", None, 0.0);
        svg
    }

    /// Draws a box with rounded corners.
    pub(super) fn rect(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        fill: &str,
        stroke: Option<&str>,
        radius: f64,
    ) {
        let stroke = stroke.map_or_else(String::new, |colour| format!(" stroke=\"{colour}\""));
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             rx=\"{radius:.1}\" fill=\"{fill}\"{stroke}/>"
        );
    }

    /// Draws a line; `dash` such as "6 4", or empty.
    pub(super) fn line(
        &mut self,
        (x1, y1): (f64, f64),
        (x2, y2): (f64, f64),
        stroke: &str,
        width: f64,
        dash: &str,
    ) {
        let dash = dash_attribute(dash);
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\" \
             stroke-width=\"{width}\"{dash}/>"
        );
    }

    /// Draws a line with a head at its second end.
    pub(super) fn arrow(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1e-9);
        let (ux, uy) = (dx / length, dy / length);
        let (back, side) = (7.0, 3.6);
        let foot = (to.0 - ux * back, to.1 - uy * back);
        self.line(from, foot, stroke, 1.6, "");
        let _ = writeln!(
            self.body,
            "<polygon points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\" fill=\"{stroke}\"/>",
            to.0,
            to.1,
            foot.0 - uy * side,
            foot.1 + ux * side,
            foot.0 + uy * side,
            foot.1 - ux * side
        );
    }

    /// Draws a curve through points; it is broken where a point is not finite.
    pub(super) fn curve(&mut self, points: &[(f64, f64)], stroke: &str, dash: &str) {
        let dash = dash_attribute(dash);
        for run in points.split(|(x, y)| !(x.is_finite() && y.is_finite())) {
            if let [(x, y)] = run {
                let _ = writeln!(
                    self.body,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{stroke}\"/>"
                );
            } else if !run.is_empty() {
                let path: Vec<String> = run.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                let _ = writeln!(
                    self.body,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"1.8\" \
                     stroke-linejoin=\"round\"{dash}/>",
                    path.join(" ")
                );
            }
        }
    }

    /// Opens a group of shapes that says `name` to a pointer above it.
    pub(super) fn open(&mut self, name: &str) {
        let _ = writeln!(self.body, "<g><title>{}</title>", escape(name));
    }

    /// Closes the group.
    pub(super) fn close(&mut self) {
        self.body.push_str("</g>\n");
    }

    /// Writes a text; `turn` rotates it about its point, in degrees.
    pub(super) fn text(
        &mut self,
        (x, y): (f64, f64),
        text: &str,
        font: Font,
        anchor: Anchor,
        turn: f64,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if font.bold { " font-weight=\"600\"" } else { "" };
        let turn = if turn.abs() > 0.0 {
            format!(" transform=\"rotate({turn:.0} {x:.1} {y:.1})\"")
        } else {
            String::new()
        };
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{anchor}\"\
             {weight}{turn} xml:space=\"preserve\">{}</text>",
            font.size,
            font.fill,
            escape(text)
        );
    }

    /// Cuts a text so that it fits the width of the picture.
    pub(super) fn fit(&self, text: &str, font: Font) -> String {
        let mut most = text.chars().count();
        while most > 8 && text_width(&clip(text, most), font.size) > self.width - 48.0 {
            most -= 1;
        }
        clip(text, most)
    }

    /// Ends the picture.
    pub(super) fn finish(self) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"{FONTS}\">\n{body}</svg>\n"
        )
    }
}

fn dash_attribute(dash: &str) -> String {
    if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") }
}

/// Writes a text so that XML takes it; what XML cannot hold becomes a replacement character.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Cuts a text to `most` characters, marking the cut.
pub(super) fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Breaks a text at its spaces into lines of up to `most` characters; a longer word is cut.
pub(super) fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let word = clip(word, most);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// Estimates the width of a text in pixels: fonts differ, the estimate is on the wide side.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().map(|_| size * 0.58).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_picture() {
        assert_eq!(escape("a<b & \"c\"\u{0}"), "a&lt;b &amp; \"c\"\u{fffd}");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(wrap("ab cd efghijk lm", 6), ["ab cd", "efghi…", "lm"]);
    }

    #[test]
    fn curve_is_broken_at_values_that_are_not_finite() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.curve(&[(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 3.0)], "#000", "");
        let text = svg.finish();
        assert_eq!((text.matches("<polyline").count(), text.matches("<circle").count()), (1, 1));
        assert!(!text.contains("NaN"));
    }
}
