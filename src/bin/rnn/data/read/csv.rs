//! `.csv`: one sequence, a row per time step, with or without a header.
//!
//! The delimiter (comma, semicolon or tab) is told by the first line; the first line is a header
//! when none of its cells is a number. Columns are those that were asked for, else those that the
//! model names, else all. A column that was not chosen and counts up by one from row to row (a year)
//! labels the steps.

use std::io::{BufRead, BufReader, Read};

use csv::StringRecord;
use wgpu_rnn::Result;

use super::Source;
use crate::data::{Sequence, Values, Wanted};
use crate::failure::{self, Failure, format_error, io_error, shape_error};

/// An integer column that counts the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexColumn {
    /// The column's name.
    pub(crate) name: String,
    /// Its value in the first row.
    pub(crate) first: i64,
    column: usize,
}

/// The time steps of one file.
pub(crate) struct CsvSteps {
    reader: csv::Reader<Watched>,
    pending: Option<StringRecord>,
    label: String,
    columns: Vec<usize>,
    names: Vec<String>,
    width: usize,
    candidates: Vec<IndexColumn>,
    rows: usize,
    wanted: Wanted,
}

impl CsvSteps {
    /// Reads the header and chooses the columns.
    ///
    /// # Errors
    /// `Format` when the file is empty, `Shape` when the columns do not fit the network; usage when
    /// `asked` names columns that are not there.
    pub(crate) fn new(
        file: impl Read + 'static,
        label: &str,
        wanted: Wanted,
        asked: &[String],
    ) -> failure::Result<Self> {
        let mut file = BufReader::new(file);
        let delimiter = sniff(file.fill_buf().map_err(|e| io_error(label, "read", e))?);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(Watched::new(file));
        let empty = || format_error(format!("{label}: expected at least 1 row, got an empty file"));
        let first = next(&mut reader, label)?.ok_or_else(empty)?;
        let width = first.len();
        let is_header = first.iter().all(|cell| unmarked(cell).parse::<f32>().is_err());
        let header: Option<Vec<String>> =
            is_header.then(|| first.iter().map(|cell| unmarked(cell).to_owned()).collect());
        let columns = choose(header.as_deref(), width, &wanted, asked, label)?;
        let name = |column: usize| {
            header.as_ref().map_or_else(|| format!("column {}", column + 1), |h| h[column].clone())
        };
        let names = columns.iter().map(|&column| name(column)).collect();
        let pending = if is_header { next(&mut reader, label)?.ok_or_else(empty)? } else { first };
        let candidates = (0..width)
            .filter(|column| !columns.contains(column))
            .filter_map(|column| {
                let first = unmarked(pending.get(column)?).parse().ok()?;
                Some(IndexColumn { name: name(column), first, column })
            })
            .collect();
        Ok(Self {
            reader,
            pending: Some(pending),
            label: label.to_owned(),
            columns,
            names,
            width,
            candidates,
            rows: 0,
            wanted,
        })
    }

    /// Returns the names of the chosen columns.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the column that labels the steps read so far, where there is one.
    pub(crate) fn index(&self) -> Option<&IndexColumn> {
        self.candidates.first().filter(|_| self.rows > 1)
    }

    /// Reads up to `count` time steps; none after the last.
    ///
    /// # Errors
    /// Naming file, row and column of a bad cell.
    pub(crate) fn read(&mut self, count: usize) -> Result<Values> {
        let mut values = self.wanted.empty();
        for _ in 0..count {
            let record = match self.pending.take() {
                Some(record) => record,
                None => match next(&mut self.reader, &self.label)? {
                    Some(record) => record,
                    None => break,
                },
            };
            // In a file of one column an empty line is a value that is missing.
            if let Some(row) = self.reader.get_ref().gap.filter(|_| self.width == 1) {
                return Err(shape_error(format!(
                    "{}: row {row}: expected 1 value, got an empty line",
                    self.label
                )));
            }
            self.push(&record, &mut values)?;
            self.count(&record);
        }
        Ok(values)
    }

    fn push(&self, record: &StringRecord, values: &mut Values) -> Result<()> {
        let row = record.position().map_or(0, csv::Position::line);
        if record.len() != self.width {
            return Err(shape_error(format!(
                "{}: row {row}: expected {} cells, got {}",
                self.label,
                self.width,
                record.len()
            )));
        }
        for (&column, name) in self.columns.iter().zip(&self.names) {
            let cell = unmarked(record.get(column).unwrap_or_default());
            let place = || format!("{}: row {row}: {name}", self.label);
            match values {
                Values::Dense(values) => {
                    values.push(parse_float(cell).map_err(|e| e.in_context(place()))?)
                }
                Values::Tokens(tokens) => {
                    let id = cell.parse().map_err(|_| {
                        format_error(format!("expected an integer token id, got {cell:?}"))
                    });
                    let token = id.and_then(|id| self.wanted.token(id));
                    tokens.push(token.map_err(|e| e.in_context(place()))?);
                }
            }
        }
        Ok(())
    }

