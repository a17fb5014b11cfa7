//! `.txt`: a sequence a line, for a network with a vocabulary.

use std::io::BufRead;

use wgpu_rnn::model::Vocabulary;
use wgpu_rnn::{Error, ErrorKind, Result};

use super::{Source, unmarked};
use crate::data::{Sequence, Values, Wanted};
use crate::failure::{format_error, io_error};

/// The lines of a text file. An empty line is a sequence of no steps.
pub(crate) struct TextLines {
    lines: Box<dyn BufRead>,
    label: String,
    vocabulary: Vocabulary,
    line: usize,
}

impl TextLines {
    /// Takes lines to be encoded.
    ///
    /// # Errors
    /// `Unsupported` when the network has no vocabulary.
    pub(crate) fn new(lines: Box<dyn BufRead>, label: String, wanted: Wanted) -> Result<Self> {
        let known = vocabulary(wanted.vocabulary.as_ref());
        let vocabulary = known.map_err(|e| e.in_context(&label))?.clone();
        Ok(Self { lines, label, vocabulary, line: 0 })
    }
}

/// Returns the vocabulary that text needs.
///
/// # Errors
/// `Unsupported` when the network has none.
pub(crate) fn vocabulary(vocabulary: Option<&Vocabulary>) -> Result<&Vocabulary> {
    vocabulary.ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "text: expected a model with a vocabulary, got one without (its metadata name no tokens)",
        )
    })
}

impl Source for TextLines {
    fn next_sequence(&mut self) -> Result<Option<Sequence>> {
        let mut text = String::new();
        let read = self.lines.read_line(&mut text).map_err(|e| io_error(&self.label, "read", e))?;
        if read == 0 && self.line == 0 {
            let message = format!("{}: expected at least 1 line, got an empty file", self.label);
            return Err(format_error(message));
        }
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        let text =
            text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
        let text = if self.line == 1 { unmarked(text) } else { text };
        let tokens = self
            .vocabulary
            .encode(text)
            .map_err(|e| e.in_context(format!("{}: line {}", self.label, self.line)))?;
        Ok(Some(Sequence { id: None, values: Values::Tokens(tokens) }))
    }
}
