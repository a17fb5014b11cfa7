//! `--html`: one page with charts and tables that needs nothing but itself.

use std::fmt::Write as _;

use super::print::{
    build_line, device_line, devices, labels, reason, seconds, side_by_side, table,
};
use super::record::{Build, Device, Record};
use super::sites::Site;
use super::workload::{Measure, as_f64};
use crate::plot::bars::{Bar, Bars};
use crate::plot::chart::{Chart, Group, Mark};
use crate::plot::escape;
use crate::table::Table;

const STYLE: &str = "body{font-family:Inter,'Helvetica Neue',Arial,sans-serif;color:#1f2933;\
margin:2rem auto;max-width:1100px;padding:0 1rem}svg{max-width:100%;height:auto}\
table{border-collapse:collapse;font-size:.8rem}div.wide{overflow-x:auto}\
td,th{padding:.25rem .6rem;border-bottom:1px solid #e3e8ed;text-align:left;white-space:nowrap}\
.loud{background:#fdf3ec;padding:.2rem .4rem;font-weight:600}";

/// Writes the page.
pub(super) fn page(records: &[Record], build: &Build, sites: &[Site]) -> String {
    let mut body = format!("<h1>rnn bench</h1>\n<p>{}</p>\n<ul>\n", escape(&build_line(build)));
    for device in devices(records) {
        let class = if device.is_cpu { " class=\"loud\"" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(body, "<li{class}>{}</li>", escape(&device_line(device)));
    }
    body += "</ul>\n";
    let best = best(records);
    body += &over(&best, "H", |r| r.shape.hidden);
    body += &over(&best, "B", |r| r.shape.batch);
    body += &roofline(&best, sites);
    body += &against(records);
    if let Some(table) = side_by_side(records) {
        body += "<h2>Time per step, device against device</h2>\n";
        body += &html_table(&table);
    }
    body += "<h2>All measures</h2>\n";
    body += &html_table(&table(records));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <title>rnn bench</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn html_table(table: &Table) -> String {
    let cells = |tag: &str, row: &mut dyn Iterator<Item = &str>| -> String {
        row.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let head = cells("th", &mut table.titles());
    let rows = table.full_rows().map(|row| cells("td", &mut row.into_iter()));
    let rows: String = rows.map(|row| format!("<tr>{row}</tr>\n")).collect();
    format!("<div class=\"wide\"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n")
}

/// What a chart of one device shows: from submit to idle where the device has that clock.
fn is_shown(record: &Record) -> bool {
    let shown = if record.device.threads.is_some() { Measure::EndToEnd } else { Measure::Layer };
    record.measure == shown && record.figures.is_some()
}

/// Keeps the fastest strategy of each workload and device.
fn best(records: &[Record]) -> Vec<&Record> {
    let mut best: Vec<&Record> = Vec::new();
    for record in records.iter().filter(|record| is_shown(record)) {
        let same = |r: &&mut &Record| r.workload == record.workload && r.device == record.device;
        match best.iter_mut().find(same) {
            Some(place) if record.median() < place.median() => *place = record,
            Some(_) => {}
            None => best.push(record),
        }
    }
    best
}

fn clock(records: &[&Record]) -> &'static str {
    if records.iter().any(|record| record.measure == Measure::EndToEnd) {
        "from submit to idle on adapters, end to end on the CPU path; fastest strategy"
    } else {
        "from submit to idle; fastest strategy"
    }
}

/// What the points of a line share: all of the workload's name but the axis, and the device.
#[derive(PartialEq)]
struct Line<'a> {
    words: Vec<&'a str>,
    device: &'a Device,
}

impl<'a> Line<'a> {
    /// `is_square` says that I is H everywhere, and goes along with it.
    fn of(record: &'a Record, axis: &str, is_square: bool) -> Self {
        let is_axis =
            |word: &str| word.strip_prefix(axis).is_some_and(|rest| rest.starts_with('='));
        let words = record.workload.split(' ').filter(|word| !is_axis(word));
        let words =
            words.map(|word| if is_square && word.starts_with("I=") { "I=H" } else { word });
        Self { words: words.collect(), device: &record.device }
    }
}

/// Draws time per step over one axis, a line for all that differs in nothing else.
fn over(records: &[&Record], axis: &str, x: impl Fn(&Record) -> usize) -> String {
    let is_square = axis == "H" && records.iter().all(|r| r.shape.input == r.shape.hidden);
    let mut lines: Vec<(Line, Vec<(f64, f64)>)> = Vec::new();
    for record in records {
        let Some(figures) = &record.figures else { continue };
        let line = Line::of(record, axis, is_square);
        let point = (as_f64(x(record)), figures.seconds_per_step.median * 1e6);
        match lines.iter_mut().find(|(other, _)| *other == line) {
            Some((_, points)) => points.push(point),
            None => lines.push((line, vec![point])),
        }
    }
    let mut subtitle = clock(records).to_owned();
    let shared = shared(&lines);
    if !shared.is_empty() {
        subtitle = format!("{}; {subtitle}", shared.join(" "));
    }
    let mut devices: Vec<&Device> = Vec::new();
    for (line, _) in &lines {
        if !devices.contains(&line.device) {
            devices.push(line.device);
        }
    }
    let labels = labels(&devices);
    let group = |(colour, (line, points)): (usize, (Line, Vec<(f64, f64)>))| {
        let mut words = line.words;
        words.retain(|word| !shared.contains(word));
        let device = devices.iter().position(|device| *device == line.device);
        let label = device.filter(|_| devices.len() > 1).map(|place| labels[place].as_str());
        words.extend(label);
        Group { name: words.join(" "), points, colour, mark: Mark::Line }
    };
    let chart = Chart {
        title: format!("Time per step over {axis}"),
        subtitle,
        x_name: axis.to_owned(),
        y_name: "µs per time step".to_owned(),
        groups: lines.into_iter().enumerate().map(group).collect(),
    };
    chart.draw()
}

/// Lists the words behind the cell that several lines have in common: they tell none from another.
fn shared<'a>(lines: &[(Line<'a>, Vec<(f64, f64)>)]) -> Vec<&'a str> {
    let [(first, _), others @ ..] = lines else { return Vec::new() };
    if others.is_empty() {
        return Vec::new();
    }
    let words = first.words.iter().copied().skip(1);
    words.filter(|word| others.iter().all(|(line, _)| line.words.contains(word))).collect()
}

