//! The loop of a run: reads a window of sequences, sorts it into batches of similar length, computes
//! them, and hands the results on in the order of the input.
//!
//! Memory is bounded by the window and by the stream that batches go through: while the device computes
//! one, the next is read, parsed and uploaded. A `.csv` is one sequence and may be longer than memory:
//! where every layer reads forward it is computed in chunks of time steps that pass their states on.

use std::collections::VecDeque;

use wgpu_rnn::{
    Batch, Layout, LoadedModel, Model, Output, Result, RunOptions, States, Stream, StreamOptions,
};

use super::collect::{Collected, Done};
use crate::autotune::Autotune;
use crate::data::read::csv::CsvSteps;
use crate::data::write::{Part, Sink};
use crate::data::{Sequence, Source, Values, Wanted, states};
use crate::failure::shape_error;
use crate::report::Reporter;

/// Sequences per batch where nothing else is said.
const BATCH: usize = 256;
/// Batches per window of ragged sequences: enough for lengths to sort well.
const WINDOW: usize = 64;
/// Most values that a window holds (64 MiB of f32): of its input, or of its output and states where
/// those are more.
const WINDOW_VALUES: usize = 1 << 24;
/// Most values that the widest array of a batch holds, where the batch size is ours to choose.
const BATCH_VALUES: usize = 1 << 26;

/// Everything that a run goes through.
pub(super) struct Drive<'a> {
    /// The network on its device.
    pub(super) loaded: &'a LoadedModel,
    /// What it wants to read.
    pub(super) wanted: Wanted,
    /// How many of the largest values of every row are wanted in place of the row.
    pub(super) top: Option<usize>,
    /// The batch size that was asked for.
    pub(super) batch_size: Option<usize>,
    /// Where the output goes.
    pub(super) sink: Option<&'a mut dyn Sink>,
    /// Tunes every new shape, where that was asked for.
    pub(super) autotune: Option<Autotune>,
    /// What is kept.
    pub(super) collected: Collected,
    /// Counts the work.
    pub(super) reporter: &'a mut Reporter,
}

/// Batches under way, and the windows that they are of.
struct Course {
    stream: Stream,
    /// The oldest first; batches come back in the order in which they were sent.
    windows: VecDeque<Window>,
}

/// Sequences that were read together.
struct Window {
    sequences: Vec<Sequence>,
    /// Which sequence of the input the first one is.
    first: usize,
    lengths: Vec<usize>,
    /// The sequences of each batch.
    groups: Vec<Vec<usize>>,
    /// Results of the batches that have come back.
    outputs: Vec<Output>,
}

