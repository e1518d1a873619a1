//! The state folder: made with mode 0700, held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// The file whose lock says who uses the folder.
const LOCK_FILE: &str = "relayd.lock";

/// Why a state folder cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another process has it.
    #[error(
        "{path}: another relayd{who} uses this state folder: stop it first, or give this one its own with --state-dir"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Its process id where known.
        who: String,
    },
    /// The system refuses.
    #[error("{path}: the state folder cannot be used ({error}): check owner, mode and space")]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

/// A state folder held by this process; let go when dropped.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Makes the folder where missing and takes it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn take(path: &Path) -> Result<StateFolder, StateError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Unusable { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable(path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(unusable(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = (&mut lock).take(16).read_to_string(&mut pid);
                let pid = pid.trim();
                let known = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
                let who = if known { format!(" (process {pid})") } else { String::new() };
                return Err(StateError::InUse { path: path.to_owned(), who });
            }
            Err(error) => return Err(unusable(&lock_path)(error.into())),
        }
        // For the sentence above, nothing else: the lock is the kernel's.
        let noted = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(unusable(&lock_path))?;
        Ok(StateFolder { path: path.to_owned(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a new file, or replaces one at once and as a whole.
///
/// # Errors
/// The system's.
pub fn write_file(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first_and_may_have_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = StateFolder::take(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let refusal = StateFolder::take(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
        drop(first);
        StateFolder::take(&path).unwrap();
    }
}
