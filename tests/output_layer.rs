//! The output layer's kernels, fused and apart, checked and trusted: every g, every head, narrow and wide
//! rows, and the largest values of a row, against the f64 oracle.
#![allow(clippy::print_stdout, reason = "tests say what they skipped and ran on")]

use wgpu_rnn::check::{Tolerance, compare_output, compare_top, formula_states, input_value};
use wgpu_rnn::model::DirectionWeights;
use wgpu_rnn::{
    Activation, Batch, Cell, DeviceChoice, Engine, EngineOptions, ErrorKind, Head, HeadSpec,
    HeadSteps, Init, Input, InputSpec, Layer, LayerSpec, Layout, Model, Output, RunOptions, Tensor,
    Top, reference,
};

const HEADS: [HeadSteps; 3] = [HeadSteps::Every, HeadSteps::Last, HeadSteps::Final];

/// The CPU path, and every device with the kernels of the output layer fused and apart: fused with
/// wgpu's checks, and in several submits without them.
fn engines() -> Vec<(String, Engine)> {
    let mut engines = vec![("cpu".to_owned(), Engine::cpu())];
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| v == "1");
    for report in pollster::block_on(Engine::adapters()) {
        let name = format!("{} ({})", report.info.name, report.info.backend);
        if report.unusable.is_some() {
            continue;
        }
        // Mesa's GL takes a second or more for a pipeline.
        let forms: &[_] = if name.contains("(gl)") {
            &[(true, false, None)]
        } else {
            &[(true, true, None), (true, false, Some(1)), (false, false, None)]
        };
        for &(fused, checked, flops) in forms {
            let options = EngineOptions {
                device: DeviceChoice::Index(report.index),
                checked_shaders: Some(checked),
                fuse_output: Some(fused),
                flops_per_submit: flops,
                poison_memory: true,
                ..EngineOptions::default()
            };
            let engine = pollster::block_on(Engine::with_options(&options)).expect("opens");
            engines.push((format!("{name}, fused {fused}, checked {checked}"), engine));
        }
    }
    assert!(!(required && engines.len() == 1), "REQUIRE_GPU=1 and no usable adapter");
    if engines.len() == 1 {
        println!("skipped (no adapter)");
    }
    engines
}

fn is_gl(name: &str) -> bool {
    name.contains("(gl)")
}

fn drawn(head: HeadSpec) -> Model {
    Model::builder(InputSpec::Dense { size: 3 })
        .layer(LayerSpec::new(Cell::RnnTanh, 6).bidirectional())
        .head(head)
        .build(Init::PyTorch, 5)
        .expect("a valid network")
}

/// Seven rows of up to five steps, two of them without any.
fn ragged(model: &Model, layout: Layout) -> Batch {
    let values: Vec<f32> = (0..7 * 5 * 3).map(input_value).collect();
    Batch::dense(values, 7, 5, 3, layout)
        .and_then(|batch| batch.with_lengths(vec![3, 0, 5, 1, 0, 4, 2]))
        .expect("a valid batch")
        .with_initial(formula_states(model, 7))
}

fn fault(engine: &Engine, model: &Model, batch: &Batch, options: &RunOptions) -> Option<String> {
    let want = reference::run::<f64>(model, batch, options).expect("the oracle runs");
    match engine.load(model).and_then(|loaded| loaded.run_blocking_with(batch, options)) {
        Ok(got) => compare_output(&got, &want).fault,
        Err(error) => Some(error.to_string()),
    }
}

/// Widths with one column, a group of four less one, whole groups, several passes of the lanes.
const WIDTHS: [usize; 6] = [1, 3, 4, 5, 64, 1000];

/// Every place and every g at one width, and softmax and one g of single values at all others.
fn heads() -> Vec<HeadSpec> {
    let mut heads = Vec::new();
    for activation in Activation::ALL {
        for steps in HEADS {
            heads.push(HeadSpec { steps, ..HeadSpec::new(5).activation(activation) });
        }
    }
    for width in WIDTHS {
        for activation in [Activation::Softmax, Activation::Relu] {
            let steps = HEADS[width % 3];
            heads.push(HeadSpec { steps, ..HeadSpec::new(width).activation(activation) });
        }
    }
    heads
}

