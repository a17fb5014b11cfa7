//! Ctrl-C: removes the files that are being written and ends the program with code 130.
//!
//! A list of unfinished files is kept here instead of a flag that loops would have to ask, so that
//! the program also stops while it waits for a long computation or for input.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wgpu_rnn::{Error, ErrorKind};

use crate::failure::Result;

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the handler; called once, before any file is opened for writing.
///
/// # Errors
/// `Io` when the operating system refuses a handler.
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        // The lock stays held: no file can be added between the sweep and the end.
        let list = unfinished();
        for path in list.iter() {
            // A file that is already renamed or removed is what we want.
            let _ = std::fs::remove_file(path);
        }
        std::process::exit(130);
    })
    .map_err(|e| Error::new(ErrorKind::Io, format!("interrupt handler: {e}")).with_source(e))?;
    Ok(())
}

/// Runs `create`, which makes a file that must not outlive an interrupt, and remembers its path.
pub(crate) fn guard<T>(
    create: impl FnOnce() -> std::io::Result<T>,
    path: impl FnOnce(&T) -> PathBuf,
) -> std::io::Result<T> {
    // Creating under the lock leaves no moment in which the file exists and the list lacks it.
    let mut list = unfinished();
    let made = create()?;
    list.push(path(&made));
    Ok(made)
}

/// Forgets a file that is complete or gone.
pub(crate) fn release(path: &Path) {
    unfinished().retain(|entry| entry != path);
}
