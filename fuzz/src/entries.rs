//! One function per fuzz target: bytes in, nothing out, a panic where something is wrong.
//!
//! A reader may refuse its input with an error, and must not panic, hang, or take memory out of
//! proportion to it. What it accepts must hold together: a model is written and read again, a
//! sequence has whole time steps and tokens of the vocabulary. The file is its own so that
//! `tests/fuzz_corpus.rs` runs the same functions with a stable compiler.

use std::io::Cursor;

use wgpu_rnn::model::{Unit, Vocabulary};
use wgpu_rnn::onnx::{Array as OnnxArray, Dim, OnnxModel, read_tensor};
use wgpu_rnn::{
    Cell, Init, InputSpec, LayerSpec, Layout, LoadOptions, Model, Output, States, Tensor, reference,
};

use crate::data::array::{Array, Bytes};
use crate::data::read::arrays::{ArraySource, Form};
use crate::data::read::csv::{CsvSteps, WholeCsv};
use crate::data::read::jsonl::JsonLines;
use crate::data::read::npz::Archive;
use crate::data::read::text::TextLines;
use crate::data::read::{Source, lengths};
use crate::data::{Values, Wanted};

/// A target: what reads the bytes of one file.
pub type Entry = fn(&[u8]);

/// Every target by its name, which is also the name of its folder of files.
pub const ENTRIES: [(&str, Entry); 9] = [
    ("safetensors", safetensors),
    ("onnx", onnx),
    ("tensor", tensor),
    ("npy", npy),
    ("npz", npz),
    ("csv", csv),
    ("jsonl", jsonl),
    ("txt", txt),
    ("lengths", lengths),
];

/// Models in `.safetensors`: what loads must save, and load as the same model again.
///
/// # Panics
/// Where a model that was loaded is lost or changed by saving and loading.
pub fn safetensors(bytes: &[u8]) {
    let Ok(model) = Model::from_safetensors(bytes, &LoadOptions::default()) else { return };
    // Names that two modules share are refused by both.
    let Ok(saved) = model.to_safetensors() else { return };
    let again = Model::from_safetensors(&saved, &LoadOptions::default());
    let again = again.expect("a saved model loads").to_safetensors().expect("and is saved again");
    // Bytes, because NaN is not equal to itself.
    assert!(saved == again, "a model changes when it is saved and loaded");
}

/// Models in `.onnx`: what loads takes arrays of the shapes that it names, and gives its outputs;
/// what is written as a graph loads as the same network.
///
/// # Panics
/// Where a network is changed by writing and reading, or a run's results do not fit the graph.
pub fn onnx(bytes: &[u8]) {
    let Ok(graph) = OnnxModel::from_bytes(bytes, None) else { return };
    run(&graph);
    let Ok(written) = graph.model().to_onnx() else { return };
    let again = OnnxModel::from_bytes(&written, None).expect("a written model loads");
    let twice = again.model().to_onnx().expect("and is written again");
    assert!(written == twice, "a model changes when it is written and read");
}

/// Most values of a run's input, and of the network: the oracle is slow.
const MOST_VALUES: usize = 20_000;

fn run(graph: &OnnxModel) {
    let model = graph.model();
    for whole in [false, true] {
        for free in [1, 3] {
            let arrays: Option<Vec<_>> = graph
                .inputs()
                .iter()
                .enumerate()
                .map(|(place, port)| {
                    let shape: Vec<usize> = port
                        .shape
                        .iter()
                        .map(|dim| if let Dim::Known(size) = dim { *size } else { free })
                        .collect();
                    let count = shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis));
                    let count = count.filter(|count| *count <= MOST_VALUES)?;
                    // The first input as asked, the others by their rank, as lengths and states are.
                    let real = if place == 0 { !whole } else { shape.len() > 1 };
                    let array = if real {
                        OnnxArray::F32(Tensor::new(shape, vec![0.5; count]).ok()?)
                    } else {
                        OnnxArray::I64(Tensor::new(shape, vec![1; count]).ok()?)
                    };
                    Some((port.name.clone(), array))
                })
                .collect();
            let Some(arrays) = arrays else { continue };
            let Ok(batch) = graph.batch(&arrays) else { continue };
            let work = model.parameter_count().saturating_mul(batch.total_steps().max(1));
            if work > 50 * MOST_VALUES || batch.batch_size() > MOST_VALUES {
                continue;
            }
            let wide = reference::run::<f32>(model, &batch, &graph.run_options());
            let wide = wide.expect("a batch that was made for the model runs");
            let states = States { h: wide.h, c: wide.c };
            let results = graph.results(&batch, &Output { output: wide.output, top: None, states });
            let results = results.expect("results fit the graph");
            assert_eq!(results.len(), graph.outputs().len());
        }
    }
}

/// Tensors of ONNX's test suites.
pub fn tensor(bytes: &[u8]) {
    let _ = read_tensor(bytes);
}

