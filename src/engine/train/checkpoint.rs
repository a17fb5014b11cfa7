//! What a training run is resumed from: read from the device, and brought back onto it.

use std::collections::HashMap;

use super::carried::{Carried, put_states};
use super::transfer::read_all;
use super::{Trainer, TrainerOptions, on_gpu};
use crate::batch::States;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::gpu::{pack, unpack};
use crate::kernel::Precision;
use crate::model::Model;
use crate::plan::{TrainBuffer, WeightId};
use crate::tensor::Tensor;

/// Everything that a training run is resumed from, bit by bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The network.
    pub model: Model,
    /// First moments of the optimizer, by parameter.
    pub first: Model,
    /// Second moments, by parameter.
    pub second: Model,
    /// Steps taken.
    pub steps: u64,
    /// The states that the last step ended with, where they are carried.
    pub states: Option<States>,
}

impl Engine {
    /// Goes on from a checkpoint; the steps to come give the same bits as without the interruption, on the same
    /// device with the same options.
    ///
    /// # Errors
    /// As [`Engine::trainer`]; `Weights` when the moments are those of another network; `Shape` when the states are.
    pub fn resume(&self, checkpoint: &Checkpoint, options: TrainerOptions) -> Result<Trainer> {
        let moments = [&checkpoint.first, &checkpoint.second];
        let mut trainer = self.trainer_with(&checkpoint.model, options, Some(moments))?;
        trainer.steps = checkpoint.steps;
        if let Some(states) = &checkpoint.states {
            trainer.restore_states(states)?;
        }
        Ok(trainer)
    }
}

impl Trainer {
    /// Reads everything that a run is resumed from, and waits for what was submitted.
    ///
    /// # Errors
    /// `Device` when the device fails.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let model = self.model()?;
        let first = self.read_model(TrainBuffer::First)?;
        let second = self.read_model(TrainBuffer::Second)?;
        Ok(Checkpoint { model, first, second, steps: self.steps, states: self.read_states()? })
    }

    /// Reads buffers of training as a network of the same shape.
    fn read_model(&self, which: fn(WeightId) -> TrainBuffer) -> Result<Model> {
        let loaded = self.model.inner();
        let (gpu, weights) = on_gpu(loaded)?;
        let mut arrays = HashMap::new();
        for parameter in &self.parameters {
            if let Some(buffer) = weights.training(which(parameter.id)) {
                let read = read_all(gpu, loaded, &[(buffer, parameter.bytes)])?;
                arrays.extend(read.into_iter().map(|values| (parameter.id, values)));
            }
        }
        unpack::model(&loaded.model, &arrays, true)
    }

    fn read_states(&self) -> Result<Option<States>> {
        let Some(carried) = &self.carried else { return Ok(None) };
        let loaded = self.model.inner();
        let (gpu, _) = on_gpu(loaded)?;
        let mut states = States::zeros(&loaded.model, carried.rows);
        for (layer, (h, c)) in carried.layers.iter().enumerate() {
            let read = read_all(gpu, loaded, &[(h, h.size())])?;
            put_states(&mut states.h[layer], &read[0]);
            if let (Some(c), Some(into)) = (c, &mut states.c[layer]) {
                let read = read_all(gpu, loaded, &[(c, c.size())])?;
                put_states(into, &read[0]);
            }
        }
        Ok(Some(states))
    }

    fn restore_states(&mut self, states: &States) -> Result<()> {
        let rows = match states.h.first().map(Tensor::shape) {
            Some([_, rows, _]) => *rows,
            other => {
                return Err(Error::shape(format!(
                    "states: expected [D, B, width] of h for layer 0, got {other:?}"
                )));
            }
        };
        states.check_fits(&self.model.inner().model, rows)?;
        let (gpu, _) = on_gpu(self.model.inner())?;
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let upload = |tensor: &Tensor| {
            let packed = pack::state_rows(tensor, Precision::F32);
            gpu.buffer_with("carried states", bytemuck::cast_slice(&packed), usage)
        };
        let layers = gpu.scoped("carried states", || {
            let layers = states.h.iter().zip(&states.c);
            layers.map(|(h, c)| Ok((upload(h)?, c.as_ref().map(upload).transpose()?))).collect()
        })?;
        self.carried = Some(Carried { rows, layers });
        Ok(())
    }
}
