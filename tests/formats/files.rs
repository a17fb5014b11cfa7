//! Hand-made model files, and what loading them gives.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use wgpu_rnn::{ErrorKind, LoadOptions, Model};

/// A tensor of a hand-made file: values count up from the name's length, so that no two agree.
pub(crate) type Entry<'a> = (&'a str, Dtype, &'a [usize]);

/// Names and shapes of a file's tensors.
pub(crate) type Shapes<'a> = &'a [(&'a str, &'a [usize])];

pub(crate) fn file(entries: &[Entry<'_>], metadata: Option<&str>) -> Vec<u8> {
    let data: Vec<Vec<u8>> = entries
        .iter()
        .map(|(name, dtype, shape)| {
            let count: usize = shape.iter().product();
            (0..count)
                .flat_map(|i| {
                    let value = (name.len() + i) as f32 / 64.0;
                    match dtype {
                        Dtype::F32 => value.to_le_bytes().to_vec(),
                        Dtype::F64 => f64::from(value).to_le_bytes().to_vec(),
                        Dtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
                        Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
                        _ => vec![0; dtype.bitsize() / 8],
                    }
                })
                .collect()
        })
        .collect();
    let views = entries.iter().zip(&data).map(|((name, dtype, shape), bytes)| {
        (*name, TensorView::new(*dtype, shape.to_vec(), bytes).expect("a view"))
    });
    let entries = metadata.map(|text| HashMap::from([("wgpu_rnn".to_owned(), text.to_owned())]));
    safetensors::serialize(views, entries).expect("a file")
}

pub(crate) fn load(entries: &[(&str, &[usize])]) -> Result<Model, String> {
    load_with(entries, &LoadOptions::default())
}

pub(crate) fn load_with(
    entries: &[(&str, &[usize])],
    options: &LoadOptions,
) -> Result<Model, String> {
    let entries: Vec<Entry<'_>> = entries.iter().map(|(n, s)| (*n, Dtype::F32, *s)).collect();
    Model::from_safetensors(&file(&entries, None), options).map_err(|e| {
        assert_eq!(e.kind(), ErrorKind::Weights, "{e}");
        e.to_string()
    })
}

pub(crate) fn with_metadata(
    entries: &[(&str, &[usize])],
    metadata: &str,
) -> Result<Model, (ErrorKind, String)> {
    let entries: Vec<Entry<'_>> = entries.iter().map(|(n, s)| (*n, Dtype::F32, *s)).collect();
    Model::from_safetensors(&file(&entries, Some(metadata)), &LoadOptions::default())
        .map_err(|e| (e.kind(), e.to_string()))
}

pub(crate) fn head(name: &str) -> LoadOptions {
    LoadOptions { head: Some(name.into()), ..LoadOptions::default() }
}

/// The tensors of one PyTorch layer under a module prefix such as `rnn.`.
pub(crate) fn layer(
    prefix: &str,
    gates: usize,
    input: usize,
    hidden: usize,
) -> Vec<(String, Vec<usize>)> {
    let rows = gates * hidden;
    vec![
        (format!("{prefix}weight_ih_l0"), vec![rows, input]),
        (format!("{prefix}weight_hh_l0"), vec![rows, hidden]),
        (format!("{prefix}bias_ih_l0"), vec![rows]),
        (format!("{prefix}bias_hh_l0"), vec![rows]),
    ]
}

pub(crate) fn borrow(list: &[(String, Vec<usize>)]) -> Vec<(&str, &[usize])> {
    list.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect()
}
