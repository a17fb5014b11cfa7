//! The laws as functions: a runner and a drawn case in, the first violation out.
//!
//! A runner is anything that gives answers (the f64 oracle, an engine, a runner broken on purpose),
//! so that one text of each law serves them all. Answers are compared with a tolerance that follows
//! from the case: how far the f64 oracle's own answer moves when every weight moves by two units in
//! its last place. Cases that move further than [`WILD`] are no measure of an engine and are drawn
//! again.

use wgpu_rnn::check::{ATOL, RTOL};
use wgpu_rnn::reference::{self, ReferenceOutput};
use wgpu_rnn::{
    Batch, Direction, Engine, Head, HeadSteps, Input, Layer, Layout, Model, RunOptions, States,
    Tensor,
};

use super::draw::{Case, Sequences, noise, with_weights};

/// What a runner gives: f32 results widened.
pub(crate) type Answer = ReferenceOutput<f64>;

/// The outcome of a law.
pub(crate) type Verdict = Result<(), String>;

type Run = dyn Fn(&Model, &Batch, &RunOptions) -> Answer;

/// Something that gives answers.
pub(crate) struct Runner {
    pub(crate) name: String,
    run: Box<Run>,
    /// Computes in f64: answers that should be equal are equal, or nearly.
    exact: bool,
}

impl Runner {
    /// The f64 oracle.
    pub(crate) fn oracle() -> Self {
        Self::broken("oracle", reference)
    }

    /// The oracle with something around it.
    pub(crate) fn broken(
        name: &str,
        run: impl Fn(&Model, &Batch, &RunOptions) -> Answer + 'static,
    ) -> Self {
        Self { name: name.into(), run: Box::new(run), exact: true }
    }

    /// The oracle in f32.
    pub(crate) fn narrow_oracle() -> Self {
        let run = |model: &Model, batch: &Batch, options: &RunOptions| {
            let got = reference::run::<f32>(model, batch, options).expect("the batch fits");
            widened(&got.output, &got.h, &got.c)
        };
        Self { name: "oracle in f32".into(), run: Box::new(run), exact: false }
    }

    /// An engine.
    pub(crate) fn engine(name: &str, engine: Engine) -> Self {
        let run = move |model: &Model, batch: &Batch, options: &RunOptions| {
            let loaded = engine.load(model).expect("loads");
            let got = loaded.run_blocking_with(batch, options).expect("runs");
            widened(&got.output, &got.states.h, &got.states.c)
        };
        Self { name: name.into(), run: Box::new(run), exact: false }
    }

    /// Runs a batch.
    pub(crate) fn run(&self, model: &Model, batch: &Batch, options: &RunOptions) -> Answer {
        (self.run)(model, batch, options)
    }

    fn compare(&self, what: &str, got: &Tensor<f64>, want: &Tensor<f64>, wobble: f64) -> Verdict {
        let what = format!("{}: {what}", self.name);
        if got.shape() != want.shape() {
            return Err(format!("{what}: expected {:?}, got {:?}", want.shape(), got.shape()));
        }
        for (index, (got, want)) in got.data().iter().zip(want.data()).enumerate() {
            // Between f64 answers nothing but the order of sums, or f32 in between, may differ.
            let (atol, rtol) = if self.exact { (1e-6, 1e-6) } else { (ATOL, RTOL) };
            let tolerance = atol + 16.0 * wobble + (rtol + 16.0 * wobble) * want.abs();
            let is_same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            // Written so that NaN fails; the pad value and infinities have no tolerance.
            if !(is_same || (want.is_finite() && (got - want).abs() <= tolerance)) {
                return Err(format!("{what}: value {index}: expected {want:e}, got {got:e}"));
            }
        }
        Ok(())
    }

    fn compare_states(&self, what: &str, got: &Answer, want: &Answer, wobble: f64) -> Verdict {
        if got.h.len() != want.h.len() || got.c.len() != want.c.len() {
            return Err(format!("{}: {what}: other numbers of layers", self.name));
        }
        for (index, (got, want)) in got.h.iter().zip(&want.h).enumerate() {
            self.compare(&format!("{what}: h_n of layer {index}"), got, want, wobble)?;
        }
        for (index, (got, want)) in got.c.iter().zip(&want.c).enumerate() {
            match (got, want) {
                (Some(got), Some(want)) => {
                    self.compare(&format!("{what}: c_n of layer {index}"), got, want, wobble)?;
                }
                (None, None) => {}
                _ => return Err(format!("{}: {what}: c_n of layer {index}", self.name)),
            }
        }
        Ok(())
    }

