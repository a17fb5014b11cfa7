//! The file in which a driver's compiled pipelines outlive a program.
//!
//! A header of [`MAGIC`], the length and a checksum, then the driver's bytes. The checksum tells damage
//! from a whole file before a driver gets to see it; it is no protection against a forged one.

use std::path::Path;

use super::write_atomically;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"wgpurnn1";
const HEADER: usize = 24;
/// Larger files are not read: pipelines of old versions pile up, and nothing takes them out.
const MOST: u64 = 64 << 20;

/// Reads what an earlier program left; `None` when there is no file.
///
/// # Errors
/// `Io` when it cannot be read; `Format` when it is damaged or too large.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |e| Error::io(path, "read", e);
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    if size > MOST {
        let what = format!("{}: expected at most {MOST} bytes, got {size}", path.display());
        return Err(Error::format(what));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let data = check(&bytes).map_err(|e| e.in_context(path.display()))?;
    Ok(Some(data.to_vec()))
}

fn check(bytes: &[u8]) -> Result<&[u8]> {
    let damaged = |what: &str| Error::format(format!("pipelines: {what} (the file is damaged)"));
    let (header, data) =
        bytes.split_at_checked(HEADER).ok_or_else(|| damaged("expected a header"))?;
    if !header.starts_with(MAGIC) {
        return Err(damaged("expected another first word"));
    }
    if header != self::header(data) {
        return Err(damaged("expected another length or checksum"));
    }
    Ok(data)
}

/// Writes pipelines in place of what is there, whole or not at all; makes the folder.
///
/// # Errors
/// `Io` when it cannot be written.
pub(crate) fn write(path: &Path, data: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
    }
    write_atomically(path, &[&header(data), data].concat())
}

fn header(data: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&(data.len() as u64).to_le_bytes());
    header[16..].copy_from_slice(&checksum(data).to_le_bytes());
    header
}

/// FNV-1a, 64 bits.
fn checksum(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_was_written_is_read_and_every_damage_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("below").join("pipelines");
        assert_eq!(read(&path).expect("no file is no error"), None);
        for data in [&b""[..], b"some bytes of a driver"] {
            write(&path, data).expect("written");
            assert_eq!(read(&path).expect("whole").as_deref(), Some(data));
        }
        let whole = std::fs::read(&path).expect("a file");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            for bytes in [&damaged[..], &whole[..at]] {
                std::fs::write(&path, bytes).expect("written");
                let error = read(&path).expect_err("damaged");
                assert_eq!(error.kind(), ErrorKind::Format, "{at}: {error}");
            }
        }
        assert_eq!(read(folder.path()).expect_err("a folder").kind(), ErrorKind::Io);
    }
}
