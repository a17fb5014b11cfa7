//! What a device can do, in numbers.
//!
//! [`Constants`] are measured by `rnn calibrate` (or by [`crate::Engine::calibrate`]) or assumed by kind
//! of device. The planner compares strategies by them, `rnn bench` prints the fraction reached (`floor`).

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
    /// Bytes per second from cache through a texture, all workgroups reading the same data; `cache_bytes` where kernels
    /// read none.
    pub texture_bytes: f64,
    /// Seconds from one dispatch to the next that depends on it, beside what they compute, in one pass.
    pub dispatch: f64,
    /// Seconds of a barrier of one workgroup.
    pub barrier: f64,
    /// Seconds from a submit to its mapped result, both empty.
    pub round_trip: f64,
}

/// Where [`Constants`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConstantsSource {
    /// Measured on this device.
    Calibrated,
    /// Assumed by kind of device.
    Assumed,
}

impl std::fmt::Display for ConstantsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Calibrated => "calibrated",
            Self::Assumed => "assumed",
        })
    }
}

impl Constants {
    /// The version of the measurements: constants that another version measured are not comparable.
    pub const VERSION: u32 = 3;

    /// Returns what is assumed of a software rasteriser on a processor with `cores` cores: of each 80 GFLOP/s and
    /// 14 GB/s through textures, measured with llvmpipe of Mesa 22.3 on two cores of an AMD EPYC of 2023. Loads from
    /// buffers it makes lane by lane, eight times slower without AVX-512 than with it; `has_fast_loads` says which.
    pub fn for_software(cores: u32, has_fast_loads: bool) -> Self {
        let cores = f64::from(cores.max(1));
        let loads = if has_fast_loads { 5.6e9 } else { 0.7e9 };
        Self {
            flops: 80e9 * cores,
            group_flops: 80e9,
            memory_bytes: 1e9 * cores,
            cache_bytes: loads * cores,
            group_cache_bytes: loads,
            texture_bytes: 14e9 * cores,
            dispatch: 45e-6,
            barrier: 1.5e-6,
            round_trip: 30e-6,
        }
    }

    /// Returns what is assumed of an integrated GPU: 16 cores of 64 multiply-adds at 1 GHz, half of
    /// the peak reached; two channels of DDR5 shared with the processor.
    pub const fn for_integrated() -> Self {
        Self {
            flops: 1e12,
            group_flops: 60e9,
            memory_bytes: 50e9,
            cache_bytes: 200e9,
            group_cache_bytes: 20e9,
            texture_bytes: 200e9,
            dispatch: 5e-6,
            barrier: 0.2e-6,
            round_trip: 200e-6,
        }
    }

    /// Returns what is assumed of a discrete GPU of the middle class: 32 cores of 128 multiply-adds at
    /// 1.7 GHz, two thirds of the peak reached; GDDR6 on 192 bits.
    pub const fn for_discrete() -> Self {
        Self {
            flops: 9e12,
            group_flops: 280e9,
            memory_bytes: 350e9,
            cache_bytes: 1.5e12,
            group_cache_bytes: 60e9,
            texture_bytes: 1.5e12,
            dispatch: 3e-6,
            barrier: 0.05e-6,
            round_trip: 60e-6,
        }
    }

    /// Returns name and value of every constant.
    pub const fn fields(&self) -> [(&'static str, f64); 9] {
        [
            ("flops", self.flops),
            ("group_flops", self.group_flops),
            ("memory_bytes", self.memory_bytes),
            ("cache_bytes", self.cache_bytes),
            ("group_cache_bytes", self.group_cache_bytes),
            ("texture_bytes", self.texture_bytes),
            ("dispatch", self.dispatch),
            ("barrier", self.barrier),
            ("round_trip", self.round_trip),
        ]
    }

    /// Says what makes these constants useless, where something does: a value that is not a positive
    /// number, or one workgroup that is faster than the whole device.
    pub fn fault(&self) -> Option<String> {
        let bad = self.fields().into_iter().find(|(_, value)| !(value.is_finite() && *value > 0.0));
        if let Some((name, value)) = bad {
            return Some(format!("{name}: expected a positive number, got {value}"));
        }
        let pairs = [
            ("flops", self.group_flops, self.flops),
            ("cache_bytes", self.group_cache_bytes, self.cache_bytes),
        ];
        let (name, group, whole) = pairs.into_iter().find(|(_, group, whole)| group > whole)?;
        Some(format!("group_{name}: expected at most {name} = {whole}, got {group}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assumed_constants_are_sound_and_ordered_by_kind() {
        let kinds = [
            Constants::for_software(2, true),
            Constants::for_integrated(),
            Constants::for_discrete(),
        ];
        for constants in kinds {
            assert_eq!(constants.fault(), None);
        }
        for pair in kinds.windows(2) {
            assert!(pair[0].flops < pair[1].flops);
            assert!(pair[0].memory_bytes < pair[1].memory_bytes);
            assert!(pair[0].barrier > pair[1].barrier);
        }
    }

    #[test]
    fn fault_names_the_constant_that_is_useless() {
        let good = Constants::for_discrete();
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let fault = Constants { barrier: value, ..good }.fault().expect("a fault");
            assert!(fault.starts_with("barrier: expected a positive number"), "{fault}");
        }
        let fault = Constants { group_flops: good.flops * 2.0, ..good }.fault();
        assert!(fault.expect("a fault").starts_with("group_flops: expected at most"));
    }

    #[test]
    fn constants_pass_through_json() {
        let constants = Constants::for_integrated();
        let text = serde_json::to_string(&constants).expect("JSON");
        assert_eq!(serde_json::from_str::<Constants>(&text).expect("read"), constants);
        assert!(serde_json::from_str::<Constants>("{\"flops\": 1.0}").is_err());
    }
}
