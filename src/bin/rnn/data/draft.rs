//! A file that appears under its name only once it is complete.
//!
//! Written beside its target, synced, then renamed over it: neither an error nor an interrupt leaves
//! half a file, and a file that was there stays until the new one is whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use wgpu_rnn::Result;

use crate::failure::io_error;
use crate::interrupt;

/// A file on its way to `target`.
#[derive(Debug)]
pub(crate) struct Draft {
    file: NamedTempFile,
    target: PathBuf,
    /// The name that was asked for: `target` is the file behind a link.
    wanted: PathBuf,
}

impl Draft {
    /// Creates the temporary file beside `target`.
    ///
    /// # Errors
    /// `Io` when the folder cannot be written or `target` is a folder; known before any work.
    pub(crate) fn create(target: &Path) -> Result<Self> {
        let wanted = target.to_path_buf();
        let fail = |e| io_error(wanted.display(), "write", e);
        // A link keeps pointing at its file: the file behind it is what gets replaced.
        let target = if target.is_symlink() {
            target.canonicalize().map_err(fail)?
        } else {
            target.to_path_buf()
        };
        if target.is_dir() {
            return Err(fail(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")));
        }
        let file = Self::temporary(&target).map_err(fail)?;
        Ok(Self { file, target, wanted })
    }

    /// Creates a second temporary file beside the same target, for what must be written twice.
    pub(crate) fn sibling(&self) -> Result<Self> {
        let file = Self::temporary(&self.target).map_err(|e| self.failed(e))?;
        Ok(Self { file, target: self.target.clone(), wanted: self.wanted.clone() })
    }

    fn temporary(target: &Path) -> io::Result<NamedTempFile> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".tmp");
        // Temporary files are private by default; a result has the permissions of any new file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let created = interrupt::guard(
            || builder.tempfile_in(folder_of(target)),
            |file| file.path().to_path_buf(),
        );
        created.map_err(unnamed)
    }

    /// Returns the open file.
    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Returns the name that was asked for.
    pub(crate) fn wanted(&self) -> &Path {
        &self.wanted
    }

    /// Turns an error of writing into one that names the file that was asked for.
    pub(crate) fn failed(&self, source: io::Error) -> wgpu_rnn::Error {
        io_error(self.wanted.display(), "write", source)
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// `Io` when the disk is full or the rename is refused.
    pub(crate) fn commit(self) -> Result<()> {
        let Self { file, target, wanted } = self;
        let fail = |e| io_error(wanted.display(), "write", e);
        let temporary = file.path().to_path_buf();
        file.as_file().sync_all().map_err(fail)?;
        let named = file.persist(&target);
        interrupt::release(&temporary);
        named.map_err(|e| fail(e.error))?;
        // The rename itself lives in the folder; where folders cannot be synced nothing is lost but
        // the guarantee across a power cut.
        if let Ok(folder) = File::open(folder_of(&target)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// Returns the folder that holds `target`; a bare name lies in the working folder.
fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Takes the temporary name out of an error: only the wanted one means something.
fn unnamed(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((cause, _)) => io::Error::new(error.kind(), cause),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn draft_leaves_the_old_file_until_it_is_committed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.csv");
        std::fs::write(&path, "old").expect("a file");
        let mut draft = Draft::create(&path).expect("a draft");
        draft.file().write_all(b"new").expect("written");
        assert_eq!(std::fs::read(&path).expect("a file"), b"old");
        draft.commit().expect("committed");
        assert_eq!(std::fs::read(&path).expect("a file"), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn draft_vanishes_when_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Draft::create(&folder.path().join("x.csv")).expect("a draft"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn draft_is_refused_where_nothing_can_be_written() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in [folder.path().to_path_buf(), folder.path().join("missing/x.csv")] {
            let error = Draft::create(&path).expect_err("not writable");
            assert!(error.to_string().contains("cannot write"), "{error}");
            assert!(!error.to_string().contains(" at path "), "{error}");
        }
    }

    #[test]
    fn folder_of_a_bare_name_is_the_working_folder() {
        assert_eq!(folder_of(Path::new("x.npy")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/x.npy")), Path::new("a"));
    }
}
