//! Every state of every layer at every time step.
//!
//! A network that reads forward is run one step at a time, its states carried along. Where a layer
//! reads backwards the whole sequence is needed: the layers up to each one are run as a network of
//! their own, whose output at step t is the state h at step t.

use wgpu_rnn::{Batch, Cell, Engine, Model, Result, States};

use crate::data::{Values, Wanted};
use crate::run::to_batch;

/// One direction of one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    /// The layer.
    pub(super) layer: usize,
    /// The direction within the layer.
    pub(super) direction: usize,
    /// The cell.
    pub(super) cell: Cell,
    /// Whether it reads the last step first.
    pub(super) reverse: bool,
}

impl Lane {
    /// Names the lane: layer where there are several, arrow where there are directions.
    pub(super) fn name(&self, several: bool, directed: bool) -> String {
        let layer = if several { format!("layer {}", self.layer) } else { String::new() };
        let arrow = match (directed, self.reverse) {
            (false, _) => "",
            (true, false) => " →",
            (true, true) => " ←",
        };
        format!("{layer}{arrow}").trim_start().to_owned()
    }
}

/// The state of one lane after one step.
#[derive(Clone, Debug, Default)]
pub(super) struct LaneState {
    /// h.
    pub(super) h: Vec<f32>,
    /// c, for LSTM layers of networks that read forward.
    pub(super) c: Option<Vec<f32>>,
}

/// One time step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// New states, one per lane.
    pub(super) states: Vec<LaneState>,
    /// The output, where the network gives one for this step.
    pub(super) output: Option<Vec<f32>>,
}

/// A sequence on its way through a network.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    /// The lanes, first layer first.
    pub(super) lanes: Vec<Lane>,
    /// The time steps.
    pub(super) steps: Vec<Step>,
}

impl Trace {
    /// Returns the state that step `t` of `lane` starts from; `None` stands for zeros.
    pub(super) fn before(&self, t: usize, lane: usize) -> Option<&LaneState> {
        let place = if self.lanes[lane].reverse { t.checked_add(1)? } else { t.checked_sub(1)? };
        self.steps.get(place).map(|step| &step.states[lane])
    }
}

/// Runs `values` through `model` and keeps everything.
///
/// # Errors
/// What a run gives.
pub(super) fn walk(engine: &Engine, model: &Model, values: &Values) -> Result<Trace> {
    let steps = if model.is_forward() {
        step_by_step(engine, model, values)?
    } else {
        by_layers(engine, model, values)?
    };
    let lanes = model.layers().iter().enumerate().flat_map(|(layer, weights)| {
        let spec = weights.spec();
        (0..spec.direction.count()).map(move |direction| Lane {
            layer,
            direction,
            cell: spec.cell,
            reverse: spec.direction.is_reverse(direction),
        })
    });
    Ok(Trace { lanes: lanes.collect(), steps })
}

fn step_by_step(engine: &Engine, model: &Model, values: &Values) -> Result<Vec<Step>> {
    let loaded = engine.load(model)?;
    let wanted = Wanted::of(model);
    let mut states = States::zeros(model, 1);
    let mut steps = Vec::new();
    for one in split(values, wanted.features) {
        let output = loaded.run_blocking(&to_batch(&[&one], &wanted)?.with_initial(states))?;
        states = output.states;
        let lanes = states.h.iter().zip(&states.c).map(|(h, c)| LaneState {
            h: h.data().to_vec(),
            c: c.as_ref().map(|c| c.data().to_vec()),
        });
        steps.push(Step { states: lanes.collect(), output: Some(output.output.into_data()) });
    }
    Ok(steps)
}

fn split(values: &Values, features: usize) -> Vec<Values> {
    match values {
        Values::Dense(values) => {
            values.chunks_exact(features).map(|row| Values::Dense(row.to_vec())).collect()
        }
        Values::Tokens(tokens) => tokens.iter().map(|&id| Values::Tokens(vec![id])).collect(),
    }
}

fn by_layers(engine: &Engine, model: &Model, values: &Values) -> Result<Vec<Step>> {
    let wanted = Wanted::of(model);
    let batch: Batch = to_batch(&[values], &wanted)?;
    let length = wanted.steps(values);
    let mut steps: Vec<Step> = vec![Step { states: Vec::new(), output: None }; length];
    for (index, layer) in model.layers().iter().enumerate() {
        let part = Model::new(model.input().clone(), model.layers()[..=index].to_vec(), None)?;
        let output = engine.load(&part)?.run_blocking(&batch)?.output;
        let width = layer.spec().state_size();
        for (t, step) in steps.iter_mut().enumerate() {
            let lanes = output.row(t).chunks_exact(width);
            step.states.extend(lanes.map(|h| LaneState { h: h.to_vec(), c: None }));
        }
    }
    let output = engine.load(model)?.run_blocking(&batch)?.output;
    let first = if model.is_per_sequence() { length.saturating_sub(1) } else { 0 };
    for (index, step) in steps[first..].iter_mut().enumerate() {
        step.output = Some(output.row(index).to_vec());
    }
    Ok(steps)
}