    fn compare_all(&self, what: &str, got: &Answer, want: &Answer, wobble: f64) -> Verdict {
        self.compare(&format!("{what}: output"), &got.output, &want.output, wobble)?;
        self.compare_states(what, got, want, wobble)
    }
}

fn reference(model: &Model, batch: &Batch, options: &RunOptions) -> Answer {
    reference::run::<f64>(model, batch, options).expect("the batch fits")
}

fn widened(output: &Tensor, h: &[Tensor], c: &[Option<Tensor>]) -> Answer {
    let widen = |tensor: &Tensor| {
        let values = tensor.data().iter().copied().map(f64::from).collect();
        Tensor::new(tensor.shape(), values).expect("same shape")
    };
    Answer {
        output: widen(output),
        top: None,
        h: h.iter().map(widen).collect(),
        c: c.iter().map(|c| c.as_ref().map(widen)).collect(),
    }
}

/// Beyond this a case moves too much with its weights to measure an engine by.
const WILD: f64 = 1e-5;

/// Tells how far the oracle's answer moves when the weights move by two units in the last place;
/// `None` when that is too far, or values grow out of what f32 is good for.
pub(crate) fn wobble(case: &Case) -> Option<f64> {
    let model = case.model();
    let batch = case.batch(&model);
    let answer = reference(&model, &batch, &case.options);
    let values = |answer: &Answer| -> Vec<f64> {
        let states = answer.h.iter().chain(answer.c.iter().flatten());
        std::iter::once(&answer.output).chain(states).flat_map(|t| t.data()).copied().collect()
    };
    let want = values(&answer);
    if want.iter().any(|v| !v.is_finite() || v.abs() > 1e3) {
        return None;
    }
    let mut worst = 0.0f64;
    for sign in [1.0, -1.0] {
        let mut count = 0;
        let nudged = with_weights(&model, |_, tensor| {
            for value in tensor.data_mut() {
                count += 1;
                let side = if noise(case.network.seed, count) < 0.0 { sign } else { -sign };
                *value *= 1.0 + side * 2.0 * f32::EPSILON;
            }
        });
        let moved = values(&reference(&nudged, &batch, &case.options));
        for (moved, want) in moved.iter().zip(&want) {
            worst = worst.max((moved - want).abs() / (1.0 + want.abs()));
        }
    }
    (worst <= WILD).then_some(worst)
}

/// The main law: the runner's answer is the f64 oracle's.
pub(crate) fn equals_the_oracle(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let want = reference(&model, &batch, &case.options);
    runner.compare_all("oracle", &runner.run(&model, &batch, &case.options), &want, wobble)
}

/// Compares the rows `rows` of `all` with a run of those rows alone.
fn rows_of(
    runner: &Runner,
    case: &Case,
    all: &Answer,
    rows: &[usize],
    part: &Answer,
    wobble: f64,
) -> Verdict {
    let what = format!("rows {rows:?}");
    let (model, sequences) = (case.model(), &case.sequences);
    let want = select(all, rows);
    runner.compare_states(&what, part, &want, wobble)?;
    let count = sequences.lengths.len();
    if model.is_per_sequence() {
        return runner.compare(
            &what,
            &part.output,
            &pick(&all.output, rows.iter().copied(), rows.len()),
            wobble,
        );
    }
    // The part has the steps of its longest row.
    let lengths: Vec<usize> = rows.iter().map(|&b| length(sequences, b)).collect();
    let steps = lengths.iter().copied().max().unwrap_or(0);
    for (at, &b) in rows.iter().enumerate() {
        for t in 0..steps {
            let there = sequences.layout.index(b, t, count, sequences.steps());
            let here = sequences.layout.index(at, t, rows.len(), steps);
            runner.compare(
                &format!("{what}: row {b}, step {t}"),
                &pick(&part.output, [here], 1),
                &pick(&all.output, [there], 1),
                wobble,
            )?;
        }
    }
    Ok(())
}

