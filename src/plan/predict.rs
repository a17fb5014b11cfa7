//! The predicted time of a time step: what a driver computes, reads and waits for, by the device's
//! constants.
//!
//! ```text
//! step = wait + compute + read          on a software adapter, which does one after the other
//! step = wait + max(compute, read)      on hardware, which overlaps them
//! compute = flops / P    read = bytes / BW, of buffers and of textures    wait = a barrier or a dispatch
//! ```
//! P and BW are the device's, or those of the workgroups that there are where these do not fill it.
//! Bytes are those of the load instructions: a value that sixteen invocations load counts sixteen times on
//! a software adapter; hardware serves all lanes that read one address at once.

use super::caps::DeviceCaps;
use super::grid::GridShape;
use super::split;
use super::stationary::StationaryShape;
use super::strategy::{Ask, LayerChoice, Strategy};
use super::tile::TileShape;
use crate::model::LayerSpec;

/// What one time step of a layer asks of the device.
struct Load {
    /// Workgroups that run side by side.
    groups: f64,
    flops: f64,
    /// Through buffers.
    bytes: f64,
    /// Through textures.
    texture_bytes: f64,
    /// Seconds of waiting.
    wait: f64,
}

/// Bytes of a vec4.
const VEC: f64 = 16.0;
/// Operations of a 4×4 block of weights with one row.
const BLOCK_FLOPS: f64 = 32.0;

/// Returns the predicted seconds of one time step, every row running.
pub(super) fn step_seconds(
    spec: &LayerSpec,
    ask: Ask,
    caps: &DeviceCaps,
    choice: &LayerChoice,
) -> f64 {
    seconds(&load(spec, ask, caps, choice), caps)
}

/// Returns the predicted seconds of a diagonal of `layers` layers, every row running.
pub(super) fn diagonal_seconds(
    spec: &LayerSpec,
    layers: usize,
    ask: Ask,
    caps: &DeviceCaps,
    choice: &LayerChoice,
) -> f64 {
    let sizes = Sizes::new(spec, ask, choice);
    let sizes = Sizes { tiles: sizes.tiles * count(layers), ..sizes };
    seconds(&split_load(&sizes, caps, choice, 2.0), caps)
}

/// Returns the predicted seconds of the input projection of one time step, many steps at once.
pub(super) fn input_seconds(spec: &LayerSpec, batch: u32, caps: &DeviceCaps) -> f64 {
    let rows = count(spec.gate_rows()) * count(spec.direction.count());
    2.0 * rows * count(spec.input_size) * f64::from(batch) / caps.constants.flops
}

/// Returns the predicted seconds of an input projection whose kernel reads and computes as a step of `choice` does.
pub(super) fn input_seconds_by(
    spec: &LayerSpec,
    ask: Ask,
    caps: &DeviceCaps,
    choice: &LayerChoice,
) -> f64 {
    let load = Load { wait: 0.0, ..load(spec, ask, caps, choice) };
    seconds(&load, caps) * count(spec.input_size) / count(spec.state_size())
}

