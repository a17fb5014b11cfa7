// The K largest values of every output row, without writing the row.
//
//   logits = a[row]·W + bias      or, with STORED, the rows of `a` themselves
//   top[row] = K places, then the K values there with g applied (KIND as in head.wgsl; 0 is none)
//
// A lane keeps the list of its columns in registers: pairs (key, place), the largest key first, equal ones by
// place. A key is a logit's bits turned into a number that orders like the logit; a NaN's is the largest
// of all. The lists of a workgroup's lanes are joined two by two at the end.
// Lines between `//@ for v in N` and `//@ end` are written N times, `${v}` is the index.
// The rows, and their order, follow MODE 1 to 3 (lib/gemm). Grid: y over tiles of WG_Y·ROWS rows.
// Needs: lib/{activation,gemm,head,index,order,rowsN}. Host: src/kernel/table.rs, src/plan/head.rs.
// Rust twin: src/reference/mod.rs (top).

@group(0) @binding(0) var<uniform> gemm: Gemm;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;                   // [M, K/4], or [M, O/4]
@group(0) @binding(2) var<storage, read> weight: array<Weight>;             // [K, O/4]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;                // [O/4]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(5) var<storage, read> tokens: array<u32>;                // not read
@group(0) @binding(6) var<storage, read_write> top: array<u32>;             // [M, 2, K]

override WG_X: u32 = 8u;
override WG_Y: u32 = 8u;
override MODE: u32 = 1u;
override KIND: u32 = 0u;
override STORED: bool = false;

const GATHER: bool = false;
const NO_INDEX: u32 = 0xffffffffu;

// What the upper half of the lanes hands to the lower: [WG_Y, WG_X/2, ROWS], and K pairs for each.
// PARTS and ITEMS are constants in the text: naga 30 loses its way among two arrays with overrides.
var<workgroup> parts: array<vec2f, PARTS>;
var<workgroup> items: array<vec2u, ITEMS>;

//@ for r in ROWS
var<private> sum_${r}: vec2f = vec2f(LOWEST, 0.0);
var<private> least_${r}: u32 = 0u;
//@ for i in COUNT
var<private> best_${r}_${i}: vec2u = vec2u(0u, NO_INDEX);
//@ end

// Puts a pair at its place in the list of row ${r}; the last one falls off.
fn insert_${r}(pair: vec2u) {
    var moved = pair;
    //@ for i in COUNT
    let here_${i} = best_${r}_${i};
    let is_ahead_${i} = moved.x > here_${i}.x || (moved.x == here_${i}.x && moved.y < here_${i}.y);
    best_${r}_${i} = select(here_${i}, moved, is_ahead_${i});
    moved = select(moved, here_${i}, is_ahead_${i});
    least_${r} = best_${r}_${i}.x;
    //@ end
}

fn write_${r}(row: u32) {
    let at = row * 2u * COUNT;
    let is_nan = best_${r}_0.x == NAN_KEY;
    //@ for i in COUNT
    top[at + ${i}u] = select(best_${r}_${i}.y, NO_INDEX, is_nan);
    let value_${i} = finished(vec4f(value_of(best_${r}_${i}.x)), sum_${r}).x;
    top[at + COUNT + ${i}u] = bitcast<u32>(select(value_${i}, quiet_nan(gemm.zero), is_nan));
    //@ end
}
//@ end

// Takes the logits of a group of columns for every row.
fn take(rows: Rows, bias_v: vec4f, column: u32) {
    //@ for r in ROWS
    let v_${r} = row_of(rows, ${r}u) + bias_v;
    if (KIND == 1u || KIND == 2u) {
        sum_${r} = with_logits(sum_${r}, v_${r}, column);
    }
    //@ end
    for (var j = 0u; j < min(4u, gemm.columns - 4u * column); j++) {
        //@ for r in ROWS
        let key_${r} = key_of(v_${r}[j]);
        if (key_${r} > least_${r}) {
            insert_${r}(vec2u(key_${r}, 4u * column + j));
        }
        //@ end
    }
}

@compute @workgroup_size(WG_X, WG_Y, 1)
fn main(@builtin(local_invocation_id) lane: vec3u, @builtin(workgroup_id) group: vec3u) {
    let row0 = (group.y * WG_Y + lane.y) * ROWS;
    let row_count = gemm.step_count * gemm.batch;
    var base: array<u32, ROWS>;
    var is_found: array<bool, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        base[r] = 0u;
        is_found[r] = false;
        if (row0 + r < row_count) {
            let place = place_of(row0 + r, 0u);
            base[r] = place.base;
            is_found[r] = place.found == KNOWN;
        }
    }

    for (var column = 2u * lane.x; column < gemm.columns4; column += 2u * WG_X) {
        let second = select(0u, 1u, column + 1u < gemm.columns4);
        var logits: Pair;
        var bias_0 = vec4f(0.0);
        var bias_1 = vec4f(0.0);
        if (STORED) {
            logits = Pair(load_rows(base, column), load_rows(base, column + second));
        } else {
            logits = product(base, column, second);
            bias_0 = bias[column];
            bias_1 = bias[column + second];
        }
        // A loop, so that what a group of columns takes is compiled once.
        var rows = logits.first;
        for (var part = 0u; part <= second; part++) {
            if (part == 1u) {
                rows = logits.second;
            }
            take(rows, select(bias_0, bias_1, part == 1u), column + part);
        }
    }

    for (var half = WG_X / 2u; half > 0u; half /= 2u) {
        let at = (lane.y * (WG_X / 2u) + lane.x % half) * ROWS;
        if (lane.x >= half && lane.x < 2u * half) {
            //@ for r in ROWS
            parts[at + ${r}u] = sum_${r};
            //@ for i in COUNT
            items[(at + ${r}u) * COUNT + ${i}u] = best_${r}_${i};
            //@ end
            //@ end
        }
        workgroupBarrier();
        if (lane.x < half) {
            //@ for r in ROWS
            sum_${r} = joined(sum_${r}, parts[at + ${r}u]);
            for (var i = 0u; i < COUNT; i++) {
                insert_${r}(items[(at + ${r}u) * COUNT + i]);
            }
            //@ end
        }
        workgroupBarrier();
    }
    if (lane.x == 0u) {
        let top_row0 = first_output_row() + row0;
        //@ for r in ROWS
        if (is_found[${r}]) {
            write_${r}(top_row0 + ${r}u);
        }
        //@ end
    }
}
