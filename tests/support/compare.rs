//! The comparator of all tests: NaN fails.

/// Finds the first place where `got` is not within `atol + rtol·|want|` of `want`.
///
/// Written as `!(diff <= tolerance)`, so that a NaN on either side is a fault.
#[must_use]
pub(crate) fn first_fault(got: &[f64], want: &[f64], atol: f64, rtol: f64) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("expected {} values, got {}", want.len(), got.len()));
    }
    got.iter().zip(want).enumerate().find_map(|(i, (got, want))| {
        let diff = (got - want).abs();
        let is_same = got.to_bits() == want.to_bits();
        let close = is_same || (want.is_finite() && diff <= atol + rtol * want.abs());
        (!close).then(|| format!("value {i}: expected {want}, got {got} (off by {diff:.3e})"))
    })
}

/// Widens f32 results for [`first_fault`].
#[must_use]
pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}
