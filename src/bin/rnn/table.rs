//! Plain text tables: columns as wide as their widest cell.

use std::fmt::Write as _;

/// How a column stands in its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table with a header line.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes an empty table.
    pub(crate) fn new(columns: impl IntoIterator<Item = (impl Into<String>, Align)>) -> Self {
        let columns = columns.into_iter().map(|(name, align)| (name.into(), align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes the table as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let escaped = |cell: &str| cell.replace('|', "\\|").replace('\n', " ");
        let mut text = line(self.columns.iter().map(|(name, _)| escaped(name)).collect());
        let rule = |align: &Align| if *align == Align::Right { "---:" } else { ":---" };
        text += &line(self.columns.iter().map(|(_, align)| rule(align).to_owned()).collect());
        for row in self.full_rows() {
            text += &line(row.into_iter().map(escaped).collect());
        }
        text
    }

    /// Returns the names of the columns.
    pub(crate) fn titles(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the rows, each with a cell for every column.
    pub(crate) fn full_rows(&self) -> impl Iterator<Item = Vec<&str>> {
        let count = self.columns.len();
        self.rows
            .iter()
            .map(move |row| (0..count).map(|c| row.get(c).map_or("", String::as_str)).collect())
    }

    /// Writes the table, each line starting with `indent`.
    pub(crate) fn render(&self, indent: &str) -> String {
        let titles: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let lines = || std::iter::once(&titles).chain(&self.rows);
        let width = |c: usize| {
            lines().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in lines() {
            let mut line = String::from(indent);
            for (c, (_, align)) in self.columns.iter().enumerate() {
                let (cell, width) = (row.get(c).map_or("", String::as_str), widths[c]);
                let gap = if c == 0 { "" } else { "  " };
                // Writing to a String cannot fail.
                let _ = match align {
                    Align::Left => write!(line, "{gap}{cell:<width$}"),
                    Align::Right => write!(line, "{gap}{cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Writes a value for people: about six significant digits, short, no trailing zeros.
pub(crate) fn number(value: f32) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let places = match size {
        s if s >= 1000.0 => 2,
        s if s >= 10.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.places$}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => "0".to_owned(),
        short => short.to_owned(),
    }
}

/// Writes a count of bytes with a binary unit.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if size.fract() < 1e-9 {
        format!("{size:.0} {}", units[unit])
    } else {
        format!("{size:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_aligns_its_columns() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right)]);
        table.row(["a".into(), "10".into()]);
        table.row(["longer".into()]);
        assert_eq!(table.render("  "), "  name     n\n  a       10\n  longer\n");
    }

    #[test]
    fn markdown_fills_missing_cells_and_escapes_bars() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right)]);
        table.row(["a|b".into()]);
        assert_eq!(table.markdown(), "| name | n |\n| :--- | ---: |\n| a\\|b |  |\n");
    }

    #[test]
    fn number_is_short_and_never_minus_zero() {
        let cases = [
            (0.5, "0.5"),
            (-0.00001, "-1.000e-5"),
            (-0.0, "0"),
            (123.456_78, "123.457"),
            (1999.0, "1999"),
            (f32::NAN, "NaN"),
            (3e9, "3.000e9"),
        ];
        for (value, want) in cases {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn bytes_picks_its_unit() {
        assert_eq!(bytes(1000), "1000 B");
        assert_eq!(bytes(128 << 20), "128 MiB");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
