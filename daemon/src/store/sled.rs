//! The embedded store on sled 0.34: one writer thread, group commit, durable before acknowledged.
//!
//! ```text
//!  commit() ──▶ queue (bounded) ──▶ writer thread: compare and apply each ─▶ flush ─▶ fdatasync ─▶ answers, watch
//!                                    takes all that wait, so that many commits share one sync
//! ```
//! sled's own `flush` writes its buffers to the file, but on Linux asks for no sync that survives a power cut; that is
//! what the `fdatasync` on the same file is for. Readers see what has been applied, which may be a sync ahead of what has
//! been acknowledged; what they then commit is synced later still, so no acknowledgement rests on something lost.

use std::fs::{File, Permissions};
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use sealcast_broker::{Compare, Key, Op, Range};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    Changed, KEY_LENGTH_MAX, OPS_MAX, Outcome, Store, StoreError, VALUE_LENGTH_MAX, WATCH_BACKLOG_MAX, Watch,
};

/// Commits that may wait for the writer; callers wait beyond that.
const QUEUE_MAX: usize = 1_024;
/// Commits that share one sync at most, so that the first of them does not wait for a crowd.
const GROUP_MAX: usize = 256;
/// sled's cache; its own default is 1 GiB.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Room that must be left on the disk before a group is written: more than a group and sled's next segments take.
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Format of the store as a whole; the values have versions of their own.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"store-format";

/// A store in a folder of this machine.
#[derive(Debug)]
pub struct SledStore {
    db: ::sled::Db,
    failed: Arc<OnceLock<StoreError>>,
    queue: mpsc::Sender<Job>,
    changes: broadcast::WeakSender<Changed>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Job {
    Commit { compare: Vec<Compare>, ops: Vec<Op>, answer: oneshot::Sender<Result<Outcome, StoreError>> },
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl SledStore {
    /// Opens the store in `path`, or makes it. Blocks while sled reads its log.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it, [`StoreError::Open`] and [`StoreError::Format`] otherwise.
    pub fn open(path: &Path) -> Result<SledStore, StoreError> {
        Self::open_with_room(path, FREE_BYTES_MIN)
    }

    fn open_with_room(path: &Path, free_bytes_min: u64) -> Result<SledStore, StoreError> {
        let open_error = |reason: String| StoreError::Open { path: path.to_owned(), reason };
        // Hashes of passwords lie in it: its mode does not rest on that of the folders above.
        std::fs::create_dir_all(path)
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o700)))
            .map_err(|error| open_error(error.to_string()))?;
        // The writer flushes itself after every group; sled's timer would only compete.
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        let db = config.open().map_err(|error| match error {
            ::sled::Error::Io(error) if is_locked(&error) => StoreError::InUse(path.to_owned()),
            other => open_error(other.to_string()),
        })?;
        let file = File::open(path.join("db")).map_err(|error| open_error(error.to_string()))?;
        check_format(&db, path)?;
        db.flush().map_err(|error| open_error(error.to_string()))?;
        let folders = [Some(path), path.parent()];
        // The names of new files must survive a power cut too.
        for folder in folders.into_iter().flatten().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| open_error(error.to_string()))?;
        }
        file.sync_data().map_err(|error| open_error(error.to_string()))?;

        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let (changes, _) = broadcast::channel(WATCH_BACKLOG_MAX);
        let failed = Arc::new(OnceLock::new());
        let weak_changes = changes.downgrade();
        let writer = Writer {
            db: db.clone(),
            file,
            folder: path.to_owned(),
            free_bytes_min,
            failed: Arc::clone(&failed),
            changes,
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(jobs))
            .map_err(|error| open_error(error.to_string()))?;
        Ok(SledStore { db, failed, queue, changes: weak_changes, writer: Mutex::new(Some(writer)) })
    }

    /// See [`Store::get`].
    ///
    /// # Errors
    /// [`StoreError::Failed`] once anything has failed.
    pub async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.check()?;
        let value = self.db.get(&key.0).map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// See [`Store::range`].
    ///
    /// # Errors
    /// [`StoreError::Failed`] once anything has failed.
    pub async fn range(&self, range: &Range) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        self.check()?;
        let (db, range) = (self.db.clone(), range.clone());
        let read = tokio::task::spawn_blocking(move || {
            // sled takes a stretch that ends before it starts for a bug.
            if range.start >= range.end {
                return Ok(Vec::new());
            }
            let bounds = (Bound::Included(range.start.0), Bound::Excluded(range.end.0));
            let entries = db.range::<Vec<u8>, _>(bounds);
            let own = |entry: ::sled::Result<(::sled::IVec, ::sled::IVec)>| {
                entry.map(|(key, value)| (Key(key.to_vec()), value.to_vec()))
            };
            if range.reverse {
                entries.rev().take(range.limit).map(own).collect::<Result<Vec<_>, _>>()
            } else {
                entries.take(range.limit).map(own).collect()
            }
        });
        match read.await {
            Ok(read) => read.map_err(|error| StoreError::Failed(error.to_string())),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// See [`Store::commit`].
    ///
    /// # Errors
    /// [`StoreError`]; after [`StoreError::DiskFull`] and [`StoreError::TooLarge`] nothing has changed.
    pub async fn commit(&self, compare: Vec<Compare>, ops: Vec<Op>) -> Result<Outcome, StoreError> {
        self.check()?;
        check_size(&compare, &ops)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Commit { compare, ops, answer };
        self.queue.send(job).await.map_err(|_| self.gone())?;
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// See [`Store::watch`].
    pub fn watch(&self, prefix: &[u8]) -> Watch {
        let changes = match self.changes.upgrade() {
            Some(changes) => changes.subscribe(),
            // Closed: a watch that ends at once.
            None => broadcast::channel(1).1,
        };
        Watch { prefix: prefix.to_owned(), changes }
    }

    /// See [`Store::close`].
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the last sync failed.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Job::Close(answer)).await.is_err() {
            return self.check();
        }
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn gone(&self) -> StoreError {
        self.failed.get().cloned().unwrap_or(StoreError::Closed)
    }
}

