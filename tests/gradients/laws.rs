//! Against PyTorch, and against what must hold whatever the numbers.

use crate::support::compare::first_fault;
use crate::support::golden::training_fixtures;
use wgpu_rnn::reference::{self, Gradients};
use wgpu_rnn::train::{CrossEntropy, Loss, Targets};
use wgpu_rnn::{
    Activation, Batch, Cell, CellFunction, CellOptions, ErrorKind, HeadSteps, InputSpec, LayerSpec,
    Layout, RunOptions, Tensor,
};

use crate::cases::*;

#[test]
fn losses_and_gradients_are_pytorchs() {
    let all = training_fixtures();
    assert_eq!(all.len(), FIXTURES, "fixtures are missing: run tests/golden/gradients.py");
    for fixture in all {
        let name = &fixture.name;
        let got =
            reference::gradients(&fixture.model, &fixture.batch, &fixture.targets, &fixture.loss)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        let loss = first_fault(&[got.loss], &[fixture.value], 1e-12, 1e-12);
        assert_eq!(loss, None, "{name}: loss");
        let mut seen = got.parameters.len();
        let compare = |key: &str, got: &[f64]| {
            let want = &fixture.gradients[key];
            let scale = want.data().iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            // Both sides compute in f64: only the order of sums differs.
            let fault = first_fault(got, want.data(), 1e-11 * scale, 0.0);
            assert_eq!(fault, None, "{name}: {key}");
        };
        for (key, tensor) in &got.parameters {
            assert_eq!(tensor.shape(), fixture.gradients[key].shape(), "{name}: {key}");
            compare(key, tensor.data());
        }
        let stacked = |parts: Vec<&Tensor<f64>>| -> Vec<f64> {
            parts.into_iter().flat_map(|part| part.data()).copied().collect()
        };
        compare("h_0", &stacked(got.h_0.iter().collect()));
        seen += 1;
        if got.c_0[0].is_some() {
            compare("c_0", &stacked(got.c_0.iter().flatten().collect()));
            seen += 1;
        }
        if let Some(input) = &got.input {
            compare("input", input.data());
            seen += 1;
        }
        assert_eq!(seen, fixture.gradients.len(), "{name}: gradients without a counterpart");
    }
}

#[test]
fn padding_does_not_matter() {
    for case in cases().into_iter().filter(|case| case.name.contains("2 layers")) {
        let want = case.gradients();
        let mut other = case.clone();
        let width = case.model.input().spec().width();
        let is_per_sequence = case.model.is_per_sequence();
        let beyond: Vec<(usize, usize)> =
            (0..LENGTHS.len()).flat_map(|b| (LENGTHS[b]..STEPS).map(move |t| (b, t))).collect();
        for (b, t) in beyond {
            if !case.values.is_empty() {
                let index = case.layout.index(b, t, LENGTHS.len(), STEPS);
                other.values[index * width..][..width].fill(f32::NAN);
            }
            // With one target a sequence only the row without a step has nothing to compare with.
            let row = match (is_per_sequence, LENGTHS[b]) {
                (false, _) => b * STEPS + t,
                (true, 0) => b,
                (true, _) => continue,
            };
            match &mut other.targets {
                Targets::Classes(classes) => classes.data_mut()[row] = 1 << 40,
                Targets::Values(values) => {
                    let width = case.model.output_size();
                    values.data_mut()[row * width..][..width].fill(f32::NAN);
                }
                Targets::Labels(labels) => labels[1] = vec![99],
            }
        }
        assert_eq!(other.gradients(), want, "{}", case.name);
    }
}

fn simple(loss: Loss, head: Option<(Activation, HeadSteps)>) -> Case {
    let layer = LayerSpec::new(Cell::Gru, 3);
    let model = model(InputSpec::Dense { size: 2 }, &[layer], head, 3);
    Case::new("simple".to_owned(), &model, loss, 3)
}

const EVERY: Option<(Activation, HeadSteps)> = Some((Activation::None, HeadSteps::Every));
const LAST: Option<(Activation, HeadSteps)> = Some((Activation::None, HeadSteps::Last));

