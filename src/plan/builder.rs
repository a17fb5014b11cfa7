//! The builder of a [`Plan`]: its buffers, calls and uniforms, and what enters the first layer.
//!
//! `layer` adds the recurrent layers, `head` the output layer, `output` what follows.

use std::collections::HashMap;

use super::strategy::Ask;
use super::texture::Textures;
use super::*;
use crate::kernel::uniforms::CopyRows;

/// What the next stage reads: rows `[T, B, blocks, padded width]`.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) slot: Slot,
    /// Padded values of a row.
    pub(super) width: usize,
    pub(super) blocks: usize,
    pub(super) block: usize,
}

pub(super) struct Builder<'a> {
    pub(super) network: &'a NetworkSpec,
    pub(super) caps: &'a DeviceCaps,
    pub(super) batch: u32,
    pub(super) steps: u32,
    /// How each layer runs.
    pub(super) choices: Vec<LayerChoice>,
    /// Whether a dispatch of the plan clears the header of its exchange.
    pub(super) has_cleared: bool,
    /// Buffers of backpropagation that layers use one after the other.
    pub(super) shared: HashMap<train::Shared, usize>,
    /// The textures of the plan, by use.
    pub(super) textures: Textures,
    pub(super) plan: Plan,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        network: &'a NetworkSpec,
        request: PlanRequest,
        caps: &'a DeviceCaps,
    ) -> Result<Self> {
        let (batch, steps) = (to_u32(request.batch)?, to_u32(request.steps)?);
        if batch > caps.max_workgroups {
            return Err(Error::limit(format!(
                "batch: expected at most {} sequences in one run, got {batch}",
                caps.max_workgroups
            )));
        }
        if steps > caps.max_steps {
            return Err(Error::limit(format!(
                "steps: expected at most {} in one run, got {steps}",
                caps.max_steps
            )));
        }
        let output =
            OutputPlan { buffer: 0, blocks: 1, width: 0, block_stride: 0, last_only: false };
        let plan = Plan {
            request,
            buffers: Vec::new(),
            textures: Vec::new(),
            calls: Vec::new(),
            uniforms: Vec::new(),
            starts: Vec::new(),
            ops: Vec::new(),
            input: None,
            tokens: None,
            lengths: 0,
            layers: Vec::new(),
            output,
            gives_up: None,
            train: None,
            choices: Vec::new(),
            head: None,
        };
        let ask = Ask {
            batch,
            steps,
            strategy: request.strategy,
            precision: request.precision,
            has_textures: texture::may_be_read(&request, caps),
            gathers_input: matches!(network.input, InputSpec::OneHot { .. }),
        };
        let choices = choices(network, request.train, ask, caps)?;
        let textures = Textures::default();
        Ok(Self {
            network,
            caps,
            batch,
            steps,
            choices,
            has_cleared: false,
            shared: HashMap::new(),
            textures,
            plan,
        })
    }

    pub(super) fn build(mut self) -> Result<Plan> {
        let words = axis(self.plan.request.batch) + self.words_behind_lengths();
        self.plan.lengths = self.buffer("lengths", &[words, 4])?;
        if let Some(request) = self.plan.request.train {
            self.train(request)?;
            self.check_transfers()?;
            self.plan.choices = self.choices;
            return Ok(self.plan);
        }
        let mut rows = self.input()?;
        let gates = self.gates_buffer()?;
        let ys = self.y_buffers()?;
        self.exchange_buffer()?;
        let network = self.network;
        let mut stacks = self.waves().into_iter().peekable();
        let mut index = 0;
        while let Some(spec) = network.layers.get(index) {
            if let Some(stack) = stacks.next_if(|stack| stack.start == index) {
                index = stack.end;
                rows = self.wave(stack, rows, gates)?;
            } else {
                rows = self.layer(index, spec, rows, gates, ys[index % 2], None)?;
                index += 1;
            }
        }
        self.output(rows)?;
        self.check_transfers()?;
        self.plan.choices = self.choices;
        Ok(self.plan)
    }

    /// The stacks that run as wavefronts.
    fn waves(&self) -> Vec<std::ops::Range<usize>> {
        let mut stacks = wave::stacks(&self.network.layers);
        stacks.retain(|stack| self.choices[stack.start].strategy == Strategy::Wavefront);
        stacks
    }

    /// Copies a whole buffer ahead of any dispatch.
    pub(super) fn start(&mut self, source: usize, (target, target_at): (usize, u64)) {
        self.plan.starts.push(StartCopy { source, target, target_at });
    }

    /// Everything that a run uploads goes through one buffer, and so does what it reads back.
    fn check_transfers(&self) -> Result<()> {
        if self.plan.request.external.is_some() {
            return Ok(());
        }
        let transfers =
            [("uploads", self.plan.upload_bytes()), ("results", self.plan.readback_bytes())];
        for (what, bytes) in transfers {
            if bytes > self.caps.max_buffer {
                return Err(Error::limit(format!(
                    "{what}: expected at most {} bytes in one buffer, got {bytes} for B = {}, \
                     T = {} (use smaller batches)",
                    self.caps.max_buffer, self.batch, self.steps
                )));
            }
        }
        Ok(())
    }

    pub(super) fn buffer(&mut self, label: &str, axes: &[u64]) -> Result<usize> {
        let bytes = axes.iter().try_fold(1u64, |n, axis| n.checked_mul(*axis)).unwrap_or(u64::MAX);
        let bytes = bytes.max(16);
        let most = self.caps.max_binding.min(self.caps.max_buffer);
        if bytes > most {
            return Err(Error::limit(format!(
                "{label}: expected at most {most} bytes in one binding, got {bytes} for B = {}, \
                 T = {} (use smaller batches)",
                self.batch, self.steps
            )));
        }
        self.plan.buffers.push(BufferPlan {
            label: label.into(),
            bytes,
            keeps_zero_padding: false,
        });
        Ok(self.plan.buffers.len() - 1)
    }

    pub(super) fn call<B: Block>(
        &mut self,
        mut variant: Variant,
        slots: Vec<Slot>,
        block: &B,
    ) -> Result<usize> {
        if variant.kernel.spec().stores {
            variant.precision = self.plan.request.precision;
        }
        let align = usize::try_from(self.caps.uniform_align).unwrap_or(256).max(16);
        let start = self.plan.uniforms.len().next_multiple_of(align);
        self.plan.uniforms.resize(start, 0);
        let bytes = bytemuck::bytes_of(block);
        self.plan.uniforms.extend_from_slice(bytes);
        self.plan.calls.push(Call {
            variant,
            slots,
            uniform: to_u32(start)?,
            uniform_bytes: to_u32(bytes.len())?,
        });
        Ok(self.plan.calls.len() - 1)
    }

    pub(super) fn dispatch(&mut self, call: usize, grid: Grid) -> Result<()> {
        let widest = match grid {
            Grid::Fixed(groups) => groups.into_iter().max().unwrap_or(0),
            Grid::ChunkRows { x_z, .. } | Grid::StepRows { x_z, .. } => x_z[0].max(x_z[1]),
            Grid::StepTiles { y_z, .. } => y_z[0].max(y_z[1]),
            Grid::WaveRows { x, layers, .. } => x.max(layers),
            Grid::Tiles { z, .. } => z,
        };
        if widest > self.caps.max_workgroups {
            return Err(Error::limit(format!(
                "{}: expected at most {} workgroups along one axis, got {widest}",
                self.plan.calls[call].variant, self.caps.max_workgroups
            )));
        }
        self.plan.ops.push(Op::Dispatch { call, grid, for_states: false });
        Ok(())
    }

    pub(super) fn input(&mut self) -> Result<Rows> {
        let (batch, steps) = (u64::from(self.batch), u64::from(self.steps));
        let spec = self.network.input;
        let width = padded(spec.width());
        let rows = |slot| Rows { slot, width, blocks: 1, block: width };
        if let InputSpec::Dense { size } = spec {
            if let Some((layout, _)) = self.plan.request.external {
                if size % 4 == 0 && layout == Layout::TimeMajor {
                    self.check_external("input", &[steps, batch, axis(size), 4])?;
                    return Ok(rows(Slot::ExternalInput));
                }
                let x = self.buffer("x", &[steps, batch, axis(width), 4])?;
                self.plan.buffers[x].keeps_zero_padding = true;
                self.copy_rows(
                    (Slot::ExternalInput, layout),
                    (Slot::Buffer(x), Layout::TimeMajor),
                    (self.steps, 1, size),
                    (size, width),
                )?;
                return Ok(rows(Slot::Buffer(x)));
            }
            let x = self.buffer("x", &[steps, batch, axis(width), 4])?;
            self.plan.input = Some(x);
            return Ok(rows(Slot::Buffer(x)));
        }
        let tokens = match self.plan.request.external {
            Some((Layout::TimeMajor, _)) => {
                self.check_external("input", &[steps, batch, 4])?;
                Slot::ExternalInput
            }
            Some((layout, _)) => {
                let id = self.buffer("tokens", &[steps, batch, 4])?;
                let target = (Slot::Buffer(id), Layout::TimeMajor);
                self.copy_rows((Slot::ExternalInput, layout), target, (self.steps, 1, 1), (1, 1))?;
                Slot::Buffer(id)
            }
            None => {
                let id = self.buffer("tokens", &[steps, batch, 4])?;
                self.plan.tokens = Some(id);
                Slot::Buffer(id)
            }
        };
        Ok(rows(tokens))
    }

    pub(super) fn check_external(&self, label: &str, axes: &[u64]) -> Result<()> {
        let bytes = axes.iter().try_fold(1u64, |n, axis| n.checked_mul(*axis)).unwrap_or(u64::MAX);
        if bytes > self.caps.max_binding {
            return Err(Error::limit(format!(
                "{label}: expected at most {} bytes in one binding, got {bytes}",
                self.caps.max_binding
            )));
        }
        Ok(())
    }

    pub(super) fn copy_rows(
        &mut self,
        (source, source_layout): (Slot, Layout),
        (target, target_layout): (Slot, Layout),
        (steps, blocks, width): (u32, usize, usize),
        (source_block, target_block): (usize, usize),
    ) -> Result<()> {
        let count = u64::from(steps) * u64::from(self.batch);
        let grid_y = count.min(u64::from(self.caps.max_workgroups)).max(1);
        let z = count.div_ceil(grid_y);
        let is_even = [width, source_block, target_block].iter().all(|size| size % 4 == 0);
        let (kernel, group) = if is_even { (Kernel::CopyGroups, 4) } else { (Kernel::CopyRows, 1) };
        let values = blocks * width / group;
        let block = CopyRows {
            steps,
            batch: self.batch,
            blocks: to_u32(blocks)?,
            width: to_u32(width / group)?,
            source_block: to_u32(source_block / group)?,
            target_block: to_u32(target_block / group)?,
            source_is_batch_first: u32::from(source_layout == Layout::BatchFirst),
            target_is_batch_first: u32::from(target_layout == Layout::BatchFirst),
            grid_y: narrow(grid_y)?,
        };
        let slots = vec![source, Slot::Buffer(self.plan.lengths), target];
        let call = self.call(Variant::of(kernel), slots, &block)?;
        let groups = [ceil_div(to_u32(values)?, 64), narrow(grid_y)?, narrow(z)?];
        self.dispatch(call, Grid::Fixed(groups))
    }
}

/// Picks the drivers of a network's layers.
fn choices(
    network: &NetworkSpec,
    train: Option<TrainRequest>,
    ask: Ask,
    caps: &DeviceCaps,
) -> Result<Vec<LayerChoice>> {
    match train {
        Some(train) if train.recurrent_dropout => {
            let free = strategy::choose_each(&network.layers, ask, caps)?;
            let pairs = network.layers.iter().zip(free);
            pairs.map(|(spec, choice)| train::masked_choice(spec, &choice)).collect()
        }
        // A wavefront keeps no input gates.
        Some(_) => strategy::choose_each(&network.layers, ask, caps),
        None => strategy::choose_all(&network.layers, ask, caps),
    }
}

pub(super) fn axis(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

pub(super) fn narrow(size: u64) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::limit(format!("size: expected below 2^32, got {size}")))
}
