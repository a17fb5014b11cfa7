//! The planner, without a GPU: sizes, chunks, strategies, limits.

use wgpu_rnn::cell::CellOptions;
use wgpu_rnn::kernel::{Kernel, Precision};
use wgpu_rnn::plan::{
    Constants, DeviceCaps, Grid, NetworkSpec, Op, Plan, PlanRequest, RunShape, steps_capacity,
};
use wgpu_rnn::{Activation, Cell, ErrorKind, HeadSpec, InputSpec, LayerSpec, Layout, Strategy};

fn network(cell: Cell, input: usize, hidden: usize) -> NetworkSpec {
    NetworkSpec {
        input: InputSpec::Dense { size: input },
        layers: vec![LayerSpec::new(cell, hidden).input(input)],
        head: None,
    }
}

fn request(batch: usize, steps: usize, strategy: Strategy) -> PlanRequest {
    PlanRequest {
        batch,
        steps,
        strategy,
        precision: Precision::F32,
        external: None,
        top: None,
        train: None,
        has_fixed_weights: true,
    }
}

fn full(batch: usize, steps: u32) -> RunShape {
    RunShape::new(&vec![steps; batch])
}

#[test]
fn a_thousand_steps_are_one_submit() {
    let caps = DeviceCaps::webgpu_default();
    for strategy in [Strategy::StepPerDispatch, Strategy::Resident] {
        for cell in [Cell::RnnTanh, Cell::Lstm, Cell::Gru] {
            let plan = Plan::new(&network(cell, 64, 128), request(16, 1000, strategy), &caps)
                .expect("fits");
            let cuts = plan.submit_cuts(&full(16, 1000), caps.flops_per_submit);
            assert!(cuts.is_empty(), "{cell} {strategy:?}");
        }
    }
}

#[test]
fn a_step_costs_one_dispatch_and_a_resident_loop_none() {
    let caps = DeviceCaps::webgpu_default();
    let network = network(Cell::Lstm, 8, 32);
    let per_step =
        Plan::new(&network, request(4, 500, Strategy::StepPerDispatch), &caps).expect("fits");
    // 500 steps, the input projection, the final states.
    assert_eq!(per_step.dispatches(&full(4, 500)), 502);
    let resident = Plan::new(&network, request(4, 500, Strategy::Resident), &caps).expect("fits");
    assert_eq!(resident.dispatches(&full(4, 500)), 3);
}

#[test]
fn a_wavefront_takes_one_dispatch_a_diagonal() {
    let caps = DeviceCaps::webgpu_default();
    let mut network = network(Cell::Lstm, 8, 32);
    let upper = LayerSpec::new(Cell::Lstm, 32).input(32);
    network.layers.extend([upper.clone(), upper]);
    let plan = Plan::new(&network, request(4, 500, Strategy::Wavefront), &caps).expect("fits");
    // 500 + 2 diagonals, the input projection, the final states of three layers.
    assert_eq!(plan.dispatches(&full(4, 500)), 502 + 1 + 3);
    // A shorter run ends after its own diagonals.
    assert_eq!(plan.dispatches(&full(4, 20)), 22 + 1 + 3);
    assert_eq!(plan.starts.len(), 2 * 3);
    let by_layer = Plan::new(&network, request(4, 500, Strategy::StepPerDispatch), &caps);
    assert_eq!(by_layer.expect("fits").dispatches(&full(4, 500)), 3 * 502);
    let shape = RunShape::new(&[9, 5]);
    let grid = Grid::WaveRows { x: 7, layers: 3, per_group: 1 };
    // Rows of the oldest step, layers that have begun.
    assert_eq!(shape.workgroups(grid, 0), Some([7, 2, 1]));
    assert_eq!(shape.workgroups(grid, 6), Some([7, 2, 3]));
    assert_eq!(shape.workgroups(grid, 10), Some([7, 1, 3]));
    assert_eq!(shape.workgroups(grid, 11), None);
}

