//! What names and shapes of a `state_dict` tell of a network, and what they leave open.

use wgpu_rnn::{Activation, Cell, HeadSpec, HeadSteps, InputSpec, LayerSpec, LoadOptions, Model};

use crate::files::{borrow, head, layer, load, load_with};

#[test]
fn cell_and_sizes_follow_from_shapes() {
    for (gates, cell) in [(1, Cell::RnnTanh), (3, Cell::Gru), (4, Cell::Lstm)] {
        let model = load(&borrow(&layer("rnn.", gates, 7, 5))).expect("a model");
        let spec = model.layers()[0].spec();
        assert_eq!(*spec, LayerSpec::new(cell, 5).input(7));
        assert_eq!(model.input().spec(), InputSpec::Dense { size: 7 });
    }
}

#[test]
fn projection_bias_and_directions_follow_from_names() {
    let mut list = Vec::new();
    for (l, input) in [(0, 3), (1, 4)] {
        for suffix in ["", "_reverse"] {
            list.push((format!("rnn.weight_ih_l{l}{suffix}"), vec![20, input]));
            list.push((format!("rnn.weight_hh_l{l}{suffix}"), vec![20, 2]));
            list.push((format!("rnn.weight_hr_l{l}{suffix}"), vec![2, 5]));
        }
    }
    let model = load(&borrow(&list)).expect("a model");
    let want = LayerSpec::new(Cell::Lstm, 5).projection(2).bidirectional().bias(false);
    assert_eq!(*model.layers()[0].spec(), want.clone().input(3));
    assert_eq!(*model.layers()[1].spec(), want.input(4));
}

#[test]
fn the_cell_option_decides_what_shapes_leave_open() {
    let with = |gates, cell| {
        let options = LoadOptions { cell: Some(cell), ..LoadOptions::default() };
        load_with(&borrow(&layer("rnn.", gates, 2, 5)), &options)
    };
    for (gates, cell) in [(1, Cell::RnnRelu), (3, Cell::GruResetBefore), (4, Cell::Lstm)] {
        assert_eq!(with(gates, cell).expect("a model").layers()[0].spec().cell, cell);
    }
    assert_eq!(
        with(3, Cell::Lstm).expect_err("a contradiction"),
        "cell lstm: expected rnn.weight_hh_l0 with 4*H rows, got 3*H (this is GRU-shaped: gru or \
         gru-reset-before)"
    );
}

#[test]
fn modules_stack_in_natural_order() {
    let mut list = layer("lstm10.", 4, 6, 2);
    list.extend(layer("lstm9.", 3, 4, 6));
    list.extend(layer("lstm2.", 1, 5, 4));
    let model = load(&borrow(&list)).expect("a model");
    let cells: Vec<_> = model.layers().iter().map(|l| l.spec().cell).collect();
    assert_eq!(cells, [Cell::RnnTanh, Cell::Gru, Cell::Lstm]);
    assert!(model.tensors().iter().any(|t| t.name == "rnn.weight_ih_l2"));
    let again =
        Model::from_safetensors(&model.to_safetensors().expect("ok"), &LoadOptions::default());
    assert_eq!(again.expect("a model").layers(), model.layers());

    // Names that say nothing of the order: the sizes decide, where they can.
    let mut list = layer("encoder.", 4, 3, 7);
    list.extend(layer("decoder.", 4, 7, 5));
    let model = load(&borrow(&list)).expect("one order fits");
    assert_eq!(model.layers()[0].spec().input_size, 3);
    let mut list = layer("encoder.", 4, 7, 7);
    list.extend(layer("decoder.", 4, 7, 7));
    assert_eq!(
        load(&borrow(&list)).expect_err("two orders fit"),
        "weights: expected recurrent modules that follow each other, got decoder takes 7 and gives \
         7; encoder takes 7 and gives 7 (several orders fit: name them by number, or state the \
         layers in the metadata)"
    );

    let mut list = layer("a.", 4, 3, 2);
    list.extend(layer("b.", 4, 3, 2));
    assert_eq!(
        load(&borrow(&list)).expect_err("no chain"),
        "weights: expected recurrent modules that follow each other, got a takes 3 and gives 2; \
         b takes 3 and gives 2"
    );
}

