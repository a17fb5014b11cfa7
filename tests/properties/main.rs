//! Laws over random networks and random batches (proptest), and proof that they bite.
//!
//! `draw` makes the networks, `laws` says what must hold, `teeth` breaks things on purpose. The
//! draws follow from a fixed seed, so that every run and CI try the same cases;
//! `PROPTEST_RNG_SEED=7` tries others and `PROPTEST_CASES=2000` more of them. What once failed is
//! tried first: `main.regressions` keeps the seeds, `regressions` the networks.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod draw;
mod laws;
#[path = "../support/mod.rs"]
mod support;

use std::sync::OnceLock;

use draw::{Case, Cells};
use laws::{Runner, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use wgpu_rnn::{Engine, LoadOptions, Model};

/// What the engines' cells may have.
const ENGINE_CELLS: Cells = Cells::WithOptions;

/// Cases of a law unless `PROPTEST_CASES` says otherwise.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let is_set = |name: &str| std::env::var_os(name).is_some();
    ProptestConfig {
        cases: if is_set("PROPTEST_CASES") { default.cases } else { cases },
        rng_seed: if is_set("PROPTEST_RNG_SEED") { default.rng_seed } else { RngSeed::Fixed(1) },
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        max_shrink_iters: 400,
        ..default
    }
}

/// A law as `laws` has them.
type Law = fn(&Runner, &Case, f64) -> Verdict;


/// Tries a law on the oracle.
fn on_the_oracle(law: Law, case: &Case) -> Result<(), TestCaseError> {
    let Some(wobble) = laws::wobble(case) else { return Err(TestCaseError::reject("wild")) };
    law(&Runner::oracle(), case, wobble).map_err(TestCaseError::fail)
}

fn engines() -> &'static [(String, Engine)] {
    static ENGINES: OnceLock<Vec<(String, Engine)>> = OnceLock::new();
    ENGINES.get_or_init(support::engines)
}

/// Tries a law on the CPU path and on one device and strategy, which changes from case to case.
fn on_engines(law: Law, case: &Case) -> Result<(), TestCaseError> {
    let Some(wobble) = laws::wobble(case) else { return Err(TestCaseError::reject("wild")) };
    let (cpu, gpus) = engines().split_first().expect("the CPU path");
    let number = usize::try_from(case.network.seed).expect("small");
    let gpu = number.checked_rem(gpus.len()).map(|at| &gpus[at]);
    for (name, engine) in std::iter::once(cpu).chain(gpu) {
        let runner = Runner::engine(name, engine.clone());
        law(&runner, case, wobble).map_err(TestCaseError::fail)?;
    }
    Ok(())
}

/// Writes the two tests of a law: on the oracle with every option, and on the engines.
macro_rules! law {
    ($law:ident, $oracle:ident, $engines:ident) => {
        proptest! {
            #![proptest_config(config(96))]
            #[test]
            fn $oracle(case in draw::case(Cells::WithOptions)) {
                on_the_oracle(laws::$law, &case)?;
            }
        }
        proptest! {
            #![proptest_config(config(48))]
            #[test]
            fn $engines(case in draw::case(ENGINE_CELLS)) {
                on_engines(laws::$law, &case)?;
            }
        }
    };
}

law!(equals_its_rows, oracle_batch_equals_its_rows, engine_batch_equals_its_rows);
law!(permutes_with_its_rows, oracle_permutes_with_its_rows, engine_permutes_with_its_rows);
law!(ignores_padding, oracle_ignores_padding, engine_ignores_padding);
law!(is_the_same_in_both_layouts, oracle_takes_both_layouts, engine_takes_both_layouts);
law!(may_be_cut_in_time, oracle_may_be_cut_in_time, engine_may_be_cut_in_time);
law!(mirrors, oracle_mirrors, engine_mirrors);
law!(chains, oracle_stack_equals_its_layers, engine_stack_equals_its_layers);
law!(repeats, oracle_repeats_itself, engine_repeats_itself);
law!(
    shows_nan_where_it_belongs,
    oracle_shows_nan_where_it_belongs,
    engine_shows_nan_where_it_belongs
);

proptest! {
    #![proptest_config(config(128))]

    /// The main law.
    #[test]
    fn engine_equals_the_oracle(case in draw::case(ENGINE_CELLS)) {
        on_engines(laws::equals_the_oracle, &case)?;
    }

    #[test]
    fn oracle_in_f32_is_near_the_oracle(case in draw::case(Cells::WithOptions)) {
        let Some(wobble) = laws::wobble(&case) else { return Err(TestCaseError::reject("wild")) };
        laws::equals_the_oracle(&Runner::narrow_oracle(), &case, wobble)
            .map_err(TestCaseError::fail)?;
    }

    #[test]
    fn saved_and_loaded_is_the_same_model(
        (network, info) in draw::network(Cells::WithOptions)
            .prop_flat_map(|network| { let info = draw::info(&network); (Just(network), info) }),
    ) {
        let mut model = network.model();
        model.info = info;
        let bytes = model.to_safetensors().expect("writes");
        let loaded = Model::from_safetensors(&bytes, &LoadOptions::default());
        let loaded = loaded.map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(weights(&loaded), weights(&model));
        prop_assert_eq!(loaded.to_safetensors().expect("writes"), bytes);
        // The names that an empty one stands for are spelt out by loading.
        let info = &mut model.info;
        let fill = |name: &mut String, default: &str, used: bool| {
            if !used { name.clear() } else if name.is_empty() { *name = default.into() }
        };
        fill(&mut info.recurrent_name, "rnn", true);
        fill(&mut info.head_name, "fc", network.head.is_some());
        let embeds = matches!(network.input, wgpu_rnn::InputSpec::Embedding { .. });
        fill(&mut info.embedding_name, "embedding", embeds);
        prop_assert_eq!(loaded, model);
    }
}

/// Names, shapes and bits.
fn weights(model: &Model) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect();
    model.tensors().into_iter().map(|t| (t.name, t.shape, bits(t.values))).collect()
}
