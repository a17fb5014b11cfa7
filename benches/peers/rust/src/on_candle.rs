//! candle on its CPU backend: `candle_nn::rnn`'s LSTM and GRU; RNN-tanh, for which it has no module, as a loop.
//!
//! The loop does what a user of candle would write after the pattern of its LSTM: two products a step.
//! A reverse direction is the module over the flipped input. There is nothing for lengths.

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::rnn::{Direction, GRUConfig, LSTMConfig, gru, lstm};
use candle_nn::{GRU, LSTM, RNN, VarBuilder};

use crate::workload::{Order, Workload};
use crate::{About, Finished, Result, Runtime};

type Candle<T> = candle_core::Result<T>;

/// RNN-tanh: the weights transposed once, biases as PyTorch has them.
struct Tanh {
    ih: Tensor,
    hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
}

impl Tanh {
    fn new(inputs: usize, hidden: usize, layer: usize, weights: &VarBuilder) -> Candle<Self> {
        Ok(Self {
            ih: weights.get((hidden, inputs), &format!("weight_ih_l{layer}"))?.t()?,
            hh: weights.get((hidden, hidden), &format!("weight_hh_l{layer}"))?.t()?,
            bias_ih: weights.get(hidden, &format!("bias_ih_l{layer}"))?,
            bias_hh: weights.get(hidden, &format!("bias_hh_l{layer}"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        let (batch, steps, _) = x.dims3()?;
        let mut h = Tensor::zeros((batch, self.bias_hh.dim(0)?), DType::F32, x.device())?;
        let mut states = Vec::with_capacity(steps);
        for t in 0..steps {
            let gx =
                x.i((.., t, ..))?.contiguous()?.matmul(&self.ih)?.broadcast_add(&self.bias_ih)?;
            let gh = h.matmul(&self.hh)?.broadcast_add(&self.bias_hh)?;
            h = (gx + gh)?.tanh()?;
            states.push(h.clone());
        }
        Tensor::stack(&states, 1)
    }
}

enum Layer {
    Tanh(Tanh),
    Lstm(LSTM),
    BiLstm(LSTM, LSTM),
    Gru(GRU),
}

impl Layer {
    fn new(workload: &Workload, index: usize, weights: &VarBuilder) -> Result<Self> {
        let hidden = workload.hidden;
        let inputs = if index == 0 { workload.inputs } else { workload.width() };
        let direction = |direction| {
            let config = LSTMConfig { layer_idx: index, direction, ..LSTMConfig::default() };
            lstm(inputs, hidden, config, weights.clone())
        };
        match (workload.cell.as_str(), workload.directions) {
            ("rnn", 1) => Ok(Self::Tanh(Tanh::new(inputs, hidden, index, weights)?)),
            ("lstm", 1) => Ok(Self::Lstm(direction(Direction::Forward)?)),
            ("lstm", _) => {
                Ok(Self::BiLstm(direction(Direction::Forward)?, direction(Direction::Backward)?))
            }
            ("gru", 1) if index == 0 => {
                Ok(Self::Gru(gru(inputs, hidden, GRUConfig::default(), weights.clone())?))
            }
            (cell, _) => Err(format!("this stack of {cell} is not wired up here").into()),
        }
    }

    fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        match self {
            Self::Tanh(tanh) => tanh.forward(x),
            Self::Lstm(lstm) => lstm.states_to_tensor(&lstm.seq(x)?),
            Self::BiLstm(forward, reverse) => {
                let ahead = forward.states_to_tensor(&forward.seq(x)?)?;
                let back = reverse.states_to_tensor(&reverse.seq(&x.flip(&[1])?)?)?.flip(&[1])?;
                Tensor::cat(&[ahead, back], 2)
            }
            Self::Gru(gru) => {
                // Its states_to_tensor joins along the features: [B, T·H] in memory is [B, T, H].
                let (batch, steps, _) = x.dims3()?;
                gru.states_to_tensor(&gru.seq(x)?)?.reshape((batch, steps, ()))
            }
        }
    }
}

#[derive(Default)]
pub struct OnCandle {
    layers: Vec<Layer>,
    input: Option<Tensor>,
}

impl Runtime for OnCandle {
    fn about(&self) -> About {
        About::cpu()
    }

    fn prepare(&mut self, workload: &Workload) -> Result<()> {
        workload.refuse_lengths()?;
        let bytes = std::fs::read(&workload.weights_path)?;
        let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)?;
        let layer = |index| Layer::new(workload, index, &weights);
        self.layers = (0..workload.layers).map(layer).collect::<Result<_>>()?;
        let shape = (workload.batch, workload.steps, workload.inputs);
        self.input = Some(Tensor::from_vec(workload.input_batch_first(), shape, &Device::Cpu)?);
        Ok(())
    }

    fn order(&self) -> Order {
        Order::BatchFirst
    }

    fn run(&mut self) -> Result<Finished> {
        let mut x = self.input.clone().ok_or("nothing is prepared")?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        Ok(Box::new(move || Ok(x.flatten_all()?.to_vec1::<f32>()?)))
    }
}
