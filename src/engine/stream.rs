//! Batch after batch without a pause: uploads and readbacks overlap what the device computes.

use std::collections::VecDeque;
use std::time::Duration;

use super::LoadedModel;
use super::run::{self, InFlight, Started, Taken};
use crate::batch::{Batch, Output, RunOptions, check_top};
use crate::error::{Error, Result};
use crate::gpu::{Span, Wait};

/// The most batches of a stream on the device at a time.
const MOST: usize = 16;

/// How a [`Stream`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamOptions {
    /// Batches on the device at a time, 1 to 16; each holds the memory of a run. Default 3: one being
    /// computed, one waiting for it, one being uploaded or read back. 1 overlaps nothing.
    pub depth: usize,
    /// What each batch computes and reads back. Default: output and final states.
    pub run: RunOptions,
    /// Asks the device's clock for [`Stream::device_time`]. Default false; costs two time stamps a
    /// batch.
    pub timed: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { depth: 3, run: RunOptions::default(), timed: false }
    }
}

/// Batches on their way through a network, in a ring of bounded depth.
///
/// [`Stream::push`] uploads and submits a batch without waiting for it, so that the device goes from
/// one batch to the next while the host packs the one after and unpacks the one before. Results come
/// in the order of the batches and are those of [`LoadedModel::run_with`], bit for bit. A batch too
/// large for the device in one piece is run in parts, alone, inside `push`. On the CPU path `push`
/// computes.
///
/// ```
/// use wgpu_rnn::{Batch, Cell, Engine, Init, InputSpec, LayerSpec, Layout, Model, StreamOptions};
///
/// # fn main() -> wgpu_rnn::Result<()> {
/// let model = Model::builder(InputSpec::Dense { size: 3 })
///     .layer(LayerSpec::new(Cell::Gru, 8))
///     .build(Init::PyTorch, 1)?;
/// let loaded = Engine::cpu().load(&model)?;
/// let mut stream = loaded.stream(StreamOptions::default())?;
/// let mut outputs = Vec::new();
/// for i in 0..10u8 {
///     let batch = Batch::dense(vec![f32::from(i); 2 * 5 * 3], 2, 5, 3, Layout::BatchFirst)?;
///     // Nothing comes back until the ring is full.
///     outputs.extend(stream.push_blocking(&batch)?);
/// }
/// outputs.extend(stream.finish_blocking()?);
/// assert_eq!(outputs.len(), 10);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Stream {
    model: LoadedModel,
    options: StreamOptions,
    /// The oldest first.
    ring: VecDeque<Entry>,
    /// Taken out of the ring by a push that then did not submit its own batch.
    held: Option<Output>,
    clock: Clock,
}

/// A batch of the ring.
#[derive(Debug)]
enum Entry {
    Done(Output),
    InFlight(Box<InFlight>),
    /// Given up by the device; to be run again, with another driver.
    Again(Box<Batch>),
}

/// What the device's clock said so far.
#[derive(Debug, Default)]
struct Clock {
    /// Ticks in which it computed.
    busy: u64,
    /// When it last ended.
    end: u64,
    /// Whether a batch came without time stamps.
    missing: bool,
}

impl Clock {
    fn add(&mut self, span: Option<Span>) {
        let Some(Span { begin, end }) = span else {
            self.missing = true;
            return;
        };
        // Time that two batches share counts once.
        self.busy += end.saturating_sub(begin.max(self.end));
        self.end = self.end.max(end);
    }
}

impl LoadedModel {
    /// Opens a stream of batches through the network.
    ///
    /// # Errors
    /// `Limit` when the depth is not 1 to 16; `Shape` or `Unsupported` for a [`RunOptions::top`] that the
    /// network does not have.
    pub fn stream(&self, options: StreamOptions) -> Result<Stream> {
        if !(1..=MOST).contains(&options.depth) {
            return Err(Error::limit(format!(
                "stream: expected a depth of 1 to {MOST}, got {}",
                options.depth
            )));
        }
        check_top(self.model(), &options.run)?;
        self.inner().keep(options.depth);
        let (ring, clock) = (VecDeque::with_capacity(options.depth), Clock::default());
        Ok(Stream { model: self.clone(), options, ring, held: None, clock })
    }
}

impl Stream {
    /// Submits a batch; with a full ring it first waits for the oldest one and returns its results.
    ///
    /// A future that is dropped has not submitted the batch and has lost nothing.
    ///
    /// # Errors
    /// As [`LoadedModel::run`] for this batch, which then is not in the stream and leaves the others
    /// as they are; `Device` when the device failed at the oldest one, which then is gone, and this
    /// one is not submitted.
    pub async fn push(&mut self, batch: &Batch) -> Result<Option<Output>> {
        self.push_on(batch, Wait::Yielding).await
    }

    /// As [`Stream::push`], and waits on this thread.
    ///
    /// # Errors
    /// As [`Stream::push`].
    pub fn push_blocking(&mut self, batch: &Batch) -> Result<Option<Output>> {
        pollster::block_on(self.push_on(batch, Wait::Blocking))
    }

