//! Which driver runs a layer, and why.

use std::ops::Range;

use super::caps::DeviceCaps;
use super::grid::GridShape;
use super::predict;
use super::split;
use super::stationary::{self, StationaryShape};
use super::tile::{self, TileShape};
use super::{ceil_div, grid, matrix, texture, to_u32, wave};
use crate::error::{Error, Result};
use crate::kernel::{Precision, RowTile};
use crate::model::LayerSpec;

/// How the time loop runs on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Strategy {
    /// The planner picks, layer by layer.
    #[default]
    Auto,
    /// One dispatch per time step; works for any size.
    StepPerDispatch,
    /// The whole time loop inside one dispatch, one workgroup per tile of sequences; refused where
    /// the state does not fit workgroup memory.
    Resident,
    /// One dispatch per time step, inputs shared by the lanes of subgroups.
    StepTile,
    /// The whole time loop inside one dispatch, inputs shared by the lanes of subgroups.
    ResidentTile,
    /// The whole time loop inside one dispatch, weights in registers; for small layers.
    Stationary,
    /// One dispatch per time step, the inputs of a unit split over invocations; for few sequences.
    StepSplit,
    /// One dispatch per diagonal of a stack of equal layers: layer l at step s = diagonal − l.
    Wavefront,
    /// The whole time loop inside one dispatch over all workgroups, which wait for one another; weights in
    /// registers. Never picked: it needs [`crate::EngineOptions::grid_persistent`], and a run whose
    /// workgroups did not run side by side is done again without it.
    GridPersistent,
    /// One dispatch per time step with cooperative matrices, in precision f16. Never picked: it needs
    /// [`crate::EngineOptions::cooperative_matrix`].
    StepMatrix,
}

impl Strategy {
    /// Every strategy that can be asked for.
    pub const ALL: [Self; 10] = [
        Self::Auto,
        Self::StepPerDispatch,
        Self::Resident,
        Self::StepTile,
        Self::ResidentTile,
        Self::Stationary,
        Self::StepSplit,
        Self::Wavefront,
        Self::GridPersistent,
        Self::StepMatrix,
    ];

    /// Every driver that takes no permission: what [`Strategy::Auto`] picks from.
    pub const DRIVERS: [Self; 7] = [
        Self::StepPerDispatch,
        Self::Resident,
        Self::StepTile,
        Self::ResidentTile,
        Self::Stationary,
        Self::StepSplit,
        Self::Wavefront,
    ];

    /// Tells whether its shaders are short enough for a software adapter to compile in a moment.
    pub const fn compiles_fast(self) -> bool {
        matches!(self, Self::Auto | Self::StepPerDispatch | Self::Resident)
    }

    /// Tells whether each time step is a dispatch of its own.
    pub const fn is_step(self) -> bool {
        matches!(
            self,
            Self::StepPerDispatch
                | Self::StepTile
                | Self::StepSplit
                | Self::Wavefront
                | Self::StepMatrix
        )
    }

    /// Returns the strategy of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// Returns the name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::StepPerDispatch => "step",
            Self::Resident => "resident",
            Self::StepTile => "step-tile",
            Self::ResidentTile => "resident-tile",
            Self::Stationary => "stationary",
            Self::StepSplit => "step-split",
            Self::Wavefront => "wavefront",
            Self::GridPersistent => "grid-persistent",
            Self::StepMatrix => "step-matrix",
        }
    }
}

/// How one layer runs.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerChoice {
    /// Never [`Strategy::Auto`].
    pub strategy: Strategy,
    /// Rows per invocation.
    pub rows: RowTile,
    /// Row tiles of a workgroup.
    pub row_tiles: u32,
    /// Workgroup size along units, and along row tiles or slices.
    pub workgroup: [u32; 2],
    /// Sizes of a tile kernel, where the strategy is one.
    pub tile: Option<TileShape>,
    /// Sizes of the loop with weights in registers, where that is the strategy.
    pub stationary: Option<StationaryShape>,
    /// Sizes of the loop over the whole device, where that is the strategy.
    pub grid: Option<GridShape>,
    /// The driver that is asked whether other kernels may take as long to compile, where it is not this one.
    pub(crate) beside: Option<Strategy>,
    /// Whether drivers that compile for a second were left out, because the run is too short for them.
    pub leaves_slow_out: bool,
    /// Seconds that a time step takes by the model of `plan/predict.rs`.
    pub step_seconds: f64,
    /// The strategies that were not taken, those that take the layer first, the fastest of them ahead.
    pub rivals: Vec<Rival>,
    /// The kernel of the input projection; empty where a diagonal computes it.
    pub input_kernel: &'static str,
    /// Why this strategy: its predicted time, that of the others, and what those that are out need.
    pub reason: String,
}

