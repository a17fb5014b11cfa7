//! A network unrolled in time: a column per time step with the input below, the cells of all layers
//! above it, the output on top, and arrows that carry the states from column to column.

use super::probabilities::size;
use super::series::title;
use super::svg::{Anchor, Font, Svg, clip};
use super::{INK, MUTED};

/// One direction of one layer.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// Its name, where there are several.
    pub(crate) name: String,
    /// The cell's name.
    pub(crate) cell: String,
    /// Whether states pass from right to left.
    pub(crate) reverse: bool,
    /// Whether it is the first direction of its layer.
    pub(crate) first: bool,
}

/// One time step.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The input.
    pub(crate) input: String,
    /// The new state of every lane.
    pub(crate) states: Vec<Vec<f32>>,
    /// Lines about the output, the first one printed large; `None` where the step has no output.
    pub(crate) output: Option<Vec<String>>,
}

/// The picture.
#[derive(Clone, Debug)]
pub(crate) struct Unrolled {
    /// First line.
    pub(crate) title: String,
    /// Second line.
    pub(crate) subtitle: String,
    /// The lanes, from the bottom.
    pub(crate) lanes: Vec<Lane>,
    /// The time steps.
    pub(crate) columns: Vec<Column>,
}

/// Columns in a row of the picture; more steps go on in the next row.
const PER_ROW: usize = 9;
/// Rows of the picture; what does not fit is left out and said so.
const ROWS: usize = 6;
/// Units of a state that are drawn.
const UNITS: usize = 12;

const PITCH: f64 = 136.0;
const BOX: f64 = 98.0;
const LEFT: f64 = 136.0;
const CELL: f64 = 64.0;
const LANE: f64 = 104.0;
const OUTPUT: f64 = 50.0;
const INPUT: f64 = 34.0;

const ARROW: &str = "#52606d";
const NAME: Font = Font { size: 12.0, fill: MUTED, bold: false };
const STRONG: Font = Font { size: 14.0, fill: INK, bold: true };
const PLAIN: Font = Font { size: 12.0, fill: INK, bold: false };

impl Unrolled {
    /// Draws the picture.
    pub(crate) fn draw(&self) -> String {
        let shown = self.columns.len().min(PER_ROW * ROWS);
        let rows: Vec<&[Column]> = self.columns[..shown].chunks(PER_ROW).collect();
        let height = OUTPUT + 34.0 + LANE * size(self.lanes.len()) + INPUT + 64.0;
        let wide = rows.first().map_or(1, |row| row.len());
        let width = (LEFT + PITCH * size(wide) + 64.0).max(660.0);
        let mut svg = Svg::new(width, 92.0 + height * size(rows.len()) + 44.0);
        title(&mut svg, &self.title, &self.subtitle);
        for (index, row) in rows.iter().enumerate() {
            let top = 92.0 + height * size(index);
            self.row(&mut svg, row, index * PER_ROW, top);
        }
        let y = 92.0 + height * size(rows.len()) + 18.0;
        legend(&mut svg, y);
        if shown < self.columns.len() {
            let text = format!("the first {shown} of {} steps", self.columns.len());
            svg.text((width - 24.0, y + 2.0), &text, NAME, Anchor::End, 0.0);
        }
        svg.finish()
    }

    fn row(&self, svg: &mut Svg, columns: &[Column], first: usize, top: f64) {
        let bottom = top + OUTPUT + 34.0 + LANE * size(self.lanes.len());
        let name = |svg: &mut Svg, y, text: &str| {
            svg.text((24.0, y), text, NAME, Anchor::Start, 0.0);
        };
        name(svg, top + OUTPUT / 2.0 + 4.0, "output y");
        name(svg, bottom + INPUT / 2.0 + 4.0, "input x");
        for (lane, about) in self.lanes.iter().enumerate() {
            name(svg, self.lane_top(top, lane) + CELL / 2.0 + 4.0, &about.name);
        }
        for (index, column) in columns.iter().enumerate() {
            let (t, x) = (first + index, LEFT + PITCH * size(index));
            self.column(svg, column, x, (top, bottom));
            let text = format!("t = {}", t + 1);
            svg.text((x + BOX / 2.0, bottom + INPUT + 20.0), &text, NAME, Anchor::Middle, 0.0);
            for (lane, about) in self.lanes.iter().enumerate() {
                let y = self.lane_top(top, lane) + CELL / 2.0;
                self.state_arrow(svg, about, t, x, y);
            }
        }
        // The last column of a row hands its states on to the next row, or to nobody.
        let x = LEFT + PITCH * size(columns.len());
        let t = first + columns.len();
        for (lane, about) in self.lanes.iter().enumerate() {
            let y = self.lane_top(top, lane) + CELL / 2.0;
            self.state_arrow(svg, about, t, x, y);
        }
    }

    /// Returns the upper edge of a lane's cells; lane 0 is the lowest.
    fn lane_top(&self, top: f64, lane: usize) -> f64 {
        top + OUTPUT + 34.0 + LANE * size(self.lanes.len() - 1 - lane)
    }

