// gemm.wgsl with inputs shared by subgroups: a tile of ROW_COUNT rows and COLUMNS·LANES column groups
// per subgroup. The rows a product takes, their order and MODE are those of gemm.wgsl.
//
//   c[m] = a[row(m)]·W + bias
//
// Grid: x over SUBGROUPS·COLUMNS·LANES column groups, y over tiles of rows, z over directions.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
// Needs: lib/{index,gemm,rowsN,shuffleN,tile_product,whole,repeated}, and lib/gemm_buffers or lib/{gemm_textures,texel}:
// bindings 1 and 2. Host: src/kernel/table.rs, src/plan/gemm.rs.

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;                // [D, N/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read> tokens: array<u32>;                // [T, B]
@group(0) @binding(6) var<storage, read_write> c: array<vec4f>;             // [D, M, N/4]

override MODE: u32 = 0u;
override GATHER: bool = false;

const ROW_COUNT: u32 = GROUPS * ROWS;
// A product has one gate; lib/tile_product counts by it.
const GATES: u32 = 1u;

// Where the rows' inputs lie, whether there are any, and room for a value of each.
var<private> base: array<u32, ROW_COUNT>;
var<private> found: array<u32, ROW_COUNT>;
var<private> staged: array<vec4f, ROW_COUNT>;

@compute @workgroup_size(LANES * SUBGROUPS, 1, 1)
fn main(
    @builtin(subgroup_invocation_id) sub_lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
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
    for (var r0 = 0u; r0 < ROW_COUNT; r0 += LANES) {
        let m = row0 + r0 + sub_lane;
        var place = Place(0u, MISSING);
        if (m < row_count) {
            place = place_of(m, d);
        }
        for (var l = 0u; l < min(LANES, ROW_COUNT - r0); l++) {
            base[r0 + l] = subgroupShuffle(place.base, l);
            found[r0 + l] = subgroupShuffle(place.found, l);
        }
    }

    //@ for once in TEXTURES
    //@ for q in GROUPS
    //@ for r in ROWS
    let base_${q}_${r} = base[${q}u * ROWS + ${r}u];
    //@ end
    //@ end
    //@ end

    // A lane without columns of its own repeats the last ones and stores nothing.
    //@ for c in COLUMNS
    let unit_${c} = min((block + ${c}u) * LANES + sub_lane, columns - 1u);
    //@ for q in GROUPS
    var acc_${q}_${c}_0: Rows;
    //@ end
    //@ end
    //@ use tile_product

    // Mode 1 writes into the whole [T, B, N] array, the others into the chunk.
    let c_row0 = select(d * row_count, gemm.first_step * gemm.batch, MODE == 1u) + row0;
    // A loop over tiles, so that the store is not compiled for each; it picks one by selects, because an array of tiles
    // would be memory.
    let parts = repeated(GROUPS * COLUMNS, groups);
    let rows_of_part = repeated(ROWS, groups);
    for (var part = 0u; part < parts; part++) {
        let column = part % COLUMNS;
        let unit = (block + column) * LANES + sub_lane;
        var sums = acc_0_0_0;
        //@ for q in GROUPS
        //@ for c in COLUMNS
        sums = chosen(sums, acc_${q}_${c}_0, part == ${q}u * COLUMNS + ${c}u);
        //@ end
        //@ end
        let bias_v = bias[d * columns + min(unit, columns - 1u)];
        for (var r = 0u; r < rows_of_part; r++) {
            let row = part / COLUMNS * ROWS + r;
            let at = whole((c_row0 + row) * columns + unit, sub_lane);
            if (unit < columns && found[row] != MISSING) {
                c[at] = picked(sums, r) + bias_v + unknown_value(found[row]);
            }
        }
    }
}
