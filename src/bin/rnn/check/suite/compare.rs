//! The comparator of `rnn check --onnx`, with tolerances of the caller.

use wgpu_rnn::onnx::Array;

/// How far a value may be from the expected one: atol + rtol·|expected|.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub(super) atol: f64,
    pub(super) rtol: f64,
}

/// How far results are from what was expected.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// Largest absolute difference of finite values.
    pub(super) max_abs: f64,
    /// The first value beyond tolerance, in words.
    pub(super) fault: Option<String>,
}

impl Difference {
    /// Nothing compared, nothing wrong.
    pub(super) const fn none() -> Self {
        Self { max_abs: 0.0, fault: None }
    }

    /// Takes another array's difference in.
    pub(super) fn add(&mut self, other: Self) {
        self.max_abs = self.max_abs.max(other.max_abs);
        self.fault = self.fault.take().or(other.fault);
    }
}

fn wide(array: &Array) -> Vec<f64> {
    match array {
        Array::F32(tensor) => tensor.data().iter().map(|value| f64::from(*value)).collect(),
        #[expect(clippy::cast_precision_loss, reason = "lengths and ids are far below 2^53")]
        Array::I64(tensor) => tensor.data().iter().map(|value| *value as f64).collect(),
    }
}

/// Compares an array with the expected one.
///
/// An element passes when `|got − want| ≤ atol + rtol·|want|`, or both are NaN, or both are the same
/// infinity; a NaN on one side alone never passes, and shapes must be equal.
pub(super) fn compare(
    name: &str,
    got: Option<&Array>,
    want: &Array,
    tolerance: Tolerance,
) -> Difference {
    let wrong = |fault| Difference { max_abs: 0.0, fault: Some(fault) };
    let Some(got) = got else {
        return wrong(format!("{name}: expected an output of this name, got none"));
    };
    let shape = want.shape();
    if got.shape() != shape {
        return wrong(format!("{name}: expected shape {shape:?}, got {:?}", got.shape()));
    }
    let (mut max_abs, mut wrong, mut first) = (0.0f64, 0usize, None);
    let values = wide(got).into_iter().zip(wide(want));
    let count = values.len();
    for (index, (got, want)) in values.enumerate() {
        if (got.is_nan() && want.is_nan()) || got.to_bits() == want.to_bits() {
            continue;
        }
        let diff = (got - want).abs();
        // Infinities that are equal went on above, and no tolerance reaches one. NaN fails.
        let is_close = want.is_finite() && diff <= tolerance.atol + tolerance.rtol * want.abs();
        if !is_close {
            wrong += 1;
            first.get_or_insert_with(|| {
                format!("{name}{:?}: expected {want:e}, got {got:e}", place(index, shape))
            });
        }
        if diff.is_finite() {
            max_abs = max_abs.max(diff);
        }
    }
    let fault = first.map(|first| format!("{first}; {wrong} of {count} values differ"));
    Difference { max_abs, fault }
}

/// Turns a row-major index into places along the axes.
fn place(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut places = vec![0; shape.len()];
    for (place, axis) in places.iter_mut().zip(shape).rev() {
        *place = index % axis;
        index /= axis;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu_rnn::Tensor;

    const TOLERANCE: Tolerance = Tolerance { atol: 1e-7, rtol: 1e-3 };

    fn array(values: &[f32]) -> Array {
        Array::F32(Tensor::new([1, values.len()], values.to_vec()).expect("a tensor"))
    }

    fn fault(got: &[f32], want: &[f32]) -> Option<String> {
        compare("y", Some(&array(got)), &array(want), TOLERANCE).fault
    }

    #[test]
    fn comparator_fails_on_what_differs() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for (got, want) in [
            ([1.0, 2.0], [1.0, 2.01]),
            ([1.0, nan], [1.0, 2.0]),
            ([1.0, 2.0], [1.0, nan]),
            ([1.0, 2.0], [1.0, inf]),
            ([1.0, inf], [1.0, 2.0]),
            ([1.0, inf], [1.0, -inf]),
            ([1.0, 2e-7], [1.0, 0.0]),
        ] {
            let fault = fault(&got, &want).expect("a fault");
            assert!(fault.starts_with("y[0, 1]: expected "), "{fault}");
            assert!(fault.ends_with("; 1 of 2 values differ"), "{fault}");
        }
        let shape = compare("y", Some(&array(&[1.0])), &array(&[1.0, 1.0]), TOLERANCE);
        assert_eq!(shape.fault.as_deref(), Some("y: expected shape [1, 2], got [1, 1]"));
        assert!(compare("y", None, &array(&[1.0]), TOLERANCE).fault.is_some());
    }

    #[test]
    fn comparator_passes_what_is_equal_or_close() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for (got, want) in
            [([nan, inf], [nan, inf]), ([1.0, -inf], [1.000_5, -inf]), ([0.0, 5e-8], [-0.0, 0.0])]
        {
            assert_eq!(fault(&got, &want), None, "{got:?} {want:?}");
        }
        let whole = |value| Array::I64(Tensor::new([1], vec![value]).expect("a tensor"));
        assert_eq!(compare("n", Some(&whole(3)), &whole(3), TOLERANCE).fault, None);
        assert!(compare("n", Some(&whole(3)), &whole(4), TOLERANCE).fault.is_some());
    }
}