    /// Draws the arrow into (or, reversed, out of) the cell at `x` from the column before.
    fn state_arrow(&self, svg: &mut Svg, lane: &Lane, t: usize, x: f64, y: f64) {
        let (left, right) = (x - (PITCH - BOX), x);
        if lane.reverse {
            svg.arrow((right, y), (left, y), ARROW);
        } else {
            svg.arrow((left, y), (right, y), ARROW);
        }
        let end = self.columns.len();
        let (index, is_zero) = if lane.reverse { (t + 1, t == end) } else { (t, t == 0) };
        let text = match (is_zero, lane.reverse) {
            (true, false) => "h₀=0".to_owned(),
            (true, true) => "h=0".to_owned(),
            _ => format!("h{}", subscript(index)),
        };
        svg.text(((left + right) / 2.0, y - 8.0), &text, NAME, Anchor::Middle, 0.0);
    }

    fn column(&self, svg: &mut Svg, column: &Column, x: f64, (top, bottom): (f64, f64)) {
        self.arrows(svg, column, x, (top, bottom));
        let middle = x + BOX / 2.0;
        svg.rect((x, bottom), (BOX, INPUT), "#eef4fa", Some("#7c98b3"), 8.0);
        let fits = column.input.chars().count() <= 10;
        let font = if fits { STRONG } else { PLAIN };
        svg.text((middle, bottom + 22.0), &clip(&column.input, 14), font, Anchor::Middle, 0.0);
        for (lane, (about, state)) in self.lanes.iter().zip(&column.states).enumerate() {
            let y = self.lane_top(top, lane);
            svg.rect((x, y), (BOX, CELL), "#fbfaf5", Some("#b3a36b"), 8.0);
            svg.text((middle, y + 22.0), &clip(&about.cell, 16), PLAIN, Anchor::Middle, 0.0);
            strip(svg, state, (x + 9.0, y + 34.0), BOX - 18.0);
        }
        let Some(lines) = &column.output else { return };
        svg.rect((x, top), (BOX, OUTPUT), "#fdf1ec", Some("#d9572b"), 8.0);
        for (index, line) in lines.iter().take(2).enumerate() {
            let font = if index == 0 { STRONG } else { NAME };
            let y = if lines.len() == 1 { top + 30.0 } else { top + 21.0 + 18.0 * size(index) };
            svg.text((middle, y), &clip(line, 13), font, Anchor::Middle, 0.0);
        }
    }

    /// Draws the arrows that lead up a column: before the boxes, so that the arrow to (or from) the
    /// one direction of a layer passes behind the box of the other.
    fn arrows(&self, svg: &mut Svg, column: &Column, x: f64, (top, bottom): (f64, f64)) {
        let mut starts = vec![bottom];
        let mut lane = 0;
        while lane < self.lanes.len() {
            let rest = &self.lanes[lane + 1..];
            let count = 1 + rest.iter().take_while(|other| !other.first).count();
            let tops: Vec<f64> = (lane..lane + count).map(|l| self.lane_top(top, l)).collect();
            let ends: Vec<f64> = tops.iter().map(|y| y + CELL).collect();
            connect(svg, x, &starts, &ends);
            starts = tops;
            lane += count;
        }
        if column.output.is_some() {
            connect(svg, x, &starts, &[top + OUTPUT]);
        }
    }
}

/// Draws arrows from the boxes of one level to those of the next, side by side where there are two.
fn connect(svg: &mut Svg, x: f64, starts: &[f64], ends: &[f64]) {
    let count = starts.len().max(ends.len());
    for index in 0..count {
        let part = if count == 1 { 0.5 } else { 0.32 + 0.36 * size(index) };
        let start = starts[index.min(starts.len() - 1)];
        let end = ends[index.min(ends.len() - 1)];
        svg.arrow((x + BOX * part, start), (x + BOX * part, end), ARROW);
    }
}

/// Draws the first units of a state as coloured cells.
fn strip(svg: &mut Svg, state: &[f32], (x, y): (f64, f64), width: f64) {
    let units = &state[..state.len().min(UNITS)];
    let pitch = width / size(units.len().max(1));
    for (index, value) in units.iter().enumerate() {
        let place = (x + pitch * size(index), y);
        svg.rect(place, (pitch, 18.0), &colour(*value), Some("#ffffff"), 2.0);
    }
}

/// Blends from blue (−1) over white (0) to orange (+1).
fn colour(value: f32) -> String {
    if !value.is_finite() {
        return "#000000".to_owned();
    }
    let part = f64::from(value.abs().min(1.0)).sqrt();
    let (r, g, b) = if value < 0.0 { (36.0, 82.0, 122.0) } else { (217.0, 87.0, 43.0) };
    let blend = |to: f64| 243.0 + (to - 243.0) * part;
    format!("rgb({:.0},{:.0},{:.0})", blend(r), blend(g), blend(b))
}

fn legend(svg: &mut Svg, y: f64) {
    svg.text((24.0, y + 2.0), "state h, first units:   −1", NAME, Anchor::Start, 0.0);
    for part in 0..21u8 {
        let value = f32::from(part) / 10.0 - 1.0;
        let x = 176.0 + 7.0 * f64::from(part);
        svg.rect((x, y - 9.0), (7.0, 14.0), &colour(value), None, 0.0);
    }
    svg.text((332.0, y + 2.0), "+1", NAME, Anchor::Start, 0.0);
}

fn subscript(number: usize) -> String {
    let digits = ['₀', '₁', '₂', '₃', '₄', '₅', '₆', '₇', '₈', '₉'];
    let place = |c: char| c.to_digit(10).and_then(|d| usize::try_from(d).ok());
    number.to_string().chars().filter_map(|c| digits.get(place(c)?).copied()).collect()
}
