//! The journal: every input of a node, written down before it is handled, so that a field fault replays in the
//! simulator.
//!
//! Two alternating segments, each opening with the whole node; when one is full the other is begun anew. Forms bytes
//! only: the shell writes them. Holds hashes of tickets, never a ticket.
//!
//! Segment: `"SCMJ2\n" | length32 | node | (length32 | record)*`, in postcard.

use proto_spec::Now;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::JOURNAL_SEGMENT_BYTES;
use crate::io::Input;
use crate::node::Node;

const MAGIC: &[u8] = b"SCMJ2\n";

/// Bytes for one of the two segment files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalWrite {
    /// Which file, 0 or 1.
    pub segment: usize,
    /// Whether the file is to be emptied first.
    pub truncate: bool,
    /// What to append.
    pub bytes: Vec<u8>,
}

/// Forms a node's journal.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    segment: usize,
    /// Bytes in the present segment, 0 before the first.
    length: usize,
}

/// Why a segment cannot be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum JournalError {
    /// Not a segment of this version.
    #[error("not a journal segment of this version: replay it with the version that wrote it")]
    NotAJournal,
    /// A record that is no input.
    #[error("record {0} of the journal is damaged: what comes before it replays")]
    Damaged(usize),
}

#[derive(Serialize, Deserialize)]
struct Record {
    now: Now,
    input: Input,
}

impl Journal {
    /// What to write before `node` handles `input`.
    pub fn record(&mut self, node: &Node, now: Now, input: &Input) -> JournalWrite {
        let mut bytes = Vec::new();
        let truncate = self.length == 0 || self.length >= JOURNAL_SEGMENT_BYTES;
        if truncate {
            if self.length > 0 {
                self.segment = 1 - self.segment;
            }
            self.length = 0;
            bytes.extend_from_slice(MAGIC);
            put(&mut bytes, node);
        }
        put(&mut bytes, &Record { now, input: input.clone() });
        self.length += bytes.len();
        JournalWrite { segment: self.segment, truncate, bytes }
    }
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    let bytes = postcard::to_allocvec(value).expect("plain data of our own always serialises");
    let length = u32::try_from(bytes.len()).expect("a node's state is far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Reads a segment: the node as it was, and what happened to it. A last record cut short by a crash is left out.
///
/// # Errors
/// [`JournalError`]; the operator's file is at fault.
pub fn read(segment: &[u8]) -> Result<(Node, Vec<(Now, Input)>), JournalError> {
    let rest = segment.strip_prefix(MAGIC).ok_or(JournalError::NotAJournal)?;
    let (node, mut rest) = split(rest).ok_or(JournalError::NotAJournal)?;
    let node: Node = postcard::from_bytes(node).map_err(|_| JournalError::NotAJournal)?;
    let mut inputs = Vec::new();
    while let Some((record, tail)) = split(rest) {
        let record: Record = postcard::from_bytes(record).map_err(|_| JournalError::Damaged(inputs.len()))?;
        inputs.push((record.now, record.input));
        rest = tail;
    }
    Ok((node, inputs))
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