/// A strategy that was not taken for a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Rival {
    /// Which.
    pub strategy: Strategy,
    /// Seconds that a time step would take, as predicted; or what the strategy needs.
    pub step_seconds: std::result::Result<f64, String>,
}

impl std::fmt::Display for Rival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.strategy.name();
        match &self.step_seconds {
            Ok(seconds) if Strategy::DRIVERS.contains(&self.strategy) => {
                write!(f, "{name} {}", duration(*seconds))
            }
            Ok(seconds) => write!(f, "{name} {}, only where asked for", duration(*seconds)),
            Err(needs) => write!(f, "{name} needs {needs}"),
        }
    }
}

impl LayerChoice {
    /// A choice without the sizes of a register tile, and nothing predicted.
    pub(super) fn new(
        strategy: Strategy,
        rows: RowTile,
        row_tiles: u32,
        workgroup: [u32; 2],
    ) -> Self {
        Self {
            strategy,
            rows,
            row_tiles,
            workgroup,
            tile: None,
            stationary: None,
            grid: None,
            beside: None,
            leaves_slow_out: false,
            step_seconds: 0.0,
            rivals: Vec::new(),
            input_kernel: "",
            reason: String::new(),
        }
    }

    /// The driver beside which a layer's other kernels compile.
    pub(super) fn beside(&self) -> Strategy {
        self.beside.unwrap_or(self.strategy)
    }

    /// Returns the rows of one workgroup.
    pub fn tile_rows(&self) -> u32 {
        self.row_tiles * self.rows.rows()
    }
}

/// Threads below which a step is latency-bound on hardware: about one wave per core of a mid-size GPU.
const FEW_THREADS: u64 = 16_384;

/// Seconds that a run must gain before a software adapter compiles kernels that take it up to three: batches and
/// frames mostly come ten thousand times, and a driver on disk keeps what was compiled.
pub const WORTH_COMPILING: f64 = 0.1e-3;

/// What the planner is asked to run layers with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) batch: u32,
    pub(super) steps: u32,
    pub(super) strategy: Strategy,
    pub(super) precision: Precision,
    /// Whether kernels may read textures.
    pub(super) has_textures: bool,
    /// Whether the input projection is a row of W_ih for each token, and no product.
    pub(super) gathers_input: bool,
}

/// Picks the drivers of a network's layers: those that were asked for, or those with the least predicted
/// time.
///
/// # Errors
/// `Unsupported` when the ask names a strategy that a layer or the device refuses.
pub(super) fn choose_all(
    layers: &[LayerSpec],
    ask: Ask,
    caps: &DeviceCaps,
) -> Result<Vec<LayerChoice>> {
    let stacks = wave::stacks(layers);
    if ask.strategy == Strategy::Wavefront {
        return wanted_wave(layers, &stacks, ask, caps);
    }
    let mut choices = choose_each(layers, ask, caps)?;
    for (index, choice) in choices.iter_mut().enumerate() {
        if !stacks.iter().any(|stack| stack.contains(&index)) {
            wave::refuse(choice, wave::NEEDS.into());
        }
    }
    if ask.strategy == Strategy::Auto {
        for stack in stacks {
            wave::consider(&layers[stack.clone()], &mut choices[stack], ask, caps);
        }
    }
    Ok(choices)
}

/// Picks a driver of its own for every layer.
///
/// # Errors
/// As [`choose`].
pub(super) fn choose_each(
    layers: &[LayerSpec],
    ask: Ask,
    caps: &DeviceCaps,
) -> Result<Vec<LayerChoice>> {
    let of = |(index, spec): (usize, &LayerSpec)| {
        // Tokens enter the first layer alone.
        let ask = Ask { gathers_input: ask.gathers_input && index == 0, ..ask };
        choose(spec, ask, caps)
    };
    layers.iter().enumerate().map(of).collect()
}