/// Draws operations per second over operations per byte, under the roofs of calibrated devices.
fn roofline(records: &[&Record], sites: &[Site]) -> String {
    let mut devices: Vec<&Device> = Vec::new();
    for record in records {
        if !devices.contains(&&record.device) {
            devices.push(&record.device);
        }
    }
    let labels = labels(&devices);
    let (mut groups, mut missing) = (Vec::new(), Vec::new());
    for (colour, (device, label)) in devices.iter().copied().zip(labels).enumerate() {
        let own = records.iter().filter(|record| record.device == *device);
        let figures = own.filter_map(|record| record.figures.as_ref());
        let points: Vec<_> = figures.map(|f| (f.flops / f.bytes, f.gflop_per_s)).collect();
        let site = sites.iter().find(|site| site.device == *device);
        match site.and_then(|site| site.constants) {
            Some(c) => {
                let xs = points.iter().map(|point| point.0);
                let (low, high) =
                    xs.fold((1.0_f64, 1.0_f64), |(low, high), x| (low.min(x), high.max(x)));
                let roof = |x: f64| (x, (c.memory_bytes * x).min(c.flops) / 1e9);
                let ridge = c.flops / c.memory_bytes;
                let points = vec![roof(low), roof(ridge), roof(high.max(2.0 * ridge))];
                let name = format!("roof of {label}");
                groups.push(Group { name, points, colour, mark: Mark::Bound });
            }
            None => missing.push(label.clone()),
        }
        groups.push(Group { name: label, points, colour, mark: Mark::Dots });
    }
    let subtitle = if missing.is_empty() {
        "operations and bytes that no algorithm can do without".to_owned()
    } else {
        format!("roof n/a (not calibrated): {}", missing.join(", "))
    };
    let chart = Chart {
        title: "Roofline".to_owned(),
        subtitle,
        x_name: "operations per byte of device memory".to_owned(),
        y_name: "GFLOP/s".to_owned(),
        groups,
    };
    chart.draw()
}