fn seconds(load: &Load, caps: &DeviceCaps) -> f64 {
    let groups = load.groups.min(f64::from(caps.workgroups_at_once.max(1)));
    let constants = &caps.constants;
    let rate = |whole: f64, group: f64| (groups * group).min(whole);
    let compute = load.flops / rate(constants.flops, constants.group_flops);
    let buffers = rate(constants.cache_bytes, constants.group_cache_bytes);
    let textures = buffers * constants.texture_bytes / constants.cache_bytes;
    let read = load.bytes / buffers + load.texture_bytes / textures;
    load.wait + if caps.is_software { compute + read } else { compute.max(read) }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn count(size: usize) -> f64 {
    size as f64
}

/// The sizes that every driver counts with.
struct Sizes {
    gates: f64,
    units4: f64,
    state4: f64,
    /// Rows of an invocation's register tile.
    rows: f64,
    directions: f64,
    /// Tiles of sequences, over all directions.
    tiles: f64,
    /// vec4s of a 4×4 block of weights.
    block: f64,
}

impl Sizes {
    fn new(spec: &LayerSpec, ask: Ask, choice: &LayerChoice) -> Self {
        let directions = count(spec.direction.count());
        Self {
            gates: count(spec.cell.gates()),
            units4: count(spec.hidden_size.div_ceil(4)),
            state4: count(spec.state_size().div_ceil(4)),
            rows: f64::from(choice.rows.rows()),
            directions,
            tiles: f64::from(ask.batch.div_ceil(choice.tile_rows())) * directions,
            block: f64::from(ask.precision.bytes()),
        }
    }

    /// vec4s that a unit's update reads and writes: input gates, biases, states.
    fn update(&self) -> f64 {
        self.gates * 2.0 + 4.0
    }
}

fn load(spec: &LayerSpec, ask: Ask, caps: &DeviceCaps, choice: &LayerChoice) -> Load {
    let sizes = Sizes::new(spec, ask, choice);
    if choice.strategy == Strategy::StepMatrix {
        return matrix_load(&sizes, caps);
    }
    if let Some(grid) = choice.grid {
        return grid_load(&sizes, caps, choice, grid);
    }
    match (choice.tile, choice.stationary) {
        (Some(tile), _) => tile_load(&sizes, caps, choice, tile),
        (None, Some(shape)) => stationary_load(&sizes, caps, shape),
        (None, None) if choice.strategy == Strategy::StepSplit => {
            split_load(&sizes, caps, choice, 1.0)
        }
        (None, None) => {
            let row_tiles = f64::from(ask.batch.div_ceil(choice.rows.rows())) * sizes.directions;
            direct_load(&sizes, spec, caps, choice, row_tiles)
        }
    }
}

/// What a load counts that neighbouring lanes share.
const fn shared(caps: &DeviceCaps) -> f64 {
    if caps.is_software { 1.0 } else { 1.0 / 16.0 }
}

/// A step, or a diagonal, of `products` products whose inputs are split over slices.
fn split_load(sizes: &Sizes, caps: &DeviceCaps, choice: &LayerChoice, products: f64) -> Load {
    let [along_units, slices] = choice.workgroup.map(f64::from);
    let invocations = sizes.units4 * sizes.tiles;
    let product = sizes.state4 * (sizes.block * sizes.gates + sizes.rows * shared(caps));
    let lanes = if choice.strategy == Strategy::StepSplit {
        split::lanes(choice.workgroup, caps)
    } else {
        1
    };
    // Slices halve again and again, or subgroups hand one part each over.
    let (handing, barriers) = if lanes > 1 {
        (along_units * slices / f64::from(lanes), 1.0)
    } else {
        (slices, 2.0 * slices.log2())
    };
    let handed = (handing - 1.0) * sizes.gates * sizes.rows * 2.0;
    let each = products * (product + handed) + sizes.rows * sizes.update();
    Load {
        groups: sizes.tiles * (sizes.units4 / along_units).ceil(),
        flops: products * invocations * sizes.state4 * sizes.gates * sizes.rows * BLOCK_FLOPS,
        bytes: VEC * invocations * each,
        texture_bytes: 0.0,
        wait: caps.constants.dispatch + products * barriers * caps.constants.barrier,
    }
}

fn tile_load(sizes: &Sizes, caps: &DeviceCaps, choice: &LayerChoice, tile: TileShape) -> Load {
    let row_count = sizes.rows * f64::from(tile.groups);
    let (lanes, columns) = (f64::from(tile.lanes), f64::from(tile.columns));
    let width = f64::from(tile.width4());
    let parts = (sizes.units4 / width).ceil();
    // Invocations, each with `columns` groups of units and all rows of its tile.
    let invocations = parts * width / columns * sizes.tiles;
    let blocks = invocations * sizes.state4 * sizes.gates * columns;
    let inputs = invocations * sizes.state4 * row_count / lanes;
    let is_step = choice.strategy == Strategy::StepTile;
    let weights = blocks * sizes.block;
    let update = invocations * columns * row_count * sizes.update();
    let (buffers, textures) = if tile.from_textures {
        // The states are written once more, at about the cost of a load.
        (update + invocations * columns * row_count, weights + inputs)
    } else {
        (weights + inputs + update, 0.0)
    };
    Load {
        groups: parts * sizes.tiles,
        flops: blocks * row_count * BLOCK_FLOPS,
        bytes: VEC * buffers,
        texture_bytes: VEC * textures,
        wait: if is_step { caps.constants.dispatch } else { caps.constants.barrier },
    }
}

fn stationary_load(sizes: &Sizes, caps: &DeviceCaps, shape: StationaryShape) -> Load {
    let invocations = f64::from(shape.units * shape.slices) * sizes.tiles;
    let blocks = invocations * f64::from(shape.shares * shape.lanes) * sizes.gates;
    let inputs = f64::from(shape.shares) * if shape.lanes > 1 { 1.0 } else { shared(caps) };
    // Sums of the other slices, written and read.
    let parts = f64::from(shape.slices - 1) * sizes.gates * 2.0;
    let owned = sizes.units4 * sizes.tiles * sizes.rows;
    Load {
        groups: sizes.tiles,
        flops: blocks * sizes.rows * BLOCK_FLOPS,
        bytes: VEC * (invocations * inputs * sizes.rows + owned * (sizes.gates + 2.0 + parts)),
        texture_bytes: 0.0,
        wait: caps.constants.barrier * if shape.slices > 1 { 2.0 } else { 1.0 },
    }
}

/// Multiply-adds of cooperative matrices, to those of ordinary instructions: what the data sheets of GPUs with
/// matrix units say, roughly.
const MATRIX_RATE: f64 = 8.0;

/// A step with cooperative matrices: blocks of 64 units, tiles of 16 rows.
fn matrix_load(sizes: &Sizes, caps: &DeviceCaps) -> Load {
    let groups = (sizes.units4 / 16.0).ceil() * sizes.tiles;
    let inputs = (sizes.state4 / 4.0).ceil() * 4.0;
    // A group of inputs: 4 x 64 weights a gate, in f16; 16 rows of h.
    let brought = groups * inputs * (sizes.gates * 4.0 * 16.0 * sizes.block / 4.0 + 16.0);
    let owned = sizes.units4 * sizes.tiles * 16.0;
    Load {
        groups,
        flops: groups * inputs * sizes.gates * 16.0 * 16.0 * BLOCK_FLOPS / MATRIX_RATE,
        bytes: VEC * (brought + owned * sizes.update()),
        texture_bytes: 0.0,
        wait: caps.constants.dispatch + inputs / 4.0 * 2.0 * caps.constants.barrier,
    }
}

/// A step of the loop over the whole device: every workgroup reads all states of its rows.
fn grid_load(sizes: &Sizes, caps: &DeviceCaps, choice: &LayerChoice, grid: GridShape) -> Load {
    let [along_units, slices] = choice.workgroup.map(f64::from);
    let row_tiles = sizes.tiles / sizes.directions;
    let turns = (row_tiles / f64::from(grid.tile_groups)).ceil();
    let groups = f64::from(grid.blocks) * f64::from(grid.tile_groups) * sizes.directions;
    let gathered = groups * turns * sizes.rows * sizes.state4;
    let handed = (slices - 1.0) * sizes.gates * sizes.rows * 2.0;
    let owned = sizes.units4 * sizes.tiles;
    let blocks = groups * along_units * slices * f64::from(grid.shares) * sizes.gates;
    // A word travels to another core and back, about as long as a dispatch waits for the one before.
    let step = caps.constants.dispatch + (2.0 + 2.0 * slices.log2()) * caps.constants.barrier;
    Load {
        groups,
        flops: blocks * turns * sizes.rows * BLOCK_FLOPS,
        bytes: VEC * (gathered + owned * (handed + sizes.rows * sizes.update())),
        texture_bytes: 0.0,
        wait: turns * step,
    }
}

/// Loads of the resident loop on a software adapter, to those of a step: its states come from workgroup memory, which
/// costs a software adapter more than the cache. Steps took 1.15 to 1.25 times less beside their dispatch
/// (llvmpipe, two cores of an AMD EPYC with AVX-512, 2026-11-27).
const RESIDENT_LOADS: f64 = 1.2;

fn direct_load(
    sizes: &Sizes,
    spec: &LayerSpec,
    caps: &DeviceCaps,
    choice: &LayerChoice,
    row_tiles: f64,
) -> Load {
    let invocations = sizes.units4 * row_tiles;
    let is_resident = choice.strategy == Strategy::Resident;
    // A second product, a projection or statistics take a second dispatch.
    let has_second =
        !spec.cell.spec().pointwise || spec.proj_size > 0 || spec.options.layer_norm.is_some();
    let dispatches = if has_second { 2.0 } else { 1.0 };
    let loads = if is_resident && caps.is_software { RESIDENT_LOADS } else { 1.0 };
    let [along_units, along_rows] = choice.workgroup.map(f64::from);
    let parts = if is_resident { 1.0 } else { (sizes.units4 / along_units).ceil() };
    let each = sizes.state4 * (sizes.block * sizes.gates + sizes.rows * shared(caps))
        + sizes.rows * sizes.update();
    Load {
        groups: (row_tiles / along_rows).ceil() * parts,
        flops: invocations * sizes.state4 * sizes.gates * sizes.rows * BLOCK_FLOPS,
        bytes: VEC * invocations * each * loads,
        texture_bytes: 0.0,
        wait: if is_resident {
            caps.constants.barrier
        } else {
            caps.constants.dispatch * dispatches
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;
    use crate::kernel::Precision;
    use crate::plan::strategy::choose;

    fn ask(batch: u32, strategy: Strategy) -> Ask {
        let precision = Precision::F32;
        Ask { batch, steps: 100, strategy, precision, has_textures: false, gathers_input: false }
    }

    #[test]
    fn half_the_weight_bytes_take_less_time_where_they_decide() {
        let caps = DeviceCaps::webgpu_default();
        let spec = LayerSpec::new(Cell::Lstm, 1024).input(64);
        let seconds = |precision| {
            let ask = Ask { precision, ..ask(1, Strategy::StepSplit) };
            choose(&spec, ask, &caps).expect("takes the layer").step_seconds
        };
        assert!(seconds(Precision::F16) < 0.7 * seconds(Precision::F32));
    }

    fn seconds(caps: &DeviceCaps, hidden: usize, batch: u32, strategy: Strategy) -> f64 {
        let spec = LayerSpec::new(Cell::RnnTanh, hidden).input(hidden);
        choose(&spec, ask(batch, strategy), caps).expect("takes the layer").step_seconds
    }

    #[test]
    fn more_work_takes_longer_and_waiting_is_the_least() {
        let caps = DeviceCaps::webgpu_default();
        for strategy in [Strategy::StepPerDispatch, Strategy::Resident] {
            let small = seconds(&caps, 64, 1, strategy);
            assert!(small > caps.constants.barrier, "{small}");
            assert!(seconds(&caps, 512, 64, strategy) > small);
        }
        let step = seconds(&caps, 16, 1, Strategy::StepPerDispatch);
        assert!(step >= caps.constants.dispatch, "{step}");
        assert!(seconds(&caps, 16, 1, Strategy::Resident) < step);
    }

    #[test]
    fn a_device_that_waits_long_prefers_the_resident_loop() {
        let mut caps = DeviceCaps::webgpu_default();
        let choice = |caps: &DeviceCaps| {
            let spec = LayerSpec::new(Cell::Lstm, 300).input(64);
            choose(&spec, ask(4, Strategy::Auto), caps).expect("takes the layer").strategy
        };
        caps.constants.dispatch = 1.0;
        assert_ne!(choice(&caps), Strategy::StepPerDispatch);
        caps.constants.dispatch = 1e-12;
        caps.constants.barrier = 1.0;
        assert_eq!(choice(&caps), Strategy::StepPerDispatch);
    }
}
