//! A file that is sent: hashed before it is offered, and again while it is read, so that no receiver is given a mixture of
//! two versions as the one that was offered.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use proto_spec::app::FileReason;

use super::Failure;
use crate::config::FILE_CHUNK_BYTES;

pub(super) struct Source {
    file: File,
    state: State,
    blake3: [u8; 32],
    hasher: blake3::Hasher,
    hashed_bytes: u64,
}

/// What shows that a file was written to.
#[derive(PartialEq, Eq)]
struct State {
    size_bytes: u64,
    changed: (i64, i64),
}

impl State {
    fn of(file: &File) -> io::Result<State> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a file: put a folder into an archive first",
            ));
        }
        Ok(State { size_bytes: metadata.len(), changed: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

impl Source {
    pub(super) fn inspect(path: &Path) -> Result<Source, Failure> {
        let file = open(path).map_err(|error| Failure::reading(&error))?;
        let state = State::of(&file).map_err(|error| Failure::reading(&error))?;
        let mut hasher = blake3::Hasher::new();
        hash_range(&file, &mut hasher, 0, state.size_bytes).map_err(|error| Failure::reading(&error))?;
        let blake3 = *hasher.finalize().as_bytes();
        let source = Source { file, state, blake3, hasher: blake3::Hasher::new(), hashed_bytes: 0 };
        source.check_unchanged()?;
        Ok(source)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.state.size_bytes
    }

    pub(super) fn blake3(&self) -> [u8; 32] {
        self.blake3
    }

    pub(super) fn read(&mut self, offset: u64, length: usize) -> Result<Bytes, Failure> {
        let failed = |error: io::Error| Failure::reading(&error);
        if self.hashed_bytes < offset {
            let (from, to) = (self.hashed_bytes, offset);
            hash_range(&self.file, &mut self.hasher, from, to).map_err(failed)?;
            self.hashed_bytes = offset;
        }
        let mut bytes = BytesMut::zeroed(length);
        self.file.read_exact_at(&mut bytes, offset).map_err(failed)?;
        let end = offset + length as u64;
        if offset == self.hashed_bytes {
            self.hasher.update(&bytes);
            self.hashed_bytes = end;
        }
        if end == self.state.size_bytes {
            self.check_unchanged()?;
            if self.hashed_bytes == end && *self.hasher.finalize().as_bytes() != self.blake3 {
                return Err(changed());
            }
        }
        Ok(bytes.freeze())
    }

    fn check_unchanged(&self) -> Result<(), Failure> {
        let state = State::of(&self.file).map_err(|error| Failure::reading(&error))?;
        if state == self.state { Ok(()) } else { Err(changed()) }
    }
}

fn changed() -> Failure {
    Failure { reason: FileReason::Changed, detail: String::new() }
}

/// Opens without waiting for anybody: a pipe would hold the thread until somebody writes into it.
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Hashes the bytes from `from` to `to`.
pub(super) fn hash_range(file: &File, hasher: &mut blake3::Hasher, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; FILE_CHUNK_BYTES.min((to - from).max(1) as usize)];
    let mut at = from;
    while at < to {
        let length = (to - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..length], at)?;
        hasher.update(&buffer[..length]);
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_offered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"0123456789").unwrap();
        let mut source = Source::inspect(&path).unwrap();
        assert_eq!((source.size_bytes(), source.blake3()), (10, *blake3::hash(b"0123456789").as_bytes()));
        assert_eq!(&source.read(0, 4).unwrap()[..], b"0123");
        assert_eq!(&source.read(4, 6).unwrap()[..], b"456789");
        let mut resumed = Source::inspect(&path).unwrap();
        assert_eq!(&resumed.read(7, 3).unwrap()[..], b"789");
    }

    #[test]
    fn a_file_that_changes_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for change in [&b"0123456789+"[..], b"012345", b"x123456789"] {
            std::fs::write(&path, b"0123456789").unwrap();
            let mut source = Source::inspect(&path).unwrap();
            std::fs::write(&path, change).unwrap();
            let read = source.read(0, 4).and_then(|_| source.read(4, 6));
            assert_eq!(read.unwrap_err().reason, FileReason::Changed);
        }
    }

    /// Same size and time of change: only the hash tells.
    #[test]
    fn a_silent_change_is_found_by_the_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"0123456789").unwrap();
        let mut source = Source::inspect(&path).unwrap();
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, b"x123456789").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        assert_eq!(
            source.read(5, 5).unwrap_err().reason,
            FileReason::Changed,
            "also what a receiver has already"
        );
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let fail = |path: &Path| Source::inspect(path).err().unwrap().reason;
        assert_eq!(fail(folder.path()), FileReason::ReadFailed);
        assert_eq!(fail(&folder.path().join("missing")), FileReason::ReadFailed);
        assert_eq!(fail(Path::new("/dev/null")), FileReason::ReadFailed);
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(fail(&fifo), FileReason::ReadFailed);
        let empty = folder.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        assert_eq!(Source::inspect(&empty).unwrap().size_bytes(), 0);
    }
}
