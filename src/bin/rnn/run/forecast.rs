//! Closed-loop forecasts: the last output becomes the next input, again and again, with the states
//! carried along. For tokens the likeliest one is fed back.

use wgpu_rnn::{LoadedModel, Model, Result, States};

use super::drive::to_batch;
use crate::data::{Values, Wanted};
use crate::describe::Choices;

/// Time steps of a forecast where nothing else is said: a solar cycle, a bit less than a year of
/// months, two weeks of working days.
pub(super) const STEPS: usize = 11;

/// Tells why `model` cannot forecast in a closed loop, where it cannot.
pub(super) fn obstacle(model: &Model) -> Option<String> {
    let spec = model.input().spec();
    let inputs = spec.vocab().unwrap_or_else(|| spec.width());
    if model.output_size() != inputs {
        return Some(format!(
            "expected as many outputs as inputs, so that an output can be the next input, got {} \
             outputs and {inputs} inputs",
            model.output_size()
        ));
    }
    if !model.is_forward() {
        return Some(
            "expected layers that read forward, got one that must see the end first".into(),
        );
    }
    None
}

/// Computes `steps` rows `[O]`; the first is `last`, the output at the last known step.
///
/// # Errors
/// What a run gives.
pub(super) fn run(
    loaded: &LoadedModel,
    mut states: States,
    last: &[f32],
    steps: usize,
) -> Result<Vec<Vec<f32>>> {
    let wanted = Wanted::of(loaded.model());
    let mut rows = Vec::new();
    let mut row = last.to_vec();
    while rows.len() < steps {
        rows.push(row);
        if rows.len() == steps {
            break;
        }
        let fed = next_input(loaded.model(), &rows[rows.len() - 1]);
        let output = loaded.run_blocking(&to_batch(&[&fed], &wanted)?.with_initial(states))?;
        states = output.states;
        row = output.output.into_data();
    }
    Ok(rows)
}

fn next_input(model: &Model, output: &[f32]) -> Values {
    if model.input().spec().vocab().is_none() {
        return Values::Dense(output.to_vec());
    }
    let likeliest = match Choices::of(model) {
        Some(choices) => choices.top(output, 1).first().map_or(0, |(id, _)| *id),
        None => (0..output.len()).max_by(|&a, &b| output[a].total_cmp(&output[b])).unwrap_or(0),
    };
    Values::Tokens(vec![u32::try_from(likeliest).unwrap_or(0)])
}
