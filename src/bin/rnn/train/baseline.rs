//! What a forecast is compared with: the same row again, and a linear autoregression.
//!
//! The autoregression predicts each column from the last p rows of all that the network reads, by least
//! squares over the rows that are learnt from; p by Akaike's criterion.

use super::data::{Held, Samples, Series};

/// Rows that an autoregression looks back, at most.
const MOST_ORDER: usize = 24;

/// The errors of one way to forecast, by output, normalised as the series is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Baseline {
    /// What it is.
    pub(super) name: String,
    /// Root of the mean squared error.
    pub(super) rmse: Vec<f64>,
    /// Mean absolute error.
    pub(super) mae: Vec<f64>,
}

/// Measures the baselines over the rows of `held` that count.
pub(super) fn measure(train: &Samples, held: &Held) -> Vec<Baseline> {
    let (Samples::Series(train), Samples::Series(series)) = (train, &held.samples) else {
        return Vec::new();
    };
    let persistence = |row: usize| rows_of(series, true, row - 1);
    let mut list = vec![errors("last row again".to_owned(), series, held.from.max(1), persistence)];
    if let Some(model) = Autoregression::fit(train) {
        let from = held.from.max(model.order);
        let mut name = format!("linear autoregression on {} rows", model.order);
        if from > held.from.max(1) {
            // A file of its own has no rows before its first.
            name += &format!(", from row {} on", from + 1);
        }
        if from < series.rows {
            list.push(errors(name, series, from, |row| model.predict(series, row)));
        }
    }
    list
}

fn width(series: &Series, of_targets: bool) -> usize {
    let values = if of_targets { &series.targets } else { &series.inputs };
    values.len() / series.rows.max(1)
}

fn rows_of(series: &Series, of_targets: bool, row: usize) -> Vec<f64> {
    let values = if of_targets { &series.targets } else { &series.inputs };
    let width = width(series, of_targets);
    values[row * width..][..width].iter().map(|v| f64::from(*v)).collect()
}

fn errors(
    name: String,
    series: &Series,
    from: usize,
    predict: impl Fn(usize) -> Vec<f64>,
) -> Baseline {
    let outputs = width(series, true);
    let (mut squares, mut absolutes, mut rows) = (vec![0.0; outputs], vec![0.0; outputs], 0.0);
    for row in from..series.rows {
        rows += 1.0;
        for (place, (got, want)) in predict(row).iter().zip(rows_of(series, true, row)).enumerate()
        {
            squares[place] += (got - want).powi(2);
            absolutes[place] += (got - want).abs();
        }
    }
    let rmse = squares.iter().map(|sum: &f64| (sum / rows).sqrt()).collect();
    Baseline { name, rmse, mae: absolutes.iter().map(|sum| sum / rows).collect() }
}

/// A linear model of the last rows.
struct Autoregression {
    order: usize,
    /// By output: a constant, then the weights of the last row, the row before, ….
    weights: Vec<Vec<f64>>,
}

impl Autoregression {
    /// Fits every order up to a sixteenth of the rows and keeps the one with the least criterion.
    fn fit(series: &Series) -> Option<Self> {
        let most = MOST_ORDER.min(series.rows / 16).max(1);
        let mut best: Option<(f64, Self)> = None;
        for order in 1..=most {
            // All orders are judged by the same rows.
            let Some((criterion, model)) = Self::fit_order(series, order, most) else { continue };
            if best.as_ref().is_none_or(|(least, _)| criterion < *least) {
                best = Some((criterion, model));
            }
        }
        best.map(|(_, model)| model)
    }

    fn fit_order(series: &Series, order: usize, first: usize) -> Option<(f64, Self)> {
        let outputs = width(series, true);
        let unknowns = 1 + order * width(series, false);
        let mut normal = vec![vec![0.0; unknowns]; unknowns];
        let mut right = vec![vec![0.0; unknowns]; outputs];
        for row in first..series.rows {
            let x = regressors(series, order, row);
            for (into, xi) in normal.iter_mut().zip(&x) {
                into.iter_mut().zip(&x).for_each(|(into, xj)| *into += xi * xj);
            }
            for (right, y) in right.iter_mut().zip(rows_of(series, true, row)) {
                right.iter_mut().zip(&x).for_each(|(right, x)| *right += x * y);
            }
        }
        // Columns that depend on each other would leave the solution open.
        normal.iter_mut().enumerate().for_each(|(i, row)| row[i] += 1e-9);
        let solved = right.into_iter().map(|right| solve(normal.clone(), right));
        let model = Self { order, weights: solved.collect::<Option<_>>()? };
        let fitted = errors(String::new(), series, first, |row| model.predict(series, row));
        let n = count(series.rows - first);
        let log: f64 = fitted.rmse.iter().map(|rmse| n * rmse.max(1e-12).powi(2).ln()).sum();
        Some((log + 2.0 * count(unknowns * outputs), model))
    }

    fn predict(&self, series: &Series, row: usize) -> Vec<f64> {
        let x = regressors(series, self.order, row);
        let dot = |w: &Vec<f64>| w.iter().zip(&x).map(|(w, x)| w * x).sum();
        self.weights.iter().map(dot).collect()
    }
}

fn regressors(series: &Series, order: usize, row: usize) -> Vec<f64> {
    let past = (1..=order).flat_map(|back| rows_of(series, false, row - back));
    std::iter::once(1.0).chain(past).collect()
}

/// Solves `a·x = b` by elimination with pivots; `None` where there is no one solution.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for column in 0..n {
        let pivot =
            (column..n).max_by(|i, j| a[*i][column].abs().total_cmp(&a[*j][column].abs()))?;
        if a[pivot][column].abs() < 1e-12 {
            return None;
        }
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..n {
            let factor = a[row][column] / a[column][column];
            let (above, below) = a.split_at_mut(row);
            let pairs = below[0].iter_mut().zip(&above[column]).skip(column);
            pairs.for_each(|(into, from)| *into -= factor * from);
            b[row] -= factor * b[column];
        }
    }
    let mut x = vec![0.0; n];
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|column| a[row][column] * x[column]).sum();
        x[row] = (b[row] - known) / a[row][row];
    }
    Some(x)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of rows are below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autoregression_finds_the_rule_of_a_series() {
        let mut values = vec![0.3f64, -0.2];
        let mut noise = 1u32;
        while values.len() < 200 {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let e = f64::from(noise >> 16) / 65_536.0 - 0.5;
            let (a, b) = (values[values.len() - 1], values[values.len() - 2]);
            values.push(0.1 + 1.2 * a - 0.7 * b + 0.1 * e);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a series of f32")]
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        let series = Series { inputs: values.clone(), targets: values, rows: 200 };
        let model = Autoregression::fit(&series).expect("a fit");
        assert!((2..=4).contains(&model.order), "{}", model.order);
        let weights = &model.weights[0];
        assert!((weights[1] - 1.2).abs() < 0.15 && (weights[2] + 0.7).abs() < 0.2, "{weights:?}");
        let held = Held { samples: Samples::Series(series.clone()), from: 100 };
        let list = measure(&Samples::Series(series), &held);
        assert_eq!(list.len(), 2);
        // The noise alone has a deviation of 0.1/√12.
        assert!((list[1].rmse[0] - 0.0289).abs() < 0.003, "{list:?}");
        assert!(list[0].rmse[0] > 1.2 * list[1].rmse[0], "{list:?}");
    }
}
