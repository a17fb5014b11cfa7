//! What a device can do, in numbers, and the least time that work needs on it.
//!
//! [`Constants`] are measured by `rnn calibrate` (or by [`crate::Engine::calibrate`]) or assumed by kind
//! of device. A floor is a lower bound by arithmetic, memory, cache and dependency, in seconds; the
//! planner compares strategies with the same terms, and `rnn bench` prints the fraction reached.

/// Measured or assumed speeds of a device.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Constants {
    /// f32 operations per second of the whole device; a multiply-add counts as two.
    pub flops: f64,
    /// f32 operations per second of one workgroup.
    pub group_flops: f64,
    /// Bytes per second from device memory, all workgroups reading different data.
    pub memory_bytes: f64,
    /// Bytes per second from cache, all workgroups reading the same data.
    pub cache_bytes: f64,
    /// Bytes per second from cache into one workgroup.
    pub group_cache_bytes: f64,
    /// Seconds from one dispatch to the next that depends on it, both empty, in one pass.
    pub dispatch: f64,
    /// Seconds of a barrier of one workgroup.
    pub barrier: f64,
    /// Seconds from a submit to its mapped result, both empty.
    pub round_trip: f64,
}
