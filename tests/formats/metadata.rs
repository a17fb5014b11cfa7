//! The metadata text: its keys, its values, and what options say in its place.

use wgpu_rnn::{
    Activation, Cell, ErrorKind, HeadSpec, HeadSteps, Init, InputSpec, LayerSpec, LoadOptions,
    Model,
};

use crate::files::{head, with_metadata};

#[test]
fn metadata_faults_carry_hints() {
    let metadata = r#"{"version":1,"input":{"kind":"dense","size":3},
        "layers":[{"cell":"lstm","hidden_size":256}],"head":{"tensor":"fc"}}"#;
    let list: [(&str, &[usize]); 6] = [
        ("rnn.weight_ih_l0", &[3, 1024]),
        ("rnn.weight_hh_l0", &[768, 256]),
        ("rnn.bias_ih_l0", &[256]),
        ("rnn.bias_hh_l0", &[1024]),
        ("fc.weight", &[256, 5]),
        ("fc.bias", &[5]),
    ];
    assert_eq!(
        with_metadata(&list, metadata).expect_err("faults"),
        (
            ErrorKind::Weights,
            "weights: 5 faults\n  \
             rnn.weight_ih_l0: expected [4*H, I] = [1024, 3], got [3, 1024] (this looks transposed; \
             PyTorch stores [out, in])\n  \
             rnn.weight_hh_l0: expected [4*H, H] = [1024, 256], got [768, 256] (this is a GRU-shaped \
             tensor)\n  \
             rnn.bias_ih_l0: expected [4*H] = [1024], got [256] (this is an RNN-shaped tensor)\n  \
             fc.weight: expected [O, H] = [any, 256], got [256, 5] (this looks transposed; PyTorch \
             stores [out, in])\n  \
             fc.bias: expected [O] = [256], got [5]"
                .to_owned()
        )
    );
}

const ONE_UNIT: [(&str, &[usize]); 2] =
    [("rnn.weight_ih_l0", &[4, 3]), ("rnn.weight_hh_l0", &[4, 1])];
const INPUT: &str = r#""input":{"kind":"dense","size":3}"#;
const LAYERS: &str = r#""layers":[{"cell":"lstm","hidden_size":1,"bias":false}]"#;

/// Asserts the kind and message of a file of one LSTM unit with each metadata text.
fn assert_refused(cases: &[(String, &str)]) {
    for (text, want) in cases {
        let (kind, message) = with_metadata(&ONE_UNIT, text).expect_err(want);
        assert_eq!(format!("{kind}: {message}"), *want);
    }
}

#[test]
fn metadata_keys_are_checked() {
    let text = format!(r#"{{"version":1,{INPUT},{LAYERS}}}"#);
    assert!(with_metadata(&ONE_UNIT, &text).is_ok());
    let cases = [
        (
            format!(r#"{{"version":2,{INPUT},{LAYERS},"new":1}}"#),
            "unsupported: metadata wgpu_rnn version: expected 1, got 2 (the file was written by \
             another release)",
        ),
        (
            format!("{{{INPUT},{LAYERS}}}"),
            "format: metadata wgpu_rnn version: expected 1, got nothing",
        ),
        (
            format!(r#"{{"version":1,{INPUT},{LAYERS},"haed":{{}}}}"#),
            "format: metadata wgpu_rnn: unknown field `haed`, expected one of `version`, `input`, \
             `recurrent`, `layers`, `head`, `vocabulary`, `columns`, `outputs`, `forecast`, \
             `description`, `command`",
        ),
        (
            format!(r#"{{"version":1,"input":{{"kind":"dense","size":3,"e":1}},{LAYERS}}}"#),
            "format: metadata wgpu_rnn: unknown field `e`, expected `size`",
        ),
    ];
    assert_refused(&cases);
}

#[test]
fn metadata_values_are_checked() {
    let cases = [
        (
            format!(r#"{{"version":1,"input":{{"kind":"dense","size":0}},{LAYERS}}}"#),
            "format: metadata wgpu_rnn input.size: expected 1 to 16777216, got 0",
        ),
        (
            format!(r#"{{"version":1,{INPUT},"layers":[{{"cell":"lstn","hidden_size":1}}]}}"#),
            "format: metadata wgpu_rnn layers[0].cell: expected one of rnn-tanh, rnn-relu, lstm, \
             gru, gru-reset-before, got \"lstn\"",
        ),
        (
            format!(
                r#"{{"version":1,{INPUT},"layers":[{{"cell":"gru","hidden_size":18446744073709551615}}]}}"#
            ),
            "format: metadata wgpu_rnn layers[0].hidden_size: expected 1 to 16777216, got \
             18446744073709551615",
        ),
        (
            format!(r#"{{"version":1,{INPUT},{LAYERS},"head":{{"activation":"gelu"}}}}"#),
            "format: metadata wgpu_rnn head.activation: expected one of none, softmax, log-softmax, \
             sigmoid, tanh, relu, got \"gelu\"",
        ),
        (
            format!(
                r#"{{"version":1,{INPUT},{LAYERS},"vocabulary":{{"unit":"char","tokens":["a","a"]}}}}"#
            ),
            "format: vocabulary: expected each token once, got \"a\" twice",
        ),
        (
            format!(r#"{{"version":1,{INPUT},"layers":[]}}"#),
            "weights: weights: 2 faults\n  rnn.weight_hh_l0: expected no such tensor, got [4, 1]\n  \
             rnn.weight_ih_l0: expected no such tensor, got [4, 3]",
        ),
        ("[".to_owned(), "format: metadata wgpu_rnn: EOF while parsing a list at line 1 column 1"),
    ];
    assert_refused(&cases);
}

#[test]
fn options_win_over_metadata() {
    let model = Model::builder(InputSpec::Dense { size: 2 })
        .layer(LayerSpec::new(Cell::Gru, 3))
        .head(HeadSpec::new(2).activation(Activation::Softmax))
        .build(Init::PyTorch, 1)
        .expect("a model");
    let bytes = model.to_safetensors().expect("bytes");
    let with = |options: &LoadOptions| Model::from_safetensors(&bytes, options).expect("a model");
    assert!(with(&head("none")).head().is_none());
    let options = LoadOptions {
        cell: Some(Cell::GruResetBefore),
        activation: Some(Activation::None),
        steps: Some(HeadSteps::Last),
        ..LoadOptions::default()
    };
    let other = with(&options);
    assert_eq!(other.layers()[0].spec().cell, Cell::GruResetBefore);
    assert_eq!(other.head().map(|h| h.spec()), Some(HeadSpec::new(2).last_step()));
}