#[test]
fn denominators_count_valid_steps() {
    let denominator =
        |case: &Case| case.loss.denominator(&case.model, &case.batch(), &case.targets);
    let check = |case: &Case, want: f64| {
        let got = denominator(case);
        assert!((got - want).abs() < 1e-6, "{:?}: {got}, expected {want}", case.loss);
    };
    let classes = |case: &mut Case, list: &[i64]| {
        let Targets::Classes(classes) = &mut case.targets else { panic!("classes") };
        classes.data_mut().copy_from_slice(list);
    };
    check(&simple(cross_entropy(), EVERY), 7.0);
    check(&simple(cross_entropy(), LAST), 2.0);
    check(&simple(Loss::Mse, EVERY), 21.0);
    check(&simple(Loss::L1, LAST), 6.0);
    check(&simple(Loss::Huber { delta: 1.0 }, None), 21.0);
    check(&simple(Loss::Ctc { blank: 0 }, EVERY), 2.0);
    let mut weighted = simple(cross_entropy_with_options(), EVERY);
    classes(&mut weighted, &[0, 1, 2, -1, 9, 9, 9, 9, 1, 0, -1, 9]);
    check(&weighted, 0.5 + 2.0 + 1.25 + 2.0 + 0.5);

    // Weights of twice the size change nothing, since they are divided by.
    let want = weighted.gradients();
    let Loss::CrossEntropy(options) = &mut weighted.loss else { panic!("cross-entropy") };
    options.class_weights = Some(vec![1.0, 4.0, 2.5]);
    assert_eq!(fault(&weighted.gradients(), &want, 1e-12), None);
}

/// A row whose every class is ignored counts as one without a step.
#[test]
fn ignored_classes_do_not_count() {
    let mut ignored = simple(cross_entropy_with_options(), EVERY);
    ignored.targets = Targets::Classes(
        Tensor::new([3, 4], vec![0, 1, 2, 1, 9, 9, 9, 9, -1, -1, -1, 9]).expect("12 classes"),
    );
    let got = ignored.gradients();
    let shorter = ignored.batch().with_lengths([4, 0, 0]).expect("lengths");
    let want = reference::gradients(&ignored.model, &shorter, &ignored.targets, &ignored.loss);
    assert_eq!(fault(&got, &want.expect("gradients"), 1e-12), None);
    let total = got.parameters.values().flat_map(|t| t.data()).map(|v| v.abs()).sum::<f64>();
    assert!(total > 0.1, "{total}");
}

#[test]
fn nothing_to_compare_with_gives_zeros() {
    let all_zero = |gradients: &Gradients| {
        let tensors = gradients.parameters.values().chain(&gradients.h_0);
        let tensors = tensors.chain(gradients.c_0.iter().flatten()).chain(&gradients.input);
        gradients.loss == 0.0 && tensors.flat_map(|t| t.data()).all(|v| *v == 0.0)
    };
    let mut ignored = simple(cross_entropy_with_options(), EVERY);
    ignored.targets = Targets::Classes(Tensor::from_fn([3, 4], |_| -1));
    assert!(all_zero(&ignored.gradients()));
    for (loss, head) in losses() {
        let case = simple(loss, head);
        let batch = case.batch().with_lengths([0, 0, 0]).expect("lengths");
        let denominator = case.loss.denominator(&case.model, &batch, &case.targets);
        assert_eq!(denominator.to_bits(), 1f64.to_bits());
        let got = reference::gradients(&case.model, &batch, &case.targets, &case.loss);
        assert!(all_zero(&got.expect("gradients")), "{:?}", case.loss);
    }
}

/// The sum over all alignments, one by one.
#[test]
fn ctc_is_the_sum_over_all_alignments() {
    let mut case = simple(Loss::Ctc { blank: 1 }, EVERY);
    for labels in [vec![], vec![0], vec![2, 2], vec![0, 2], vec![0, 2, 0], vec![0, 2, 0, 2]] {
        case.targets = Targets::Labels(vec![labels.clone(), vec![], vec![0]]);
        let batch = case.batch().with_lengths([4, 0, 0]).expect("lengths");
        let mut soft = case.model.clone();
        let mut head = soft.head().expect("a head").clone();
        head.activation = Activation::Softmax;
        soft = soft.with_head(Some(head)).expect("fits");
        let p = reference::run::<f64>(&soft, &batch, &RunOptions::default()).expect("runs").output;
        let mut sum = 0.0;
        for path in 0..OUTPUTS.pow(4) {
            let classes: Vec<usize> = (0..4u32).map(|t| path / OUTPUTS.pow(t) % OUTPUTS).collect();
            let mut read = classes.clone();
            read.dedup();
            read.retain(|class| *class != 1);
            if read.iter().eq(labels
                .iter()
                .map(|l| usize::try_from(*l).expect("small"))
                .collect::<Vec<_>>()
                .iter())
            {
                let row = |t: usize| case.layout.index(0, t, LENGTHS.len(), STEPS);
                sum += (0..4).map(|t| p.row(row(t))[classes[t]]).product::<f64>();
            }
        }
        let want = -f64::ln(sum) / f64::from(u32::try_from(labels.len().max(1)).expect("small"));
        let got = reference::loss(&case.model, &batch, &case.targets, &case.loss).expect("a loss");
        assert!((got - want).abs() < 1e-12, "{labels:?}: {got}, expected {want}");
    }
}

