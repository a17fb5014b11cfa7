// gemm.wgsl with inputs shared by subgroups: a tile of ROW_COUNT rows and COLUMNS·LANES column groups
// per subgroup. The rows a product takes, their order and MODE are those of gemm.wgsl.
//
//   c[m] = a[row(m)]·W + bias
//
// Grid: x over SUBGROUPS·COLUMNS·LANES column groups, y over tiles of rows, z over directions.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
// Needs: lib/{index,gemm,rowsN,shuffleN,tile_product}. Host: src/kernel/mod.rs, src/plan/layer.rs.

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [T·B or V, K/4]
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;              // [D, K, N/4]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;                // [D, N/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read> tokens: array<u32>;                // [T, B]
@group(0) @binding(6) var<storage, read_write> c: array<vec4f>;             // [D, M, N/4]

override MODE: u32 = 0u;
override GATHER: bool = false;

const ROW_COUNT: u32 = GROUPS * ROWS;
// A product has one gate; lib/tile_product counts by it.
const GATES: u32 = 1u;

fn source_row(index: u32) -> vec4f {
    return a[index];
}

fn weight_v(index: u32) -> vec4f {
    return weight[index];
}

@compute @workgroup_size(LANES * SUBGROUPS, 1, 1)
fn main(
    @builtin(subgroup_invocation_id) sub_lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(workgroup_id) group: vec3u,
) {
    let d = group.z;
    let row0 = group.y * ROW_COUNT;
    let row_count = gemm.step_count * gemm.batch;
    let columns = gemm.columns4;
    let gate_stride = 0u;
    let k4_count = gemm.inner4;
    let weight_at = d * k4_count * 4u * columns;
    let block = (group.x * SUBGROUPS + subgroup) * COLUMNS;
    if (block * LANES >= columns) {
        return;
    }

    // Lane i looks rows i, i + LANES, … up; the subgroup shares what it finds.
    //@ for q in GROUPS
    var base_${q}: array<u32, ROWS>;
    var found_${q}: array<u32, ROWS>;
    //@ end
    var known = 0u;
    var mine_base: u32;
    var mine_found: u32;
    //@ for q in GROUPS
    //@ for r in ROWS
    if ((${q}u * ROWS + ${r}u) % LANES == 0u) {
        let m = row0 + ${q}u * ROWS + ${r}u + sub_lane;
        mine_base = 0u;
        mine_found = MISSING;
        if (m < row_count) {
            let place = place_of(m, d);
            mine_base = place.base;
            mine_found = place.found;
        }
    }
    base_${q}[${r}] = subgroupShuffle(mine_base, (${q}u * ROWS + ${r}u) % LANES);
    found_${q}[${r}] = subgroupShuffle(mine_found, (${q}u * ROWS + ${r}u) % LANES);
    //@ end
    //@ end

    // A lane without columns of its own repeats the last ones and stores nothing.
    //@ for c in COLUMNS
    let unit_${c} = min((block + ${c}u) * LANES + sub_lane, columns - 1u);
    let has_${c} = (block + ${c}u) * LANES + sub_lane < columns;
    //@ for q in GROUPS
    var acc_${q}_${c}_0: Rows;
    //@ end
    //@ end
    //@ use tile_product

    // Mode 1 writes into the whole [T, B, N] array, the others into the chunk.
    let c_row0 = select(d * row_count, gemm.first_step * gemm.batch, MODE == 1u) + row0;
    //@ for c in COLUMNS
    if (has_${c}) {
        let bias_${c} = bias[d * columns + unit_${c}];
        //@ for q in GROUPS
        //@ for r in ROWS
        if (found_${q}[${r}] != MISSING) {
            c[(c_row0 + ${q}u * ROWS + ${r}u) * columns + unit_${c}] =
                row_of(acc_${q}_${c}_0, ${r}u) + bias_${c} + unknown_value(found_${q}[${r}]);
        }
        //@ end
        //@ end
    }
    //@ end
}