/// Every width, place and g once or more: the search is the same text for all of them, and a kernel that
/// keeps many values takes a software adapter a second to compile.
fn searched() -> Vec<(HeadSpec, usize)> {
    let counts = [16, 1, 2, 8, 5, 3];
    let pairs = Activation::ALL.into_iter().zip(WIDTHS.into_iter().rev()).zip(counts).enumerate();
    let mut heads: Vec<_> = pairs
        .map(|(index, ((activation, width), k))| {
            let steps = HEADS[index % 3];
            (HeadSpec { steps, ..HeadSpec::new(width).activation(activation) }, k.min(width))
        })
        .collect();
    heads.push((HeadSpec::new(1000).activation(Activation::LogSoftmax), 5));
    heads.push((HeadSpec::new(5).activation(Activation::Softmax).last_step(), 5));
    heads
}

#[test]
fn outputs_match_the_oracle_whatever_the_kernels() {
    for (name, engine) in engines() {
        for (index, head) in heads().into_iter().enumerate() {
            if is_gl(&name) && index % 9 != 0 {
                continue;
            }
            let model = drawn(HeadSpec { bias: index % 4 != 3, ..head });
            let layout = if index % 2 == 0 { Layout::BatchFirst } else { Layout::TimeMajor };
            let options = RunOptions { pad_value: -3.5, ..RunOptions::default() };
            let fault = fault(&engine, &model, &ragged(&model, layout), &options);
            assert_eq!(fault, None, "{name}: {head:?}");
        }
    }
}

#[test]
fn largest_values_match_the_oracle_whatever_the_kernels() {
    for (name, engine) in engines() {
        for (index, (head, k)) in searched().into_iter().enumerate() {
            if is_gl(&name) && index > 1 {
                continue;
            }
            let model = drawn(HeadSpec { bias: index % 4 != 3, ..head });
            let layout = if index % 2 == 0 { Layout::BatchFirst } else { Layout::TimeMajor };
            let options = RunOptions { pad_value: -3.5, top: Some(k), ..RunOptions::default() };
            let fault = fault(&engine, &model, &ragged(&model, layout), &options);
            assert_eq!(fault, None, "{name}: top {k} of {head:?}");
        }
    }
}

/// A network whose logits are `logits` whatever goes in.
fn constant(logits: &[f32], activation: Activation) -> Model {
    let one = |value| Tensor::new([1, 1], vec![value]).expect("one value");
    let weights = DirectionWeights {
        weight_ih: one(1.0),
        weight_hh: one(0.0),
        ..DirectionWeights::default()
    };
    let layer = Layer::new(LayerSpec::new(Cell::RnnTanh, 1).input(1).bias(false), vec![weights]);
    let bias = Tensor::new([logits.len()], logits.to_vec()).expect("fits");
    let weight = Tensor::zeros([logits.len(), 1]);
    let head = Head { weight, bias: Some(bias), activation, steps: HeadSteps::Every };
    Model::new(Input::Dense { size: 1 }, vec![layer.expect("fits")], Some(head)).expect("fits")
}

