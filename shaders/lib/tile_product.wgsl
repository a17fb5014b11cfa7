// Text of a driver (`//@ use tile_product`), not a function: its sums are variables of the driver.
//
// The product of ROW_COUNT rows and COLUMNS blocks of LANES column groups, for every gate:
//   acc_q_c_g += W[k, g, unit_c] · rows_q[k]        over k4 < k4_count
// A lane loads the inputs k4 = k0 + sub_lane of every row once, and the subgroup shares them by
// shuffles: a load serves LANES groups of inputs instead of one.
// The driver supplies where the rows' inputs lie, `base` [rows] with room for them in `staged`, or `base_q_r` for
// textures; `k4_count`, `weight_at` (the direction's first weight), `columns` (vec4s of a weight row), `gate_stride`,
// `unit_c`, `weight_v`, `acc_q_c_g`.
for (var k0 = 0u; k0 < k4_count; k0 += LANES) {
    let mine_k4 = min(k0 + sub_lane, k4_count - 1u);
    //@ for once in BUFFERS
    // A loop: a software adapter compiles every load from a buffer in the text to a page of code.
    for (var r = 0u; r < ROW_COUNT; r++) {
        staged[r] = source_row(whole(base[r] + mine_k4, sub_lane));
    }
    //@ end
    //@ for q in GROUPS
    var mine_${q}: Rows;
    //@ for r in ROWS
    //@ for once in BUFFERS
    mine_${q} = with_row(mine_${q}, ${r}u, staged[${q}u * ROWS + ${r}u]);
    //@ end
    // An array that a loop indexes is memory, of which it loads lane by lane.
    //@ for once in TEXTURES
    mine_${q} = with_row(mine_${q}, ${r}u, source_row(base_${q}_${r} + mine_k4));
    //@ end
    //@ end
    //@ end
    let lanes = min(LANES, k4_count - k0);
    for (var l = 0u; l < lanes; l++) {
        let at = weight_at + (k0 + l) * 4u * columns;
        //@ for c in COLUMNS
        //@ for g in GATES
        let w_${c}_${g} = mat4x4f(
            weight_v(at + ${g}u * gate_stride + unit_${c}),
            weight_v(at + ${g}u * gate_stride + unit_${c} + columns),
            weight_v(at + ${g}u * gate_stride + unit_${c} + 2u * columns),
            weight_v(at + ${g}u * gate_stride + unit_${c} + 3u * columns),
        );
        //@ end
        //@ end
        //@ for q in GROUPS
        let rows_${q} = shuffled(mine_${q}, l);
        //@ for c in COLUMNS
        //@ for g in GATES
        acc_${q}_${c}_${g} += w_${c}_${g} * rows_${q};
        //@ end
        //@ end
        //@ end
    }
}
