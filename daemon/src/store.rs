//! The store: keys in order, conditional commits that are durable before they are acknowledged, and a watch.
//!
//! Owns the promise, not the meaning of any key: that is the broker's. Default is sled, embedded, for one process; the
//! same contract (`contract`) is what a store for several brokers has to keep.

#[cfg(test)]
mod contract;
pub mod sled;

use std::future::Future;
use std::path::PathBuf;

use sealcast_broker::{Compare, Key, Op, Range};
use thiserror::Error;
use tokio::sync::broadcast;

/// Longest key in bytes: an e-mail address and its table.
pub const KEY_LENGTH_MAX: usize = 512;
/// Longest value in bytes: a session with all members it may remember has about 60 KiB.
pub const VALUE_LENGTH_MAX: usize = 256 * 1024;
/// Changes in one commit: a housekeeping call with sessions, numbers and their audit.
pub const OPS_MAX: usize = 4_096;
/// Commits that a watcher may be behind before it has to read anew.
pub const WATCH_BACKLOG_MAX: usize = 1_024;

/// How a conditional commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was written and is on the disk.
    Committed,
    /// A condition did not hold; nothing was written.
    Conflict,
}

/// Why the store does not serve. Never a caller's fault: the operator's or the machine's.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// A second process.
    #[error("another relayd uses the state folder {}: stop it first, or give this one a folder of its own", .0.display())]
    InUse(PathBuf),
    /// The folder cannot be made or read.
    #[error("the store in {} cannot be opened: {reason}", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Written by another version.
    #[error("the store has format {found}, this relayd knows format {known}: run the version that wrote it")]
    Format {
        /// What it says.
        found: String,
        /// What this code writes.
        known: u32,
    },
    /// Too little room on the disk; nothing was written.
    #[error("the disk of the state folder is full ({free_kib} KiB free): make room; nothing was changed")]
    DiskFull {
        /// What is left.
        free_kib: u64,
    },
    /// Writing or reading failed; what was under way may or may not be on the disk, so nothing more is accepted.
    #[error("the store failed and takes no more changes: {0}; check the disk, then restart relayd")]
    Failed(String),
    /// The store has been closed.
    #[error("the store is closed: relayd is stopping")]
    Closed,
    /// A commit that no broker makes.
    #[error("a commit with a {0} above its limit: this is a fault of relayd")]
    TooLarge(&'static str),
}

/// What every store promises.
pub trait Store: Send + Sync + 'static {
    /// The value of a key as of the last commit.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// The entries of a stretch of keys in their order, at most `range.limit`.
    fn range(&self, range: &Range) -> impl Future<Output = Result<Vec<(Key, Vec<u8>)>, StoreError>> + Send;

    /// Writes all of `ops` if all of `compare` hold, else nothing. Returns once the changes survive a power cut.
    fn commit(
        &self,
        compare: Vec<Compare>,
        ops: Vec<Op>,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Tells of durable changes to keys that start with `prefix`.
    fn watch(&self, prefix: &[u8]) -> Watch;

    /// Makes everything durable; afterwards nothing more is taken.
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Changes of one commit, by key.
type Changed = std::sync::Arc<[Key]>;

/// What a watcher hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// These keys were written or deleted.
    Changed(Vec<Key>),
    /// Too far behind: some changes were missed, read anew.
    Missed,
}

/// A watch on a prefix. Bounded: who does not listen is told that it missed something.
#[derive(Debug)]
pub struct Watch {
    prefix: Vec<u8>,
    changes: broadcast::Receiver<Changed>,
}

impl Watch {
    /// The next change; `None` once the store is closed.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            match self.changes.recv().await {
                Ok(changed) => {
                    let keys: Vec<Key> =
                        changed.iter().filter(|key| key.0.starts_with(&self.prefix)).cloned().collect();
                    if !keys.is_empty() {
                        return Some(WatchEvent::Changed(keys));
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(WatchEvent::Missed),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
