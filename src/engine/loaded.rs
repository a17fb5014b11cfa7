//! A network on a device, with its plans and workspaces.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Engine, Wishes, run};
use crate::batch::{Batch, Layout, Output, RunOptions, check_top};
use crate::cpu::CpuModel;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Staging, Wait, Weights, Workspace, count};
use crate::kernel::Precision;
use crate::model::Model;
use crate::plan::{NetworkSpec, Plan, PlanRequest, Strategy, parameters, steps_capacity};

/// Plans kept; one is a few kilobytes.
const KEPT_PLANS: usize = 64;
/// Workspaces kept for shapes that may come again; more where a stream had more under way.
const KEPT_WORKSPACES: usize = 4;

/// A network packed for a device. Cloning is cheap and shares weights, plans and buffers.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    inner: Arc<Loaded>,
}

/// What the clones of a [`LoadedModel`] share.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) engine: Engine,
    pub(super) model: Model,
    pub(super) network: NetworkSpec,
    packed: Packed,
    plans: Mutex<HashMap<PlanRequest, Arc<Plan>>>,
    /// What was found to be fastest for a batch and a capacity of steps.
    tuned: Mutex<HashMap<(usize, usize), Strategy>>,
    /// Whether workgroups that wait for one another did so in vain: they are not asked to again.
    gave_up: AtomicBool,
    /// Idle workspaces, the most recently used last.
    idle: Mutex<Vec<Workspace>>,
    /// How many of them are kept.
    kept: AtomicUsize,
    /// For the states of sessions; a run reads through its workspace.
    pub(super) staging: Staging,
}

/// Weights where they compute.
#[derive(Debug)]
enum Packed {
    Cpu(CpuModel),
    Gpu(Weights),
}

impl LoadedModel {
    pub(super) fn new(engine: Engine, model: &Model) -> Result<Self> {
        let packed = match engine.gpu() {
            None if engine.shared.wishes.precision != Precision::F32 => {
                return Err(Error::unsupported(format!(
                    "precision: expected f32 on the CPU path ({}), got {}",
                    engine.info().reason,
                    engine.shared.wishes.precision.name()
                )));
            }
            None => Packed::Cpu(CpuModel::new(model)),
            Some(gpu) => Packed::Gpu(Weights::upload(gpu, model, engine.shared.wishes.precision)?),
        };
        Ok(Self::with(engine, model, packed))
    }