fn length(sequences: &Sequences, b: usize) -> usize {
    if sequences.ragged { sequences.lengths[b] } else { sequences.steps() }
}

/// Copies rows of the array seen as `[.., last axis]`.
fn pick(tensor: &Tensor<f64>, rows: impl IntoIterator<Item = usize>, count: usize) -> Tensor<f64> {
    let width = tensor.shape().last().copied().unwrap_or(1);
    let data = rows.into_iter().flat_map(|row| tensor.row(row)).copied().collect();
    Tensor::new([count, width], data).expect("whole rows")
}

/// Copies the states of rows; the output stays behind.
fn select(answer: &Answer, rows: &[usize]) -> Answer {
    let pick = |tensor: &Tensor<f64>| {
        let [directions, batch, width] = tensor.shape().try_into().expect("three axes");
        let places = (0..directions).flat_map(|d| rows.iter().map(move |b| d * batch + b));
        let data = places.flat_map(|row| tensor.row(row)).copied().collect();
        Tensor::new([directions, rows.len(), width], data).expect("whole rows")
    };
    Answer {
        output: Tensor::default(),
        top: None,
        h: answer.h.iter().map(pick).collect(),
        c: answer.c.iter().map(|c| c.as_ref().map(pick)).collect(),
    }
}

/// A batch of n gives what n batches of one give.
pub(crate) fn equals_its_rows(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let all = runner.run(&model, &batch, &case.options);
    for b in 0..batch.batch_size() {
        let alone = runner.run(&model, &batch.select(&[b]), &case.options);
        rows_of(runner, case, &all, &[b], &alone, wobble)?;
    }
    Ok(())
}

/// Permuted rows give permuted results.
pub(crate) fn permutes_with_its_rows(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let mut order: Vec<usize> = (0..batch.batch_size()).collect();
    order.sort_by(|a, b| {
        let key = |row: usize| noise(case.sequences.seed ^ 0x0DE4, row);
        key(*a).total_cmp(&key(*b))
    });
    let all = runner.run(&model, &batch, &case.options);
    let permuted = runner.run(&model, &batch.select(&order), &case.options);
    rows_of(runner, case, &all, &order, &permuted, wobble)
}

/// What stands beyond a row's length changes nothing, NaN included.
pub(crate) fn ignores_padding(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let clean = runner.run(&model, &case.batch(&model), &case.options);
    let dirty = case.sequences.dirty_batch(&model);
    let dirty = runner.run(&model, &dirty, &case.options);
    runner.compare_all("padding", &dirty, &clean, wobble)
}

/// Both layouts hold the same numbers.
pub(crate) fn is_the_same_in_both_layouts(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let other = match batch.layout() {
        Layout::BatchFirst => Layout::TimeMajor,
        Layout::TimeMajor => Layout::BatchFirst,
    };
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let turned = turned(&batch, &model, other, |_, t| t);
    let got = runner.run(&model, &turned, &case.options);
    let mut want = runner.run(&model, &batch, &case.options);
    if !model.is_per_sequence() {
        want.output = relaid(&want.output, rows, steps, batch.layout(), other, |_, t| t);
    }
    runner.compare_all("layout", &got, &want, wobble)
}

/// Copies a batch into `layout`, row b's step t from step `from(b, t)`.
fn turned(
    batch: &Batch,
    model: &Model,
    layout: Layout,
    from: impl Fn(usize, usize) -> usize,
) -> Batch {
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let places = || {
        (0..rows * steps).map(|i| match layout {
            Layout::BatchFirst => (i / steps, i % steps),
            Layout::TimeMajor => (i % rows, i / rows),
        })
    };
    let source = |(b, t)| (b, from(b, t));
    let copy = if batch.is_tokens() {
        let tokens: Vec<u32> =
            places().map(source).map(|(b, t)| batch.token(b, t).expect("a token")).collect();
        Batch::tokens(tokens, rows, steps, layout)
    } else {
        let values: Vec<f32> =
            places().map(source).flat_map(|(b, t)| batch.features(b, t)).copied().collect();
        Batch::dense(values, rows, steps, model.input().spec().width(), layout)
    };
    let mut copy = copy.expect("the same numbers");
    if let Some(lengths) = batch.lengths() {
        copy = copy.with_lengths(lengths).expect("the same rows");
    }
    match batch.initial() {
        Some(initial) => copy.with_initial(initial.clone()),
        None => copy,
    }
}

