//! A file with one length per sequence: `.npy` integers, or text with one number a line.

use std::path::Path;

use wgpu_rnn::Result;

use super::unmarked;
use crate::data::array::{Array, Bytes, MAGIC};
use crate::failure::{format_error, io_error};

/// Reads the lengths in the file at `path`.
///
/// # Errors
/// `Io`, `Format` or `Shape`, naming file and line.
pub(super) fn read(path: &Path) -> Result<Vec<i128>> {
    let bytes = std::fs::read(path).map_err(|e| io_error(path.display(), "read", e))?;
    parse(bytes).map_err(|e| e.in_context(path.display()))
}

/// Reads the lengths in the bytes of a file.
///
/// # Errors
/// `Format` or `Shape`, naming the line.
pub(crate) fn parse(bytes: Vec<u8>) -> Result<Vec<i128>> {
    if bytes.starts_with(MAGIC) {
        return Array::new(Bytes::Owned(bytes))?.to_integers();
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| format_error("lengths: expected .npy or text with one number a line"))?;
    let lines = unmarked(text).lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            line.trim().parse().map_err(|_| {
                format_error(format!("line {}: expected a whole number, got {line:?}", index + 1))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_one_number_a_line() {
        assert_eq!(parse(b"3\n 0\r\n\n12".to_vec()).expect("numbers"), [3, 0, 12]);
        assert_eq!(parse("\u{feff}3\n4".into()).expect("numbers"), [3, 4]);
        let error = parse(b"3\nx".to_vec()).expect_err("not a number");
        assert_eq!(error.to_string(), "line 2: expected a whole number, got \"x\"");
    }
}
