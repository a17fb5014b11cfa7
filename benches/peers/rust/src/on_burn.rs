//! burn: its own `Rnn`, `Lstm`, `BiLstm` and `Gru` modules, on its Flex CPU backend and on burn-wgpu.
//!
//! burn-wgpu runs with the default features of a burn user: fusion and autotuning on, WGSL; what tuning
//! costs falls into `prepare`. Its modules take no lengths.

use std::collections::HashMap;

use burn::module::Param;
use burn::nn::{
    BiLstm, BiLstmConfig, GateController, Gru, GruConfig, Linear, Lstm, LstmConfig, Rnn, RnnConfig,
};
use burn::tensor::{Device, DeviceKind, Tensor, TensorData};
use wgpu_rnn::AdapterReport;
use wgpu_rnn::wgpu::DeviceType;

use crate::workload::{Order, Weight, Workload};
use crate::{About, Finished, Result, Runtime};

enum Layer {
    Rnn(Rnn),
    Lstm(Lstm),
    BiLstm(BiLstm),
    Gru(Gru),
}

impl Layer {
    /// A weight whose gradient ends the way back.
    fn recurrent_weight(&self) -> Option<Tensor<2>> {
        let gate = match self {
            Self::Rnn(rnn) => &rnn.gate,
            Self::Lstm(lstm) => &lstm.input_gate,
            Self::BiLstm(lstm) => &lstm.forward.input_gate,
            Self::Gru(gru) => &gru.reset_gate,
        };
        Some(gate.hidden_transform.weight.val())
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Rnn(rnn) => rnn.forward(x, None).0,
            Self::Lstm(lstm) => lstm.forward(x, None).0,
            Self::BiLstm(lstm) => lstm.forward(x, None).0,
            Self::Gru(gru) => gru.forward(x, None),
        }
    }
}

pub struct Burn {
    device: Device,
    about: fn(&Self) -> About,
    adapter: String,
    driver: String,
    is_software: bool,
    layers: Vec<Layer>,
    input: TensorData,
    /// A copy of it, which a run consumes.
    next: Option<TensorData>,
    /// The same in the device's memory.
    resident: Option<Tensor<3>>,
    /// Layers whose tensors record what gradients need.
    trained: Vec<Layer>,
}

impl Burn {
    pub fn flex() -> Self {
        Self::new(Device::flex(), |_| About::cpu())
    }

    /// The adapter that ours runs on, by its type and its place among those of that type.
    pub fn wgpu((adapter, place): &(AdapterReport, usize)) -> Result<Self> {
        let place = *place;
        let kind = match adapter.info.device_type {
            DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(place),
            DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(place),
            DeviceType::VirtualGpu => DeviceKind::VirtualGpu(place),
            DeviceType::Cpu => DeviceKind::Cpu,
            DeviceType::Other => DeviceKind::DefaultDevice,
        };
        let (device, setup) = Device::wgpu_options().device_kind(kind).init_with_setup()?;
        let info = setup.adapter.get_info();
        if info.name != adapter.info.name || info.backend != adapter.info.backend {
            return Err(format!(
                "burn took {} ({}), ours runs on {} ({})",
                info.name, info.backend, adapter.info.name, adapter.info.backend
            )
            .into());
        }
        let mut burn = Self::new(device, |burn| About {
            device: burn.adapter.clone(),
            driver: burn.driver.clone(),
            is_software: burn.is_software,
        });
        burn.adapter = format!("{} ({})", info.name, info.backend);
        burn.driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        burn.is_software = info.device_type == DeviceType::Cpu;
        Ok(burn)
    }

