// Sets a part of a buffer to zero: what `recur_grid` waits on.
//
// Grid: x over any number of workgroups, which go over it together. Host: src/plan/grid.rs.

struct Clear {
    first: u32, // first vec4 of words
    end: u32,   // one past the last
}

@group(0) @binding(0) var<uniform> clear: Clear;
@group(0) @binding(1) var<storage, read_write> words: array<vec4u>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) place: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = clear.first + place.x; i < clear.end; i += 64u * groups.x) {
        words[i] = vec4u(0u);
    }
}