/// Copies an output from one layout to another, row b's step t from step `from(b, t)`.
fn relaid(
    output: &Tensor<f64>,
    rows: usize,
    steps: usize,
    old: Layout,
    new: Layout,
    from: impl Fn(usize, usize) -> usize,
) -> Tensor<f64> {
    let width = output.shape()[2];
    let mut copy = Tensor::zeros(new.shape(steps, rows, width));
    for b in 0..rows {
        for t in 0..steps {
            let at = new.index(b, t, rows, steps) * width;
            let there = output.row(old.index(b, from(b, t), rows, steps));
            copy.data_mut()[at..at + width].copy_from_slice(there);
        }
    }
    copy
}

/// The first `cut` steps and then the rest, with states carried, give what one run gives. Holds for
/// networks that only read forward; others pass.
pub(crate) fn may_be_cut_in_time(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let forward = |layer: &Layer| layer.spec().direction == Direction::Forward;
    // With zeros after no step there is nothing to carry.
    let options = RunOptions { zero_length: wgpu_rnn::ZeroLength::CarryInitial, ..case.options };
    if !model.layers().iter().all(forward) {
        return Ok(());
    }
    let batch = case.batch(&model);
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let cut = usize::try_from(case.sequences.seed).expect("small") % (steps + 1);
    let whole = runner.run(&model, &batch, &options);
    let first = runner.run(&model, &piece(&batch, &model, 0, cut), &options);
    let rest = piece(&batch, &model, cut, steps).with_initial(narrowed(&first));
    let second = runner.run(&model, &rest, &options);
    runner.compare_states("cut in time", &second, &whole, wobble)?;
    for b in 0..rows {
        if model.is_per_sequence() {
            // Whichever part has the row's last step has its output.
            let part = if batch.length(b) <= cut { &first } else { &second };
            let (got, want) = (pick(&part.output, [b], 1), pick(&whole.output, [b], 1));
            runner.compare(&format!("cut in time: row {b}"), &got, &want, wobble)?;
            continue;
        }
        for t in 0..steps {
            let here = if t < cut {
                pick(&first.output, [batch.layout().index(b, t, rows, cut)], 1)
            } else {
                pick(&second.output, [batch.layout().index(b, t - cut, rows, steps - cut)], 1)
            };
            let want = pick(&whole.output, [batch.layout().index(b, t, rows, steps)], 1);
            runner.compare(&format!("cut in time: row {b}, step {t}"), &here, &want, wobble)?;
        }
    }
    Ok(())
}

/// Copies the steps `from..to`, with the batch's initial states.
fn piece(batch: &Batch, model: &Model, from: usize, to: usize) -> Batch {
    let (rows, steps, layout) = (batch.batch_size(), to - from, batch.layout());
    let places = || {
        (0..rows * steps).map(|i| match layout {
            Layout::BatchFirst => (i / steps, from + i % steps),
            Layout::TimeMajor => (i % rows, from + i / rows),
        })
    };
    let copy = if batch.is_tokens() {
        let tokens: Vec<u32> = places().map(|(b, t)| batch.token(b, t).expect("a token")).collect();
        Batch::tokens(tokens, rows, steps, layout)
    } else {
        let values: Vec<f32> = places().flat_map(|(b, t)| batch.features(b, t)).copied().collect();
        Batch::dense(values, rows, steps, model.input().spec().width(), layout)
    };
    let lengths: Vec<usize> = (0..rows).map(|b| batch.length(b).clamp(from, to) - from).collect();
    let copy = copy.and_then(|copy| copy.with_lengths(lengths)).expect("a part of a valid batch");
    match batch.initial() {
        Some(initial) => copy.with_initial(initial.clone()),
        None => copy,
    }
}

fn narrowed(answer: &Answer) -> States {
    #[expect(clippy::cast_possible_truncation, reason = "states between runs are f32")]
    let narrow = |tensor: &Tensor<f64>| {
        let values = tensor.data().iter().map(|v| *v as f32).collect();
        Tensor::new(tensor.shape(), values).expect("same shape")
    };
    States {
        h: answer.h.iter().map(narrow).collect(),
        c: answer.c.iter().map(|c| c.as_ref().map(narrow)).collect(),
    }
}

