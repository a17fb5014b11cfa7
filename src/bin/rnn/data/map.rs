//! The one place that maps a file into memory.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps `file` for reading, so that files larger than memory can be read piece by piece.
///
/// # Errors
/// What the operating system gives.
#[allow(unsafe_code, reason = "memmap2 cannot promise that no other program changes the file")]
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and only ever copied out of byte by byte, and every bit pattern
    // of the target types is valid. If another program changes the file meanwhile we read old or
    // new bytes; if it cuts the file short the system stops us with a bus error, as it would any
    // reader of mapped files.
    unsafe { Mmap::map(file) }
}
