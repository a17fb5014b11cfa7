//! Tokens drawn on the device: against the oracle's network and the kernel's twin.

mod support;

use wgpu_rnn::{
    Activation, Batch, Cell, Direction, Engine, ErrorKind, HeadSpec, HeadSteps, Init, InputSpec,
    LayerSpec, Layout, LoadedModel, Model, RunOptions, Sampling, Strategy, reference,
};

fn model(vocab: usize, activation: Activation) -> Model {
    Model::builder(InputSpec::Embedding { vocab, size: 6 })
        .layers(2, &LayerSpec::new(Cell::Lstm, 9))
        .head(HeadSpec { activation, ..HeadSpec::new(vocab) })
        .build(Init::PyTorch, 3)
        .expect("valid")
}

/// The same network with outputs far enough apart that what is kept differs from step to step.
fn sharp(model: Model) -> Model {
    let mut head = model.head().cloned().expect("a head");
    head.weight.data_mut().iter_mut().for_each(|w| *w *= 12.0);
    model.with_head(Some(head)).expect("valid")
}

/// What the oracle's outputs in f32 and the twin give.
fn expected(model: &Model, sampling: &Sampling, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for number in 0u32..u32::try_from(count).expect("few") {
        let batch =
            Batch::tokens(tokens.as_slice(), 1, tokens.len(), Layout::BatchFirst).expect("valid");
        let output =
            reference::run::<f32>(model, &batch, &RunOptions::default()).expect("runs").output;
        let row = output.row(tokens.len() - 1);
        let form = model.head().is_some_and(|head| head.activation == Activation::Softmax);
        tokens.push(reference::sample(sampling, row, form, number).expect("a token"));
    }
    tokens.split_off(prompt.len())
}

fn samplings() -> Vec<Sampling> {
    let plain = Sampling { seed: 7, ..Sampling::default() };
    vec![
        plain,
        Sampling { seed: 1 << 40, ..plain },
        Sampling { temperature: 0.0, ..plain },
        Sampling { temperature: 0.6, ..plain },
        Sampling { top_k: Some(1), ..plain },
        Sampling { top_k: Some(4), temperature: 2.0, ..plain },
        Sampling { top_p: 0.5, ..plain },
        Sampling { top_k: Some(20), top_p: 0.8, temperature: 1.5, ..plain },
        Sampling { top_k: Some(100_000), top_p: 1e-6, ..plain },
        Sampling { top_p: f32::from_bits(1), ..plain },
        Sampling { temperature: f32::from_bits(1), ..plain },
    ]
}

fn draw(loaded: &LoadedModel, sampling: Sampling, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut generator = loaded.generator(sampling).expect("fits");
    generator.prompt(prompt).expect("runs");
    generator.generate(count).expect("draws")
}

#[test]
fn tokens_are_those_of_the_oracle_and_the_twin() {
    let networks = [
        sharp(model(31, Activation::Softmax)),
        sharp(model(300, Activation::None)),
        sharp(model(7, Activation::LogSoftmax)),
    ];
    let engines: Vec<_> =
        support::quick_gpus().cloned().chain([("cpu".to_owned(), Engine::cpu())]).collect();
    for (name, engine) in &engines {
        for network in &networks {
            let loaded = engine.load(network).expect("loads");
            let mut kinds = std::collections::BTreeSet::new();
            for sampling in samplings() {
                let want = expected(network, &sampling, &[3, 1, 4], 40);
                assert_eq!(draw(&loaded, sampling, &[3, 1, 4], 40), want, "{name}: {sampling:?}");
                kinds.insert(want);
            }
            assert!(kinds.len() > 5, "{name}: samplings that differ draw the same");
        }
    }
}

#[test]
fn any_number_of_calls_gives_what_one_gives_in_one_submit_of_64_tokens() {
    let network = sharp(model(31, Activation::Softmax));
    for (name, engine) in support::quick_gpus() {
        // Counters of its own.
        let engine = engine.with_strategy(Strategy::Auto);
        let loaded = engine.load(&network).expect("loads");
        let sampling = Sampling { seed: 3, ..Sampling::default() };
        let mut generator = loaded.generator(sampling).expect("fits");
        generator.prompt(&[5]).expect("runs");
        let before = engine.counters();
        let whole = generator.generate(130).expect("draws");
        let after = engine.counters();
        assert_eq!(after.submits - before.submits, 3, "{name}: 64 + 64 + 2 tokens");
        assert_eq!(after.readbacks - before.readbacks, 3, "{name}");
        generator.prompt(&[5]).expect("runs");
        let parts: Vec<u32> =
            [1, 64, 0, 65].iter().flat_map(|n| generator.generate(*n).expect("draws")).collect();
        assert_eq!(parts, whole, "{name}");
    }
}

