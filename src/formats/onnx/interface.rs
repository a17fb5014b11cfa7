//! The graph's border: its inputs and outputs, and the way from arrays to a batch and back.

/// The size of an axis of a graph input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Known(usize),
    /// Free; `?` where the file gives no name.
    Named(String),
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// An input or output of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name in the graph.
    pub name: String,
    /// The axes, outermost first.
    pub shape: Vec<Dim>,
}
