//! A file that is received: a partial file named by the BLAKE3 of the whole, hashed while it is written, given its name
//! only when it is complete and right. A later transfer of the same file goes on from what is there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use proto_spec::app::FileReason;
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags};
use sealcast_endpoint_core::files::numbered_name;

use super::Failure;
use super::source::hash_range;

/// Names tried beside one that is taken.
const NAMES_MAX: u32 = 9_999;

pub(super) struct Target {
    file: File,
    folder: PathBuf,
    partial: PathBuf,
    name: String,
    blake3: [u8; 32],
    hasher: blake3::Hasher,
    length: u64,
}

impl Target {
    pub(super) fn open(
        folder: &Path,
        name: String,
        size_bytes: u64,
        blake3: [u8; 32],
    ) -> Result<Target, Failure> {
        let failed = |error: io::Error| Failure::writing(&error);
        fs::create_dir_all(folder).map_err(failed)?;
        let partial = folder.join(format!(".sealcast-{}.part", hex::encode(blake3)));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(&partial)
            .map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| Failure {
            reason: FileReason::Busy,
            detail: "the same file is being received already".to_owned(),
        })?;
        let mut length = file.metadata().map_err(failed)?.len();
        if length > size_bytes {
            file.set_len(0).map_err(failed)?;
            length = 0;
        }
        let room = rustix::fs::fstatvfs(&file).map_err(|error| failed(error.into()))?;
        if room.f_bavail.saturating_mul(room.f_frsize) < size_bytes - length {
            // Nothing has arrived: nothing is left behind.
            if length == 0 {
                let _ = fs::remove_file(&partial);
            }
            return Err(Failure { reason: FileReason::DiskFull, detail: String::new() });
        }
        let mut hasher = blake3::Hasher::new();
        hash_range(&file, &mut hasher, 0, length).map_err(failed)?;
        Ok(Target { file, folder: folder.to_owned(), partial, name, blake3, hasher, length })
    }

    /// Bytes that are there.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        if offset != self.length {
            return Err(Failure::gone());
        }
        if let Err(error) = self.file.write_all_at(bytes, offset) {
            // A piece that is there by half is not there; what came before is kept.
            let _ = self.file.set_len(self.length);
            return Err(Failure::writing(&error));
        }
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Checks, makes durable and names the file; where it is.
    pub(super) fn finish(self) -> Result<PathBuf, Failure> {
        if *self.hasher.finalize().as_bytes() != self.blake3 {
            let _ = fs::remove_file(&self.partial);
            return Err(Failure { reason: FileReason::Mismatch, detail: String::new() });
        }
        let failed = |error: io::Error| Failure::writing(&error);
        self.file.sync_all().map_err(failed)?;
        let path = self.place().map_err(failed)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(path)
    }

    /// The first free name, in one step each: nothing is ever overwritten.
    fn place(&self) -> io::Result<PathBuf> {
        for number in 0..=NAMES_MAX {
            let name = if number == 0 { self.name.clone() } else { numbered_name(&self.name, number) };
            let path = self.folder.join(name);
            match move_to_free(&self.partial, &path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "too many files of this name in the download folder",
        ))
    }
}

/// Renames without overwriting; by a second link where the file system knows no such renaming.
fn move_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"0123456789";

    fn open(folder: &Path, blake3: [u8; 32]) -> Result<Target, Failure> {
        Target::open(folder, "a.txt".into(), CONTENT.len() as u64, blake3)
    }

    fn hash() -> [u8; 32] {
        *blake3::hash(CONTENT).as_bytes()
    }

    #[test]
    fn a_file_is_named_when_it_is_complete_and_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/downloads");
        for name in ["a.txt", "a (1).txt", "a (2).txt"] {
            let mut target = open(&folder, hash()).unwrap();
            target.write(0, &CONTENT[..4]).unwrap();
            assert!(!folder.join(name).exists());
            target.write(4, &CONTENT[4..]).unwrap();
            assert_eq!(target.finish().unwrap(), folder.join(name));
            assert_eq!(fs::read(folder.join(name)).unwrap(), CONTENT);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "no partial file is left");
    }

    #[test]
    fn what_has_arrived_is_kept_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let mut target = open(folder.path(), hash()).unwrap();
        target.write(0, &CONTENT[..4]).unwrap();
        assert_eq!(target.write(5, b"x").unwrap_err().reason, FileReason::Protocol);
        drop(target);
        let mut target = open(folder.path(), hash()).unwrap();
        assert_eq!(target.length(), 4);
        target.write(4, &CONTENT[4..]).unwrap();
        target.finish().unwrap();
    }

    #[test]
    fn a_wrong_file_is_not_named_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut target = open(folder.path(), hash()).unwrap();
        target.write(0, b"012345678x").unwrap();
        assert_eq!(target.finish().unwrap_err().reason, FileReason::Mismatch);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_file_is_received_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let _held = open(folder.path(), hash()).unwrap();
        assert_eq!(open(folder.path(), hash()).err().unwrap().reason, FileReason::Busy);
    }

    #[test]
    fn no_room_is_said_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Target::open(folder.path(), "a".into(), u64::MAX / 2, [7; 32]);
        assert_eq!(refused.err().unwrap().reason, FileReason::DiskFull);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_while_writing_is_a_full_disk() {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        assert_eq!(Failure::writing(&error).reason, FileReason::DiskFull);
    }

    #[test]
    fn a_link_in_place_of_the_partial_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        let partial = folder.path().join(format!(".sealcast-{}.part", hex::encode(hash())));
        std::os::unix::fs::symlink(&victim, partial).unwrap();
        assert_eq!(open(folder.path(), hash()).err().unwrap().reason, FileReason::WriteFailed);
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }
}