/// The wavefront over every stack, when the stacks hold every layer.
fn wanted_wave(
    layers: &[LayerSpec],
    stacks: &[Range<usize>],
    ask: Ask,
    caps: &DeviceCaps,
) -> Result<Vec<LayerChoice>> {
    let refuse =
        |needs: String| Error::unsupported(format!("strategy wavefront: expected {needs}"));
    if stacks.iter().map(ExactSizeIterator::len).sum::<usize>() < layers.len() {
        return Err(refuse(wave::NEEDS.into()));
    }
    let mut choices = Vec::new();
    for stack in stacks {
        let choice = wave::choice(&layers[stack.clone()], ask, caps).map_err(refuse)?;
        let choice = LayerChoice { reason: "wavefront: asked for".into(), ..choice };
        choices.extend(stack.clone().map(|_| choice.clone()));
    }
    Ok(choices)
}

/// Picks the driver of a layer: the one that was asked for, or the one with the least predicted time.
///
/// # Errors
/// `Unsupported` when the ask names a strategy that this layer or device refuses.
pub(super) fn choose(spec: &LayerSpec, ask: Ask, caps: &DeviceCaps) -> Result<LayerChoice> {
    let is_own = |strategy: &Strategy| !matches!(strategy, Strategy::Auto | Strategy::Wavefront);
    let all = Strategy::ALL.into_iter().filter(is_own);
    let mut shapes: Vec<_> = all.map(|s| (s, shape(spec, ask, caps, s))).collect();
    let (wanted, leaves_slow_out) = match ask.strategy {
        Strategy::Auto => pick(spec, ask, caps, &shapes),
        asked => (asked, false),
    };
    let at = shapes.iter().position(|(strategy, _)| *strategy == wanted);
    let (_, chosen) = shapes.swap_remove(at.unwrap_or(0));
    let chosen = chosen.map_err(|refusal| {
        Error::unsupported(format!("strategy {}: expected {refusal}", wanted.name()))
    })?;
    let mut rivals: Vec<Rival> = shapes
        .into_iter()
        .map(|(strategy, shape)| Rival { strategy, step_seconds: shape.map(|c| c.step_seconds) })
        .collect();
    let order = |rival: &Rival| rival.step_seconds.clone().unwrap_or(f64::INFINITY);
    rivals.sort_by(|a, b| order(a).total_cmp(&order(b)));
    let asked = if ask.strategy == Strategy::Auto { "" } else { "asked for, " };
    let own =
        format!("{}: {asked}{} a step predicted", wanted.name(), duration(chosen.step_seconds));
    let slow = leaves_slow_out.then(|| {
        let gain = duration(WORTH_COMPILING);
        format!("drivers that compile for seconds must gain {gain} of a run")
    });
    let parts: Vec<String> =
        std::iter::once(own).chain(rivals.iter().map(Rival::to_string)).chain(slow).collect();
    Ok(LayerChoice { reason: parts.join("; "), rivals, leaves_slow_out, ..chosen })
}

/// A strategy with its sizes for a layer, or what it would need.
type Shaped = (Strategy, std::result::Result<LayerChoice, String>);