/// Rows with ties, infinities and NaN, in the first pass of the lanes over the columns and in later ones.
fn odd_rows() -> Vec<Vec<f32>> {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let wide = |place: usize, value: f32| {
        let mut row: Vec<f32> = (0..1000).map(|i| input_value(i) - 3.0).collect();
        row[place] = value;
        row
    };
    vec![
        vec![2.0, 5.0, 5.0, 1.0, 5.0, 2.0],
        vec![-0.0, 0.0, -1.0],
        vec![0.0, -0.0, 0.0, -0.0, 0.0],
        vec![-inf, 1.0, -inf, 0.0, -inf],
        vec![-inf; 6],
        vec![1.0, inf, 2.0],
        vec![inf, -inf, inf, 0.0],
        vec![nan, 1.0, 2.0, 3.0, 4.0],
        vec![1.0, 2.0, 3.0, 4.0, nan],
        vec![-inf, nan, inf],
        vec![3e38, 0.0, 3e38, 1.0],
        vec![-3.2e38, -3.4e38, -3.1e38],
        vec![88.0, 89.0, 90.0, -90.0],
        wide(999, nan),
        wide(0, nan),
        wide(777, inf),
        wide(513, -inf),
        wide(640, 40.0),
        vec![-inf; 1000],
        vec![0.25; 1000],
    ]
}

#[test]
fn odd_logits_give_what_the_oracle_gives() {
    let batch = Batch::dense(vec![0.5, -0.25], 2, 1, 1, Layout::BatchFirst).expect("a batch");
    for (name, engine) in engines() {
        for (index, logits) in odd_rows().iter().enumerate() {
            for activation in Activation::ALL {
                if is_gl(&name) && (index % 5 != 0 || activation != Activation::Softmax) {
                    continue;
                }
                let model = constant(logits, activation);
                let k = logits.len().min(4);
                for top in [None, Some(k)] {
                    let options = RunOptions { top, ..RunOptions::default() };
                    let fault = fault(&engine, &model, &batch, &options);
                    let head = &logits[..logits.len().min(6)];
                    assert_eq!(fault, None, "{name}: row {index} {head:?}, {activation:?} {top:?}");
                }
            }
        }
    }
}

#[test]
fn equal_logits_stand_by_their_place_and_nan_has_none() {
    let batch = Batch::dense(vec![0.5], 1, 1, 1, Layout::BatchFirst).expect("a batch");
    let options = RunOptions { top: Some(4), ..RunOptions::default() };
    for (name, engine) in engines() {
        let top = |logits: &[f32]| {
            let loaded = engine.load(&constant(logits, Activation::Softmax)).expect("loads");
            loaded.run_blocking_with(&batch, &options).expect("runs").top.expect("asked for")
        };
        let ties = top(&[2.0, 5.0, 5.0, 1.0, 5.0, 2.0]);
        assert_eq!(ties.indices.data(), [1, 2, 4, 0], "{name}");
        let same = top(&vec![1.0; 1000]);
        assert_eq!(same.indices.data(), [0, 1, 2, 3], "{name}");
        let lost = top(&[1.0, f32::NAN, 2.0, 3.0]);
        assert_eq!(lost.indices.data(), [Top::NO_INDEX; 4], "{name}");
        assert!(lost.values.data().iter().all(|v| v.is_nan()), "{name}: {:?}", lost.values);
    }
}

#[test]
fn largest_values_have_the_shape_of_the_batch_and_padding_has_no_place() {
    for (name, engine) in engines() {
        for steps in HEADS {
            let model = drawn(HeadSpec { steps, ..HeadSpec::new(5) });
            let options = RunOptions { top: Some(2), pad_value: 9.0, ..RunOptions::default() };
            let batch = ragged(&model, Layout::BatchFirst);
            let loaded = engine.load(&model).expect("loads");
            let output = loaded.run_blocking_with(&batch, &options).expect("runs");
            assert!(output.output.is_empty(), "{name}");
            let top = output.top.expect("asked for");
            let shape: &[usize] = if steps.is_per_sequence() { &[7, 2] } else { &[7, 5, 2] };
            assert_eq!(top.indices.shape(), shape, "{name}");
            assert_eq!(top.values.shape(), shape, "{name}");
            // Row 1 has no steps.
            let row = if steps.is_per_sequence() { 1 } else { 5 };
            assert_eq!(top.indices.row(row), [Top::NO_INDEX; 2], "{name}");
            assert_eq!(top.values.row(row), [9.0; 2], "{name}");
        }
    }
}