#[test]
fn impossible_alignments_have_an_infinite_loss() {
    let mut case = simple(Loss::Ctc { blank: 0 }, EVERY);
    case.targets = Targets::Labels(vec![vec![1, 1, 1], vec![], vec![2]]);
    let got = case.gradients();
    assert_eq!(got.loss.to_bits(), f64::INFINITY.to_bits());
    assert!(got.parameters["fc.weight"].data().iter().all(|v| v.is_nan()));
    case.targets = Targets::Labels(vec![vec![1, 1, 2, 1], vec![], vec![2]]);
    assert!(case.value().is_infinite());
    case.targets = Targets::Labels(vec![vec![1, 2, 1, 2], vec![], vec![2]]);
    assert!(case.value().is_finite());
}

/// Mistakes made on purpose in the result must be seen by the comparison with differences.
#[test]
fn spoiled_gradients_are_caught() {
    let cases = cases().into_iter().chain(special_cases());
    let cases: Vec<Case> = cases
        .filter(|case| {
            case.name.contains("1 layers, Mse, Some") || case.name.starts_with("stack 3, Every")
        })
        .collect();
    assert_eq!(cases.len(), Cell::ALL.len() + 1);
    for case in cases {
        let want = case.differences(Case::value);
        let good = case.gradients();
        assert_eq!(fault(&good, &want, 1e-6), None);
        let spoil = |what: &str, spoil: &dyn Fn(&mut Gradients)| {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(fault(&bad, &want, 1e-6).is_some(), "{what} went unseen in {}", case.name);
        };
        for name in good.parameters.keys() {
            let place = |g: &mut Gradients| g.parameters.get_mut(name).expect("present").clone();
            let largest = |t: &Tensor<f64>| {
                let by_size =
                    |a: &usize, b: &usize| t.data()[*a].abs().total_cmp(&t.data()[*b].abs());
                (0..t.len()).max_by(by_size).expect("some")
            };
            spoil(&format!("one sign of {name}"), &|g| {
                let at = largest(&place(g));
                g.parameters.get_mut(name).expect("present").data_mut()[at] *= -1.0;
            });
            spoil(&format!("{name} a little off"), &|g| {
                let at = largest(&place(g));
                g.parameters.get_mut(name).expect("present").data_mut()[at] *= 1.00001;
            });
            spoil(&format!("NaN in {name}"), &|g| {
                g.parameters.get_mut(name).expect("present").data_mut()[0] = f64::NAN;
            });
            spoil(&format!("{name} missing"), &|g| drop(g.parameters.remove(name)));
        }
        spoil("the loss", &|g| g.loss *= 1.000_000_1);
        spoil("signs of h_0", &|g| g.h_0[0].data_mut().iter_mut().for_each(|v| *v = -*v));
        if good.c_0[0].is_some() {
            spoil("c_0 missing", &|g| g.c_0[0] = None);
        }
        if good.input.is_some() {
            spoil("signs of the input", &|g| {
                g.input.iter_mut().flat_map(Tensor::data_mut).for_each(|v| *v = -*v);
            });
        }
    }
}

#[test]
fn options_without_a_derivative_are_refused() {
    let lstm = LayerSpec::new(Cell::Lstm, 3);
    let option = |options: CellOptions| lstm.clone().options(options);
    let default = CellOptions::default;
    let refused = [
        (
            "functions",
            lstm.clone().functions(&[CellFunction::Relu, CellFunction::Tanh, CellFunction::Tanh]),
        ),
        ("clip", option(CellOptions { clip: Some(1.0), ..default() })),
        ("cell_clip", option(CellOptions { cell_clip: Some([-1.0, 1.0]), ..default() })),
        ("input_forget", option(CellOptions { input_forget: true, ..default() })),
        ("layer_norm", option(CellOptions { layer_norm: Some(1e-5), ..default() })),
    ];
    for (name, layer) in refused {
        let first = LayerSpec::new(Cell::Gru, 2);
        let model = model(InputSpec::Dense { size: 2 }, &[first, layer], EVERY, 1);
        let values = Batch::dense(vec![0.5; 24], 3, 4, 2, Layout::BatchFirst).expect("a batch");
        let targets = targets(&model, &Loss::Mse, 1);
        let error = reference::gradients(&model, &values, &targets, &Loss::Mse).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().starts_with(&format!("layer 1 {name}: expected ")), "{error}");
        reference::loss(&model, &values, &targets, &Loss::Mse).expect("a loss needs no derivative");
    }
}