#[test]
fn both_directions_share_a_dispatch() {
    let caps = DeviceCaps::webgpu_default();
    let mut network = network(Cell::Gru, 8, 32);
    network.layers[0].direction = wgpu_rnn::Direction::Bidirectional;
    let plan =
        Plan::new(&network, request(4, 100, Strategy::StepPerDispatch), &caps).expect("fits");
    assert_eq!(plan.dispatches(&full(4, 100)), 102);
    let z = plan.ops.iter().find_map(|op| match op {
        Op::Steps { calls, .. } => match calls[0].1 {
            Grid::StepRows { x_z, .. } => Some(x_z[1]),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(z, Some(2));
}

#[test]
fn the_grid_shrinks_as_sequences_end() {
    let shape = RunShape::new(&[9, 5, 5, 0]);
    assert_eq!(shape.max_len(), 9);
    assert_eq!(
        (0..10).map(|s| shape.active(s)).collect::<Vec<_>>(),
        [3, 3, 3, 3, 3, 1, 1, 1, 1, 0]
    );
    // Without an order the count is an upper bound: the last row still running.
    let unsorted = RunShape::new(&[1, 0, 4]);
    assert_eq!((0..4).map(|s| unsorted.active(s)).collect::<Vec<_>>(), [3, 3, 3, 3]);
    let grid = Grid::StepRows { x_z: [7, 2], per_group: 2 };
    assert_eq!(shape.workgroups(grid, 0), Some([7, 2, 2]));
    assert_eq!(shape.workgroups(grid, 6), Some([7, 1, 2]));
    assert_eq!(shape.workgroups(grid, 9), None);
    let tiles = Grid::Tiles { first: 6, per_group: 2, z: 1 };
    assert_eq!(shape.workgroups(tiles, 0), Some([1, 1, 1]));
}

#[test]
fn shorter_runs_skip_the_rest_of_the_plan() {
    let caps = DeviceCaps::webgpu_default();
    let plan =
        Plan::new(&network(Cell::Lstm, 8, 32), request(4, 500, Strategy::StepPerDispatch), &caps)
            .expect("fits");
    assert_eq!(plan.dispatches(&full(4, 20)), 22);
}

#[test]
fn gates_are_chunked_under_the_binding_limit() {
    let caps = DeviceCaps::webgpu_default();
    // 4·256 gates · 256 rows · 4 bytes = 1 MiB a step: a thousand steps are chunked.
    let plan = Plan::new(&network(Cell::Lstm, 8, 256), request(256, 400, Strategy::Auto), &caps)
        .expect("fits");
    assert!(plan.buffers.iter().all(|buffer| buffer.bytes <= caps.max_binding));
    let gates = plan.buffers.iter().find(|b| b.label == "gates_x").expect("there is one");
    assert!(gates.bytes <= 64 << 20, "{}", gates.bytes);
}

#[test]
fn the_step_uniform_stays_inside_small_buffers() {
    // What Engine::required_limits() promises: buffers of 1 MiB, blocks 256 bytes apart.
    let caps = DeviceCaps { max_buffer: 1 << 20, ..DeviceCaps::webgpu_default() };
    let plan = Plan::new(
        &network(Cell::RnnTanh, 4, 4),
        request(1, 20_000, Strategy::StepPerDispatch),
        &caps,
    )
    .expect("fits");
    let mut covered = 0;
    for op in &plan.ops {
        if let Op::Steps { first, count, .. } = op {
            assert!(u64::from(*count) * 256 <= caps.max_buffer, "{count}");
            assert_eq!(*first, covered);
            covered += count;
        }
    }
    assert_eq!(covered, 20_000);
}

#[test]
fn loop_limits_cut_the_resident_loop() {
    let free = DeviceCaps { is_software: true, ..DeviceCaps::webgpu_default() };
    let limited = DeviceCaps { loop_limit: Some(65_535), ..free.clone() };
    let network = network(Cell::Lstm, 8, 64);
    let count = |caps: &DeviceCaps| {
        Plan::new(&network, request(4, 5000, Strategy::Resident), caps)
            .expect("fits")
            .dispatches(&full(4, 5000))
    };
    assert!(count(&limited) > count(&free), "{} against {}", count(&limited), count(&free));
    // Steps of one dispatch times loop iterations of a step stay below the limit.
    let plan = Plan::new(&network, request(4, 5000, Strategy::Resident), &limited).expect("fits");
    let dispatches = plan.dispatches(&full(4, 5000)) - 2;
    assert!(5000 / dispatches * 16 * 5 < 65_535, "{dispatches}");
}

#[test]
fn strategies_are_chosen_with_a_reason() {
    let caps = DeviceCaps::webgpu_default();
    let choice = |hidden, strategy| {
        Plan::new(&network(Cell::Lstm, 8, hidden), request(4, 10, strategy), &caps)
            .map(|plan| plan.choices[0].clone())
    };
    assert_eq!(choice(128, Strategy::Auto).expect("fits").strategy, Strategy::Resident);
    let big = choice(1024, Strategy::Auto).expect("fits");
    // Few sequences: the inputs of a unit are split.
    assert_eq!(big.strategy, Strategy::StepSplit, "{}", big.reason);
    for words in
        ["step-split: ", " a step predicted; step ", "stationary needs at most 256 invocations"]
    {
        assert!(big.reason.contains(words), "{words}: {}", big.reason);
    }
    let error = choice(4096, Strategy::Resident).expect_err("does not fit workgroup memory");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "strategy resident: expected 32768 bytes of workgroup memory per sequence, the device has \
         16384"
    );
}

#[test]
fn resident_workgroups_fit_webgpu_default_limits() {
    let caps = DeviceCaps::webgpu_default();
    for hidden in [1, 4, 5, 31, 64, 100, 128, 255, 256, 300, 512, 1000, 2048] {
        for batch in [1, 2, 3, 4, 7, 8, 100, 1000] {
            for cell in [Cell::RnnTanh, Cell::Lstm, Cell::Gru] {
                let plan = Plan::new(
                    &network(cell, 8, hidden),
                    request(batch, 10, Strategy::Resident),
                    &caps,
                )
                .expect("fits");
                let choice = &plan.choices[0];
                let [x, y] = choice.workgroup;
                assert!(x * y <= 256, "{choice:?}");
                let bytes =
                    u64::from(choice.tile_rows()) * hidden.next_multiple_of(4) as u64 * 4 * 2;
                assert!(bytes <= 16_384, "{choice:?}");
            }
        }
    }
}

#[test]
fn tiles_fill_the_device_before_they_grow() {
    let tile = |batch, at_once| {
        let caps = DeviceCaps { workgroups_at_once: at_once, ..DeviceCaps::webgpu_default() };
        let request = request(batch, 10, Strategy::Resident);
        let plan = Plan::new(&network(Cell::Lstm, 8, 64), request, &caps).expect("fits");
        plan.choices[0].tile_rows()
    };
    assert_eq!(tile(8, 2), 4);
    assert_eq!(tile(8, 1), 8);
    assert_eq!(tile(16, 32), 1);
    assert_eq!(tile(4096, 32), 8);
}

/// Each buffer fits, and what is uploaded together does not.
#[test]
fn uploads_beyond_one_buffer_are_a_limit_error() {
    let network = network(Cell::RnnTanh, 64, 4);
    let request = request(1000, 4, Strategy::StepPerDispatch);
    let fits = DeviceCaps { max_buffer: 1_044_000, ..DeviceCaps::webgpu_default() };
    // Input [4, 1000, 64], lengths [1000], h_0 [1000, 4], all of four bytes.
    assert_eq!((4 * 1000 * 64 + 1000 + 1000 * 4) * 4, fits.max_buffer);
    Plan::new(&network, request, &fits).expect("fits");
    let caps = DeviceCaps { max_buffer: fits.max_buffer - 16, ..fits };
    let error = Plan::new(&network, request, &caps).expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().starts_with("uploads: expected at most"), "{error}");
}

#[test]
fn sizes_beyond_the_device_are_limit_errors() {
    let caps = DeviceCaps::webgpu_default();
    let fails = |network: &NetworkSpec, batch, steps| {
        let error = Plan::new(network, request(batch, steps, Strategy::Auto), &caps)
            .expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        error.to_string()
    };
    let small = network(Cell::Lstm, 8, 32);
    assert!(fails(&small, 100_000, 1).starts_with("batch: expected at most 65535 sequences"));
    assert!(fails(&small, 1, 1 << 20).starts_with("steps: expected at most 65536"));
    let wide = network(Cell::Lstm, 4096, 4096);
    let text = fails(&wide, 1024, 1024);
    assert!(
        text.starts_with("x: expected at most 134217728 bytes in one binding, got 17179869184"),
        "{text}"
    );
    fails(&network(Cell::Lstm, usize::MAX / 64, 32), 1 << 15, 1 << 15);
}

#[test]
fn capacity_wastes_at_most_an_eighth() {
    for steps in 1..5000 {
        let capacity = steps_capacity(steps);
        assert!(capacity >= steps && (capacity - steps) * 8 <= steps, "{steps} → {capacity}");
    }
    assert_eq!(steps_capacity(0), 0);
}

#[test]
fn long_work_is_cut_into_submits() {
    let caps = DeviceCaps { flops_per_submit: 1_000_000, ..DeviceCaps::webgpu_default() };
    let mut network = network(Cell::Lstm, 32, 64);
    network.head = Some(HeadSpec::new(3));
    let plan = Plan::new(&network, request(8, 64, Strategy::StepPerDispatch), &caps).expect("fits");
    let cuts = plan.submit_cuts(&full(8, 64), caps.flops_per_submit);
    assert!(cuts.len() > 10, "{cuts:?}");
    assert!(cuts.is_sorted());
    // Shorter runs have less work.
    assert!(plan.submit_cuts(&full(8, 2), caps.flops_per_submit).len() < cuts.len());
}

fn variants(spec: LayerSpec, strategy: Strategy) -> Vec<String> {
    let network = NetworkSpec { layers: vec![spec.input(8)], ..network(Cell::Lstm, 8, 8) };
    let plan = Plan::new(&network, request(4, 10, strategy), &DeviceCaps::webgpu_default());
    plan.expect("fits").calls.iter().map(|call| call.variant.to_string()).collect()
}

#[test]
fn a_cell_without_options_compiles_its_own_rules_alone() {
    for strategy in [Strategy::StepPerDispatch, Strategy::Resident] {
        let plain = variants(LayerSpec::new(Cell::Lstm, 8), strategy);
        assert!(plain.iter().all(|v| !v.contains("OPTIONS")), "{plain:?}");
        let options = CellOptions { clip: Some(1.0), peephole: true, ..CellOptions::default() };
        let custom = variants(LayerSpec::new(Cell::Lstm, 8).options(options), strategy);
        // Codes of sigmoid, tanh, tanh; clip is bit 0 and peephole bit 2.
        assert!(custom.iter().any(|v| v.contains("FUNCTIONS=274 OPTIONS=5")), "{custom:?}");
        // Products and final states stay what they are.
        assert_eq!(custom.iter().filter(|v| v.contains("OPTIONS")).count(), 1, "{custom:?}");
    }
}

#[test]
fn layer_normalisation_has_its_own_driver_and_is_refused_by_the_resident_loop() {
    let options = CellOptions { layer_norm: Some(1e-5), ..CellOptions::default() };
    let spec = LayerSpec::new(Cell::Gru, 8).options(options);
    let names = variants(spec.clone(), Strategy::Auto);
    for kernel in ["norm_rows", "recur_norm.product gru", "recur_norm.update gru"] {
        assert!(names.iter().any(|v| v.starts_with(kernel)), "{kernel}: {names:?}");
    }
    let network = NetworkSpec { layers: vec![spec.input(8)], ..network(Cell::Gru, 8, 8) };
    let caps = DeviceCaps::webgpu_default();
    let error =
        Plan::new(&network, request(4, 10, Strategy::Resident), &caps).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("layer without normalisation"), "{error}");
}