#[test]
fn values_that_do_not_exist_are_refused_with_a_reason() {
    let headless = Model::builder(InputSpec::Dense { size: 3 })
        .layer(LayerSpec::new(Cell::RnnTanh, 6))
        .build(Init::PyTorch, 1)
        .expect("a valid network");
    let model = drawn(HeadSpec::new(40));
    let top = |k| RunOptions { top: Some(k), ..RunOptions::default() };
    let unread = RunOptions { output: false, ..top(1) };
    let refused = [
        (&model, top(0), ErrorKind::Shape, "top: expected 1 to O = 40 values a row, got 0"),
        (&model, top(41), ErrorKind::Shape, "top: expected 1 to O = 40 values a row, got 41"),
        (&model, top(17), ErrorKind::Unsupported, "top: expected at most 16 values a row, got 17"),
        (&model, unread, ErrorKind::Unsupported, "top: expected the output to be read back"),
        (&headless, top(1), ErrorKind::Unsupported, "top: expected a network with an output layer"),
    ];
    for (name, engine) in engines() {
        for (model, options, kind, message) in &refused {
            let batch = Batch::dense(vec![0.0; 6], 2, 1, 3, Layout::BatchFirst).expect("a batch");
            let loaded = engine.load(model).expect("loads");
            let error = loaded.run_blocking_with(&batch, options).expect_err("refused");
            assert_eq!(error.kind(), *kind, "{name}: {error}");
            assert!(error.to_string().starts_with(message), "{name}: {error}");
        }
    }
}

#[test]
fn what_runs_is_what_was_asked_for() {
    for (name, engine) in engines().into_iter().skip(1) {
        let model = drawn(HeadSpec::new(40).activation(Activation::Softmax));
        let text = engine.load(&model).and_then(|loaded| loaded.explain(7, 5)).expect("explains");
        let want = if name.contains("fused true") {
            "product and softmax in one kernel, asked for"
        } else {
            "product, then softmax, asked for"
        };
        assert!(text.contains(want), "{name}: {text}");
    }
}

/// Every way to spoil a result must be seen by the comparator that the tests above use.
#[test]
fn spoiled_largest_values_are_caught() {
    let model = drawn(HeadSpec::new(64).activation(Activation::Softmax));
    let batch = ragged(&model, Layout::BatchFirst);
    let options = RunOptions { top: Some(3), ..RunOptions::default() };
    let want = reference::run::<f64>(&model, &batch, &options).expect("runs");
    let good = Engine::cpu()
        .load(&model)
        .and_then(|loaded| loaded.run_blocking_with(&batch, &options))
        .expect("runs");
    assert_eq!(compare_output(&good, &want).fault, None);
    let spoil = |what: &str, spoil: &dyn Fn(&mut Top)| {
        let mut bad: Output = good.clone();
        spoil(bad.top.as_mut().expect("asked for"));
        assert!(compare_output(&bad, &want).fault.is_some(), "{what} went unseen");
        let (bad, want) = (bad.top.expect("there"), want.top.as_ref().expect("there"));
        assert!(compare_top(&bad, want, Tolerance::F32).fault.is_some(), "{what} went unseen");
    };
    spoil("a place one off", &|top| top.indices.data_mut()[0] ^= 1);
    spoil("two places swapped", &|top| top.indices.data_mut().swap(0, 1));
    spoil("two entries swapped", &|top| {
        top.indices.data_mut().swap(0, 2);
        top.values.data_mut().swap(0, 2);
    });
    spoil("one NaN", &|top| top.values.data_mut()[1] = f32::NAN);
    spoil("a value of another row", &|top| top.values.data_mut()[1] = 0.5);
    spoil("one step late", &|top| {
        top.values.data_mut().rotate_right(3);
        top.indices.data_mut().rotate_right(3);
    });
    spoil("padding with a place", &|top| top.indices.data_mut()[3 * 5] = 0);
    let mut missing = good.clone();
    missing.top = None;
    assert!(compare_output(&missing, &want).fault.is_some());
}
