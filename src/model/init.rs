//! Weight initialisation: PyTorch's and Keras's, seeded.
//!
//! Drawn with ChaCha8 from one seed in the order of [`super::Model::tensors`], so that the same seed
//! gives the same network on every platform. The distributions are PyTorch's and Keras's; the
//! streams of numbers are our own.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::spec::{HeadSpec, InputSpec, LayerSpec};
use super::weights::{DirectionWeights, Head, Layer, LayerNorm};
use super::{Input, Model};
use crate::cell::Cell;
use crate::error::Result;
use crate::tensor::Tensor;

/// How weights are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Init {
    /// `nn.RNN`, `nn.LSTM`, `nn.GRU`: every weight and bias from U(−1/√H, 1/√H); `nn.Linear`: from
    /// U(−1/√in, 1/√in); `nn.Embedding`: from N(0, 1).
    #[default]
    PyTorch,
    /// Keras layers: `weight_ih` and the output layer Glorot uniform, `weight_hh` orthogonal, biases
    /// zero but LSTM's forget bias one, embedding from U(−0.05, 0.05).
    Keras,
}

struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    /// Uniform in [0, 1) with 53 bits.
    fn unit(&mut self) -> f64 {
        let bits = self.rng.next_u64() >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit f64 exactly")]
        let unit = bits as f64 / (1u64 << 53) as f64;
        unit
    }

    fn normal(&mut self) -> f64 {
        // Box and Muller (1958); 1 − u is in (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn uniform(&mut self, shape: &[usize], bound: f64) -> Tensor {
        Tensor::from_fn(shape, |_| narrow((2.0 * self.unit() - 1.0) * bound))
    }

    /// Glorot and Bengio (2010): U(−√(6/(in+out)), …).
    fn glorot(&mut self, shape: &[usize; 2]) -> Tensor {
        self.uniform(shape, (6.0 / to_f64(shape[0] + shape[1])).sqrt())
    }

    /// Orthonormal columns (or rows, where there are fewer rows) by Gram-Schmidt on normal draws.
    fn orthogonal(&mut self, rows: usize, columns: usize) -> Tensor {
        let (vectors, length) = (rows.min(columns), rows.max(columns));
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(vectors);
        while basis.len() < vectors {
            let mut v: Vec<f64> = (0..length).map(|_| self.normal()).collect();
            // Twice: the second pass removes what rounding left of the first.
            for _ in 0..2 {
                for b in &basis {
                    let dot: f64 = v.iter().zip(b).map(|(x, y)| x * y).sum();
                    v.iter_mut().zip(b).for_each(|(x, y)| *x -= dot * y);
                }
            }
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            if norm > 1e-6 {
                basis.push(v.into_iter().map(|x| x / norm).collect());
            }
        }
        Tensor::from_fn([rows, columns], |index| {
            let (r, c) = (index / columns, index % columns);
            narrow(if rows >= columns { basis[c][r] } else { basis[r][c] })
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "weights are f32; |value| is small")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "axes are below 2^24")]
fn to_f64(size: usize) -> f64 {
    size as f64
}

pub(super) fn draw(
    input: &InputSpec,
    layers: &[LayerSpec],
    head: Option<&HeadSpec>,
    init: Init,
    seed: u64,
) -> Result<Model> {
    let mut draw = Draw { rng: ChaCha8Rng::seed_from_u64(seed) };
    let input = draw_input(&mut draw, input, init);
    let layers = layers
        .iter()
        .map(|spec| {
            let count = spec.direction.count();
            let directions = (0..count).map(|_| draw_direction(&mut draw, spec, init)).collect();
            Layer::new(spec.clone(), directions)
        })
        .collect::<Result<Vec<_>>>()?;
    let width = layers.last().map_or(0, |layer| layer.spec().output_size());
    let head = head.map(|spec| draw_head(&mut draw, spec, width, init));
    Model::new(input, layers, head)
}

fn draw_input(draw: &mut Draw, input: &InputSpec, init: Init) -> Input {
    match *input {
        InputSpec::Dense { size } => Input::Dense { size },
        InputSpec::OneHot { vocab } => Input::OneHot { vocab },
        InputSpec::Embedding { vocab, size } => {
            let table = match init {
                Init::PyTorch => Tensor::from_fn([vocab, size], |_| narrow(draw.normal())),
                Init::Keras => draw.uniform(&[vocab, size], 0.05),
            };
            Input::Embedding { table }
        }
    }
}