impl Drive<'_> {
    /// Runs every sequence of `source`; `initial` holds the states of all of them.
    ///
    /// # Errors
    /// What reading, computing or writing gives.
    pub(super) fn sequences(
        &mut self,
        source: &mut dyn Source,
        initial: Option<&States>,
    ) -> Result<()> {
        let batch = self.batch_size.unwrap_or(BATCH);
        let window = if source.known().uniform { batch } else { batch.saturating_mul(WINDOW) };
        let states = self.collected.wants_states();
        let run = RunOptions { states, top: self.top, ..RunOptions::default() };
        let stream = self.loaded.stream(StreamOptions { run, ..StreamOptions::default() })?;
        let mut course = Course { stream, windows: VecDeque::new() };
        // The CPU overlaps nothing, and who asks for single sequences may wait for each result.
        let at_once = batch == 1 || self.loaded.engine().info().is_cpu_path;
        let mut first = 0;
        loop {
            let sequences = self.read(source, window)?;
            if sequences.is_empty() {
                break;
            }
            let start = first;
            first += sequences.len();
            self.window(&mut course, sequences, start, initial)?;
            if at_once {
                self.drain(&mut course)?;
            }
        }
        self.drain(&mut course)?;
        match initial {
            Some(initial) => states::check(initial, self.loaded.model(), first),
            None => Ok(()),
        }
    }

    fn read(&self, source: &mut dyn Source, most: usize) -> Result<Vec<Sequence>> {
        let model = self.loaded.model();
        let states = if self.collected.wants_states() { state_size(model) } else { 0 };
        let (mut sequences, mut values) = (Vec::new(), 0usize);
        while sequences.len() < most && values < WINDOW_VALUES {
            let Some(sequence) = source.next_sequence()? else { break };
            let held = held(model, self.wanted.steps(&sequence.values), self.wanted.features);
            values = values.saturating_add(held).saturating_add(states);
            sequences.push(sequence);
        }
        Ok(sequences)
    }

    /// Sends the sequences of a window off in batches of similar length.
    fn window(
        &mut self,
        course: &mut Course,
        sequences: Vec<Sequence>,
        first: usize,
        initial: Option<&States>,
    ) -> Result<()> {
        let lengths: Vec<usize> = sequences.iter().map(|s| self.wanted.steps(&s.values)).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let size = self.batch_size.unwrap_or_else(|| auto_batch(self.loaded.model(), longest));
        let groups = wgpu_rnn::bucket(&lengths, size);
        let (count, outputs) = (groups.len(), Vec::with_capacity(groups.len()));
        course.windows.push_back(Window { sequences, first, lengths, groups, outputs });
        for index in 0..count {
            // The window stays: its last batch is still under way.
            let Some(window) = course.windows.back() else { break };
            let batch = self.batch(window, index, initial)?;
            self.tune(&batch)?;
            if let Some(output) = course.stream.push_blocking(&batch)? {
                self.arrived(course, output)?;
            }
        }
        Ok(())
    }

    /// Tunes the shape of a batch, where that was asked for.
    fn tune(&mut self, batch: &Batch) -> Result<()> {
        let shape = (batch.batch_size(), batch.steps());
        match &mut self.autotune {
            Some(autotune) => autotune.tune(self.loaded, shape, self.reporter),
            None => Ok(()),
        }
    }

    /// Makes one batch of a window.
    fn batch(&self, window: &Window, index: usize, initial: Option<&States>) -> Result<Batch> {
        let group = &window.groups[index];
        let values: Vec<&Values> = group.iter().map(|&s| &window.sequences[s].values).collect();
        let batch = to_batch(&values, &self.wanted)?;
        let Some(initial) = initial else { return Ok(batch) };
        let rows: Vec<usize> = group.iter().map(|&sequence| window.first + sequence).collect();
        Ok(batch.with_initial(select(initial, self.loaded.model(), &rows)?))
    }

    /// Waits for all batches that are under way.
    fn drain(&mut self, course: &mut Course) -> Result<()> {
        while let Some(output) = course.stream.pop_blocking()? {
            self.arrived(course, output)?;
        }
        Ok(())
    }

    /// Takes the results of the oldest batch, and hands a window on once it is whole.
    fn arrived(&mut self, course: &mut Course, output: Output) -> Result<()> {
        let Some(window) = course.windows.front_mut() else { return Ok(()) };
        let group = &window.groups[window.outputs.len()];
        let steps = group.iter().map(|&sequence| window.lengths[sequence]).sum();
        self.reporter.advance(group.len(), steps);
        window.outputs.push(output);
        if window.outputs.len() < window.groups.len() {
            return Ok(());
        }
        match course.windows.pop_front() {
            Some(window) => self.finished(&window),
            None => Ok(()),
        }
    }

    /// Hands the results of a window on in the order of its sequences.
    fn finished(&mut self, window: &Window) -> Result<()> {
        let mut places = vec![(0, 0); window.sequences.len()];
        for (index, group) in window.groups.iter().enumerate() {
            for (row, &sequence) in group.iter().enumerate() {
                places[sequence] = (index, row);
            }
        }
        for (index, sequence) in window.sequences.iter().enumerate() {
            let (group, row) = places[index];
            let output = &window.outputs[group];
            let (model, length) = (self.loaded.model(), window.lengths[index]);
            let (values, places) = match &output.top {
                Some(top) => (
                    rows_of(model, &top.values, row, length),
                    rows_of(model, &top.indices, row, length),
                ),
                None => (rows_of(model, &output.output, row, length), &[][..]),
            };
            let (number, input) = (window.first + index, &sequence.values);
            let done = Done { sequence: number, start: 0, input, output: values, places };
            self.collected.take_states(&output.states, row);
            self.hand_on(&done, sequence.id.as_ref(), true)?;
        }
        Ok(())
    }

    /// Runs the one sequence of `source`, `chunk` time steps at a time.
    ///
    /// # Errors
    /// What reading, computing or writing gives.
    pub(super) fn steps(
        &mut self,
        source: &mut CsvSteps,
        initial: Option<States>,
        chunk: usize,
    ) -> Result<()> {
        let model = self.loaded.model();
        if let Some(initial) = &initial {
            states::check(initial, model, 1)?;
        }
        let mut states = initial.unwrap_or_else(|| States::zeros(model, 1));
        let mut start = 0;
        let mut values = source.read(chunk)?;
        loop {
            let steps = self.wanted.steps(&values);
            let next = source.read(chunk)?;
            let last = self.wanted.steps(&next) == 0;
            let batch = to_batch(&[&values], &self.wanted)?.with_initial(states);
            self.tune(&batch)?;
            let options = RunOptions { top: self.top, ..RunOptions::default() };
            let output = self.loaded.run_blocking_with(&batch, &options)?;
            states = output.states;
            // A network with one row per sequence has said its last word only after the last chunk.
            let silent = model.is_per_sequence() && !last;
            let (rows, places) = match &output.top {
                _ if silent => (&[][..], &[][..]),
                Some(top) => (top.values.data(), top.indices.data()),
                None => (output.output.data(), &[][..]),
            };
            let done = Done { sequence: 0, start, input: &values, output: rows, places };
            self.hand_on(&done, None, last)?;
            self.reporter.advance(0, steps);
            start += steps;
            if last {
                break;
            }
            values = next;
        }
        self.collected.take_states(&states, 0);
        self.reporter.advance(1, 0);
        Ok(())
    }

    fn hand_on(
        &mut self,
        done: &Done<'_>,
        id: Option<&serde_json::Value>,
        last: bool,
    ) -> Result<()> {
        self.collected.take(done);
        let end = done.start + self.wanted.steps(done.input);
        let one_row = self.loaded.model().is_per_sequence();
        let start = if one_row { end.saturating_sub(1) } else { done.start };
        match &mut self.sink {
            Some(sink) => {
                let sequence = done.sequence;
                let (values, places) = (done.output, done.places);
                sink.write(&Part { sequence, id, start, values, places, last })
            }
            None => Ok(()),
        }
    }
}

