//! Storage textures that kernels read as arrays, on software adapters.
//!
//! llvmpipe makes of a load from a storage buffer a loop over the lanes of its vector, and where the processor has no
//! AVX-512 it moves the vector to memory and back for each value; of a load from a storage texture it makes straight
//! code, one instruction a lane. One vec4f of eight lanes took 186 ns from a buffer and 6.3 ns from a texture without
//! AVX-512, 19 ns and 6.4 ns with it (Mesa 22.3.6, AMD EPYC, 2026-11-27; the first by hiding AVX-512 from the driver).
//! Sampled textures took 15 ns, and Mesa 22.3 compiled their shaders again at every dispatch of some shapes.
//!
//! Weights are copied once and kept beside their buffer; the inputs of a product are copied before it, the states of
//! a time loop are written to a texture beside y.

use super::builder::{Builder, axis, narrow};
use super::gemm::Mode;
use super::*;
use crate::kernel::uniforms::{FillTexture, Gemm, Recur};

/// Values of a line. Twin: `shaders/lib/texel.wgsl`.
pub const TEXTURE_LINE: u32 = 2048;

/// Column groups from which a product's inputs are worth a copy: it loads each once for eight of them or more, and
/// the copy costs a load and a store.
const WORTH_COPYING: u32 = 32;

/// A texture of a plan: vec4f values in lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TexturePlan {
    /// For labels and messages.
    pub label: String,
    /// Values that it must hold.
    pub values: u64,
}

impl TexturePlan {
    /// Returns its lines.
    pub const fn lines(&self) -> u64 {
        let lines = self.values.div_ceil(TEXTURE_LINE as u64);
        if lines == 0 { 1 } else { lines }
    }

    /// Returns its size.
    pub fn bytes(&self) -> u64 {
        self.lines() * u64::from(TEXTURE_LINE) * 16
    }
}

/// The textures of a plan, by use; each is as large as its largest use.
#[derive(Debug, Default)]
pub(super) struct Textures {
    inputs: Option<usize>,
    /// What `inputs` holds, for products of one layer.
    pub(super) held: Option<Slot>,
    states: Option<usize>,
}

/// Tells whether kernels of a plan may read textures, and would gain by it.
pub(super) fn may_be_read(request: &PlanRequest, caps: &DeviceCaps) -> bool {
    caps.is_software
        && request.has_fixed_weights
        && request.train.is_none()
        && request.precision == Precision::F32
        && caps.constants.texture_bytes > caps.constants.cache_bytes
}

/// Tells whether one texture holds so many values.
pub(super) fn holds(values: u64, caps: &DeviceCaps) -> bool {
    values <= u64::from(TEXTURE_LINE) * u64::from(caps.texture_lines)
}

impl Builder<'_> {
    fn texture(&mut self, known: Option<usize>, label: &str, values: u64) -> usize {
        if let Some(id) = known {
            let texture = &mut self.plan.textures[id];
            texture.values = texture.values.max(values);
            return id;
        }
        self.plan.textures.push(TexturePlan { label: label.into(), values });
        self.plan.textures.len() - 1
    }

    /// The array `a` of a product in a texture, copied where it is not there yet, or `None` where it stays in its buffer.
    pub(super) fn texture_inputs(
        &mut self,
        block: &Gemm,
        (a, mode): (Slot, Mode),
        z: u32,
    ) -> Result<Option<Slot>> {
        let inner4 = u64::from(block.inner4);
        let weights = u64::from(z) * 4 * inner4 * u64::from(block.columns4);
        let rows = match mode.mode {
            _ if mode.gathers => u64::from(block.vocab),
            3 => u64::from(self.batch),
            _ => u64::from(self.batch) * u64::from(self.steps),
        };
        let values = rows * inner4;
        // The last valid steps alone are few of all rows.
        let is_worth_it = block.columns4 >= WORTH_COPYING && mode.mode != 2;
        let may = may_be_read(&self.plan.request, self.caps)
            && holds(values, self.caps)
            && holds(weights, self.caps);
        if !(may && is_worth_it) {
            return Ok(None);
        }
        if let Slot::Weight(id) = a {
            return Ok(Some(Slot::WeightTexture(id)));
        }
        let id = self.texture(self.textures.inputs, "inputs of a product", values);
        self.textures.inputs = Some(id);
        if self.textures.held.replace(a) != Some(a) {
            self.fill_texture(a, id, values)?;
        }
        Ok(Some(Slot::Texture(id)))
    }

    /// The texture for the states of a layer before and after a step, with h_0 in its first half.
    pub(super) fn texture_states(&mut self, recur: &Recur, h_0: Slot) -> Result<Slot> {
        let values = u64::from(recur.directions) * u64::from(recur.batch) * u64::from(recur.state4);
        let id = self.texture(self.textures.states, "states before and after a step", 2 * values);
        self.textures.states = Some(id);
        if recur.first_step == 0 {
            self.fill_texture(h_0, id, values)?;
        }
        Ok(Slot::Texture(id))
    }

    fn fill_texture(&mut self, source: Slot, target: usize, values: u64) -> Result<()> {
        let groups = values.div_ceil(64).max(1);
        let x = groups.min(u64::from(self.caps.max_workgroups));
        let block = FillTexture { count: narrow(values)?, width: narrow(64 * x)? };
        let slots = vec![source, Slot::Texture(target)];
        let call = self.call(Variant::of(Kernel::FillTexture), slots, &block)?;
        self.dispatch(call, Grid::Fixed([narrow(x)?, narrow(groups.div_ceil(x))?, 1]))
    }
}

/// Values of a layer's recurrent weights, and of its states before and after a step.
pub(super) fn layer_values(spec: &LayerSpec, batch: u32) -> [u64; 2] {
    let directions = axis(spec.direction.count());
    let state = axis(padded(spec.state_size()));
    let columns4 = axis(spec.cell.gates() * padded(spec.hidden_size) / 4);
    [directions * state * columns4, 2 * directions * u64::from(batch) * state / 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_texture_has_whole_lines_and_never_none() {
        let lines = |values| TexturePlan { label: String::new(), values }.lines();
        assert_eq!([0, 1, 2048, 2049].map(lines), [1, 1, 1, 2]);
    }

    #[test]
    fn the_line_is_that_of_the_shader() {
        let text = include_str!("../../shaders/lib/texel.wgsl");
        let shift = TEXTURE_LINE.ilog2();
        assert!(
            text.contains(&format!("index & {}u, index >> {shift}u", TEXTURE_LINE - 1)),
            "{text}"
        );
    }
}
