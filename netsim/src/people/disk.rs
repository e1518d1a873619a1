//! An endpoint's files, in memory: what it sends is made up from the file's name, what it receives is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proto_spec::app::FileReason;
use sealcast_endpoint_core::event::TransferId;
use sealcast_endpoint_core::files::{FileEffect, FileResult};

use crate::sim::Random;

#[derive(Default)]
pub(crate) struct Disk {
    files: BTreeMap<PathBuf, Arc<Source>>,
    sources: BTreeMap<TransferId, Arc<Source>>,
    partial: BTreeMap<[u8; 32], Vec<u8>>,
    targets: BTreeMap<TransferId, (String, [u8; 32])>,
}

struct Source {
    content: Bytes,
    blake3: [u8; 32],
}

impl Disk {
    /// Makes a file of so many bytes.
    pub(crate) fn make(&mut self, path: &Path, bytes: u64, seed: u64) {
        let mut random = Random::stream(seed, "file", bytes);
        let mut content = Vec::with_capacity(bytes as usize + 8);
        while (content.len() as u64) < bytes {
            content.extend_from_slice(&random.draw().to_be_bytes());
        }
        content.truncate(bytes as usize);
        let blake3 = *blake3::hash(&content).as_bytes();
        self.files.insert(path.to_owned(), Arc::new(Source { content: content.into(), blake3 }));
    }

    pub(crate) fn perform(&mut self, effect: FileEffect) -> Option<(TransferId, FileResult)> {
        let failed = |reason| FileResult::Failed { reason, detail: String::new() };
        Some(match effect {
            FileEffect::Inspect { transfer, path } => match self.files.get(&path) {
                Some(source) => {
                    self.sources.insert(transfer, Arc::clone(source));
                    let size_bytes = source.content.len() as u64;
                    (transfer, FileResult::Inspected { size_bytes, blake3: source.blake3 })
                }
                None => (transfer, failed(FileReason::ReadFailed)),
            },
            FileEffect::Read { transfer, offset, length } => {
                let range = offset as usize..(offset as usize).saturating_add(length);
                let read = self.sources.get(&transfer).filter(|source| source.content.len() >= range.end);
                match read {
                    Some(source) => (transfer, FileResult::Read { bytes: source.content.slice(range) }),
                    None => (transfer, failed(FileReason::Changed)),
                }
            }
            FileEffect::CloseSource { transfer } => {
                self.sources.remove(&transfer);
                return None;
            }
            FileEffect::OpenTarget { transfer, name, blake3, .. } => {
                self.targets.insert(transfer, (name, blake3));
                let offset = self.partial.entry(blake3).or_default().len() as u64;
                (transfer, FileResult::TargetOpened { offset })
            }
            FileEffect::Write { transfer, offset, bytes } => {
                let held = self.targets.get(&transfer).and_then(|(_, blake3)| self.partial.get_mut(blake3));
                match held {
                    Some(held) if held.len() as u64 == offset => {
                        held.extend_from_slice(&bytes);
                        (transfer, FileResult::Written)
                    }
                    _ => (transfer, failed(FileReason::WriteFailed)),
                }
            }
            FileEffect::Finish { transfer } => match self.targets.remove(&transfer) {
                Some((name, blake3)) => {
                    let content = self.partial.remove(&blake3).unwrap_or_default();
                    if *blake3::hash(&content).as_bytes() == blake3 {
                        (transfer, FileResult::Finished { path: PathBuf::from(name) })
                    } else {
                        (transfer, failed(FileReason::Mismatch))
                    }
                }
                None => (transfer, failed(FileReason::WriteFailed)),
            },
            FileEffect::CloseTarget { transfer } => {
                self.targets.remove(&transfer);
                return None;
            }
        })
    }
}