/// Picks the strategy with the least predicted time, and tells whether those that compile for seconds were left out.
/// Step per dispatch takes every layer.
fn pick(spec: &LayerSpec, ask: Ask, caps: &DeviceCaps, shapes: &[Shaped]) -> (Strategy, bool) {
    let input = InputSeconds::of(spec, ask, caps);
    // Of a step, its input projection included: on a software adapter the driver decides how that is computed.
    let total = |choice: &LayerChoice| choice.step_seconds + input.beside(choice.strategy);
    let least = |takes: fn(Strategy) -> bool| {
        let takes = |s: &&Shaped| Strategy::DRIVERS.contains(&s.0) && takes(s.0);
        let choices = shapes.iter().filter(takes).filter_map(|(_, shape)| shape.as_ref().ok());
        choices.map(|c| (c.strategy, total(c))).min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let best = least(|_| true).unwrap_or((Strategy::StepPerDispatch, 0.0));
    let quick = least(Strategy::compiles_fast).unwrap_or(best);
    let gain = f64::from(ask.steps) * (quick.1 - best.1);
    let is_left_out = caps.is_software && gain < WORTH_COMPILING;
    (if is_left_out { quick.0 } else { best.0 }, is_left_out)
}

/// Predicted seconds of a step's input projection on a software adapter, by the kernel that computes it; on hardware it
/// is the same for all drivers, and left out, as a gather of rows is.
struct InputSeconds {
    quick: f64,
    tiled: f64,
}

impl InputSeconds {
    fn of(spec: &LayerSpec, ask: Ask, caps: &DeviceCaps) -> Self {
        if !caps.is_software || ask.gathers_input {
            return Self { quick: 0.0, tiled: 0.0 };
        }
        // All steps are rows of one product.
        let rows = Ask { batch: ask.batch.saturating_mul(ask.steps).min(1 << 16), ..ask };
        let steps = f64::from(rows.batch) / f64::from(ask.batch.max(1));
        let seconds = |strategy| {
            let choice = shape(spec, rows, caps, strategy).ok()?;
            Some(predict::input_seconds_by(spec, rows, caps, &choice) / steps.max(1.0))
        };
        let quick = seconds(Strategy::StepPerDispatch).unwrap_or(0.0);
        Self { quick, tiled: seconds(Strategy::StepTile).unwrap_or(quick) }
    }

    const fn beside(&self, strategy: Strategy) -> f64 {
        if strategy.compiles_fast() { self.quick } else { self.tiled }
    }
}

/// Writes seconds with a unit.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.3} us", s * 1e6),
        s => format!("{:.3} ms", s * 1e3),
    }
}

/// Shapes the driver of a strategy for a layer with its predicted time, or says what it would need.
fn shape(
    spec: &LayerSpec,
    ask: Ask,
    caps: &DeviceCaps,
    strategy: Strategy,
) -> std::result::Result<LayerChoice, String> {
    let batch = ask.batch;
    let choice = match strategy {
        Strategy::Auto | Strategy::StepPerDispatch => {
            step(spec, batch, caps).map_err(|e| e.to_string())
        }
        Strategy::Resident => resident(spec, ask, caps),
        Strategy::StepTile | Strategy::ResidentTile => tile(spec, ask, caps, strategy),
        Strategy::Stationary => stationary(spec, batch, caps),
        Strategy::StepSplit => plain_pointwise(spec).and_then(|()| split::layer(spec, batch, caps)),
        Strategy::Wavefront => Err(wave::NEEDS.into()),
        Strategy::GridPersistent => grid::layer(spec, batch, caps),
        Strategy::StepMatrix => matrix::layer(spec, ask.precision, caps),
    }?;
    let step_seconds = predict::step_seconds(spec, ask, caps, &choice);
    Ok(LayerChoice { step_seconds, ..choice })
}

pub(super) fn padded4(size: usize) -> Result<u32> {
    to_u32(size.div_ceil(4))
}

fn step(spec: &LayerSpec, batch: u32, caps: &DeviceCaps) -> Result<LayerChoice> {
    let units4 = padded4(spec.hidden_size)?;
    let threads = u64::from(units4) * u64::from(batch) * spec.direction.count() as u64;
    let rows = if caps.is_software || threads >= 8 * FEW_THREADS {
        tile_for(batch)
    } else if threads >= 2 * FEW_THREADS {
        tile_for(batch.min(2))
    } else {
        RowTile::One
    };
    let x = units4.next_power_of_two().min(64);
    let y = (64 / x).min(ceil_div(batch, rows.rows()).next_power_of_two()).max(1);
    Ok(LayerChoice::new(Strategy::StepPerDispatch, rows, y, [x, y]))
}