#[test]
fn losses_refuse_output_layers_they_are_not_defined_for() {
    use Activation::{LogSoftmax, None as Linear, Relu, Sigmoid, Softmax, Tanh};
    let of_values = [Linear, Sigmoid, Tanh, Relu].to_vec();
    let of_classes = [Linear, Softmax, LogSoftmax].to_vec();
    let table = [
        (cross_entropy(), of_classes.clone(), false),
        (Loss::Ctc { blank: 0 }, of_classes, false),
        (Loss::BinaryCrossEntropy, vec![Linear, Sigmoid], false),
        (Loss::Mse, of_values.clone(), true),
        (Loss::L1, of_values.clone(), true),
        (Loss::Huber { delta: 1.0 }, of_values, true),
    ];
    for (loss, fits, without) in table {
        let check = |head: Option<(Activation, HeadSteps)>, fits: bool| {
            let layer = LayerSpec::new(Cell::Gru, 3);
            let model = model(InputSpec::Dense { size: 2 }, &[layer], head, 3);
            let batch = Batch::dense(vec![0.5; 24], 3, 4, 2, Layout::BatchFirst).expect("a batch");
            let batch = batch.with_lengths(LENGTHS).expect("lengths");
            let result = targets(&model, &loss, 1).check(&loss, &model, &batch);
            match result {
                Ok(()) => assert!(fits, "{loss:?} took {head:?}"),
                Err(error) => {
                    assert!(!fits, "{loss:?}, {head:?}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                }
            }
        };
        for activation in Activation::ALL {
            check(Some((activation, HeadSteps::Every)), fits.contains(&activation));
        }
        check(None, without);
        check(LAST, !matches!(loss, Loss::Ctc { .. }));
    }
}

#[test]
fn targets_that_do_not_fit_are_refused() {
    let classes = |shape: &[usize], class: i64| Targets::Classes(Tensor::from_fn(shape, |_| class));
    let values = |shape: &[usize], v: f32| Targets::Values(Tensor::from_fn(shape, |_| v));
    let options = |options: CrossEntropy| Loss::CrossEntropy(options);
    let refuse = |what: &str, loss: Loss, head, targets: Targets| {
        let case = simple(loss, head);
        let error = targets.check(&case.loss, &case.model, &case.batch()).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Shape, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    let fine = classes(&[3, 4], 2);
    refuse("expected [3, 4]", cross_entropy(), EVERY, classes(&[4, 3], 0));
    refuse("expected [3]", cross_entropy(), LAST, classes(&[3, 4], 0));
    refuse("expected [3, 4, 3]", Loss::Mse, None, values(&[3, 4, 2], 0.0));
    refuse("expected values for mse", Loss::Mse, EVERY, fine.clone());
    refuse("expected classes for cross-entropy", cross_entropy(), EVERY, values(&[3, 4, 3], 0.0));
    refuse("expected labels for ctc", Loss::Ctc { blank: 0 }, EVERY, fine.clone());
    refuse("got 3 in row 0, step 0", cross_entropy(), EVERY, classes(&[3, 4], 3));
    refuse("got -1 in row 0, step 0", cross_entropy(), EVERY, classes(&[3, 4], -1));
    refuse("0 to 2 or -1, got -2", cross_entropy_with_options(), EVERY, classes(&[3, 4], -2));
    refuse("got 1.5", Loss::BinaryCrossEntropy, EVERY, values(&[3, 4, 3], 1.5));
    refuse("got NaN", Loss::BinaryCrossEntropy, EVERY, values(&[3, 4, 3], f32::NAN));
    for delta in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        refuse("huber delta", Loss::Huber { delta }, EVERY, values(&[3, 4, 3], 0.0));
    }
    for label_smoothing in [-0.1, 1.0, f32::NAN] {
        let loss = options(CrossEntropy { label_smoothing, ..CrossEntropy::default() });
        refuse("label_smoothing", loss, EVERY, fine.clone());
    }
    for weights in [vec![1.0; 2], vec![1.0, f32::NAN, 1.0], vec![1.0, -1.0, 1.0]] {
        let class_weights = Some(weights);
        let loss = options(CrossEntropy { class_weights, ..CrossEntropy::default() });
        refuse("class_weights", loss, EVERY, fine.clone());
    }
    let labels = |list: &[u32]| Targets::Labels(vec![list.to_vec(), vec![77], vec![1]]);
    refuse("blank", Loss::Ctc { blank: 3 }, EVERY, labels(&[1]));
    refuse("got 3 in row 0, place 1", Loss::Ctc { blank: 0 }, EVERY, labels(&[1, 3]));
    refuse("got 2 in row 0, place 0", Loss::Ctc { blank: 2 }, EVERY, labels(&[2]));
    refuse("one list per sequence", Loss::Ctc { blank: 0 }, EVERY, Targets::Labels(vec![vec![]]));
}
