// What the kernels of weight gradients share: products of inputs and gradients, and where their sums go.
// The driver supplies the bindings `back` and `parts`.

// Columns of the result are inputs.
fn outer(inputs: vec4f, gradients: vec4f) -> mat4x4f {
    return mat4x4f(inputs.x * gradients, inputs.y * gradients, inputs.z * gradients, inputs.w * gradients);
}

fn store(sums: mat4x4f, slice: u32, z: u32, k4: u32, n4: u32) {
    if (k4 >= back.inner4 || n4 >= back.columns4) {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        parts[(((back.first + slice) * back.directions + z) * back.inner4 * 4u + 4u * k4 + j) * back.columns4 + n4] = sums[j];
    }
}
