//! The output layer of a [`Plan`]: which kernels compute it, and their dispatches.
//!
//! Three ways lead to the same numbers: product and function g apart (`gemm`, `activate`), both in one
//! kernel that owns whole rows (`head`), and the largest values alone (`top`), which reads what the
//! product wrote or computes it itself and writes none.

use super::builder::{Builder, narrow};
use super::gemm::Mode;
use super::*;
use crate::kernel::uniforms::{Activate, Gemm};

/// How the output layer runs.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadChoice {
    /// Whether product and what follows it are one kernel, so that logits are not written and read again.
    pub is_fused: bool,
    /// Row tile of the kernel that owns whole rows.
    pub rows: RowTile,
    /// Its workgroup: lanes over columns, tiles of rows.
    pub workgroup: [u32; 2],
    /// Why, with the predicted times.
    pub reason: String,
}

/// The sizes of an output layer.
#[derive(Clone, Copy)]
struct Sizes {
    /// Output rows.
    rows: u64,
    /// K in vec4.
    inner4: u32,
    /// O.
    columns: u32,
    activation: Activation,
    top: Option<u32>,
}

/// Groups of four columns that a lane takes at a time.
const PAIR: u32 = 2;
/// The most pairs (key, place) that a lane of `top` keeps: of all its rows together.
const MOST_PAIRS: u32 = 16;
/// Bytes of a vec4.
const VEC: f64 = 16.0;

impl Sizes {
    const fn columns4(&self) -> u32 {
        self.columns.div_ceil(4)
    }

    /// Whether g needs whole rows.
    const fn is_softmax(&self) -> bool {
        matches!(self.activation, Activation::Softmax | Activation::LogSoftmax)
    }

    /// Passes of `lanes` lanes over the columns.
    const fn passes(&self, lanes: u32) -> u32 {
        self.columns4().div_ceil(PAIR * lanes)
    }
}

const fn kind(activation: Activation) -> u32 {
    match activation {
        Activation::None => 0,
        Activation::Softmax => 1,
        Activation::LogSoftmax => 2,
        Activation::Sigmoid => 3,
        Activation::Tanh => 4,
        Activation::Relu => 5,
    }
}

/// Shapes the kernel that owns whole rows: of the widths that may pay, the one with the least predicted
/// time. Wide workgroups keep all columns in registers, narrow ones share weights between more rows.
fn shape(sizes: &Sizes, caps: &DeviceCaps) -> (RowTile, [u32; 2]) {
    let widths: &[u32] = match (caps.is_software, sizes.top) {
        (true, _) => &[SOFTWARE_LANES],
        (false, Some(_)) => &[16],
        (false, None) => &[16, 32, 64, 128],
    };
    let shapes = widths.iter().map(|lanes| shape_of(sizes, caps, *lanes));
    let fused = |own: &(RowTile, [u32; 2])| predicted(sizes, caps, *own)[0];
    let best = shapes.min_by(|one, other| fused(one).total_cmp(&fused(other)));
    best.unwrap_or((RowTile::One, [SOFTWARE_LANES, 1]))
}

/// Shapes the kernel with at most `most` lanes over columns.
fn shape_of(sizes: &Sizes, caps: &DeviceCaps, most: u32) -> (RowTile, [u32; 2]) {
    let lanes = sizes.columns4().div_ceil(PAIR).next_power_of_two().min(most);
    let by_list = MOST_PAIRS / sizes.top.unwrap_or(1).next_power_of_two().min(MOST_PAIRS);
    let share = sizes.rows.div_ceil(u64::from(caps.workgroups_at_once.max(1)));
    let rows = match share.min(u64::from(by_list)) {
        0 | 1 => RowTile::One,
        2 | 3 => RowTile::Two,
        _ => RowTile::Four,
    };
    let threads = if caps.is_software { 64 } else { 128 };
    let tiles = u32::try_from(share.div_ceil(u64::from(rows.rows()))).unwrap_or(u32::MAX);
    (rows, [lanes, (threads / lanes).min(tiles.next_power_of_two()).clamp(1, 64)])
}

/// Loop iterations of an invocation of the kernel that owns whole rows, as if none were unrolled.
fn own_loops(sizes: &Sizes, rows: RowTile, lanes: u32) -> u64 {
    let wide = u64::from;
    let each = 1 + wide(sizes.inner4) * (1 + wide(rows.rows())) + 2 * wide(rows.rows()) + 12;
    wide(sizes.passes(lanes)) * each + 64
}

/// Lanes over columns on a software adapter, which runs them one after the other: as many as a vector has
/// values. 8, 32 and 64 differed by less than the noise (llvmpipe, two cores of an AMD EPYC, 2026-11-25).
const SOFTWARE_LANES: u32 = 8;

