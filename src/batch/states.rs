//! The states of every layer: PyTorch's `h_0`, `c_0`, `h_n`, `c_n`, layer by layer or stacked.

use crate::error::{Error, Result};
use crate::model::{LayerSpec, Model};
use crate::tensor::Tensor;

/// The states of every layer, before or after a run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct States {
    /// Per layer the state h, `[D, B, R]`; R = P with projection, else H.
    pub h: Vec<Tensor>,
    /// Per layer the cell state c, `[D, B, H]`; `None` for cells without one.
    pub c: Vec<Option<Tensor>>,
}

impl States {
    /// Makes zero states for `batch` sequences.
    pub fn zeros(model: &Model, batch: usize) -> Self {
        let specs = || model.layers().iter().map(crate::model::Layer::spec);
        Self {
            h: specs().map(|spec| Tensor::zeros(h_shape(spec, batch))).collect(),
            c: specs()
                .map(|spec| spec.cell.has_c().then(|| Tensor::zeros(c_shape(spec, batch))))
                .collect(),
        }
    }

    /// Splits PyTorch's stacked states `h [L·D, B, R]`, `c [L·D, B, H]` into layers.
    ///
    /// `c` may be `None` (zeros) where the model has LSTM layers; with layers of different kinds it
    /// holds the LSTM layers only.
    ///
    /// # Errors
    /// `Shape` when the layers differ in size, or the shapes do not fit.
    pub fn from_stacked(model: &Model, h: Option<&Tensor>, c: Option<&Tensor>) -> Result<Self> {
        let batch = h.or(c).and_then(|t| t.shape().get(1).copied()).unwrap_or(0);
        let mut states = Self::zeros(model, batch);
        if let Some(h) = h {
            let parts: Vec<&mut Tensor> = states.h.iter_mut().collect();
            split_into("h_0", h, parts, batch)?;
        }
        if let Some(c) = c {
            let parts: Vec<&mut Tensor> = states.c.iter_mut().flatten().collect();
            if parts.is_empty() {
                return Err(Error::shape(
                    "c_0: expected none (no layer has a cell state), got one",
                ));
            }
            split_into("c_0", c, parts, batch)?;
        }
        Ok(states)
    }

    /// Returns h of all layers as PyTorch's `h_n [L·D, B, R]`, or `None` when widths differ.
    pub fn stacked_h(&self) -> Option<Tensor> {
        stack(self.h.iter())
    }

    /// Returns c of all LSTM layers as PyTorch's `c_n [L·D, B, H]`, or `None` when there is none or
    /// widths differ.
    pub fn stacked_c(&self) -> Option<Tensor> {
        stack(self.c.iter().flatten())
    }

    /// Copies the states of the given rows, in that order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let pick = |tensor: &Tensor| {
            let [directions, batch, width] = axes(tensor);
            let mut data = Vec::with_capacity(directions * rows.len() * width);
            for d in 0..directions {
                for &b in rows {
                    data.extend_from_slice(tensor.row(d * batch + b));
                }
            }
            Tensor::new([directions, rows.len(), width], data).unwrap_or_default()
        };
        Self {
            h: self.h.iter().map(pick).collect(),
            c: self.c.iter().map(|c| c.as_ref().map(pick)).collect(),
        }
    }

    /// Returns states of the same shapes, all zero.
    pub(crate) fn zeroed(&self) -> Self {
        let zeros = |tensor: &Tensor| Tensor::zeros(tensor.shape());
        Self {
            h: self.h.iter().map(zeros).collect(),
            c: self.c.iter().map(|c| c.as_ref().map(zeros)).collect(),
        }
    }

    /// Writes the states of `part`, whose row i is our row `rows[i]`.
    pub(crate) fn scatter(&mut self, part: &Self, rows: &[usize]) {
        let put = |into: &mut Tensor, from: &Tensor| {
            let [directions, batch, width] = axes(into);
            for d in 0..directions {
                for (i, &b) in rows.iter().enumerate() {
                    let start = (d * batch + b) * width;
                    into.data_mut()[start..start + width]
                        .copy_from_slice(from.row(d * rows.len() + i));
                }
            }
        };
        self.h.iter_mut().zip(&part.h).for_each(|(into, from)| put(into, from));
        for (into, from) in self.c.iter_mut().zip(&part.c) {
            if let (Some(into), Some(from)) = (into, from) {
                put(into, from);
            }
        }
    }

    pub(crate) fn check_fits(&self, model: &Model, batch: usize) -> Result<()> {
        let count = model.layers().len();
        if self.h.len() != count || self.c.len() != count {
            return Err(Error::shape(format!(
                "initial states: expected {count} layers, got {} of h and {} of c",
                self.h.len(),
                self.c.len()
            )));
        }
        for (index, layer) in model.layers().iter().enumerate() {
            let spec = layer.spec();
            let check = |name: &str, got: &[usize], want: [usize; 3]| {
                if got == want {
                    return Ok(());
                }
                Err(Error::shape(format!(
                    "{name} of layer {index}: expected [D, B, width] = {want:?}, got {got:?}"
                )))
            };
            check("h_0", self.h[index].shape(), h_shape(spec, batch))?;
            match &self.c[index] {
                Some(c) if spec.cell.has_c() => check("c_0", c.shape(), c_shape(spec, batch))?,
                None if !spec.cell.has_c() => {}
                _ => {
                    return Err(Error::shape(format!(
                        "c_0 of layer {index}: expected one exactly for lstm, the cell is {}",
                        spec.cell
                    )));
                }
            }
        }
        Ok(())
    }
}

fn h_shape(spec: &LayerSpec, batch: usize) -> [usize; 3] {
    [spec.direction.count(), batch, spec.state_size()]
}

fn c_shape(spec: &LayerSpec, batch: usize) -> [usize; 3] {
    [spec.direction.count(), batch, spec.hidden_size]
}

fn axes(tensor: &Tensor) -> [usize; 3] {
    tensor.shape().try_into().unwrap_or([0, 0, 0])
}

fn stack<'a>(parts: impl Iterator<Item = &'a Tensor>) -> Option<Tensor> {
    let parts: Vec<_> = parts.collect();
    let [_, batch, width] = axes(parts.first()?);
    if parts.iter().any(|part| axes(part)[1..] != [batch, width]) {
        return None;
    }
    let rows = parts.iter().map(|part| axes(part)[0]).sum();
    let data = parts.iter().flat_map(|part| part.data()).copied().collect();
    Tensor::new([rows, batch, width], data).ok()
}

fn split_into(
    name: &str,
    stacked: &Tensor,
    mut parts: Vec<&mut Tensor>,
    batch: usize,
) -> Result<()> {
    let rows: usize = parts.iter().map(|part| part.shape()[0]).sum();
    let width = parts[0].shape()[2];
    let want = [rows, batch, width];
    if parts.iter().any(|part| part.shape()[2] != width) {
        return Err(Error::shape(format!(
            "{name}: expected one array per layer (widths differ), got one stacked array"
        )));
    }
    if stacked.shape() != want {
        return Err(Error::shape(format!(
            "{name}: expected [L*D, B, width] = {want:?}, got {:?}",
            stacked.shape()
        )));
    }
    let mut rest = stacked.data();
    for part in &mut parts {
        let (head, tail) = rest.split_at(part.len());
        part.data_mut().copy_from_slice(head);
        rest = tail;
    }
    Ok(())
}