fn draw_direction(draw: &mut Draw, spec: &LayerSpec, init: Init) -> DirectionWeights {
    let (rows, hidden, state) = (spec.gate_rows(), spec.hidden_size, spec.state_size());
    match init {
        Init::PyTorch => {
            let bound = 1.0 / to_f64(hidden).sqrt();
            DirectionWeights {
                weight_ih: draw.uniform(&[rows, spec.input_size], bound),
                weight_hh: draw.uniform(&[rows, state], bound),
                bias_ih: spec.bias.then(|| draw.uniform(&[rows], bound)),
                bias_hh: spec.bias.then(|| draw.uniform(&[rows], bound)),
                weight_hr: (spec.proj_size > 0)
                    .then(|| draw.uniform(&[spec.proj_size, hidden], bound)),
                peephole: spec.options.peephole.then(|| draw.uniform(&[3 * hidden], bound)),
                layer_norm: layer_norm(spec),
            }
        }
        Init::Keras => {
            let forget = |index: usize| {
                let is_forget = spec.cell == Cell::Lstm && index / hidden == 1;
                if is_forget { 1.0 } else { 0.0 }
            };
            DirectionWeights {
                weight_ih: draw.glorot(&[rows, spec.input_size]),
                weight_hh: draw.orthogonal(rows, state),
                bias_ih: spec.bias.then(|| Tensor::from_fn([rows], forget)),
                bias_hh: spec.bias.then(|| Tensor::zeros([rows])),
                weight_hr: (spec.proj_size > 0).then(|| draw.glorot(&[spec.proj_size, hidden])),
                peephole: spec.options.peephole.then(|| draw.glorot(&[3, hidden]).flattened()),
                layer_norm: layer_norm(spec),
            }
        }
    }
}

/// Scale one and shift zero, as `nn.LayerNorm` and Keras start.
fn layer_norm(spec: &LayerSpec) -> Option<LayerNorm> {
    let ones = |size| Tensor::from_fn([size], |_| 1.0);
    let (rows, hidden, has_c) = (spec.gate_rows(), spec.hidden_size, spec.cell.has_c());
    spec.options.layer_norm.map(|_| LayerNorm {
        ih_weight: ones(rows),
        ih_bias: Tensor::zeros([rows]),
        hh_weight: ones(rows),
        hh_bias: Tensor::zeros([rows]),
        c_weight: has_c.then(|| ones(hidden)),
        c_bias: has_c.then(|| Tensor::zeros([hidden])),
    })
}

fn draw_head(draw: &mut Draw, spec: &HeadSpec, width: usize, init: Init) -> Head {
    let out = spec.output_size;
    let bound = 1.0 / to_f64(width.max(1)).sqrt();
    let (weight, bias) = match init {
        Init::PyTorch => (draw.uniform(&[out, width], bound), draw.uniform(&[out], bound)),
        Init::Keras => (draw.glorot(&[out, width]), Tensor::zeros([out])),
    };
    Head { weight, bias: spec.bias.then_some(bias), activation: spec.activation, steps: spec.steps }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(init: Init, seed: u64) -> Model {
        Model::builder(InputSpec::Dense { size: 3 })
            .layer(LayerSpec::new(Cell::Lstm, 8))
            .head(HeadSpec::new(2))
            .build(init, seed)
            .expect("a valid network")
    }

    #[test]
    fn pytorch_init_stays_inside_its_bound_and_fills_it() {
        let model = model(Init::PyTorch, 1);
        let bound = 1.0 / 8f32.sqrt();
        let values = model.layers()[0].directions()[0].weight_hh.data();
        assert!(values.iter().all(|w| w.abs() <= bound));
        assert!(
            values.iter().any(|w| *w > 0.8 * bound) && values.iter().any(|w| *w < -0.8 * bound)
        );
    }

    #[test]
    fn keras_init_is_orthogonal_with_forget_bias_one() {
        let model = model(Init::Keras, 1);
        let weights = &model.layers()[0].directions()[0];
        for a in 0..8 {
            for b in 0..8 {
                let dot: f32 = (0..32)
                    .map(|r| {
                        weights.weight_hh.data()[r * 8 + a] * weights.weight_hh.data()[r * 8 + b]
                    })
                    .sum();
                let want = if a == b { 1.0 } else { 0.0 };
                assert!((dot - want).abs() < 1e-5, "columns {a} and {b}: {dot}");
            }
        }
        let bias = weights.bias_ih.as_ref().expect("bias").data();
        assert!(bias[8..16].iter().all(|b| b.to_bits() == 1f32.to_bits()));
        assert!(bias[..8].iter().chain(&bias[16..]).all(|b| b.to_bits() == 0));
    }

    #[test]
    fn init_depends_on_the_seed_alone() {
        assert_eq!(model(Init::PyTorch, 7), model(Init::PyTorch, 7));
        assert_ne!(model(Init::PyTorch, 7), model(Init::PyTorch, 8));
    }
}