    /// Waits for the oldest batch and returns its results; `None` when none is left.
    ///
    /// # Errors
    /// `Device` when the device failed at it; it is gone, the others can still be had.
    pub async fn pop(&mut self) -> Result<Option<Output>> {
        self.pop_on(Wait::Yielding).await
    }

    /// As [`Stream::pop`], and waits on this thread.
    ///
    /// # Errors
    /// As [`Stream::pop`].
    pub fn pop_blocking(&mut self) -> Result<Option<Output>> {
        pollster::block_on(self.pop_on(Wait::Blocking))
    }

    /// Waits for all batches that are left and returns their results.
    ///
    /// # Errors
    /// As [`Stream::pop`], at the first batch that failed.
    pub async fn finish(mut self) -> Result<Vec<Output>> {
        let mut outputs = Vec::with_capacity(self.in_flight());
        while let Some(output) = self.pop().await? {
            outputs.push(output);
        }
        Ok(outputs)
    }

    /// As [`Stream::finish`], and waits on this thread.
    ///
    /// # Errors
    /// As [`Stream::finish`].
    pub fn finish_blocking(mut self) -> Result<Vec<Output>> {
        std::iter::from_fn(|| self.pop_blocking().transpose()).collect()
    }

    /// Returns how many batches were pushed and not yet returned.
    pub fn in_flight(&self) -> usize {
        self.ring.len() + usize::from(self.held.is_some())
    }

    /// Returns the time in which the device computed the batches that were returned, by its own
    /// clock: copies in and out are not in it.
    ///
    /// `None` unless [`StreamOptions::timed`] is set, on the CPU path, on an adapter without
    /// `TIMESTAMP_QUERY` (a borrowed device must have been opened with it), and when a batch was run
    /// in parts.
    pub fn device_time(&self) -> Option<Duration> {
        let queue = self.model.engine().queue()?;
        if self.clock.missing || self.clock.end == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are months")]
        let nanoseconds = self.clock.busy as f64 * f64::from(queue.get_timestamp_period());
        Some(Duration::from_secs_f64(nanoseconds * 1e-9))
    }

    async fn push_on(&mut self, batch: &Batch, wait: Wait) -> Result<Option<Output>> {
        batch.check_fits(self.model.model())?;
        if self.held.is_none() && self.ring.len() == self.options.depth {
            self.held = self.take_oldest(wait).await?;
        }
        let entry = self.start(batch, wait).await?;
        self.ring.push_back(entry);
        Ok(self.held.take())
    }

    async fn start(&mut self, batch: &Batch, wait: Wait) -> Result<Entry> {
        let (loaded, options) = (self.model.inner(), &self.options.run);
        let Some((gpu, _)) = loaded.on_gpu() else {
            return self.model.run_on(batch, options, wait).await.map(Entry::Done);
        };
        Ok(match run::start(loaded, gpu, batch, options, self.options.timed).await? {
            Started::Done(output) => Entry::Done(output),
            Started::InFlight(flight) => Entry::InFlight(flight),
            Started::TooLarge(assembly, cut) => {
                self.clock.missing = true;
                Entry::Done(run::in_parts(loaded, gpu, batch, assembly, &cut, wait).await?)
            }
        })
    }

    async fn pop_on(&mut self, wait: Wait) -> Result<Option<Output>> {
        match self.held.take() {
            Some(output) => Ok(Some(output)),
            None => self.take_oldest(wait).await,
        }
    }

    async fn take_oldest(&mut self, wait: Wait) -> Result<Option<Output>> {
        let loaded = self.model.inner();
        if let (Some(Entry::InFlight(flight)), Some((gpu, _))) =
            (self.ring.front_mut(), loaded.on_gpu())
        {
            let waited = flight.ready(gpu, wait).await;
            if let Err(error) = waited {
                self.ring.pop_front();
                return Err(error);
            }
        }
        let missing = || Error::device("stream: expected a GPU");
        let batch = match (self.ring.pop_front(), loaded.on_gpu()) {
            (Some(Entry::Done(output)), _) => return Ok(Some(output)),
            (Some(Entry::InFlight(flight)), Some((gpu, _))) => match flight.take(loaded, gpu)? {
                Taken::Output(output, span) => {
                    self.clock.add(span);
                    return Ok(Some(*output));
                }
                Taken::GivenUp(batch) => batch,
            },
            (Some(Entry::Again(batch)), _) => batch,
            (Some(Entry::InFlight(_)), None) => return Err(missing()),
            (None, _) => return Ok(None),
        };
        self.clock.missing = true;
        // It stays the oldest while it runs again, so that a future that is dropped does not lose it.
        self.ring.push_front(Entry::Again(batch));
        let output = match (self.ring.front(), loaded.on_gpu()) {
            (Some(Entry::Again(batch)), Some((gpu, _))) => {
                run::run(loaded, gpu, batch, &self.options.run, wait).await
            }
            _ => Err(missing()),
        };
        self.ring.pop_front();
        output.map(Some)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Buffers that are let go of use the device.
        let _turn = self.model.inner().on_gpu().and_then(|(gpu, _)| gpu.exclusive());
        self.ring.clear();
    }
}