/// Draws the speed of each device against the fastest, end to end.
fn against(records: &[Record]) -> String {
    let devices = devices(records);
    if devices.len() < 2 {
        return "<p>Device against device: n/a (one device; --device all takes every one)</p>\n"
            .to_owned();
    }
    let mut rows: Vec<(String, Vec<Bar>)> = Vec::new();
    let end_to_end: Vec<&Record> =
        records.iter().filter(|record| record.measure == Measure::EndToEnd).collect();
    for record in &end_to_end {
        if rows.iter().any(|(name, _)| *name == record.workload) {
            continue;
        }
        let own: Vec<_> = end_to_end.iter().filter(|r| r.workload == record.workload).collect();
        let of = |device: &Device| {
            let own = own.iter().filter(|r| r.device == *device);
            own.min_by(|a, b| {
                let time = |r: &Record| r.median().unwrap_or(f64::INFINITY);
                time(a).total_cmp(&time(b))
            })
        };
        let least = own.iter().filter_map(|r| r.median()).fold(f64::INFINITY, f64::min);
        let bar = |device: &&Device| match of(device) {
            Some(record) => match &record.figures {
                Some(f) => Bar {
                    part: Some(least / f.seconds.median),
                    text: format!("{} a step", seconds(f.seconds_per_step.median)),
                },
                None => Bar { part: None, text: reason(record) },
            },
            None => Bar { part: None, text: "n/a (not measured)".to_owned() },
        };
        rows.push((record.workload.clone(), devices.iter().map(bar).collect()));
    }
    let bars = Bars {
        title: "Device against device".to_owned(),
        subtitle: "speed end to end, the fastest is the full length; fastest strategy".to_owned(),
        names: labels(&devices),
        rows,
    };
    bars.draw()
}

#[cfg(test)]
mod tests {
    use wgpu_rnn::Cell;

    use super::super::record::tests::{adapter, filled};
    use super::super::workload::{Lengths, Workload};
    use super::*;

    /// Draws what `over` shows of workloads on two adapters of one name.
    fn charts(workloads: &[Workload], devices: &[Device]) -> String {
        let mut records = Vec::new();
        for (index, workload) in workloads.iter().enumerate() {
            for device in devices {
                records.push(filled(device, workload, 1e-6 * as_f64(index + 1)));
            }
        }
        page(&records, &Build::now("shape"), &[])
    }

    /// Every line has one point for each of its places on the axis; returns how many lines have how
    /// many points.
    fn points(page: &str) -> Vec<usize> {
        let lines = page.split("<polyline points=\"").skip(1);
        let count = |line: &str| {
            let points = line.split('"').next().expect("points").split(' ');
            let xs: Vec<&str> = points.filter_map(|point| point.split(',').next()).collect();
            let distinct: std::collections::BTreeSet<&&str> = xs.iter().collect();
            assert_eq!(distinct.len(), xs.len(), "two points of a line at one place: {xs:?}");
            xs.len()
        };
        lines.map(count).collect()
    }

    #[test]
    fn lines_join_only_what_differs_in_the_axis() {
        let mut workloads = Vec::new();
        for input in [3, 5] {
            for hidden in [64, 128, 256] {
                for steps in [10, 20] {
                    let plain = Workload::new(Cell::Lstm, [input, hidden, 2, steps]);
                    let layers = Workload { layers: 2, ..plain.clone() };
                    let lengths = Workload { lengths: Lengths::LogNormal, ..plain.clone() };
                    let both = Workload { bidirectional: true, ..plain.clone() };
                    workloads.extend([plain, layers, lengths, both]);
                }
            }
        }
        let devices = [adapter(0, "vulkan"), adapter(1, "gl"), adapter(2, "gl")];
        let page = charts(&workloads, &devices);
        // I, T, four kinds and the device; over B every point stands alone.
        assert_eq!(points(&page), [3; 2 * 2 * 4 * 3]);
        for name in ["(vulkan, a CPU)", "(gl, a CPU), adapter 1", "(gl, a CPU), adapter 2"] {
            assert!(page.contains(&format!("T=20 log-normal llvmpipe {name}")), "{name}");
        }
        assert!(page.contains("B=2; from submit to idle"), "what all lines share");
    }

    #[test]
    fn lines_of_layers_with_as_many_inputs_as_units_go_over_both() {
        let of = |hidden: usize| Workload::new(Cell::Gru, [hidden, hidden, 1, 5]);
        let page = charts(&[of(64), of(128), of(256)], &[adapter(0, "vulkan")]);
        assert_eq!(points(&page), [3]);
        assert!(page.contains("gru I=H B=1 T=5"), "{page}");
    }
}