/// Returns the values per time step of the widest array in a network.
fn widest(model: &Model) -> usize {
    let layers = model.layers().iter().map(|layer| {
        let spec = layer.spec();
        spec.input_size.max(spec.gate_rows() * spec.direction.count())
    });
    layers.max().unwrap_or(1).max(model.output_size())
}

/// Returns the values that a sequence of `steps` holds in a window: the larger of input and output.
fn held(model: &Model, steps: usize, features: usize) -> usize {
    let rows = if model.is_per_sequence() { 1 } else { steps };
    steps.saturating_mul(features).max(rows.saturating_mul(model.output_size()))
}

/// Returns the values of the states of one sequence.
fn state_size(model: &Model) -> usize {
    let zeros = States::zeros(model, 1);
    zeros.h.iter().chain(zeros.c.iter().flatten()).map(|tensor| tensor.data().len()).sum()
}

fn auto_batch(model: &Model, steps: usize) -> usize {
    (BATCH_VALUES / widest(model).saturating_mul(steps.max(1))).clamp(1, BATCH)
}

/// Returns how many time steps of a long sequence are computed at a time.
pub(super) fn chunk(model: &Model) -> usize {
    (BATCH_VALUES / 16 / widest(model)).clamp(256, 1 << 16)
}

fn select(initial: &States, model: &Model, rows: &[usize]) -> Result<States> {
    let batch = initial.h.first().and_then(|h| h.shape().get(1)).copied().unwrap_or(0);
    states::check(initial, model, batch)?;
    match rows.iter().find(|&&row| row >= batch) {
        Some(_) => Err(shape_error(format!(
            "initial states: expected one row per sequence, got {batch} rows and more sequences"
        ))),
        None => Ok(initial.select(rows)),
    }
}

/// Makes a batch of sequences of one kind.
///
/// # Errors
/// None in practice: the readers checked the sequences.
pub(crate) fn to_batch(sequences: &[&Values], wanted: &Wanted) -> Result<Batch> {
    let lengths: Vec<usize> = sequences.iter().map(|values| wanted.steps(values)).collect();
    let steps = lengths.first().copied().unwrap_or(0);
    // Without lengths the device need not look at them.
    let uniform = lengths.iter().all(|&length| length == steps);
    let (mut dense, mut tokens): (Vec<&[f32]>, Vec<&[u32]>) = (Vec::new(), Vec::new());
    for values in sequences {
        match values {
            Values::Dense(values) => dense.push(values),
            Values::Tokens(values) => tokens.push(values),
        }
    }
    let layout = Layout::BatchFirst;
    match (wanted.vocab.is_some(), uniform) {
        (true, true) => Batch::tokens(tokens.concat(), lengths.len(), steps, layout),
        (true, false) => Batch::ragged_tokens(&tokens),
        (false, true) => {
            Batch::dense(dense.concat(), lengths.len(), steps, wanted.features, layout)
        }
        (false, false) => Batch::ragged(&dense, wanted.features),
    }
}

