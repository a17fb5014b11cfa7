//! A workload's numbers and arrays, read from the files that `../../workloads.py` wrote.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::Result;

const TOLERANCE: f32 = 1e-4;

/// Axis order of an array.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `[T, B, …]`
    TimeMajor,
    /// `[B, T, …]`
    BatchFirst,
}

/// A weight: its shape and values, as PyTorch's `state_dict` has them.
pub struct Weight {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

pub struct Workload {
    pub cell: String,
    pub inputs: usize,
    pub hidden: usize,
    pub batch: usize,
    pub steps: usize,
    pub layers: usize,
    pub directions: usize,
    /// Valid steps of each row; `None` for all.
    pub lengths: Option<Vec<usize>>,
    /// `[T, B, I]`
    pub input: Vec<f32>,
    /// `[T, B, D·H]`, the oracle's.
    expected: Vec<f32>,
    pub weights_path: PathBuf,
    pub model_path: PathBuf,
}

impl Workload {
    /// Reads `workload.json` or `workload_lengths.json` and the files beside it.
    pub fn read(path: &str) -> Result<Self> {
        let path = Path::new(path);
        let folder = path.parent().ok_or("a workload lies in a folder")?;
        let suffix = if path.ends_with("workload_lengths.json") { "_lengths" } else { "" };
        let numbers: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let number = |key: &str| -> Result<usize> {
            let value = numbers[key].as_u64().ok_or_else(|| format!("{key} is missing"))?;
            Ok(usize::try_from(value)?)
        };
        let bytes = std::fs::read(folder.join(format!("data{suffix}.safetensors")))?;
        let arrays = SafeTensors::deserialize(&bytes)?;
        let lengths = arrays.tensor("lengths").ok().map(|view| {
            let (words, _) = view.data().as_chunks::<4>();
            words.iter().map(|word| u32::from_le_bytes(*word) as usize).collect()
        });
        Ok(Self {
            cell: numbers["cell"].as_str().unwrap_or_default().to_owned(),
            inputs: number("inputs")?,
            hidden: number("hidden")?,
            batch: number("batch")?,
            steps: number("steps")?,
            layers: number("layers")?,
            directions: number("directions")?,
            lengths,
            input: floats(arrays.tensor("input")?.data()),
            expected: floats(arrays.tensor("output")?.data()),
            weights_path: folder.join("weights.safetensors"),
            model_path: folder.join(format!("model{suffix}.onnx")),
        })
    }

    /// The `state_dict`.
    pub fn weights(&self) -> Result<HashMap<String, Weight>> {
        let bytes = std::fs::read(&self.weights_path)?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        let read = tensors.tensors().into_iter().map(|(name, view)| {
            (name, Weight { shape: view.shape().to_vec(), values: floats(view.data()) })
        });
        Ok(read.collect())
    }

    /// Width of the output, D·H.
    pub fn width(&self) -> usize {
        self.directions * self.hidden
    }

    /// The input as `[B, T, I]`.
    pub fn input_batch_first(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.input.len());
        for b in 0..self.batch {
            for t in 0..self.steps {
                let start = (t * self.batch + b) * self.inputs;
                values.extend_from_slice(&self.input[start..start + self.inputs]);
            }
        }
        values
    }

    /// For runtimes without lengths.
    pub fn refuse_lengths(&self) -> Result<()> {
        match self.lengths {
            Some(_) => Err("takes no lengths".into()),
            None => Ok(()),
        }
    }

    /// The largest absolute difference from the oracle over the valid steps.
    ///
    /// An error says what is wrong: another number of values, or one beyond the tolerance (or NaN).
    pub fn largest_error(&self, output: &[f32], order: Order) -> std::result::Result<f32, String> {
        let width = self.width();
        if output.len() != self.expected.len() {
            return Err(format!("{} values, expected {}", output.len(), self.expected.len()));
        }
        let mut largest = 0.0_f32;
        for b in 0..self.batch {
            let valid = self.lengths.as_ref().map_or(self.steps, |lengths| lengths[b]);
            for t in 0..valid {
                let want = &self.expected[(t * self.batch + b) * width..][..width];
                let at = match order {
                    Order::TimeMajor => t * self.batch + b,
                    Order::BatchFirst => b * self.steps + t,
                };
                for (unit, (got, want)) in
                    output[at * width..][..width].iter().zip(want).enumerate()
                {
                    let difference = (got - want).abs();
                    // Negated, so that a NaN fails.
                    if !(difference <= TOLERANCE + TOLERANCE * want.abs()) {
                        return Err(format!(
                            "{got} instead of {want} at step {t}, row {b}, unit {unit}"
                        ));
                    }
                    largest = largest.max(difference);
                }
            }
        }
        Ok(largest)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three steps and one unit; row 1 has one valid step.
    fn workload() -> Workload {
        Workload {
            cell: "rnn".into(),
            inputs: 1,
            hidden: 1,
            batch: 2,
            steps: 3,
            layers: 1,
            directions: 1,
            lengths: Some(vec![3, 1]),
            input: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            expected: vec![0.1, 0.2, 0.3, 0.0, 0.5, 0.0],
            weights_path: PathBuf::new(),
            model_path: PathBuf::new(),
        }
    }

    #[test]
    fn largest_error_ignores_padding_in_either_order() {
        let time_major = [0.1, 0.2, 0.3, f32::NAN, 0.5, 9.0];
        assert_eq!(workload().largest_error(&time_major, Order::TimeMajor), Ok(0.0));
        let batch_first = [0.1, 0.3, 0.5, 0.2, f32::NAN, 9.0];
        assert_eq!(workload().largest_error(&batch_first, Order::BatchFirst), Ok(0.0));
    }

    #[test]
    fn largest_error_fails_on_nan_difference_order_and_size() {
        let fails = |output: &[f32], order| workload().largest_error(output, order).is_err();
        assert!(fails(&[0.1, 0.2, f32::NAN, 0.0, 0.5, 0.0], Order::TimeMajor));
        assert!(fails(&[0.1, 0.2, 0.3, 0.0, 0.501, 0.0], Order::TimeMajor));
        assert!(fails(&[0.1, 0.2, 0.3, 0.0, 0.5, 0.0], Order::BatchFirst));
        assert!(fails(&[0.1, 0.2, 0.3, 0.0, 0.5], Order::TimeMajor));
    }

    #[test]
    fn input_batch_first_exchanges_the_first_two_axes() {
        assert_eq!(workload().input_batch_first(), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    }
}