/// The networks that data are read for: one and two features, and tokens with a vocabulary.
fn wanted() -> [Wanted; 3] {
    let of = |input| {
        let layer = LayerSpec::new(Cell::Gru, 1);
        Model::builder(input).layer(layer).build(Init::PyTorch, 1).expect("a valid network")
    };
    let mut tokens = of(InputSpec::OneHot { vocab: 3 });
    let texts = ["a", "b", "é"].map(str::to_owned).to_vec();
    tokens.info.vocabulary = Some(Vocabulary::new(Unit::Char, texts).expect("a vocabulary"));
    let mut named = of(InputSpec::Dense { size: 2 });
    named.info.columns = vec!["x".to_owned(), "y".to_owned()];
    [of(InputSpec::Dense { size: 1 }), named, tokens].map(|model| Wanted::of(&model))
}

/// Reads a source to its end or its first error, and checks every sequence.
fn drain(source: &mut dyn Source, wanted: &Wanted) {
    let known = source.known();
    let mut count = 0;
    while let Ok(Some(sequence)) = source.next_sequence() {
        count += 1;
        check(&sequence.values, wanted);
        assert!(known.steps.is_none_or(|steps| wanted.steps(&sequence.values) <= steps));
    }
    assert!(known.sequences.is_none_or(|sequences| count <= sequences));
}

fn check(values: &Values, wanted: &Wanted) {
    match (values, wanted.vocab) {
        (Values::Dense(values), None) => assert_eq!(values.len() % wanted.features, 0),
        (Values::Tokens(tokens), Some(vocab)) => {
            let fits = |token: &u32| usize::try_from(*token).is_ok_and(|token| token < vocab);
            assert!(tokens.iter().all(fits));
        }
        _ => panic!("a network got values of the other kind"),
    }
}

/// NumPy arrays, as input in both layouts, with lengths, and whole.
pub fn npy(bytes: &[u8]) {
    let open = || Array::new(Bytes::Owned(bytes.to_vec()));
    let Ok(array) = open() else { return };
    let _ = (array.to_tensor(), array.to_integers());
    for wanted in wanted() {
        for layout in [Layout::BatchFirst, Layout::TimeMajor] {
            for lengths in [None, Some(vec![0, 1])] {
                let form = Form { layout, lengths };
                let array = open().expect("it opened before");
                if let Ok(mut source) = ArraySource::new(array, wanted.clone(), form, "x.npy") {
                    drain(&mut source, &wanted);
                }
            }
        }
    }
}

/// Archives of arrays: input, lengths, states.
pub fn npz(bytes: &[u8]) {
    let Ok(mut archive) = Archive::open(Cursor::new(bytes.to_vec())) else { return };
    let layers = LayerSpec::new(Cell::Lstm, 2);
    let model = Model::builder(InputSpec::Dense { size: 2 }).layers(2, &layers);
    let _ = archive.initial(&model.build(Init::PyTorch, 1).expect("a valid network"));
    let lengths = archive.lengths();
    let (Ok(array), Ok(lengths)) = (archive.input(), lengths) else { return };
    let form = Form { layout: Layout::BatchFirst, lengths };
    let [_, wanted, _] = wanted();
    if let Ok(mut source) = ArraySource::new(array, wanted.clone(), form, "x.npz") {
        drain(&mut source, &wanted);
    }
}

/// Rows of text, in pieces and as a whole, with columns by the model's choice and by ours.
pub fn csv(bytes: &[u8]) {
    for wanted in wanted() {
        let two = if wanted.features == 2 { vec!["2".to_owned(), "x".to_owned()] } else { vec![] };
        for asked in [vec![], two] {
            let open = || {
                let file = Cursor::new(bytes.to_vec());
                CsvSteps::new(file, "x.csv", wanted.clone(), &asked)
            };
            let (Ok(mut steps), Ok(whole)) = (open(), open()) else { continue };
            while let Ok(values) = steps.read(3) {
                check(&values, &wanted);
                if wanted.steps(&values) == 0 {
                    break;
                }
            }
            let _ = steps.index();
            drain(&mut WholeCsv::new(Box::new(whole)), &wanted);
        }
    }
}

/// Lines of JSON.
pub fn jsonl(bytes: &[u8]) {
    for wanted in wanted() {
        let lines = Box::new(Cursor::new(bytes.to_vec()));
        drain(&mut JsonLines::new(lines, "x.jsonl".to_owned(), wanted.clone()), &wanted);
    }
}

/// Lines of text through a vocabulary.
///
/// # Panics
/// Where a network with a vocabulary is taken for one without.
pub fn txt(bytes: &[u8]) {
    let [_, _, wanted] = wanted();
    let lines = Box::new(Cursor::new(bytes.to_vec()));
    let lines = TextLines::new(lines, "x.txt".to_owned(), wanted.clone());
    drain(&mut lines.expect("there is a vocabulary"), &wanted);
}

/// Files of lengths: text or an array of integers.
pub fn lengths(bytes: &[u8]) {
    let _ = lengths::parse(bytes.to_vec());
}
