//! Files that hold no network, or a damaged one, are refused with what is wrong.

use wgpu_rnn::{Cell, ErrorKind, HeadSpec, Init, InputSpec, LayerSpec, LoadOptions, Model};

use crate::files::{Shapes, borrow, layer, load};

#[test]
fn all_faults_are_listed_with_hints() {
    let list: [(&str, &[usize]); 9] = [
        ("rnn.weight_ih_l0", &[10, 1024]),
        ("rnn.weight_hh_l0", &[768, 256]),
        ("rnn.bias_ih_l0", &[1024]),
        ("rnn.weight_ih_l1", &[768, 255]),
        ("rnn.weight_hh_l1", &[768, 256]),
        ("rnn.bias_ih_l1", &[768]),
        ("rnn.bias_hh_l1", &[768]),
        ("norm.running_mean", &[256]),
        ("fc.weight", &[256, 5]),
    ];
    assert_eq!(
        load(&list).expect_err("faults"),
        "weights: 6 faults\n  \
         rnn.weight_ih_l0: expected [3*H, I] = [768, 1024], got [10, 1024]\n  \
         rnn.bias_ih_l0: expected [3*H] = [768], got [1024] (this is an LSTM-shaped tensor)\n  \
         rnn.bias_hh_l0: expected [3*H] = [768], got nothing\n  \
         rnn.weight_ih_l1: expected [3*H, H] = [768, 256], got [768, 255]\n  \
         fc.weight: expected no such tensor, got [256, 5]\n  \
         norm.running_mean: expected no such tensor, got [256]"
    );
}

#[test]
fn files_without_recurrent_tensors_are_refused() {
    assert_eq!(
        load(&[("fc.weight", &[2, 3]), ("fc.bias", &[2])]).expect_err("nothing recurrent"),
        "weights: expected recurrent tensors such as rnn.weight_ih_l0, got fc.bias, fc.weight"
    );
    assert_eq!(
        load(&[]).expect_err("nothing"),
        "weights: expected recurrent tensors such as rnn.weight_ih_l0, got no tensors"
    );
    assert_eq!(
        load(&[("c.weight_ih", &[4, 1]), ("c.weight_hh", &[4, 1])]).expect_err("a cell"),
        "weights: expected recurrent tensors such as rnn.weight_ih_l0, got c.weight_hh, c.weight_ih \
         (this looks like a cell module such as nn.LSTMCell: append _l0 to its tensors' names)"
    );
}

#[test]
fn matrices_of_no_cell_are_refused() {
    let cases: [(Shapes<'_>, &str); 6] = [
        (
            &[("rnn.weight_ih_l0", &[10, 3]), ("rnn.weight_hh_l0", &[10, 5])],
            "weights: 1 fault\n  rnn.weight_hh_l0: expected [G*H, H] with G = 1, 3 or 4, got [10, 5]",
        ),
        (
            &[("rnn.weight_ih_l0", &[10, 3])],
            "weights: 1 fault\n  rnn.weight_hh_l0: expected [G*H, H] with G = 1, 3 or 4, got nothing",
        ),
        (
            &[("rnn.weight_ih_l0", &[0, 3]), ("rnn.weight_hh_l0", &[0, 0])],
            "weights: 1 fault\n  rnn.weight_hh_l0: expected [G*H, H] with G = 1, 3 or 4, got [0, 0]",
        ),
        (
            &[("weight_hh_l0", &[15, 2]), ("weight_hr_l0", &[2, 5])],
            "weights: 1 fault\n  weight_hh_l0: expected [4*H, P] with weight_hr [P, H], got [15, 2] \
             with weight_hr [2, 5]",
        ),
        (
            &[
                ("r.weight_ih_l0", &[4, 1]),
                ("r.weight_hh_l0", &[4, 1]),
                ("r.weight_ih_l2", &[4, 1]),
            ],
            "weights: 1 fault\n  r.weight_ih_l*: expected layers numbered 0 to 1, got 0, 2",
        ),
        (
            &[("r.weight_ih_l0_reverse", &[4, 1]), ("r.weight_hh_l0_reverse", &[4, 1])],
            "weights: 2 faults\n  r.weight_ih_l0: expected [4*H, I] = [4, 1], got nothing\n  \
             r.weight_hh_l0: expected [4*H, H] = [4, 1], got nothing",
        ),
    ];
    for (list, want) in cases {
        assert_eq!(load(list).expect_err("no cell"), want);
    }
}

#[test]
fn two_embeddings_are_an_error() {
    let mut list = layer("rnn.", 3, 4, 6);
    list.push(("emb_a.weight".into(), vec![9, 4]));
    list.push(("emb_b.weight".into(), vec![9, 4]));
    assert_eq!(
        load(&borrow(&list)).expect_err("two"),
        "embedding: expected one module X with X.weight [V, 4], got emb_a, emb_b"
    );
}

#[test]
fn one_name_for_two_tensors_is_refused() {
    let mut model = Model::builder(InputSpec::Embedding { vocab: 3, size: 2 })
        .layer(LayerSpec::new(Cell::Gru, 3))
        .head(HeadSpec::new(2))
        .build(Init::PyTorch, 1)
        .expect("a model");
    model.info.embedding_name = "fc".into();
    let error = model.to_safetensors().expect_err("one name");
    assert_eq!(
        error.to_string(),
        "fc.weight: expected each tensor name once, got it twice (two modules share a name)"
    );
}

#[test]
fn damaged_files_never_panic() {
    let model = Model::builder(InputSpec::Embedding { vocab: 2, size: 1 })
        .layer(LayerSpec::new(Cell::Lstm, 2).projection(1).bidirectional())
        .head(HeadSpec::new(1))
        .build(Init::PyTorch, 1)
        .expect("a model");
    let whole = model.to_safetensors().expect("bytes");
    let read = |bytes: &[u8]| Model::from_safetensors(bytes, &LoadOptions::default());
    for end in 0..whole.len() {
        assert_eq!(read(&whole[..end]).expect_err("a part").kind(), ErrorKind::Format);
    }
    // Every bit of the header once, with metadata and without.
    let views = safetensors::SafeTensors::deserialize(&whole).expect("a file");
    let bare = safetensors::serialize(views.iter(), None).expect("a file");
    for file in [whole, bare] {
        let header = 8 + usize::from(file[0]) + 256 * usize::from(file[1]);
        for byte in 0..header {
            for bit in 0..8 {
                let mut bytes = file.clone();
                bytes[byte] ^= 1 << bit;
                if let Ok(model) = read(&bytes) {
                    model.to_safetensors().expect("what loads can be written");
                }
            }
        }
    }
}

#[test]
fn sizes_beyond_a_machine_word_are_refused() {
    for shape in [
        "[4611686018427387904,4]",
        "[18446744073709551615,18446744073709551615]",
        "[0,18446744073709551615]",
    ] {
        let header = format!(
            r#"{{"rnn.weight_hh_l0":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}"#
        );
        let mut bytes = u64::try_from(header.len()).expect("short").to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        assert!(Model::from_safetensors(&bytes, &LoadOptions::default()).is_err(), "{shape}");
    }
}
