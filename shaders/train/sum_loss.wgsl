// Adds the losses of all rows, in a fixed order, to what the run has gathered.
//
//   progress[0] += Σ losses     progress[1] = Σ losses
//   progress[5] += rows whose class was found     progress[6] += rows that count, of cross-entropy
//
// Grid: one workgroup. Needs: lib/combine. Host: src/kernel/train.rs, src/plan/train/loss.rs.

struct SumLoss {
    rows: u32,   // losses
    marked: u32, // 1: as many marks follow them
}

@group(0) @binding(0) var<uniform> sum_loss: SumLoss;
@group(0) @binding(1) var<storage, read> losses: array<f32>;                // [2, rows]: losses, marks
@group(0) @binding(2) var<storage, read_write> progress: array<f32>;        // [7]: sum of losses, last loss, .., found, counted

const LANES: u32 = 64u;
// Marks of a row. Twin: loss.wgsl.
const RIGHT: f32 = 1.0;
const UNCOUNTED: f32 = 2.0;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    var found = 0.0;
    var counted = 0.0;
    for (var i = lane; i < sum_loss.rows; i += LANES) {
        sum += losses[i];
        if (sum_loss.marked == 1u) {
            let mark = losses[sum_loss.rows + i];
            found += select(0.0, 1.0, mark == RIGHT);
            counted += select(1.0, 0.0, mark == UNCOUNTED);
        }
    }
    sum = combine(lane, sum, false);
    found = combine(lane, found, false);
    counted = combine(lane, counted, false);
    if (lane == 0u) {
        progress[0] += sum;
        progress[1] = sum;
        progress[5] += found;
        progress[6] += counted;
    }
}