/// What a kernel asks of a device.
struct Load {
    groups: f64,
    flops: f64,
    bytes: f64,
}

fn seconds(load: &Load, caps: &DeviceCaps) -> f64 {
    let constants = &caps.constants;
    let groups = load.groups.clamp(1.0, f64::from(caps.workgroups_at_once.max(1)));
    let rate = |whole: f64, group: f64| (groups * group).min(whole);
    let compute = load.flops / rate(constants.flops, constants.group_flops);
    let read = load.bytes / rate(constants.cache_bytes, constants.group_cache_bytes);
    if caps.is_software { compute + read } else { compute.max(read) }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn count(size: u64) -> f64 {
    size as f64
}

/// The product with workgroups of `along` lanes over columns and `tiles` row tiles.
///
/// Hardware serves lanes that read one address at once: those of a row their inputs, those of a column
/// their weights, as far as a wave or a core's cache reaches.
fn product(sizes: &Sizes, caps: &DeviceCaps, (rows, [along, tiles]): (RowTile, [u32; 2])) -> Load {
    let per_group = u64::from(rows.rows() * tiles);
    let groups = count(sizes.rows.div_ceil(per_group));
    let invocations = groups * f64::from(tiles * along * sizes.passes(along));
    let (shared, beside) =
        if caps.is_software { (1.0, 1.0) } else { (1.0 / 16.0, f64::from(tiles.min(8))) };
    let inner = f64::from(sizes.inner4);
    let of_rows = f64::from(rows.rows());
    Load {
        groups,
        flops: invocations * inner * of_rows * f64::from(PAIR) * 32.0,
        bytes: VEC * invocations * inner * (f64::from(4 * PAIR) / beside + of_rows * shared),
    }
}

/// Predicted seconds of the ways to compute the layer: fused, apart.
fn predicted(sizes: &Sizes, caps: &DeviceCaps, own: (RowTile, [u32; 2])) -> [f64; 2] {
    let columns4 = f64::from(sizes.columns4());
    let row_vecs = count(sizes.rows) * columns4;
    let mut fused = product(sizes, caps, own);
    let mut apart = product(sizes, caps, (RowTile::Four, [8, 8]));
    apart.groups *= f64::from(sizes.passes(8));
    if !sizes.is_softmax() && sizes.top.is_none() {
        fused.groups *= f64::from(sizes.passes(own.1[0]));
    } else if sizes.top.is_none() && sizes.passes(own.1[0]) > 1 {
        fused.bytes += 2.0 * VEC * row_vecs;
    }
    // Written and read again; softmax reads value by value, twice, and then the row.
    let read = if sizes.is_softmax() && sizes.top.is_none() {
        if caps.is_software { 9.0 } else { 3.0 }
    } else {
        1.0
    };
    let second =
        Load { groups: count(sizes.rows), flops: 0.0, bytes: VEC * row_vecs * (read + 1.0) };
    let apart = seconds(&apart, caps) + seconds(&second, caps) + caps.constants.dispatch;
    [seconds(&fused, caps), apart]
}

impl Builder<'_> {
    /// Adds the output layer over the rows of `a`, `width` values each.
    pub(super) fn head(&mut self, head: HeadSpec, a: Slot, width: usize) -> Result<OutputPlan> {
        let last_only = head.steps.is_per_sequence();
        let steps = if last_only { 1 } else { self.steps };
        let sizes = Sizes {
            rows: u64::from(steps) * u64::from(self.batch),
            inner4: to_u32(width / 4)?,
            columns: to_u32(head.output_size)?,
            activation: head.activation,
            top: self.plan.request.top.map(to_u32).transpose()?,
        };
        let choice = self.head_choice(&sizes);
        let mode = match head.steps {
            HeadSteps::Every => 1,
            HeadSteps::Last => 2,
            HeadSteps::Final => 3,
        };
        let output = match (sizes.top, choice.is_fused) {
            (Some(k), true) => {
                let own = self.own_variant(Kernel::Top, &sizes, &choice, mode)?;
                let top = self.top_buffer(steps, k)?;
                self.head_chunks(&sizes, (a, top), (steps, mode), Some((own, &choice)))?;
                top
            }
            (Some(k), false) => {
                let logits = self.logits_buffer(steps, &sizes)?;
                self.head_chunks(&sizes, (a, logits), (steps, mode), None)?;
                let top = self.top_buffer(steps, k)?;
                self.top_of_stored(&sizes, &choice, (logits, top), (steps, mode))?;
                top
            }
            (None, true) => {
                let own = self.own_variant(Kernel::Head, &sizes, &choice, mode)?;
                let output = self.logits_buffer(steps, &sizes)?;
                self.head_chunks(&sizes, (a, output), (steps, mode), Some((own, &choice)))?;
                output
            }
            (None, false) => {
                let output = self.logits_buffer(steps, &sizes)?;
                self.head_chunks(&sizes, (a, output), (steps, mode), None)?;
                if head.activation != Activation::None {
                    self.activate(&sizes, output)?;
                }
                output
            }
        };
        self.plan.head = Some(choice);
        let (width, block_stride) = match self.plan.request.top {
            Some(k) => (2 * k, 2 * k),
            None => (head.output_size, padded(head.output_size)),
        };
        Ok(OutputPlan { buffer: output, blocks: 1, width, block_stride, last_only })
    }

    /// Picks fused or apart by predicted time.
    fn head_choice(&self, sizes: &Sizes) -> HeadChoice {
        let (rows, workgroup) = shape(sizes, self.caps);
        let [fused, apart] = predicted(sizes, self.caps, (rows, workgroup));
        let what = match sizes.top {
            Some(k) => format!("top {k}"),
            None => sizes.activation.name().to_owned(),
        };
        let choice = |is_fused, reason| HeadChoice { is_fused, rows, workgroup, reason };
        if sizes.top.is_none() && sizes.activation == Activation::None {
            return choice(false, "product alone".into());
        }
        let loops = own_loops(sizes, rows, workgroup[0]);
        if self.caps.loop_limit.is_some_and(|limit| loops + 5_000 > u64::from(limit)) {
            let reason = format!("product, then {what}; one kernel needs {loops} loop iterations");
            return choice(false, reason);
        }
        if self.caps.fuse_output.is_none() && self.takes_tiles() {
            let reason = format!("product with inputs shared by subgroups, then {what}");
            return choice(false, reason);
        }
        let is_fused = self.caps.fuse_output.unwrap_or(fused <= apart);
        let [fused, apart] = [fused, apart].map(strategy::duration);
        let asked = if self.caps.fuse_output.is_some() { ", asked for" } else { "" };
        let reason = if is_fused {
            format!("product and {what} in one kernel{asked}: {fused} predicted; apart {apart}")
        } else {
            format!("product, then {what}{asked}: {apart} predicted; in one kernel {fused}")
        };
        choice(is_fused, reason)
    }

    /// Whether the product takes its form for software adapters (`gemm_tile`), which spares more loads than
    /// a kernel without it spares logits: it was 1.4 to 6 times as fast (llvmpipe, 2026-11-25).
    fn takes_tiles(&self) -> bool {
        let beside = self.choices.last().is_some_and(|c| !c.beside().compiles_fast());
        self.caps.is_software && self.caps.subgroup.is_some() && beside
    }

    fn logits_buffer(&mut self, steps: u32, sizes: &Sizes) -> Result<usize> {
        let columns = 4 * u64::from(sizes.columns4());
        self.buffer("output", &[u64::from(steps), u64::from(self.batch), columns, 4])
    }

    fn top_buffer(&mut self, steps: u32, k: u32) -> Result<usize> {
        self.buffer("top", &[u64::from(steps), u64::from(self.batch), 2, u64::from(k), 4])
    }

    /// The kernel that owns whole rows, as a variant.
    fn own_variant(
        &self,
        kernel: Kernel,
        sizes: &Sizes,
        choice: &HeadChoice,
        mode: u32,
    ) -> Result<Variant> {
        let [x, y] = choice.workgroup;
        let rows = choice.rows.rows();
        let mut variant = Variant::of(kernel);
        variant.rows = Some(choice.rows);
        let kind = kind(sizes.activation);
        variant.overrides = vec![("WG_X", x), ("WG_Y", y), ("MODE", mode), ("KIND", kind)];
        if let Some(k) = sizes.top {
            let parts = (x / 2 * y * rows).max(1);
            variant.consts = vec![("COUNT", k), ("PARTS", parts), ("ITEMS", parts * k)];
            variant.overrides.push(("STORED", 0));
        } else {
            let one_pass = sizes.passes(x) == 1;
            variant.overrides.extend([("ONE_PASS", u32::from(one_pass)), ("PARTS", x * y * rows)]);
        }
        self.check_loops("output layer", own_loops(sizes, choice.rows, x))?;
        Ok(variant)
    }

    /// The product over all rows, chunk by chunk, or the kernel that owns whole rows.
    fn head_chunks(
        &mut self,
        sizes: &Sizes,
        (a, target): (Slot, usize),
        (steps, mode): (u32, u32),
        own: Option<(Variant, &HeadChoice)>,
    ) -> Result<()> {
        let batch = u64::from(self.batch.max(1));
        let per_group = own.as_ref().map_or(8, |(_, choice)| rows_of_group(choice));
        // Rows of the product go along y.
        let by_grid = u64::from(self.caps.max_workgroups) * u64::from(per_group.min(8)) / batch;
        let flops = 32 * u64::from(sizes.inner4) * u64::from(sizes.columns4());
        let step_flops = flops.saturating_mul(batch).max(1);
        let by_work = self.caps.flops_per_submit / step_flops;
        let most = narrow(by_grid.min(by_work).clamp(1, u64::from(steps.max(1))))?;
        let mut first = 0;
        while first < steps {
            let count = most.min(steps - first);
            let block = self.head_block(sizes, (first, count));
            let slots = self.head_slots(a, target);
            match &own {
                Some((variant, choice)) => {
                    let x = if sizes.is_softmax() || sizes.top.is_some() {
                        1
                    } else {
                        sizes.passes(choice.workgroup[0])
                    };
                    let call = self.call(variant.clone(), slots, &block)?;
                    self.dispatch(call, self.rows_grid(mode, x, &block, rows_of_group(choice)))?;
                }
                None => {
                    let beside =
                        self.choices.last().map_or(Strategy::Auto, |choice| choice.strategy);
                    self.gemm(block, slots, Mode { mode, gathers: false }, 1, beside)?;
                }
            }
            let flops = step_flops.saturating_mul(u64::from(count));
            self.plan.ops.push(Op::MaySubmit { first, flops });
            first += count;
        }
        Ok(())
    }

    fn head_block(&self, sizes: &Sizes, (first_step, step_count): (u32, u32)) -> Gemm {
        Gemm {
            batch: self.batch,
            first_step,
            step_count,
            reverse_mask: 0,
            inner4: sizes.inner4,
            columns4: sizes.columns4(),
            vocab: 0,
            zero: 0,
            columns: sizes.columns,
        }
    }

    fn head_slots(&self, a: Slot, target: usize) -> Vec<Slot> {
        let lengths = Slot::Buffer(self.plan.lengths);
        vec![
            a,
            Slot::Weight(WeightId::HeadWeight),
            Slot::Weight(WeightId::HeadBias),
            lengths,
            lengths,
            Slot::Buffer(target),
        ]
    }

    fn rows_grid(&self, mode: u32, x: u32, block: &Gemm, per_group: u32) -> Grid {
        if mode >= 2 {
            return Grid::Fixed([x, ceil_div(self.batch, per_group).max(1), 1]);
        }
        Grid::ChunkRows { x_z: [x, 1], first: block.first_step, count: block.step_count, per_group }
    }

    /// The largest values of rows that the product wrote.
    fn top_of_stored(
        &mut self,
        sizes: &Sizes,
        choice: &HeadChoice,
        (logits, top): (usize, usize),
        (steps, mode): (u32, u32),
    ) -> Result<()> {
        // Rows of one step are read as final states are: at their place in the batch.
        let mode = if mode == 1 { 1 } else { 3 };
        let stored = Sizes { inner4: sizes.columns4(), ..*sizes };
        let loops = Sizes { inner4: 0, ..*sizes };
        let mut variant = self.own_variant(Kernel::Top, &loops, choice, mode)?;
        variant.overrides.retain(|(name, _)| *name != "STORED");
        variant.overrides.push(("STORED", 1));
        let per_group = rows_of_group(choice);
        let most = u64::from(self.caps.max_workgroups) * u64::from(per_group)
            / u64::from(self.batch.max(1));
        let most = narrow(most.clamp(1, u64::from(steps.max(1))))?;
        let mut first = 0;
        while first < steps {
            let count = most.min(steps - first);
            let block = self.head_block(&stored, (first, count));
            let slots = self.head_slots(Slot::Buffer(logits), top);
            let call = self.call(variant.clone(), slots, &block)?;
            self.dispatch(call, self.rows_grid(mode, 1, &block, per_group))?;
            first += count;
        }
        Ok(())
    }

    fn activate(&mut self, sizes: &Sizes, logits: usize) -> Result<()> {
        self.check_loops("output function", u64::from(sizes.columns) / 32 + 64)?;
        let grid_x = sizes.rows.min(u64::from(self.caps.max_workgroups)).max(1);
        let block = Activate {
            rows: narrow(sizes.rows)?,
            columns: sizes.columns,
            columns4: sizes.columns4(),
            grid_x: narrow(grid_x)?,
        };
        let mut variant = Variant::of(Kernel::Activate);
        variant.overrides = vec![("KIND", kind(sizes.activation))];
        let call = self.call(variant, vec![Slot::Buffer(logits)], &block)?;
        let y = narrow(sizes.rows.div_ceil(grid_x))?;
        self.dispatch(call, Grid::Fixed([narrow(grid_x)?, y, 1]))
    }
}

fn rows_of_group(choice: &HeadChoice) -> u32 {
    choice.workgroup[1] * choice.rows.rows()
}
