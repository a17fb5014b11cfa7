//! Laws over random networks and random batches (proptest), and proof that they bite.
//!
//! `draw` makes the networks, `laws` says what must hold, `teeth` breaks things on purpose. The
//! draws follow from a fixed seed, so that every run and CI try the same cases;
//! `PROPTEST_RNG_SEED=7` tries others and `PROPTEST_CASES=2000` more of them. What once failed is
//! tried first: `main.regressions` keeps the seeds.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

mod draw;
mod laws;
#[path = "../support/mod.rs"]
mod support;
mod teeth;

use std::sync::OnceLock;

use draw::Case;
use laws::{Runner, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use wgpu_rnn::{Engine, LoadOptions, Model};

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

/// Tries a law on a runner.
fn check(law: Law, runner: &Runner, case: &Case) -> Result<(), TestCaseError> {
    let Some(wobble) = laws::wobble(case) else { return Err(TestCaseError::reject("wild")) };
    law(runner, case, wobble).map_err(TestCaseError::fail)
}

/// Tries a law on one device and strategy, which changes from case to case; passes without a device.
fn check_on_gpu(law: Law, case: &Case) -> Result<(), TestCaseError> {
    static ENGINES: OnceLock<Vec<(String, Engine)>> = OnceLock::new();
    // The first is the CPU path.
    let gpus = &ENGINES.get_or_init(support::engines)[1..];
    let number = usize::try_from(case.network.seed).expect("small");
    let Some(at) = number.checked_rem(gpus.len()) else { return Ok(()) };
    let (name, engine) = &gpus[at];
    check(law, &Runner::engine(name, engine.clone()), case)
}

fn cpu() -> Runner {
    Runner::engine("cpu", Engine::cpu())
}

/// Writes the tests of a law: on the oracle, on the CPU path, on the GPUs.
///
/// A case costs a software adapter a hundred times what it costs the CPU path, mostly in compiling
/// pipelines; a GPU's main test is the comparison with the oracle, which has more cases.
macro_rules! law {
    ($law:ident: $oracle:ident, $cpu:ident, $gpu:ident) => {
        proptest! {
            #![proptest_config(config(96))]
            #[test]
            fn $oracle(case in draw::case()) {
                check(laws::$law, &Runner::oracle(), &case)?;
            }
        }
        proptest! {
            #![proptest_config(config(96))]
            #[test]
            fn $cpu(case in draw::case()) {
                check(laws::$law, &cpu(), &case)?;
            }
        }
        proptest! {
            #![proptest_config(config(8))]
            #[test]
            fn $gpu(case in draw::case()) {
                check_on_gpu(laws::$law, &case)?;
            }
        }
    };
}

law!(equals_its_rows: oracle_equals_its_rows, cpu_equals_its_rows, gpu_equals_its_rows);
law!(permutes_with_its_rows: oracle_permutes, cpu_permutes, gpu_permutes);
law!(ignores_padding: oracle_ignores_padding, cpu_ignores_padding, gpu_ignores_padding);
law!(is_the_same_in_both_layouts: oracle_takes_layouts, cpu_takes_layouts, gpu_takes_layouts);
law!(may_be_cut_in_time: oracle_may_be_cut, cpu_may_be_cut, gpu_may_be_cut);
law!(mirrors: oracle_mirrors, cpu_mirrors, gpu_mirrors);
law!(chains: oracle_stack_chains, cpu_stack_chains, gpu_stack_chains);
law!(repeats: oracle_repeats_itself, cpu_repeats_itself, gpu_repeats_itself);
law!(shows_nan_where_it_belongs: oracle_shows_nan, cpu_shows_nan, gpu_shows_nan);

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn gpu_equals_the_oracle(case in draw::case()) {
        check_on_gpu(laws::equals_the_oracle, &case)?;
    }
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn cpu_equals_the_oracle(case in draw::case()) {
        check(laws::equals_the_oracle, &cpu(), &case)?;
    }

    #[test]
    fn oracle_in_f32_is_near_the_oracle(case in draw::case()) {
        check(laws::equals_the_oracle, &Runner::narrow_oracle(), &case)?;
    }

    #[test]
    fn saved_and_loaded_is_the_same_model(
        (network, info) in draw::network()
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
