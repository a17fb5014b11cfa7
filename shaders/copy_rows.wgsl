// Rows between a caller's tight array and our padded one, for applications that own the buffers.
//
// A row has `blocks` blocks of `width` values (the directions of a layer); on either side a block
// may be padded. Rows past their end are written as 0. Values are moved as bits, so that token ids
// survive hardware that flushes subnormal floats, one by one or four at once.
// Grid: x over the values of a row, y · z over rows (split because one axis is limited).
// Needs: lib/value1 or value4. Host: src/kernel/table.rs, src/plan/builder.rs.

struct CopyRows {
    steps: u32,             // T, or 1 for one row per sequence
    batch: u32,             // B
    blocks: u32,
    width: u32,             // values, or groups of four, of a block
    source_block: u32,      // the same from block to block
    target_block: u32,
    source_is_batch_first: u32,
    target_is_batch_first: u32,
    grid_y: u32,            // workgroups along y
}

@group(0) @binding(0) var<uniform> rows: CopyRows;
@group(0) @binding(1) var<storage, read> source: array<Value>;
@group(0) @binding(2) var<storage, read> lengths: array<u32>;               // [B]
@group(0) @binding(3) var<storage, read_write> target_rows: array<Value>;

fn row_index(t: u32, b: u32, is_batch_first: u32) -> u32 {
    return select(t * rows.batch + b, b * rows.steps + t, is_batch_first == 1u);
}

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let row = id.z * rows.grid_y + id.y;
    if (id.x >= rows.blocks * rows.width || row >= rows.steps * rows.batch) {
        return;
    }
    let t = row / rows.batch;
    let b = row % rows.batch;
    let block = id.x / rows.width;
    let offset = id.x % rows.width;
    let source_at = (row_index(t, b, rows.source_is_batch_first) * rows.blocks + block) * rows.source_block + offset;
    let target_at = (row_index(t, b, rows.target_is_batch_first) * rows.blocks + block) * rows.target_block + offset;
    var value = Value();
    if (t < lengths[b]) {
        value = source[source_at];
    }
    target_rows[target_at] = value;
}
