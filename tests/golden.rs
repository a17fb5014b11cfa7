//! PyTorch's results, computed in f64 from the same f32 weights and inputs, against the oracle and
//! against every engine of this machine. `tests/golden/README.md` says what a fixture holds.

mod support;

use support::compare::first_fault;
use support::golden::{Fixture, fixtures};
use wgpu_rnn::{Engine, RunOptions, reference};

/// Fixtures that `tests/golden/generate.py` writes.
const COUNT: usize = 16;

fn all() -> Vec<Fixture> {
    let all = fixtures();
    assert_eq!(all.len(), COUNT, "fixtures are missing: run tests/golden/generate.py");
    all
}

#[test]
fn the_oracle_agrees_with_pytorch() {
    for fixture in all() {
        let got = reference::run::<f64>(&fixture.model, &fixture.batch, &RunOptions::default())
            .expect("a run");
        let h: Vec<f64> = got.h.iter().flat_map(|h| h.data()).copied().collect();
        let c: Vec<f64> = got.c.iter().flatten().flat_map(|c| c.data()).copied().collect();
        // Both sides compute in f64: only the order of sums differs.
        let fault = fixture.fault_in(got.output.data(), &h, Some(&c), 1e-11, 1e-11);
        assert_eq!(fault, None);
    }
}

#[test]
fn every_engine_agrees_with_pytorch() {
    for (name, engine) in support::engines() {
        for fixture in all() {
            let loaded = engine.load(&fixture.model).expect("loads");
            let got = loaded.run_blocking(&fixture.batch).expect("a run");
            assert_eq!(fixture.fault(&got, 1e-5, 1e-5), None, "{name}");
        }
    }
}

#[test]
fn the_comparison_notices_a_wrong_value_and_nan() {
    let fixture = &all()[0];
    let loaded = Engine::cpu().load(&fixture.model).expect("loads");
    let good = loaded.run_blocking(&fixture.batch).expect("a run");
    for wrong in [1e-3, f32::NAN] {
        let mut bad = good.clone();
        *bad.output.data_mut().last_mut().expect("a value") += wrong;
        assert!(fixture.fault(&bad, 1e-5, 1e-5).is_some());
        let mut bad = good.clone();
        bad.states.h[0].data_mut()[0] += wrong;
        assert!(fixture.fault(&bad, 1e-5, 1e-5).is_some());
    }
    assert!(first_fault(&[1.0], &[1.0, 1.0], 1.0, 1.0).is_some());
}