impl Drop for SledStore {
    /// Waits until the writer has let go of the folder, so that it can be opened again at once.
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.queue, closed));
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A panic of the writer has been told to every caller already.
            let _ = writer.join();
        }
    }
}

impl Store for SledStore {
    async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        SledStore::get(self, key).await
    }

    async fn range(&self, range: &Range) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        SledStore::range(self, range).await
    }

    async fn commit(&self, compare: Vec<Compare>, ops: Vec<Op>) -> Result<Outcome, StoreError> {
        SledStore::commit(self, compare, ops).await
    }

    fn watch(&self, prefix: &[u8]) -> Watch {
        SledStore::watch(self, prefix)
    }

    async fn close(&self) -> Result<(), StoreError> {
        SledStore::close(self).await
    }
}

/// The one that writes.
struct Writer {
    db: ::sled::Db,
    file: File,
    folder: PathBuf,
    free_bytes_min: u64,
    failed: Arc<OnceLock<StoreError>>,
    changes: broadcast::Sender<Changed>,
}

/// A commit that waits for the group's sync, with the keys it changed.
type Waiting = (oneshot::Sender<Result<Outcome, StoreError>>, Outcome, Vec<Key>);

impl Writer {
    fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = jobs.blocking_recv() else { break };
            let mut waiting: Vec<Waiting> = Vec::new();
            let mut written = false;
            let room = self.room();
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Close(answer) => {
                        closing = Some(answer);
                        jobs.close();
                        break;
                    }
                    Job::Commit { compare, ops, answer } => {
                        match room.clone().and_then(|()| self.apply(&compare, ops)) {
                            Ok((outcome, keys)) => {
                                written |= !keys.is_empty();
                                waiting.push((answer, outcome, keys));
                            }
                            Err(error) => {
                                let _ = answer.send(Err(error));
                            }
                        }
                    }
                }
                next = if waiting.len() < GROUP_MAX { jobs.try_recv().ok() } else { None };
            }
            // A conflict was found against what may not be synced yet, so it waits for the sync like the others.
            let synced = if written { self.sync() } else { self.healthy() };
            for (answer, outcome, keys) in waiting {
                if synced.is_ok() && !keys.is_empty() {
                    // Nobody watching is no fault.
                    let _ = self.changes.send(keys.into());
                }
                let _ = answer.send(synced.clone().map(|()| outcome));
            }
        }
        let synced = self.sync();
        if let Some(answer) = closing {
            let _ = answer.send(synced);
        }
    }

    /// Refuses before anything is changed, so that a full disk harms nothing and is over when there is room again.
    fn room(&self) -> Result<(), StoreError> {
        self.healthy()?;
        // A system that cannot tell is believed to have room: the write itself will say.
        let Ok(disk) = rustix::fs::statvfs(&self.folder) else { return Ok(()) };
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free_bytes < self.free_bytes_min {
            return Err(StoreError::DiskFull { free_kib: free_bytes / 1024 });
        }
        Ok(())
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Compares and applies; nobody else writes, so nothing comes between.
    fn apply(&self, compare: &[Compare], ops: Vec<Op>) -> Result<(Outcome, Vec<Key>), StoreError> {
        self.healthy()?;
        for Compare { key, expected } in compare {
            let found = self.db.get(&key.0).map_err(|error| self.fail(&error))?;
            if found.as_deref() != expected.as_deref() {
                return Ok((Outcome::Conflict, Vec::new()));
            }
        }
        let mut batch = ::sled::Batch::default();
        let mut keys = Vec::with_capacity(ops.len());
        for op in ops {
            keys.push(op.key().clone());
            match op {
                Op::Put(key, value) => batch.insert(key.0, value),
                Op::Delete(key) => batch.remove(key.0),
            }
        }
        if !keys.is_empty() {
            self.db.apply_batch(batch).map_err(|error| self.fail(&error))?;
        }
        Ok((Outcome::Committed, keys))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.healthy()?;
        self.db.flush().map_err(|error| self.fail(&error))?;
        self.file.sync_data().map_err(|error| self.fail(&::sled::Error::Io(error)))
    }

    /// After a failed write nobody knows what the disk holds; only a restart, which reads it, does.
    fn fail(&self, error: &::sled::Error) -> StoreError {
        self.failed.get_or_init(|| StoreError::Failed(error.to_string())).clone()
    }
}