    /// Drops the candidates for the index column that do not go up by one in this row.
    fn count(&mut self, record: &StringRecord) {
        let row = i64::try_from(self.rows).unwrap_or(i64::MAX);
        self.candidates.retain(|candidate| {
            let cell = record.get(candidate.column).map(unmarked).unwrap_or_default();
            cell.parse().ok() == candidate.first.checked_add(row)
        });
        self.rows += 1;
    }
}

/// A whole file as the one sequence it is, for networks that must see the end first.
pub(crate) struct WholeCsv {
    steps: Box<CsvSteps>,
    read: bool,
}

impl WholeCsv {
    /// Takes a file of which nothing is read yet.
    pub(crate) fn new(steps: Box<CsvSteps>) -> Self {
        Self { steps, read: false }
    }

    /// Returns the column that labels the steps, once they are read.
    pub(crate) fn index(&self) -> Option<&IndexColumn> {
        self.steps.index()
    }
}

impl Source for WholeCsv {
    fn next_sequence(&mut self) -> Result<Option<Sequence>> {
        if std::mem::replace(&mut self.read, true) {
            return Ok(None);
        }
        Ok(Some(Sequence { id: None, values: self.steps.read(usize::MAX)? }))
    }
}

/// A file on its way into the parser, which passes over empty lines without a word.
struct Watched {
    file: Box<dyn BufRead>,
    /// The line that is being read, from 1.
    line: usize,
    /// The last byte read.
    last: u8,
    quoted: bool,
    /// Whether the line has content.
    filled: bool,
    /// Whether any line has content.
    begun: bool,
    /// The first empty line since the last line with content.
    empty: Option<usize>,
    /// The first empty line that stands between two with content.
    gap: Option<usize>,
}

impl Watched {
    fn new(file: impl BufRead + 'static) -> Self {
        Self {
            file: Box::new(file),
            line: 1,
            last: 0,
            quoted: false,
            filled: false,
            begun: false,
            empty: None,
            gap: None,
        }
    }

    fn watch(&mut self, byte: u8) {
        let last = std::mem::replace(&mut self.last, byte);
        if self.quoted || !matches!(byte, b'\n' | b'\r') {
            self.quoted ^= byte == b'"';
            self.filled = true;
            self.begun = true;
            self.gap = self.gap.or(self.empty.take());
        } else if byte == b'\r' || last != b'\r' {
            if self.begun && !self.filled {
                self.empty = self.empty.or(Some(self.line));
            }
            self.filled = false;
            self.line += 1;
        }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        buffer[..count].iter().for_each(|&byte| self.watch(byte));
        Ok(count)
    }
}

fn next(reader: &mut csv::Reader<Watched>, label: &str) -> Result<Option<StringRecord>> {
    let mut record = StringRecord::new();
    let more = reader
        .read_record(&mut record)
        .map_err(|e| format_error(format!("{label}: expected rows of text: {e}")).with_source(e))?;
    Ok(more.then_some(record))
}

/// Takes the byte order mark away that some programs put in front of a file.
fn unmarked(cell: &str) -> &str {
    cell.trim_start_matches('\u{feff}')
}

fn parse_float(cell: &str) -> Result<f32> {
    let value: f32 =
        cell.parse().map_err(|_| format_error(format!("expected a number, got {cell:?}")))?;
    if value.is_infinite() && cell.chars().any(|c| c.is_ascii_digit()) {
        return Err(shape_error(format!("expected a value within f32's range, got {cell}")));
    }
    Ok(value)
}

/// Picks the delimiter that stands most often in the first line that is not empty.
fn sniff(start: &[u8]) -> u8 {
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
    let mut lines = start.split(|byte| matches!(byte, b'\n' | b'\r'));
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let count = |delimiter: u8| {
        let mut quoted = false;
        let outside = line.iter().filter(|&&byte| {
            quoted ^= byte == b'"';
            byte == delimiter && !quoted
        });
        outside.count()
    };
    let mut best = b',';
    for delimiter in *b";\t" {
        if count(delimiter) > count(best) {
            best = delimiter;
        }
    }
    best
}