    fn new(device: Device, about: fn(&Self) -> About) -> Self {
        Self {
            device,
            about,
            adapter: String::new(),
            driver: String::new(),
            is_software: false,
            layers: Vec::new(),
            input: TensorData::new(Vec::<f32>::new(), [0]),
            next: None,
            resident: None,
            trained: Vec::new(),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

impl Runtime for Burn {
    fn about(&self) -> About {
        (self.about)(self)
    }

    fn prepare(&mut self, workload: &Workload) -> Result<()> {
        workload.refuse_lengths()?;
        self.resident = None;
        let source = Source { weights: &workload.weights()?, device: &self.device };
        let layer = |index| source.layer(workload, index);
        self.layers = (0..workload.layers).map(layer).collect::<Result<_>>()?;
        let recording = self.device.clone().autodiff();
        let source = Source { device: &recording, ..source };
        let layer = |index| source.layer(workload, index);
        self.trained = (0..workload.layers).map(layer).collect::<Result<_>>()?;
        let shape = [workload.batch, workload.steps, workload.inputs];
        self.input = TensorData::new(workload.input_batch_first(), shape);
        Ok(())
    }

    fn order(&self) -> Order {
        Order::BatchFirst
    }

    fn refill(&mut self) {
        self.next = Some(self.input.clone());
    }

    fn run(&mut self) -> Result<Finished> {
        let input = self.next.take().ok_or("nothing is prepared")?;
        let input = Tensor::from_data(input, &self.device);
        let output = self.forward(input).try_into_data()?;
        Ok(Box::new(move || {
            output.try_to_vec::<f32>().map_err(|error| format!("{error:?}").into())
        }))
    }

    /// Without the optimizer's step, which burn takes by module.
    fn train(&mut self) -> Result<()> {
        let input = Tensor::from_data(self.input.clone(), &self.device.clone().autodiff());
        let output = self.trained.iter().fold(input, |x, layer| layer.forward(x));
        let loss = output.square().mean();
        let gradients = loss.backward();
        let layer = self.trained.first().ok_or("nothing is prepared")?;
        let weight = layer.recurrent_weight().ok_or("a weight is missing")?;
        let gradient = weight.grad(&gradients).ok_or("a gradient is missing")?;
        self.device.sync()?;
        drop(gradient);
        Ok(())
    }

    fn run_on_device(&mut self) -> Result<()> {
        if self.resident.is_none() {
            self.resident = Some(Tensor::from_data(self.input.clone(), &self.device));
            self.device.sync()?;
        }
        let input = self.resident.clone().ok_or("nothing is prepared")?;
        let output = self.forward(input);
        self.device.sync()?;
        drop(output);
        Ok(())
    }
}

/// Builds burn's modules from a `state_dict`.
struct Source<'a> {
    weights: &'a HashMap<String, Weight>,
    device: &'a Device,
}

impl Source<'_> {
    fn layer(&self, workload: &Workload, index: usize) -> Result<Layer> {
        let hidden = workload.hidden;
        let inputs = if index == 0 { workload.inputs } else { workload.width() };
        match (workload.cell.as_str(), workload.directions) {
            ("rnn", 1) => {
                let mut rnn = RnnConfig::new(inputs, hidden, true).init(self.device);
                rnn.gate = self.gate(index, "", 0, hidden)?;
                Ok(Layer::Rnn(rnn))
            }
            ("gru", 1) => {
                // PyTorch's rows: reset, update (z), new.
                let mut gru = GruConfig::new(inputs, hidden, true).init(self.device);
                gru.reset_gate = self.gate(index, "", 0, hidden)?;
                gru.update_gate = self.gate(index, "", 1, hidden)?;
                gru.new_gate = self.gate(index, "", 2, hidden)?;
                Ok(Layer::Gru(gru))
            }
            ("lstm", 1) => {
                let lstm = LstmConfig::new(inputs, hidden, true).init(self.device);
                Ok(Layer::Lstm(self.lstm(lstm, index, "", hidden)?))
            }
            ("lstm", _) => {
                let mut lstm = BiLstmConfig::new(inputs, hidden, true).init(self.device);
                lstm.forward = self.lstm(lstm.forward, index, "", hidden)?;
                lstm.reverse = self.lstm(lstm.reverse, index, "_reverse", hidden)?;
                Ok(Layer::BiLstm(lstm))
            }
            (cell, _) => Err(format!("bidirectional {cell} is not wired up here").into()),
        }
    }

    fn lstm(&self, mut lstm: Lstm, layer: usize, suffix: &str, hidden: usize) -> Result<Lstm> {
        // PyTorch's rows: input, forget, cell (g), output.
        lstm.input_gate = self.gate(layer, suffix, 0, hidden)?;
        lstm.forget_gate = Some(self.gate(layer, suffix, 1, hidden)?);
        lstm.cell_gate = self.gate(layer, suffix, 2, hidden)?;
        lstm.output_gate = self.gate(layer, suffix, 3, hidden)?;
        Ok(lstm)
    }

    fn gate(
        &self,
        layer: usize,
        suffix: &str,
        gate: usize,
        hidden: usize,
    ) -> Result<GateController> {
        Ok(GateController {
            input_transform: self.linear(&format!("ih_l{layer}{suffix}"), gate, hidden)?,
            hidden_transform: self.linear(&format!("hh_l{layer}{suffix}"), gate, hidden)?,
        })
    }

    /// One gate's rows, transposed to burn's `[inputs, outputs]`.
    fn linear(&self, stem: &str, gate: usize, hidden: usize) -> Result<Linear> {
        let weight = self.weights.get(&format!("weight_{stem}")).ok_or("a weight is missing")?;
        let bias = self.weights.get(&format!("bias_{stem}")).ok_or("a bias is missing")?;
        let width = weight.shape[1];
        let rows = &weight.values[gate * hidden * width..][..hidden * width];
        let transposed: Vec<f32> = (0..width)
            .flat_map(|column| rows.iter().skip(column).step_by(width).copied())
            .collect();
        let bias = bias.values[gate * hidden..][..hidden].to_vec();
        Ok(Linear {
            weight: Param::from_data(TensorData::new(transposed, [width, hidden]), self.device),
            bias: Some(Param::from_data(TensorData::new(bias, [hidden]), self.device)),
        })
    }
}
