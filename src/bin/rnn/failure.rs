//! How a subcommand fails, and which exit code that gives.
//!
//! A fault of the command line (code 2) is kept apart from a fault of data, device or check
//! (code 1), so that scripts can tell a wrong call from a wrong file.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use wgpu_rnn::{Error, ErrorKind};

/// The result of a subcommand.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a subcommand did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line cannot be followed as it stands.
    Usage(String),
    /// A file, the device or the computation failed.
    Failed(Error),
    /// A check ran and found a fault; everything there is to say is printed already.
    Found,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Failure {
    /// Creates a fault of the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Returns what there is to say.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Usage(message) => message.clone(),
            Self::Failed(error) => error.to_string(),
            Self::Found => String::new(),
        }
    }

    /// Takes the excuse away from a closed pipe, where files were to be written that now are not.
    pub(crate) fn unexcused(self) -> Self {
        match self {
            Self::Failed(error) if is_closed_pipe(&error) => {
                Self::Failed(Error::new(ErrorKind::Io, error.to_string()))
            }
            other => other,
        }
    }

    /// Prints the failure on standard error and gives its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                eprintln!("error: {message}\n\nFor more information, try '--help'.");
                ExitCode::from(2)
            }
            Self::Failed(error) if is_closed_pipe(error) => ExitCode::SUCCESS,
            Self::Failed(error) => {
                eprintln!("error: {error}");
                ExitCode::from(1)
            }
            Self::Found => ExitCode::from(1),
        }
    }
}

/// Tells whether the reader of our output went away, as `| head` does.
fn is_closed_pipe(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
}

/// Creates an `Io` error that names the file and what was tried.
pub(crate) fn io_error(file: impl Display, doing: &str, source: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{file}: cannot {doing}: {source}")).with_source(source)
}

/// Creates a `Format` error.
pub(crate) fn format_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}

/// Creates a `Shape` error.
pub(crate) fn shape_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Shape, message)
}