/// Returns the output rows of one sequence of a batch: its valid steps, or its one row.
fn rows_of<'o, T>(
    model: &Model,
    output: &'o wgpu_rnn::Tensor<T>,
    row: usize,
    length: usize,
) -> &'o [T] {
    if model.is_per_sequence() {
        return if length == 0 { &[] } else { output.row(row) };
    }
    let (steps, width) = (output.shape()[1], output.shape()[2]);
    let start = row * steps * width;
    &output.data()[start..start + length * width]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::InputOptions;
    use crate::data::read::{Format, Opened, open};
    use wgpu_rnn::{Cell, Engine, HeadSpec, Init, InputSpec, LayerSpec};

    /// Keeps what it is given.
    #[derive(Default)]
    struct Kept(Vec<(usize, usize, Vec<f32>, bool)>);

    impl Sink for Kept {
        fn write(&mut self, part: &Part<'_>) -> Result<()> {
            self.0.push((part.sequence, part.start, part.values.to_vec(), part.last));
            Ok(())
        }

        fn finish(self: Box<Self>, _: &crate::data::write::Totals<'_>) -> Result<()> {
            Ok(())
        }
    }

    fn model(head: HeadSpec) -> Model {
        Model::builder(InputSpec::Dense { size: 1 })
            .layer(LayerSpec::new(Cell::Lstm, 5))
            .layer(LayerSpec::new(Cell::Gru, 3))
            .head(head)
            .build(Init::PyTorch, 3)
            .expect("a valid network")
    }

    fn drive_csv(model: &Model, rows: usize, chunk: usize) -> (Kept, Collected) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.csv");
        let text: String = (0..rows).map(|t| format!("{}.25\n", t % 7)).collect();
        std::fs::write(&path, text).expect("a file");
        let opened = open(&path, Format::Csv, model, InputOptions::default()).expect("readable");
        let Opened::Steps(mut csv) = opened else { panic!("a csv gives steps") };
        let loaded = Engine::cpu().load(model).expect("loaded");
        let (mut kept, mut reporter) = (Kept::default(), Reporter::new(true));
        let wanted = Wanted::of(model);
        let mut drive = Drive {
            autotune: None,
            loaded: &loaded,
            collected: Collected::new(model, &wanted, model.output_size(), (4, true)),
            wanted,
            top: None,
            batch_size: None,
            sink: Some(&mut kept),
            reporter: &mut reporter,
        };
        drive.steps(&mut csv, None, chunk).expect("a run");
        let collected = drive.collected;
        (kept, collected)
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6)
    }

    #[test]
    fn chunks_give_what_the_whole_gives() {
        let model = model(HeadSpec::new(2));
        let (whole, mut all) = drive_csv(&model, 20, 100);
        assert_eq!(whole.0.len(), 1);
        for chunk in [1, 6, 10, 19, 20] {
            let (kept, mut collected) = drive_csv(&model, 20, chunk);
            let joined: Vec<f32> = kept.0.iter().flat_map(|part| part.2.clone()).collect();
            assert!(close(&joined, &whole.0[0].2), "chunks of {chunk}");
            let last: Vec<bool> = kept.0.iter().map(|part| part.3).collect();
            assert_eq!(last.iter().filter(|last| **last).count(), 1, "chunks of {chunk}");
            assert_eq!(collected.lengths, [20]);
            assert_eq!((collected.sample.start, collected.sample.steps()), (16, 4));
            assert!(close(&collected.sample.output, &all.sample.output));
            let (got, want) = (collected.join_states(), all.clone().join_states());
            let (got, want) = (got.expect("joined"), want.expect("joined"));
            let h = |states: &Option<States>| states.as_ref().expect("states").h[1].clone();
            assert!(close(h(&got).data(), h(&want).data()), "chunks of {chunk}");
        }
        assert!(all.join_states().expect("joined").is_some());
    }

    #[test]
    fn last_step_head_speaks_once_after_the_last_chunk() {
        let model = model(HeadSpec::new(2).last_step());
        let (whole, _) = drive_csv(&model, 20, 100);
        let (kept, collected) = drive_csv(&model, 20, 7);
        let spoken: Vec<_> = kept.0.iter().filter(|part| !part.2.is_empty()).collect();
        assert_eq!(spoken.len(), 1);
        assert_eq!((spoken[0].1, spoken[0].3), (19, true));
        assert!(close(&spoken[0].2, &whole.0[0].2));
        assert!(close(collected.sample.last_output().expect("a row"), &whole.0[0].2));
    }

    #[test]
    fn windows_count_the_wider_of_input_and_output() {
        assert_eq!(held(&model(HeadSpec::new(2)), 10, 1), 20);
        assert_eq!(held(&model(HeadSpec::new(2)), 10, 3), 30);
        assert_eq!(held(&model(HeadSpec::new(20).last_step()), 10, 1), 20);
        assert_eq!(held(&model(HeadSpec::new(2)), usize::MAX, 1), usize::MAX);
        assert_eq!(state_size(&model(HeadSpec::new(2))), 5 + 3 + 5);
    }

    #[test]
    fn auto_batch_shrinks_with_length() {
        let model = model(HeadSpec::new(2));
        assert_eq!(auto_batch(&model, 10), BATCH);
        assert_eq!(auto_batch(&model, 1 << 20), 3);
        assert_eq!(auto_batch(&model, usize::MAX), 1);
    }
}