/// Shapes the tile driver for a layer, or says what it would need.
fn tile(
    spec: &LayerSpec,
    ask: Ask,
    caps: &DeviceCaps,
    strategy: Strategy,
) -> std::result::Result<LayerChoice, String> {
    plain_pointwise(spec)?;
    let batch = ask.batch;
    let lanes = tile::lanes(caps)?;
    let words = |e: Error| e.to_string();
    let gates = to_u32(spec.cell.gates()).map_err(words)?;
    let units4 = padded4(spec.hidden_size).map_err(words)?;
    let spread = strategy == Strategy::StepTile;
    let directions = u32::try_from(spec.direction.count()).unwrap_or(1);
    // A resident loop has only its tiles to fill the device with.
    let share = ceil_div(batch.saturating_mul(directions), caps.workgroups_at_once.max(1));
    let rows = if spread { batch } else { batch.min(share) };
    let (rows, mut tile) = tile::shape(caps, lanes, (rows, gates, units4), spread);
    let values = texture::layer_values(spec, batch);
    tile.from_textures =
        ask.has_textures && values.iter().all(|values| texture::holds(*values, caps));
    let workgroup = [tile.lanes * tile.subgroups, 1];
    let choice = LayerChoice::new(strategy, rows, tile.groups, workgroup);
    Ok(LayerChoice { tile: Some(tile), ..choice })
}

/// Shapes the loop with weights in registers for a layer, or says what it would need.
fn stationary(
    spec: &LayerSpec,
    batch: u32,
    caps: &DeviceCaps,
) -> std::result::Result<LayerChoice, String> {
    plain_pointwise(spec)?;
    let (rows, shape) = stationary::shape(spec, batch, caps)?;
    let workgroup = [shape.units, shape.slices];
    let choice = LayerChoice::new(Strategy::Stationary, rows, 1, workgroup);
    Ok(LayerChoice { stationary: Some(shape), ..choice })
}

/// What the loops without drivers of their own for second products and statistics need.
pub(super) fn plain_pointwise(spec: &LayerSpec) -> std::result::Result<(), String> {
    if !spec.cell.spec().pointwise {
        return Err(format!("a point-wise cell, {} has a second product in each step", spec.cell));
    }
    if spec.options.layer_norm.is_some() {
        return Err(
            "a layer without normalisation (its statistics need a driver of their own)".into()
        );
    }
    if spec.proj_size > 0 {
        return Err(
            "a layer without projection (its second product needs a driver of its own)".into()
        );
    }
    Ok(())
}

pub(super) fn tile_for(batch: u32) -> RowTile {
    match batch {
        0 | 1 => RowTile::One,
        2 | 3 => RowTile::Two,
        _ => RowTile::Four,
    }
}

/// Shapes the resident driver for a layer, or says what it would need.
fn resident(
    spec: &LayerSpec,
    ask: Ask,
    caps: &DeviceCaps,
) -> std::result::Result<LayerChoice, String> {
    plain_pointwise(spec)?;
    let units4 = padded4(spec.hidden_size).map_err(|e| e.to_string())?;
    let batch = ask.batch;
    // Two copies of h.
    let row_bytes = u64::from(units4) * u64::from(8 * ask.precision.bytes());
    let fitting = u64::from(caps.workgroup_storage) / row_bytes;
    if fitting == 0 {
        return Err(format!(
            "{row_bytes} bytes of workgroup memory per sequence, the device has {}",
            caps.workgroup_storage
        ));
    }
    let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
    // Tiles that fill the device come before tiles that share weight loads: on llvmpipe (two
    // cores, 2026-11-23) an LSTM of 256 units, B = 8, took 30.9 ms for 32 steps in one tile of eight
    // rows and 22.0 ms in two of four.
    let directions = u32::try_from(spec.direction.count()).unwrap_or(1);
    let share = ceil_div(batch.saturating_mul(directions), caps.workgroups_at_once.max(1)).max(1);
    let rows = tile_for(batch.min(fitting).min(share));
    let x = units4.next_power_of_two().min(if caps.is_software { 32 } else { 128 });
    let most = (caps.max_invocations / x).min(fitting / rows.rows());
    let wanted = ceil_div(batch, rows.rows());
    // Beyond 8 rows a tile gains little: a middle that needs no calibration.
    let y = wanted.min(most).min(ceil_div(share, rows.rows())).min(8 / rows.rows()).max(1);
    Ok(LayerChoice::new(Strategy::Resident, rows, y, [x, y]))
}