/// Equal scores, infinite ones and zeros of both signs stand by their place.
#[test]
fn equal_and_infinite_scores_are_drawn_as_the_twin_draws_them() {
    let vocab = 9;
    let rows: [[f32; 9]; 4] = [
        [1.0; 9],
        [0.0, -0.0, 0.0, -0.0, 1.0, 1.0, -1.0, 0.0, -0.0],
        [f32::NEG_INFINITY, 2.0, 2.0, f32::NEG_INFINITY, 2.0, 2.0, 1.0, 2.0, 2.0],
        [3.0, f32::INFINITY, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ];
    for (name, engine) in support::quick_gpus() {
        for row in rows {
            // A weight of zero: the scores are the bias.
            let plain = model(vocab, Activation::None);
            let mut head = plain.head().cloned().expect("a head");
            head.weight.data_mut().fill(0.0);
            head.bias.as_mut().expect("a bias").data_mut().copy_from_slice(&row);
            let network = plain.with_head(Some(head)).expect("valid");
            let loaded = engine.load(&network).expect("loads");
            for top_k in [None, Some(1), Some(3), Some(6)] {
                for top_p in [1.0, 0.99, 0.4] {
                    let sampling = Sampling { top_k, top_p, seed: 9, ..Sampling::default() };
                    let want: Vec<u32> = (0..30)
                        .map(|n| reference::sample(&sampling, &row, false, n).expect("a token"))
                        .collect();
                    assert_eq!(
                        draw(&loaded, sampling, &[0], 30),
                        want,
                        "{name}: {row:?} {sampling:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let engines: Vec<_> =
        support::quick_gpus().cloned().chain([("cpu".to_owned(), Engine::cpu())]).collect();
    for (name, engine) in &engines {
        let loaded = engine.load(&model(7, Activation::Softmax)).expect("loads");
        let plain = Sampling::default();
        for sampling in [
            Sampling { temperature: -1.0, ..plain },
            Sampling { temperature: f32::NAN, ..plain },
            Sampling { top_k: Some(0), ..plain },
            Sampling { top_p: 0.0, ..plain },
            Sampling { top_p: f32::NAN, ..plain },
        ] {
            let error = loaded.generator(sampling).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Shape, "{name}: {error}");
        }
        let mut generator = loaded.generator(plain).expect("fits");
        for error in [
            generator.generate(1).expect_err("no prompt"),
            generator.prompt(&[]).expect_err("empty"),
            generator.prompt(&[7]).expect_err("beyond"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Shape, "{name}: {error}");
        }
        let builder = |spec: LayerSpec, outputs: usize, steps: HeadSteps| {
            let network = Model::builder(InputSpec::OneHot { vocab: 7 })
                .layer(spec)
                .head(HeadSpec { steps, ..HeadSpec::new(outputs) })
                .build(Init::PyTorch, 3)
                .expect("valid");
            engine.load(&network).expect("loads").generator(plain).expect_err("refused")
        };
        let gru = LayerSpec::new(Cell::Gru, 5);
        let both = LayerSpec { direction: Direction::Bidirectional, ..gru.clone() };
        for error in [
            builder(both, 7, HeadSteps::Every),
            builder(gru.clone(), 6, HeadSteps::Every),
            builder(gru, 7, HeadSteps::Final),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
        }
        // A network whose outputs are no numbers.
        let broken = model(7, Activation::Softmax);
        let mut head = broken.head().cloned().expect("a head");
        head.weight.data_mut()[3] = f32::INFINITY;
        {
            let broken = broken.with_head(Some(head)).expect("valid");
            let loaded = engine.load(&broken).expect("loads");
            let mut generator = loaded.generator(plain).expect("fits");
            generator.prompt(&[1]).expect("runs");
            // Neither the count nor a second call changes what is wrong.
            for count in [3, usize::MAX] {
                let error = generator.generate(count).expect_err("NaN");
                assert_eq!(error.kind(), ErrorKind::Weights, "{name}: {error}");
            }
        }
    }
}