/// A network that reads the other way gives on flipped sequences the flipped results.
pub(crate) fn mirrors(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = every_step(case.model());
    let batch = case.batch(&model);
    let (rows, steps) = (batch.batch_size(), batch.steps());
    let flip = |b: usize, t: usize| {
        let len = batch.length(b);
        if t < len { len - 1 - t } else { t }
    };
    let (mirrored, flipped) = (mirrored(&model), turned(&batch, &model, batch.layout(), flip));
    let flipped = match batch.initial() {
        Some(initial) => flipped.with_initial(States {
            h: initial.h.iter().map(swapped_directions).collect(),
            c: initial.c.iter().map(|c| c.as_ref().map(swapped_directions)).collect(),
        }),
        None => flipped,
    };
    let straight = runner.run(&model, &batch, &case.options);
    let mut got = runner.run(&mirrored, &flipped, &case.options);
    if !model.is_per_sequence() {
        got.output = relaid(&got.output, rows, steps, batch.layout(), batch.layout(), flip);
        let last = model.layers().last().expect("a layer").spec();
        if model.head().is_none() && last.direction == Direction::Bidirectional {
            let width = last.state_size();
            got.output.data_mut().chunks_mut(2 * width).enumerate().for_each(|(row, y)| {
                let t = if batch.layout() == Layout::BatchFirst { row % steps } else { row / rows };
                let b = if batch.layout() == Layout::BatchFirst { row / steps } else { row % rows };
                if t < batch.length(b) {
                    y.rotate_left(width);
                }
            });
        }
    }
    got.h.iter_mut().for_each(|h| *h = swapped_directions(h));
    got.c.iter_mut().flatten().for_each(|c| *c = swapped_directions(c));
    runner.compare_all("mirror", &got, &straight, wobble)
}

/// The last step of a flipped sequence is its first: that output layer has no mirror.
fn every_step(model: Model) -> Model {
    let Some(head) = model.head().cloned().filter(|head| head.steps == HeadSteps::Last) else {
        return model;
    };
    model.with_head(Some(Head { steps: HeadSteps::Every, ..head })).expect("same shapes")
}

fn swapped_directions<T: Copy>(tensor: &Tensor<T>) -> Tensor<T> {
    // One direction has no other half.
    let half = tensor.len() / tensor.shape()[0];
    let mut data = tensor.data().to_vec();
    if half < data.len() {
        data.rotate_left(half);
    }
    Tensor::new(tensor.shape(), data).expect("same shape")
}

/// Turns every layer around; what reads a bidirectional layer reads its halves the other way round.
fn mirrored(model: &Model) -> Model {
    let rotate = |tensor: &mut Tensor, before: Option<&Layer>| {
        let Some(spec) = before.map(Layer::spec) else { return };
        if spec.direction == Direction::Bidirectional {
            let width = spec.output_size();
            tensor.data_mut().chunks_mut(width).for_each(|row| row.rotate_left(width / 2));
        }
    };
    let mut layers: Vec<Layer> = Vec::new();
    for (index, layer) in model.layers().iter().enumerate() {
        let before = index.checked_sub(1).map(|index| &model.layers()[index]);
        let mut spec = layer.spec().clone();
        spec.direction = match spec.direction {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
            Direction::Bidirectional => Direction::Bidirectional,
        };
        spec.options.functions.reverse();
        let mut directions = layer.directions().to_vec();
        directions.reverse();
        directions.iter_mut().for_each(|weights| rotate(&mut weights.weight_ih, before));
        layers.push(Layer::new(spec, directions).expect("same shapes"));
    }
    let mut head = model.head().cloned();
    if let Some(head) = &mut head {
        rotate(&mut head.weight, model.layers().last());
    }
    Model::new(model.input().clone(), layers, head).expect("same shapes")
}

