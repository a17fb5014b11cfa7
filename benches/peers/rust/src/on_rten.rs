//! rten: the ONNX graph. `RTEN_NUM_THREADS` says how many threads it takes; the driver sets it.

use rten::{Model, Value};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

use crate::workload::{Order, Workload};
use crate::{About, Finished, Result, Runtime};

#[derive(Default)]
pub struct OnRten {
    loaded: Option<(Model, NdTensor<f32, 3>)>,
    lengths: Option<NdTensor<i32, 1>>,
}

impl Runtime for OnRten {
    fn about(&self) -> About {
        About::cpu()
    }

    fn prepare(&mut self, workload: &Workload) -> Result<()> {
        self.loaded = None;
        let shape = [workload.steps, workload.batch, workload.inputs];
        let input = NdTensor::from_data(shape, workload.input.clone());
        self.lengths = match &workload.lengths {
            Some(lengths) => {
                let lengths: std::result::Result<Vec<i32>, _> =
                    lengths.iter().map(|length| i32::try_from(*length)).collect();
                Some(NdTensor::from_data([workload.batch], lengths?))
            }
            None => None,
        };
        self.loaded = Some((Model::load_file(&workload.model_path)?, input));
        Ok(())
    }

    fn order(&self) -> Order {
        Order::TimeMajor
    }

    fn run(&mut self) -> Result<Finished> {
        let (model, input) = self.loaded.as_ref().ok_or("nothing is prepared")?;
        let mut inputs = vec![(model.node_id("x")?, input.view().into())];
        if let Some(lengths) = &self.lengths {
            inputs.push((model.node_id("lengths")?, lengths.view().into()));
        }
        let [output]: [Value; 1] = model.run_n(inputs, [model.node_id("output")?], None)?;
        Ok(Box::new(move || {
            let output: Tensor<f32> = output.try_into().map_err(|_| "output: expected f32")?;
            Ok(output.to_vec())
        }))
    }
}