fn with_head(hidden: usize, head: HeadSpec) -> NetworkSpec {
    NetworkSpec { head: Some(head), ..network(Cell::Lstm, 8, hidden) }
}

fn kernels(plan: &Plan) -> Vec<Kernel> {
    plan.calls.iter().map(|call| call.variant.kernel).collect()
}

#[test]
fn output_layer_and_function_are_one_kernel_where_that_fills_the_device() {
    let caps = DeviceCaps::webgpu_default();
    let softmax = |width| HeadSpec::new(width).activation(Activation::Softmax);
    // Many rows of moderate width: nothing but the result is written.
    let many = Plan::new(&with_head(64, softmax(100)), request(64, 100, Strategy::Auto), &caps);
    let many = many.expect("fits");
    assert!(many.head.as_ref().is_some_and(|head| head.is_fused), "{:?}", many.head);
    assert!(kernels(&many).contains(&Kernel::Head));
    assert!(!kernels(&many).contains(&Kernel::Activate));
    // One row of many columns: a kernel that owns the row would leave all cores but one idle.
    let one = Plan::new(&with_head(512, softmax(60_000)), request(1, 1, Strategy::Auto), &caps);
    let one = one.expect("fits");
    assert!(one.head.as_ref().is_some_and(|head| !head.is_fused), "{:?}", one.head);
    assert!(kernels(&one).contains(&Kernel::Activate));
    // Without a function there is nothing to join.
    let plain =
        Plan::new(&with_head(64, HeadSpec::new(100)), request(64, 9, Strategy::Auto), &caps);
    assert_eq!(plain.expect("fits").head.expect("a choice").reason, "product alone");
}

