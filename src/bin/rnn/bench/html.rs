//! `--html`: one page with charts and tables that needs nothing but itself.

use std::fmt::Write as _;

use super::print::{build_line, device_line, devices, reason, seconds, side_by_side, table};
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
    body += &over(&best, "H", |r| r.shape.hidden, "B", |r| r.shape.batch);
    body += &over(&best, "B", |r| r.shape.batch, "H", |r| r.shape.hidden);
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

/// Draws time per step over one axis, a line for each value of the other.
fn over(
    records: &[&Record],
    axis: &str,
    x: impl Fn(&Record) -> usize,
    other: &str,
    of: impl Fn(&Record) -> usize,
) -> String {
    let mut groups: Vec<Group> = Vec::new();
    for record in records {
        let Some(figures) = &record.figures else { continue };
        let name = format!("{} {other}={} {}", record.shape.cell, of(record), record.device.name);
        let point = (as_f64(x(record)), figures.seconds_per_step.median * 1e6);
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.points.push(point),
            None => {
                let (colour, mark) = (groups.len(), Mark::Line);
                groups.push(Group { name, points: vec![point], colour, mark });
            }
        }
    }
    let chart = Chart {
        title: format!("Time per step over {axis}"),
        subtitle: clock(records).to_owned(),
        x_name: axis.to_owned(),
        y_name: "µs per time step".to_owned(),
        groups,
    };
    chart.draw()
}

/// Draws operations per second over operations per byte, under the roofs of calibrated devices.
fn roofline(records: &[&Record], sites: &[Site]) -> String {
    let mut devices: Vec<&Device> = Vec::new();
    for record in records {
        if !devices.contains(&&record.device) {
            devices.push(&record.device);
        }
    }
    let (mut groups, mut missing) = (Vec::new(), Vec::new());
    for (colour, device) in devices.into_iter().enumerate() {
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
                let name = format!("roof of {}", device.name);
                groups.push(Group { name, points, colour, mark: Mark::Bound });
            }
            None => missing.push(device.name.clone()),
        }
        groups.push(Group { name: device.title(), points, colour, mark: Mark::Dots });
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
        names: devices.iter().map(|device| device.title()).collect(),
        rows,
    };
    bars.draw()
}