#[test]
fn what_shapes_leave_open_is_said() {
    let guesses =
        |list: &[(String, Vec<usize>)]| load(&borrow(list)).expect("a model").info.guesses;
    assert_eq!(
        guesses(&layer("rnn.", 1, 3, 4)),
        [
            "rnn taken as rnn-tanh (rnn-relu has the same shapes: --cell rnn-relu)",
            "no output layer found, the output is the last layer's"
        ]
    );
    let mut list = layer("", 3, 3, 4);
    list.push(("final.weight".into(), vec![3, 4]));
    assert_eq!(
        guesses(&list),
        [
            "the layers taken as gru (gru-reset-before has the same shapes: --cell \
             gru-reset-before)",
            "final taken as the output layer"
        ]
    );
    let mut square = layer("gru.", 3, 4, 6);
    square.push(("attn.weight".into(), vec![6, 6]));
    square.push(("attn.bias".into(), vec![6]));
    assert!(
        load(&borrow(&square)).expect_err("refused").starts_with("attn.weight: expected an output")
    );
    let mut square = layer("gru.", 3, 4, 6);
    square.push(("input_proj.weight".into(), vec![4, 4]));
    let error = load(&borrow(&square)).expect_err("refused");
    assert!(error.starts_with("input_proj.weight: expected an embedding"), "{error}");
}

#[test]
fn embedding_and_head_follow_from_shapes() {
    // Distinct widths: the only candidates, whatever they are called.
    let mut list = layer("rnn.", 3, 4, 6);
    list.push(("lookup.weight".into(), vec![9, 4]));
    list.push(("last.weight".into(), vec![2, 6]));
    let model = load(&borrow(&list)).expect("a model");
    assert_eq!(model.input().spec(), InputSpec::Embedding { vocab: 9, size: 4 });
    assert_eq!(model.head().map(|h| h.spec()), Some(HeadSpec { bias: false, ..HeadSpec::new(2) }));
    assert_eq!(
        (model.info.embedding_name.as_str(), model.info.head_name.as_str()),
        ("lookup", "last")
    );

    // Equal widths: names decide.
    for (embedding, head) in [("word_embeddings", "x"), ("lookup", "fc"), ("Emb", "model.Decoder")]
    {
        let mut list = layer("rnn.", 3, 6, 6);
        list.push((format!("{embedding}.weight"), vec![9, 6]));
        list.push((format!("{head}.weight"), vec![9, 6]));
        let model = load(&borrow(&list)).expect("a model");
        assert_eq!(
            (model.info.embedding_name.as_str(), model.info.head_name.as_str()),
            (embedding, head)
        );
    }
}

#[test]
fn a_tensor_that_fits_two_places_is_an_error_that_says_so() {
    let mut list = layer("rnn.", 3, 6, 6);
    list.push(("x.weight".into(), vec![9, 6]));
    assert_eq!(
        load(&borrow(&list)).expect_err("ambiguous"),
        "x.weight: expected an embedding or an output layer, got [V or O, 6], which fits both (say \
         --head x or --head none)"
    );
    let as_head = load_with(&borrow(&list), &head("x")).expect("a head");
    assert_eq!(as_head.output_size(), 9);
    let as_embedding = load_with(&borrow(&list), &head("none")).expect("an embedding");
    assert_eq!(as_embedding.input().spec(), InputSpec::Embedding { vocab: 9, size: 6 });
}

#[test]
fn several_heads_need_a_choice() {
    let mut list = layer("rnn.", 3, 4, 6);
    for (name, out) in [("policy", 3), ("value", 1)] {
        list.push((format!("{name}.weight"), vec![out, 6]));
        list.push((format!("{name}.bias"), vec![out]));
    }
    assert_eq!(
        load(&borrow(&list)).expect_err("ambiguous"),
        "output layer: expected one module that fits, got policy, value (say --head NAME to take \
         one and leave the others out, or --head none)"
    );
    let options = LoadOptions {
        activation: Some(Activation::Tanh),
        steps: Some(HeadSteps::Last),
        ..head("value")
    };
    let model = load_with(&borrow(&list), &options).expect("a model");
    let want = HeadSpec::new(1).activation(Activation::Tanh).last_step();
    assert_eq!(model.head().map(|h| h.spec()), Some(want));
    assert!(load_with(&borrow(&list), &head("none")).expect("a model").head().is_none());
    assert_eq!(
        load_with(&borrow(&list), &head("valve")).expect_err("no such head"),
        "weights: 1 fault\n  valve.weight: expected [O, H] = [any, 6], got nothing (by its shape it \
         could be policy or value)"
    );
    // What is no output layer by its shape is never left out.
    list.push(("norm.weight".into(), vec![6]));
    assert_eq!(
        load_with(&borrow(&list), &head("none")).expect_err("surplus"),
        "weights: 1 fault\n  norm.weight: expected no such tensor, got [6]"
    );
}

#[test]
fn options_for_a_head_need_a_head() {
    let list = layer("rnn.", 3, 4, 6);
    let message = |options: &LoadOptions| load_with(&borrow(&list), options).expect_err("no head");
    let activation = LoadOptions { activation: Some(Activation::Relu), ..LoadOptions::default() };
    assert_eq!(
        message(&activation),
        "activation: expected a file with an output layer, got one without (the option acts on the \
         output layer)"
    );
    let steps = LoadOptions { steps: Some(HeadSteps::Last), ..LoadOptions::default() };
    assert!(message(&steps).starts_with("steps: expected a file with an output layer"));
}
