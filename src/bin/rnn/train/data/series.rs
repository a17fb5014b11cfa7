//! `.csv`: a series of rows, each predicted from those before it.

use std::fs::File;
use std::path::Path;

use super::{Dataset, Held, Samples, Series, choose_task, held_count};
use crate::data::read::csv::CsvSteps;
use crate::data::{Values, Wanted};
use crate::failure::{Failure, Result, io_error, shape_error};
use crate::train::args::{Task, TrainArgs, Validate};
use crate::train::scaling::{Affine, Scaling};

/// Columns of a file with their names, row-major `[N, C]`.
struct Columns {
    names: Vec<String>,
    values: Vec<f32>,
}

impl Columns {
    fn rows(&self) -> usize {
        self.values.len() / self.names.len().max(1)
    }
}

/// Reads the series of `args`.
///
/// # Errors
/// Naming file, row and column; usage for columns that are not there.
pub(super) fn load(args: &TrainArgs) -> Result<Dataset> {
    let task = choose_task(args, &[Task::Forecast], "a .csv, which is one series")?;
    let (inputs, targets) = read_both(args, &args.data)?;
    let file = match &args.validate {
        Some(Validate::File(path)) => Some(read_both(args, path)?),
        _ => None,
    };
    let rows = inputs.rows();
    let held = match &args.validate {
        Some(validate) => held_count(validate, rows, "rows")?,
        None => 0,
    };
    let known = rows - held;
    if known < 3 {
        let message = format!("--data: expected at least 3 rows to learn from, got {known}");
        return Err(shape_error(message).into());
    }
    // Measured on the rows that are learnt from: those held out are not known yet.
    let (i, o) = (inputs.names.len(), targets.names.len());
    let scaling = Scaling {
        input: Some(Affine::measure(&inputs.values[..known * i], i)),
        output: Some(Affine::measure(&targets.values[..known * o], o)),
    };
    let series = |inputs: &Columns, targets: &Columns, rows: usize| Series {
        inputs: scaling.inputs(&inputs.values[..rows * i]),
        targets: scaling.outputs(&targets.values[..rows * o]),
        rows,
    };
    let held = match file {
        Some((inputs, targets)) => {
            let rows = inputs.rows();
            Some(Held { samples: Samples::Series(series(&inputs, &targets, rows)), from: 1 })
        }
        None if held > 0 => {
            Some(Held { samples: Samples::Series(series(&inputs, &targets, rows)), from: known })
        }
        None => None,
    };
    Ok(Dataset {
        task,
        features: i,
        vocab: None,
        outputs: o,
        per_sequence: false,
        vocabulary: None,
        train: Samples::Series(series(&inputs, &targets, known)),
        columns: inputs.names,
        names: targets.names,
        scaling,
        held,
        fingerprint: String::new(),
    })
}

/// Reads the columns that enter and those that are predicted.
fn read_both(args: &TrainArgs, path: &Path) -> Result<(Columns, Columns)> {
    let (first, option) = match args.columns.is_empty() {
        true => (&args.target, "--target"),
        false => (&args.columns, "--columns"),
    };
    let inputs = read(path, first, option)?;
    let targets = if args.target.is_empty() || &args.target == first {
        Columns { names: inputs.names.clone(), values: inputs.values.clone() }
    } else {
        read(path, &args.target, "--target")?
    };
    Ok((inputs, targets))
}

fn read(path: &Path, asked: &[String], option: &str) -> Result<Columns> {
    let label = path.display().to_string();
    let file = || File::open(path).map_err(|e| io_error(&label, "read", e));
    let is_chosen = !asked.is_empty();
    let asked = match asked {
        [] => counted_out(path)?,
        asked => asked.to_vec(),
    };
    let wanted = Wanted { features: asked.len(), ..Wanted::default() };
    let mut steps = CsvSteps::new(file()?, &label, wanted, &asked).map_err(|e| match e {
        Failure::Usage(message) => Failure::Usage(message.replace("--columns", option)),
        other => other,
    })?;
    let hinted = |e: wgpu_rnn::Error| match is_chosen {
        true => e,
        false => {
            let hint = "--columns chooses the columns that are read";
            wgpu_rnn::Error::new(e.kind(), format!("{e} ({hint})"))
        }
    };
    let Values::Dense(values) = steps.read(usize::MAX).map_err(hinted)? else {
        return Err(shape_error(format!("{label}: expected numbers, got tokens")).into());
    };
    let names = steps.names().to_vec();
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let (row, name) = (at / names.len(), &names[at % names.len()]);
        return Err(shape_error(format!(
            "{label}: {name}: expected finite numbers to learn from, got {} in row {} of the data",
            values[at],
            row + 1
        ))
        .into());
    }
    Ok(Columns { names, values })
}

/// Numbers, from 1, of all columns but the first that counts up by one (a year).
fn counted_out(path: &Path) -> Result<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new();
    let mut width = 0;
    // The number of columns; whether they are numbers is told by whoever reads them.
    for delimiter in *b",;\t" {
        let reader = reader.delimiter(delimiter).has_headers(false).from_path(path);
        let record = reader.ok().and_then(|mut reader| reader.records().next()?.ok());
        width = width.max(record.map_or(0, |record| record.len()));
    }
    let all: Vec<String> = (1..=width).map(|column| column.to_string()).collect();
    for skipped in 1..=width {
        let rest: Vec<String> =
            all.iter().filter(|n| **n != skipped.to_string()).cloned().collect();
        if rest.is_empty() {
            break;
        }
        let label = path.display().to_string();
        let file = File::open(path).map_err(|e| io_error(&label, "read", e))?;
        let wanted = Wanted { features: rest.len(), ..Wanted::default() };
        let mut steps = CsvSteps::new(file, &label, wanted, &rest)?;
        if steps.read(usize::MAX).is_ok() && steps.index().is_some() {
            return Ok(rest);
        }
    }
    Ok(all)
}