#[test]
fn largest_values_take_eight_bytes_each_and_no_logits() {
    let caps = DeviceCaps { fuse_output: Some(true), ..DeviceCaps::webgpu_default() };
    let network = with_head(64, HeadSpec::new(1000).activation(Activation::Softmax));
    let top = PlanRequest { top: Some(3), ..request(4, 10, Strategy::Auto) };
    let plan = Plan::new(&network, top, &caps).expect("fits");
    assert_eq!(plan.buffers[plan.output.buffer].bytes, 4 * 10 * 3 * 8);
    assert!(plan.buffers.iter().all(|buffer| buffer.label != "output"), "logits are written");
    // Apart, the logits stay on the device.
    let caps = DeviceCaps { fuse_output: Some(false), ..caps };
    let plan = Plan::new(&network, top, &caps).expect("fits");
    assert_eq!(plan.buffers[plan.output.buffer].bytes, 4 * 10 * 3 * 8);
    assert!(plan.buffers.iter().any(|buffer| buffer.label == "output"));
    assert!(kernels(&plan).contains(&Kernel::Top));
}

#[test]
fn largest_values_are_refused_where_there_are_none_to_give() {
    let caps = DeviceCaps::webgpu_default();
    let top = PlanRequest { top: Some(3), ..request(4, 10, Strategy::Auto) };
    let external = Some((Layout::TimeMajor, Layout::TimeMajor));
    let cases = [
        (network(Cell::Lstm, 8, 16), top),
        (with_head(16, HeadSpec::new(9)), PlanRequest { external, ..top }),
    ];
    for (network, request) in cases {
        let error = Plan::new(&network, request, &caps).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn rows_too_wide_for_a_driver_that_ends_loops_go_apart() {
    let mut caps = DeviceCaps { is_software: true, ..DeviceCaps::webgpu_default() };
    caps.fuse_output = Some(true);
    let network = with_head(512, HeadSpec::new(200_000).activation(Activation::Softmax));
    let choice = |caps: &DeviceCaps| {
        let plan = Plan::new(&network, request(2, 3, Strategy::StepPerDispatch), caps);
        plan.expect("fits").head.expect("a choice")
    };
    assert!(choice(&caps).is_fused, "{:?}", choice(&caps));
    caps.loop_limit = Some(65_535);
    assert!(!choice(&caps).is_fused);
    assert!(choice(&caps).reason.contains("loop iterations"), "{}", choice(&caps).reason);
}

#[test]
fn textures_are_read_where_they_pay_and_may_be() {
    let constants = Constants::for_software(2, true);
    let caps = DeviceCaps {
        is_software: true,
        subgroup: Some(8),
        constants,
        ..DeviceCaps::webgpu_default()
    };
    let network = network(Cell::Lstm, 64, 128);
    let reads = |caps: &DeviceCaps, request: PlanRequest| {
        let plan = Plan::new(&network, request, caps).expect("fits");
        let found = kernels(&plan);
        let has = |kernel| found.contains(&kernel);
        let textures = [Kernel::RecurTileTextures, Kernel::GemmTileTextures, Kernel::FillTexture];
        let is_all = textures.into_iter().all(has);
        assert_eq!(textures.into_iter().any(has), is_all, "{found:?}");
        assert_eq!(is_all, !plan.textures.is_empty());
        is_all
    };
    for strategy in [Strategy::StepTile, Strategy::ResidentTile] {
        let request = request(8, 100, strategy);
        assert!(reads(&caps, request));
        // Weights that a trainer writes have no copy; f16 has none; hardware reads buffers as fast.
        assert!(!reads(&caps, PlanRequest { has_fixed_weights: false, ..request }));
        assert!(!reads(&caps, PlanRequest { precision: Precision::F16, ..request }));
        assert!(!reads(&DeviceCaps { is_software: false, ..caps.clone() }, request));
        // Nor where the device cannot, or gains nothing.
        assert!(!reads(&DeviceCaps { texture_lines: 0, ..caps.clone() }, request));
        let slow = Constants { texture_bytes: constants.cache_bytes, ..constants };
        assert!(!reads(&DeviceCaps { constants: slow, ..caps.clone() }, request));
    }
    // What one texture cannot hold stays in its buffer: 64 × 4 × 128 / 4 values of W_ih.
    let few = DeviceCaps { texture_lines: 1, ..caps };
    let plan = Plan::new(&network, request(8, 100, Strategy::StepTile), &few).expect("fits");
    assert!(kernels(&plan).contains(&Kernel::RecurTile), "{:?}", kernels(&plan));
    assert!(kernels(&plan).contains(&Kernel::GemmTile), "{:?}", kernels(&plan));
}

#[test]
fn a_software_adapter_compiles_for_seconds_where_runs_gain_by_it() {
    let caps = DeviceCaps {
        is_software: true,
        subgroup: Some(8),
        texture_lines: 16_384,
        workgroups_at_once: 2,
        max_invocations: 1024,
        constants: Constants::for_software(2, true),
        ..DeviceCaps::webgpu_default()
    };
    let choice = |network: &NetworkSpec, batch, steps| {
        let plan = Plan::new(network, request(batch, steps, Strategy::Auto), &caps).expect("fits");
        plan.choices[0].clone()
    };
    // A few microseconds are not worth a second.
    let tiny = choice(&network(Cell::Lstm, 8, 8), 2, 4);
    assert!(tiny.leaves_slow_out && tiny.strategy.compiles_fast(), "{}", tiny.reason);
    assert!(tiny.reason.contains("drivers that compile for seconds must gain"), "{}", tiny.reason);
    // A frame of 3.8 ms is, and so is one whose input projection takes most of its time.
    for network in [network(Cell::Lstm, 512, 512), network(Cell::RnnTanh, 2048, 128)] {
        let frame = choice(&network, 1, 1);
        assert!(!frame.leaves_slow_out, "{}", frame.reason);
        assert_eq!(frame.input_kernel, "gemm_tile", "{}", frame.reason);
    }
    // Tokens take a row of W_ih in place of that product.
    let tokens = network(Cell::RnnTanh, 2048, 128);
    let tokens = NetworkSpec { input: InputSpec::OneHot { vocab: 2048 }, ..tokens };
    let frame = choice(&tokens, 1, 1);
    assert!(frame.leaves_slow_out && frame.input_kernel == "one_hot", "{}", frame.reason);
    // On two threads a dispatch costs more than the second one brings to a step of 57 us.
    let few = choice(&network(Cell::Gru, 64, 256), 1, 60);
    assert_eq!(few.strategy, Strategy::ResidentTile, "{}", few.reason);
}