/// A stack gives what its layers give one after the other.
pub(crate) fn chains(runner: &Runner, case: &Case, wobble: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let (rows, steps, layout) = (batch.batch_size(), batch.steps(), batch.layout());
    let whole = runner.run(&model, &batch, &case.options);
    let count = model.layers().len();
    let mut input = batch.clone();
    for (index, layer) in model.layers().iter().enumerate() {
        let first = match index {
            0 => model.input().clone(),
            _ => Input::Dense { size: layer.spec().input_size },
        };
        let head = model.head().filter(|_| index + 1 == count).cloned();
        let single = Model::new(first, vec![layer.clone()], head).expect("same shapes");
        if let Some(states) = batch.initial() {
            let (h, c) = (states.h[index].clone(), states.c[index].clone());
            input = input.with_initial(States { h: vec![h], c: vec![c] });
        }
        let got = runner.run(&single, &input, &case.options);
        let output = if index + 1 == count { whole.output.clone() } else { got.output.clone() };
        let (h, c) = (vec![whole.h[index].clone()], vec![whole.c[index].clone()]);
        let want = Answer { output, top: None, h, c };
        runner.compare_all(&format!("layer {index} alone"), &got, &want, wobble)?;
        if index + 1 < count {
            let values = narrow_all(&got.output);
            input = Batch::dense(values, rows, steps, layer.spec().output_size(), layout)
                .expect("a layer's output");
            if let Some(lengths) = batch.lengths() {
                input = input.with_lengths(lengths).expect("the same rows");
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "inputs are f32")]
fn narrow_all(tensor: &Tensor<f64>) -> Vec<f32> {
    tensor.data().iter().map(|v| *v as f32).collect()
}

/// The same run twice gives the same bits.
pub(crate) fn repeats(runner: &Runner, case: &Case, _: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let bits = |answer: &Answer| -> Vec<u64> {
        let states = answer.h.iter().chain(answer.c.iter().flatten());
        let all = std::iter::once(&answer.output).chain(states);
        all.flat_map(|t| t.data()).map(|v| v.to_bits()).collect()
    };
    let first = runner.run(&model, &batch, &case.options);
    let second = runner.run(&model, &batch, &case.options);
    if bits(&first) == bits(&second) {
        return Ok(());
    }
    Err(format!("{}: the second run differs", runner.name))
}

/// Where NaN must be: `true` in the place of every value that depends on it.
struct Spread {
    output: Vec<bool>,
    h: Vec<Vec<bool>>,
    c: Vec<Option<Vec<bool>>>,
}

/// NaN in one row's valid input, or in its initial h, shows in every value of that row that depends
/// on it, in no other value, and in no other row.
pub(crate) fn shows_nan_where_it_belongs(runner: &Runner, case: &Case, _: f64) -> Verdict {
    let model = case.model();
    let batch = case.batch(&model);
    let rows = batch.batch_size();
    let Some(row) = usize::try_from(case.sequences.seed).expect("small").checked_rem(rows) else {
        return Ok(());
    };
    let Some((poisoned, source)) = poison(case, &model, &batch, row) else { return Ok(()) };
    let got = runner.run(&model, &poisoned, &case.options);
    let want = spread(&model, &poisoned, row, source);
    let check = |what: &str, got: &Tensor<f64>, want: &[bool]| {
        for (index, (value, want)) in got.data().iter().zip(want).enumerate() {
            if value.is_nan() != *want {
                let name = &runner.name;
                let want = if *want { "NaN" } else { "a number" };
                return Err(format!("{name}: {what}: value {index}: expected {want}, got {value}"));
            }
        }
        Ok(())
    };
    check("output", &got.output, &want.output)?;
    for (index, (got, want)) in got.h.iter().zip(&want.h).enumerate() {
        check(&format!("h_n of layer {index}"), got, want)?;
    }
    for (index, (got, want)) in got.c.iter().zip(&want.c).enumerate() {
        if let (Some(got), Some(want)) = (got, want) {
            check(&format!("c_n of layer {index}"), got, want)?;
        }
    }
    Ok(())
}

/// Where the NaN was put.
#[derive(Clone, Copy)]
enum Source {
    /// Into the input of a step.
    Step(usize),
    /// Into all of the initial h of a layer's direction.
    State(usize, usize),
}

fn poison(case: &Case, model: &Model, batch: &Batch, row: usize) -> Option<(Batch, Source)> {
    let (rows, steps, seed) = (batch.batch_size(), batch.steps(), case.sequences.seed);
    let draw = |below: usize| usize::try_from(seed / 7).expect("small") % below;
    let length = batch.length(row);
    if !batch.is_tokens() && length > 0 && seed % 3 > 0 {
        let (t, width) = (draw(length), model.input().spec().width());
        let mut values: Vec<f32> = Vec::new();
        for place in 0..rows * steps {
            let (b, t) = match batch.layout() {
                Layout::BatchFirst => (place / steps, place % steps),
                Layout::TimeMajor => (place % rows, place / rows),
            };
            values.extend_from_slice(batch.features(b, t));
        }
        values[batch.layout().index(row, t, rows, steps) * width + draw(width)] = f32::NAN;
        let mut copy = Batch::dense(values, rows, steps, width, batch.layout()).expect("as before");
        if let Some(lengths) = batch.lengths() {
            copy = copy.with_lengths(lengths).expect("as before");
        }
        let copy = match batch.initial() {
            Some(initial) => copy.with_initial(initial.clone()),
            None => copy,
        };
        return Some((copy, Source::Step(t)));
    }
    if length == 0 {
        return None;
    }
    let mut states = batch.initial().cloned().unwrap_or_else(|| States::zeros(model, rows));
    let layer = draw(model.layers().len());
    let d = draw(model.layers()[layer].spec().direction.count());
    let width = states.h[layer].shape()[2];
    states.h[layer].data_mut()[(d * rows + row) * width..][..width].fill(f32::NAN);
    Some((batch.clone().with_initial(states), Source::State(layer, d)))
}

/// Follows the NaN: a forward direction is NaN from its first NaN input on, a reverse one up to its
/// last, and every value of the output layer that reads one is NaN.
fn spread(model: &Model, batch: &Batch, row: usize, source: Source) -> Spread {
    let (rows, length) = (batch.batch_size(), batch.length(row));
    let mut input = vec![false; length];
    if let Source::Step(t) = source {
        input[t] = true;
    }
    let (mut h_n, mut c_n) = (Vec::new(), Vec::new());
    // Per step, per direction.
    let mut steps: Vec<Vec<bool>> = Vec::new();
    for (index, layer) in model.layers().iter().enumerate() {
        let spec = layer.spec();
        let count = spec.direction.count();
        steps = vec![vec![false; count]; length];
        let mut h = vec![false; count * rows * spec.state_size()];
        let mut c = vec![false; count * rows * spec.hidden_size];
        for d in 0..count {
            let mut order: Vec<usize> = (0..length).collect();
            if spec.direction.is_reverse(d) {
                order.reverse();
            }
            let mut is_nan = matches!(source, Source::State(l, e) if (l, e) == (index, d));
            for t in order {
                is_nan |= input[t];
                steps[t][d] = is_nan;
            }
            for (states, width) in [(&mut h, spec.state_size()), (&mut c, spec.hidden_size)] {
                states[(d * rows + row) * width..][..width].fill(is_nan);
            }
        }
        h_n.push(h);
        c_n.push(spec.cell.has_c().then_some(c));
        input = steps.iter().map(|directions| directions.contains(&true)).collect();
    }
    Spread { output: output_spread(model, batch, row, &steps, &h_n), h: h_n, c: c_n }
}

fn output_spread(
    model: &Model,
    batch: &Batch,
    row: usize,
    steps: &[Vec<bool>],
    h_n: &[Vec<bool>],
) -> Vec<bool> {
    let (rows, width, length) = (batch.batch_size(), model.output_size(), batch.length(row));
    let last = model.layers().last().expect("a layer").spec();
    let reads = |t: usize| -> Vec<bool> {
        match model.head() {
            Some(_) => vec![steps[t].contains(&true); width],
            None => steps[t].iter().flat_map(|is_nan| vec![*is_nan; last.state_size()]).collect(),
        }
    };
    match model.head().map(|head| head.steps) {
        Some(HeadSteps::Last | HeadSteps::Final) => {
            let mut output = vec![false; rows * width];
            let final_is_nan = h_n.last().expect("a layer").contains(&true);
            let is_final = model.head().is_some_and(|head| head.steps == HeadSteps::Final);
            let values = if is_final { vec![final_is_nan; width] } else { reads(length - 1) };
            output[row * width..][..width].copy_from_slice(&values);
            output
        }
        _ => {
            let mut output = vec![false; rows * batch.steps() * width];
            for t in 0..length {
                let at = batch.layout().index(row, t, rows, batch.steps()) * width;
                output[at..at + width].copy_from_slice(&reads(t));
            }
            output
        }
    }
}