fn choose(
    header: Option<&[String]>,
    width: usize,
    wanted: &Wanted,
    asked: &[String],
    label: &str,
) -> failure::Result<Vec<usize>> {
    let place = |name: &String| header.and_then(|names| names.iter().position(|n| n == name));
    let features = wanted.features;
    if !asked.is_empty() {
        let number = |name: &String| {
            name.parse::<usize>().ok().filter(|n| (1..=width).contains(n)).map(|n| n - 1)
        };
        let find = |name: &String| {
            place(name).or_else(|| number(name)).ok_or_else(|| {
                let have = header
                    .map_or_else(|| format!("numbers 1 to {width} (no header)"), |h| h.join(", "));
                Failure::usage(format!(
                    "--columns: expected columns of {label}: {have}; got {name}"
                ))
            })
        };
        let columns = asked.iter().map(find).collect::<failure::Result<Vec<_>>>()?;
        if columns.len() != features {
            return Err(Failure::usage(format!(
                "--columns: expected {features} for this model, got {}",
                columns.len()
            )));
        }
        return Ok(columns);
    }
    if wanted.columns.len() == features {
        let named: Option<Vec<usize>> = wanted.columns.iter().map(place).collect();
        if let Some(columns) = named {
            return Ok(columns);
        }
    }
    if width != features {
        let have = header.map_or_else(|| "no header".to_owned(), |names| names.join(", "));
        let hint = if wanted.columns.is_empty() {
            "choose some with --columns".to_owned()
        } else {
            format!(
                "the model was made for {}; choose others with --columns",
                wanted.columns.join(", ")
            )
        };
        return Err(shape_error(format!(
            "{label}: expected {features} columns, got {width}: {have} ({hint})"
        ))
        .into());
    }
    Ok((0..width).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    fn open(
        text: &str,
        features: usize,
        model: &[&str],
        asked: &[&str],
    ) -> failure::Result<CsvSteps> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file.rewind().expect("rewound");
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let wanted = Wanted { features, columns: own(model), ..Wanted::default() };
        CsvSteps::new(file, "x.csv", wanted, &own(asked))
    }

    fn fault(result: failure::Result<CsvSteps>) -> String {
        match result.and_then(|mut steps| Ok(steps.read(100)?)) {
            Err(Failure::Failed(error)) => error.to_string(),
            Err(Failure::Usage(message)) => message,
            other => panic!("expected a fault, got {other:?}"),
        }
    }

    #[test]
    fn columns_delimiters_and_headers_are_told() {
        type Names<'a> = &'a [&'a str];
        let cases: [(&str, usize, Names<'_>, Names<'_>, &[f32]); 11] = [
            ("\r\n\n1;2\n", 2, &[], &[], &[1., 2.]),
            ("\nx\n1\n2\n\n\n", 1, &[], &[], &[1., 2.]),
            ("1\r\n2\r\n\r\n", 1, &[], &[], &[1., 2.]),
            ("1,2\n\n3,4\n", 2, &[], &[], &[1., 2., 3., 4.]),
            ("1,2\n3,4\n", 2, &[], &[], &[1., 2., 3., 4.]),
            ("a;b\n1;2\n", 2, &[], &[], &[1., 2.]),
            ("a\tb\n1\t2\n", 2, &[], &[], &[1., 2.]),
            ("\u{feff}a,b\n1,2\n", 1, &[], &["a"], &[1.]),
            ("year,x\n1,5\n2,6\n", 1, &["x"], &[], &[5., 6.]),
            ("1,2,3\n", 2, &[], &["3", "1"], &[3., 1.]),
            ("\"a\", b\r\n 1 ,2\r\n", 1, &["other"], &["b"], &[2.]),
        ];
        for (text, features, model, asked, want) in cases {
            let mut steps = open(text, features, model, asked).expect(text);
            assert_eq!(steps.read(100).expect(text), Values::Dense(want.to_vec()), "{text}");
            assert_eq!(steps.read(100).expect(text), Values::Dense(vec![]), "{text}");
        }
    }

    #[test]
    fn index_column_counts_up_by_one() {
        let mut steps =
            open("x,year,odd\n5,1990,1\n6,1991,3\n7,1992,5\n", 1, &["x"], &[]).expect("open");
        steps.read(1).expect("a row");
        assert_eq!(steps.index(), None, "one row proves nothing");
        steps.read(9).expect("rows");
        let index = steps.index().expect("an index");
        assert_eq!((index.name.as_str(), index.first), ("year", 1990));
    }

    #[test]
    fn faults_name_row_and_column() {
        let cases = [
            (open("", 1, &[], &[]), "at least 1 row"),
            (open("a\n", 1, &[], &[]), "at least 1 row"),
            (open("a,b\n1,2\n3,x\n", 2, &[], &[]), "x.csv: row 3: b: expected a number, got \"x\""),
            (open("a,b\n1,2\n3,\n", 2, &[], &[]), "row 3: b: expected a number, got \"\""),
            (open("1,2\n3\n", 2, &[], &[]), "row 2: expected 2 cells, got 1"),
            (open("1\n\n2", 1, &[], &[]), "x.csv: row 2: expected 1 value, got an empty line"),
            (open("x\r\n1\r\n\r\n\r\n2\r\n", 1, &[], &[]), "row 3: expected 1 value, got an empty"),
            (open("1e99\n", 1, &[], &[]), "range"),
            (
                open("a,b\n1,2\n", 1, &["c"], &[]),
                "expected 1 columns, got 2: a, b (the model was made for c",
            ),
            (
                open("a,b\n1,2\n", 1, &[], &["c"]),
                "--columns: expected columns of x.csv: a, b; got c",
            ),
            (
                open("a,b\n1,2\n", 1, &[], &["a", "b"]),
                "--columns: expected 1 for this model, got 2",
            ),
        ];
        for (result, want) in cases {
            let got = fault(result);
            assert!(got.contains(want), "{got}");
        }
    }
}
