//! The one error type of the crate.
//!
//! Every message follows the same grammar, **what: expected X, got Y (hint)**, so that a reader can
//! act on it without opening the source. The kind tells a program what class of thing went wrong;
//! [`std::error::Error::source`] leads to the cause where there is one.

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, for a program to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An input, a state or an option does not fit the network or the batch.
    Shape,
    /// Weights are missing, surplus or misshapen.
    Weights,
    /// A file is damaged or not of the format its name promises.
    Format,
    /// The request is understood, and this engine, strategy or adapter does not do it.
    Unsupported,
    /// A size is beyond what the device allows.
    Limit,
    /// The GPU or its driver failed: no adapter, device lost, out of memory, validation.
    Device,
    /// The operating system refused to read or write.
    Io,
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shape => "shape",
            Self::Weights => "weights",
            Self::Format => "format",
            Self::Unsupported => "unsupported",
            Self::Limit => "limit",
            Self::Device => "device",
            Self::Io => "io",
        })
    }
}

/// An error with its kind, a message in the crate's grammar, and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
}

impl Error {
    /// Creates an error of `kind`; `message` should read "what: expected X, got Y (hint)".
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Attaches the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts `place` in front of the message, as in `data.csv: row 3: …`.
    #[must_use]
    pub fn in_context(mut self, place: impl std::fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Returns the class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn shape(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Shape, message)
    }

    pub(crate) fn weights(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Weights, message)
    }

    pub(crate) fn format(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Format, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    pub(crate) fn device(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Device, message)
    }

    pub(crate) fn io(path: &std::path::Path, doing: &str, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{}: cannot {doing}: {source}", path.display()))
            .with_source(source)
    }
}