fn check_format(db: &::sled::Db, path: &Path) -> Result<(), StoreError> {
    let open_error =
        |error: ::sled::Error| StoreError::Open { path: path.to_owned(), reason: error.to_string() };
    match db.get(FORMAT_KEY).map_err(open_error)? {
        Some(found) if found.as_ref() == FORMAT.to_string().as_bytes() => Ok(()),
        Some(found) => {
            let found =
                String::from_utf8_lossy(&found).chars().filter(|char| !char.is_control()).take(16).collect();
            Err(StoreError::Format { found, known: FORMAT })
        }
        None if db.is_empty() => {
            db.insert(FORMAT_KEY, FORMAT.to_string().as_bytes()).map_err(open_error)?;
            Ok(())
        }
        None => Err(StoreError::Format { found: "none".to_owned(), known: FORMAT }),
    }
}

fn check_size(compare: &[Compare], ops: &[Op]) -> Result<(), StoreError> {
    if ops.len() > OPS_MAX || compare.len() > OPS_MAX {
        return Err(StoreError::TooLarge("number of changes"));
    }
    if ops.iter().any(|op| op.key().0.len() > KEY_LENGTH_MAX) {
        return Err(StoreError::TooLarge("key"));
    }
    let long = |op: &Op| matches!(op, Op::Put(_, value) if value.len() > VALUE_LENGTH_MAX);
    if ops.iter().any(long) { Err(StoreError::TooLarge("value")) } else { Ok(()) }
}