    fn with(engine: Engine, model: &Model, packed: Packed) -> Self {
        let inner = Loaded {
            network: NetworkSpec::from(model),
            engine,
            model: model.clone(),
            packed,
            plans: Mutex::default(),
            tuned: Mutex::default(),
            gave_up: AtomicBool::new(false),
            idle: Mutex::default(),
            kept: AtomicUsize::new(KEPT_WORKSPACES),
            staging: Staging::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Packs a network with what training keeps beside its weights.
    pub(super) fn for_training(
        engine: Engine,
        model: &Model,
        moments: Option<[&Model; 2]>,
    ) -> Result<Self> {
        let Some(gpu) = engine.gpu() else {
            return Err(Error::unsupported(format!(
                "training: expected a GPU, got the CPU path ({}; name a software adapter to use it)",
                engine.info().reason
            )));
        };
        let precision = engine.shared.wishes.precision;
        let mut weights = Weights::upload(gpu, model, precision)?;
        let network = NetworkSpec::from(model);
        weights.prepare_training(gpu, &parameters(&network))?;
        for (which, moments) in moments.into_iter().flatten().enumerate() {
            if NetworkSpec::from(moments) != network {
                return Err(Error::weights(
                    "checkpoint: expected moments of the same network, got those of another",
                ));
            }
            weights.restore_moments(gpu, &Weights::upload(gpu, moments, precision)?, which)?;
        }
        Ok(Self::with(engine.clone(), model, Packed::Gpu(weights)))
    }

    pub(super) fn inner(&self) -> &Arc<Loaded> {
        &self.inner
    }

    /// Returns the network.
    pub fn model(&self) -> &Model {
        &self.inner.model
    }

    /// Returns the engine it was loaded on.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Runs a batch and reads output and states back.
    ///
    /// The future yields while the device computes; it can be driven by any executor.
    ///
    /// # Errors
    /// `Shape` when the batch does not fit the network; `Limit` when one sequence alone exceeds the
    /// device; `Device` when the device fails.
    pub async fn run(&self, batch: &Batch) -> Result<Output> {
        self.run_with(batch, &RunOptions::default()).await
    }

    /// Runs a batch with options.
    ///
    /// # Errors
    /// As [`LoadedModel::run`]; `Shape` or `Unsupported` for a [`RunOptions::top`] that the network does
    /// not have.
    pub async fn run_with(&self, batch: &Batch, options: &RunOptions) -> Result<Output> {
        self.run_on(batch, options, Wait::Yielding).await
    }

    /// Runs a batch and waits for it on this thread.
    ///
    /// # Errors
    /// As [`LoadedModel::run`].
    pub fn run_blocking(&self, batch: &Batch) -> Result<Output> {
        self.run_blocking_with(batch, &RunOptions::default())
    }

    /// Runs a batch with options and waits for it on this thread.
    ///
    /// # Errors
    /// As [`LoadedModel::run_with`].
    pub fn run_blocking_with(&self, batch: &Batch, options: &RunOptions) -> Result<Output> {
        pollster::block_on(self.run_on(batch, options, Wait::Blocking))
    }

    pub(super) async fn run_on(
        &self,
        batch: &Batch,
        options: &RunOptions,
        wait: Wait,
    ) -> Result<Output> {
        let loaded = &*self.inner;
        batch.check_fits(&loaded.model)?;
        check_top(&loaded.model, options)?;
        match (&loaded.packed, loaded.engine.gpu()) {
            (Packed::Gpu(_), Some(gpu)) => run::run(loaded, gpu, batch, options, wait).await,
            (Packed::Cpu(cpu), _) => cpu.run(&loaded.model, batch, options),
            (Packed::Gpu(_), None) => Err(Error::device("model: expected a GPU engine")),
        }
    }
}

impl Loaded {
    pub(super) fn on_gpu(&self) -> Option<(&Gpu, &Weights)> {
        match (self.engine.gpu(), &self.packed) {
            (Some(gpu), Packed::Gpu(weights)) => Some((gpu, weights)),
            _ => None,
        }
    }

    /// Describes a run's shape as this engine's networks run.
    pub(super) fn request(
        &self,
        batch: usize,
        steps: usize,
        external: Option<(Layout, Layout)>,
    ) -> PlanRequest {
        let Wishes { mut strategy, precision } = self.engine.shared.wishes;
        if let (Strategy::Auto, Ok(tuned)) = (strategy, self.tuned.lock()) {
            strategy = tuned.get(&(batch, steps_capacity(steps))).copied().unwrap_or(strategy);
        }
        if strategy == Strategy::GridPersistent && self.gave_up.load(Ordering::Relaxed) {
            strategy = Strategy::Auto;
        }
        PlanRequest {
            batch,
            steps,
            strategy,
            precision,
            external,
            top: None,
            train: None,
            has_fixed_weights: self.on_gpu().is_some_and(|(_, weights)| weights.are_fixed()),
        }
    }

    /// Leaves [`Strategy::GridPersistent`] to [`Strategy::Auto`] from now on: its workgroups do not run side
    /// by side, or not on this device while it does what it does now.
    pub(super) fn give_up(&self) {
        count(&self.engine.shared.counts.reruns);
        if !self.gave_up.swap(true, Ordering::Relaxed) {
            let name = &self.engine.info().name;
            log::warn!("{name}: workgroups did not run side by side; the batch runs again without");
        }
    }

    /// Lets runs of a shape use a strategy in place of the planner's choice; `None` ends that.
    pub(super) fn set_tuned(
        &self,
        shape: (usize, usize),
        strategy: Option<Strategy>,
    ) -> Result<()> {
        let mut tuned = self.tuned.lock().map_err(|_| poisoned())?;
        match strategy {
            Some(strategy) => tuned.insert(shape, strategy),
            None => tuned.remove(&shape),
        };
        Ok(())
    }

    /// Returns the plan of a request, made at first use.
    pub(super) fn plan(&self, gpu: &Gpu, request: PlanRequest) -> Result<Arc<Plan>> {
        let mut plans = self.plans.lock().map_err(|_| poisoned())?;
        if let Some(plan) = plans.get(&request) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::new(&self.network, request, &gpu.caps)?);
        if plans.len() >= KEPT_PLANS {
            plans.clear();
        }
        plans.insert(request, Arc::clone(&plan));
        Ok(plan)
    }

    /// Takes an idle workspace of a plan, or allocates one.
    pub(super) fn take_workspace(&self, gpu: &Gpu, plan: &Arc<Plan>) -> Result<Workspace> {
        {
            let mut idle = self.idle.lock().map_err(|_| poisoned())?;
            if let Some(found) = idle.iter().position(|w| Arc::ptr_eq(&w.plan, plan)) {
                return Ok(idle.remove(found));
            }
        }
        let Packed::Gpu(weights) = &self.packed else {
            return Err(Error::device("workspace: expected a model on a GPU"));
        };
        count(&self.engine.shared.counts.workspaces);
        Workspace::new(gpu, Arc::clone(plan), weights).or_else(|_| {
            // Idle workspaces of other shapes may be what fills the memory.
            self.idle.lock().map_err(|_| poisoned())?.clear();
            Workspace::new(gpu, Arc::clone(plan), weights)
        })
    }

    /// Keeps as many idle workspaces as a stream of this depth uses.
    pub(super) fn keep(&self, depth: usize) {
        self.kept.fetch_max(depth, Ordering::Relaxed);
    }

    /// Gives a workspace back for the next run of its shape.
    pub(super) fn give_workspace(&self, gpu: &Gpu, workspace: Workspace) {
        let dropped = self.idle.lock().ok().and_then(|mut idle| {
            idle.push(workspace);
            (idle.len() > self.kept.load(Ordering::Relaxed)).then(|| idle.remove(0))
        });
        let _turn = gpu.exclusive();
        drop(dropped);
    }
}

fn poisoned() -> Error {
    Error::device("model: an earlier run on another thread panicked")
}
