//! The count of a node's restarts \[LSA-2\], made durable before the node says anything under it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::state::write_file;

const FILE: &str = "incarnation";

/// Why the count cannot be kept.
#[derive(Debug, Error)]
#[error(
    "{path}: the count of restarts cannot be written ({error}): the mesh would take the node for its own past; check \
     owner, mode and space"
)]
pub struct IncarnationError {
    path: PathBuf,
    error: io::Error,
}

/// The next incarnation of the node whose state lies in `folder`; durable when this returns. A count that was lost starts
/// anew, and the core jumps past what the mesh remembers \[LSA-6\].
///
/// # Errors
/// [`IncarnationError`] names the file.
pub fn next_incarnation(folder: &Path) -> Result<u64, IncarnationError> {
    let path = folder.join(FILE);
    let last = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().unwrap_or_else(|_| {
            tracing::warn!("the file of the incarnation holds no number: counting from 1 again");
            0
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(IncarnationError { path, error }),
    };
    let next = last.saturating_add(1);
    let written = write_file(&path, format!("{next}\n").as_bytes(), 0o600)
        // The new name must last as well as the bytes.
        .and_then(|()| File::open(folder)?.sync_all());
    match written {
        Ok(()) => Ok(next),
        Err(error) => Err(IncarnationError { path, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[LSA-2\]: counts up over restarts; a count that is lost or damaged starts anew; none that cannot be kept is used.
    #[test]
    fn restarts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(next_incarnation(folder.path()).unwrap(), 1);
        assert_eq!(next_incarnation(folder.path()).unwrap(), 2);
        std::fs::write(folder.path().join(FILE), "seven").unwrap();
        assert_eq!(next_incarnation(folder.path()).unwrap(), 1);
        let gone = folder.path().join("gone");
        assert!(next_incarnation(&gone).unwrap_err().to_string().contains("gone/incarnation"));
    }
}
