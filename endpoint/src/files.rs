//! Files on this machine, as the core's transfers ask for them: one thread of the blocking pool for each open file, its
//! operations in order. Never overwrites a file, never writes outside the download folder, keeps what has arrived.

mod source;
mod target;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use proto_spec::app::FileReason;
use sealcast_endpoint_core::event::TransferId;
use sealcast_endpoint_core::files::{FileEffect, FileResult};
use tokio::sync::mpsc;

use crate::config::FILE_OPERATIONS_MAX;
use crate::driver::Answer;
use source::Source;
use target::Target;

/// The file tasks of one session.
pub(crate) struct FileTasks {
    download_dir: PathBuf,
    answers: mpsc::Sender<Answer>,
    tasks: BTreeMap<TransferId, mpsc::Sender<FileEffect>>,
}

impl FileTasks {
    pub(crate) fn new(download_dir: PathBuf, answers: mpsc::Sender<Answer>) -> FileTasks {
        FileTasks { download_dir, answers, tasks: BTreeMap::new() }
    }

    /// Has an effect carried out; the answer comes by itself.
    pub(crate) fn perform(&mut self, effect: FileEffect) {
        let transfer = transfer_of(&effect);
        match &effect {
            FileEffect::CloseSource { .. } | FileEffect::CloseTarget { .. } => {
                self.tasks.remove(&transfer);
                return;
            }
            FileEffect::Inspect { .. } | FileEffect::OpenTarget { .. } => {
                let (operations, receiver) = mpsc::channel(FILE_OPERATIONS_MAX);
                let (download_dir, answers) = (self.download_dir.clone(), self.answers.clone());
                tokio::task::spawn_blocking(move || work(transfer, &download_dir, receiver, &answers));
                self.tasks.insert(transfer, operations);
            }
            _ => {}
        }
        let last = matches!(effect, FileEffect::Finish { .. });
        if let Some(operations) = self.tasks.get(&transfer) {
            // The core keeps fewer operations open than fit, and a task ends only with its file.
            let sent = operations.try_send(effect);
            debug_assert!(sent.is_ok(), "a file task takes no more");
        }
        if last {
            self.tasks.remove(&transfer);
        }
    }
}

fn transfer_of(effect: &FileEffect) -> TransferId {
    match effect {
        FileEffect::Inspect { transfer, .. }
        | FileEffect::Read { transfer, .. }
        | FileEffect::CloseSource { transfer }
        | FileEffect::OpenTarget { transfer, .. }
        | FileEffect::Write { transfer, .. }
        | FileEffect::Finish { transfer }
        | FileEffect::CloseTarget { transfer } => *transfer,
    }
}

/// One file, until nobody asks anything of it any more.
fn work(
    transfer: TransferId,
    download_dir: &std::path::Path,
    mut operations: mpsc::Receiver<FileEffect>,
    answers: &mpsc::Sender<Answer>,
) {
    let mut source: Option<Source> = None;
    let mut target: Option<Target> = None;
    while let Some(effect) = operations.blocking_recv() {
        let result = match effect {
            FileEffect::Inspect { path, .. } => Source::inspect(&path).map(|fresh| {
                let result = FileResult::Inspected { size_bytes: fresh.size_bytes(), blake3: fresh.blake3() };
                source = Some(fresh);
                result
            }),
            FileEffect::Read { offset, length, .. } => match &mut source {
                Some(source) => source.read(offset, length).map(|bytes| FileResult::Read { bytes }),
                None => Err(Failure::gone()),
            },
            FileEffect::OpenTarget { name, size_bytes, blake3, .. } => {
                Target::open(download_dir, name, size_bytes, blake3).map(|fresh| {
                    let result = FileResult::TargetOpened { offset: fresh.length() };
                    target = Some(fresh);
                    result
                })
            }
            FileEffect::Write { offset, bytes, .. } => match &mut target {
                Some(target) => target.write(offset, &bytes).map(|()| FileResult::Written),
                None => Err(Failure::gone()),
            },
            FileEffect::Finish { .. } => match target.take() {
                Some(target) => target.finish().map(|path| FileResult::Finished { path }),
                None => Err(Failure::gone()),
            },
            FileEffect::CloseSource { .. } | FileEffect::CloseTarget { .. } => return,
        };
        let result =
            result.unwrap_or_else(|Failure { reason, detail }| FileResult::Failed { reason, detail });
        if answers.blocking_send(Answer::File(transfer, result)).is_err() {
            return;
        }
    }
}

/// Why an operation failed: for the other side, and for the user here.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    reason: FileReason,
    detail: String,
}

impl Failure {
    fn gone() -> Failure {
        Failure { reason: FileReason::Protocol, detail: "the file is not open".to_owned() }
    }

    fn reading(error: &io::Error) -> Failure {
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => FileReason::Changed,
            _ => FileReason::ReadFailed,
        };
        Failure { reason, detail: error.to_string() }
    }

    fn writing(error: &io::Error) -> Failure {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FileReason::DiskFull,
            _ => FileReason::WriteFailed,
        };
        Failure { reason, detail: error.to_string() }
    }
}