/// Whether opening failed because another process holds sled's lock; sled wraps the system's `WouldBlock` in a text.
fn is_locked(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    fn put(key: &str, value: &str) -> Op {
        Op::Put(Key(key.into()), value.into())
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        contract::hold(SledStore::open(folder.path()).unwrap()).await;
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/store");
        for round in 0..5 {
            let store = SledStore::open(&path).unwrap();
            for earlier in 0..round {
                let key = Key(format!("round/{earlier}").into());
                assert_eq!(store.get(&key).await.unwrap().as_deref(), Some(&b"x"[..]));
            }
            store.commit(vec![], vec![put(&format!("round/{round}"), "x")]).await.unwrap();
            // Dropped without being closed.
        }
        let store = SledStore::open(&path).unwrap();
        store.close().await.unwrap();
        assert!(matches!(store.commit(vec![], vec![put("a", "b")]).await, Err(StoreError::Closed)));
    }

    #[tokio::test]
    async fn nobody_else_of_the_machine_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let _store = SledStore::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn a_second_opening_is_told_who_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let _store = SledStore::open(folder.path()).unwrap();
        let error = SledStore::open(folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::InUse(_)), "{error}");
        assert!(error.to_string().contains("another relayd"));
    }

    #[tokio::test]
    async fn another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        {
            let db = ::sled::open(folder.path()).unwrap();
            db.insert(FORMAT_KEY, "2").unwrap();
            db.flush().unwrap();
        }
        assert!(matches!(SledStore::open(folder.path()), Err(StoreError::Format { .. })));
        let foreign = tempfile::tempdir().unwrap();
        {
            let db = ::sled::open(foreign.path()).unwrap();
            db.insert("something", "else").unwrap();
            db.flush().unwrap();
        }
        assert!(matches!(SledStore::open(foreign.path()), Err(StoreError::Format { .. })));
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open_with_room(folder.path(), u64::MAX).unwrap();
        let error = store.commit(vec![], vec![put("a", "b")]).await.unwrap_err();
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
        assert_eq!(store.get(&Key("a".into())).await.unwrap(), None);
    }

    #[tokio::test]
    async fn many_writers_share_syncs_and_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SledStore::open(folder.path()).unwrap());
        let tasks: Vec<_> = (0..200)
            .map(|index| {
                let store = Arc::clone(&store);
                tokio::spawn(
                    async move { store.commit(vec![], vec![put(&format!("k/{index:03}"), "v")]).await },
                )
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap(), Outcome::Committed);
        }
        drop(store);
        let store = SledStore::open(folder.path()).unwrap();
        let all = Range { start: Key("k/".into()), end: Key("k0".into()), limit: 1_000, reverse: false };
        assert_eq!(store.range(&all).await.unwrap().len(), 200);
    }

    #[tokio::test]
    async fn commits_above_a_limit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path()).unwrap();
        let value = |length| vec![Op::Put(Key("v".into()), vec![0; length])];
        store.commit(vec![], value(VALUE_LENGTH_MAX)).await.unwrap();
        assert!(matches!(
            store.commit(vec![], value(VALUE_LENGTH_MAX + 1)).await,
            Err(StoreError::TooLarge("value"))
        ));
        let key = |length| vec![Op::Delete(Key(vec![b'k'; length]))];
        store.commit(vec![], key(KEY_LENGTH_MAX)).await.unwrap();
        assert!(matches!(
            store.commit(vec![], key(KEY_LENGTH_MAX + 1)).await,
            Err(StoreError::TooLarge("key"))
        ));
    }
}
