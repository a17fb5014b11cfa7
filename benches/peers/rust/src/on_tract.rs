//! tract: the ONNX graph, optimised, with its products on as many threads as everyone has.

use std::sync::Arc;

use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

use crate::workload::{Order, Workload};
use crate::{About, Finished, Result, Runtime};

#[derive(Default)]
pub struct OnTract {
    loaded: Option<(Arc<TypedRunnableModel>, TVec<TValue>)>,
}

impl OnTract {
    pub fn new(threads: usize) -> Self {
        if threads > 1 {
            set_default_executor(Executor::multithread(threads));
        }
        Self::default()
    }
}

impl Runtime for OnTract {
    fn about(&self) -> About {
        About::cpu()
    }

    fn prepare(&mut self, workload: &Workload) -> Result<()> {
        self.loaded = None;
        let shape = [workload.steps, workload.batch, workload.inputs];
        let x = Tensor::from_shape(&shape, &workload.input)?;
        let mut inputs: TVec<TValue> = tvec!(TValue::from_const(Arc::new(x)));
        if let Some(lengths) = &workload.lengths {
            let lengths: Vec<i32> = lengths
                .iter()
                .map(|length| i32::try_from(*length))
                .collect::<std::result::Result<_, _>>()?;
            let lengths = Tensor::from_shape(&[workload.batch], &lengths)?;
            inputs.push(TValue::from_const(Arc::new(lengths)));
        }
        let model = tract_onnx::onnx().model_for_path(&workload.model_path)?;
        let model = model.into_optimized()?.into_runnable()?;
        self.loaded = Some((model, inputs));
        Ok(())
    }

    fn order(&self) -> Order {
        Order::TimeMajor
    }

    fn run(&mut self) -> Result<Finished> {
        let (model, inputs) = self.loaded.as_ref().ok_or("nothing is prepared")?;
        let outputs = model.run(inputs.clone())?;
        Ok(Box::new(move || Ok(outputs[0].to_plain_array_view::<f32>()?.iter().copied().collect())))
    }
}
