//! How weights and hidden states are stored.

/// How weights and hidden states are stored. Sums, gates and cell states are f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// f16 of IEEE 754, two to a word: half the bytes of weights, and hidden states rounded to 11
    /// significant bits after every step. Weights beyond 65504 are refused.
    F16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 2] = [Self::F32, Self::F16];

    /// Returns the name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// Returns the precision of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// Returns the bytes of a value.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    pub(super) const fn wgsl(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../../shaders/lib/precision32.wgsl"),
            Self::F16 => include_str!("../../shaders/lib/precision16.wgsl"),
        }
    }
}
