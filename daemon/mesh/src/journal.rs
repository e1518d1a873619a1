//! The journal: every input of a node, written down before it is handled, so that a field fault replays in the
//! simulator.
//!
//! Two alternating segments, each opening with the whole node; when one is full the other is begun anew. Each record
//! says what the turn before it put out, so that a replay can tell whether it puts out the same. Forms bytes only: the
//! shell writes them. Holds hashes of tickets, never a ticket.
//!
//! Segment: `"SCMJ2\n" | block of the node | block of a record*`; block: `length32 | check32 | bytes`, in postcard. The
//! check is the beginning of the bytes' SHA-256.

use proto_spec::Now;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::config::JOURNAL_SEGMENT_BYTES;
use crate::io::{Input, Output};
use crate::node::Node;

/// What every version begins with.
const FAMILY: &[u8] = b"SCMJ";
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
    /// What was put out since the last record.
    outputs: Fold,
}

/// What turns put out, folded, so that two runs can be compared.
#[derive(Clone, Debug, Default)]
pub struct Fold(Sha256);

/// A turn as it was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// When it was.
    pub now: Now,
    /// What the node was given.
    pub input: Input,
    /// The fold of what it put out; `None` for the last turn, behind which nothing was written.
    pub outputs: Option<u64>,
}

/// A segment as it was read.
#[derive(Debug)]
pub struct Segment {
    /// The node as it was before the first turn.
    pub node: Node,
    /// What happened to it.
    pub turns: Vec<Recorded>,
    /// Bytes of a last record that is not whole: a crash cut it short.
    pub cut_bytes: usize,
}

/// Why a segment cannot be replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum JournalError {
    /// Something else.
    #[error("not a journal: give journal-0 or journal-1 of a relayd's state folder")]
    NotAJournal,
    /// Written by a program whose nodes or inputs have another form.
    #[error("a journal of another version: replay it with the version that wrote it")]
    OtherVersion,
    /// The node with which it begins is not as it was written.
    #[error("the journal is damaged at its beginning: take the other segment")]
    NodeDamaged,
    /// A record is not as it was written.
    #[error("record {0} of the journal is damaged: cut it off there, what comes before it replays")]
    Damaged(usize),
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// What the turn before put out.
    before: u64,
    now: Now,
    input: Input,
}

impl Fold {
    /// Folds an output in.
    pub fn output(&mut self, output: &Output) {
        self.0.update(serialised(output));
    }

    /// The fold so far; begins anew.
    pub fn take(&mut self) -> u64 {
        let hash: [u8; 32] = self.0.finalize_reset().into();
        u64::from_be_bytes(*hash.first_chunk().expect("a hash is longer"))
    }
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
        put(&mut bytes, &Record { before: self.outputs.take(), now, input: input.clone() });
        self.length += bytes.len();
        JournalWrite { segment: self.segment, truncate, bytes }
    }

    /// Notes an output of the turn that was recorded last.
    pub fn put_out(&mut self, output: &Output) {
        self.outputs.output(output);
    }
}

fn serialised(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("plain data of our own always serialises")
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    let bytes = serialised(value);
    let length = u32::try_from(bytes.len()).expect("a node's state is far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&check(&bytes));
    out.extend_from_slice(&bytes);
}

fn check(bytes: &[u8]) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    *hash.first_chunk().expect("a hash is longer")
}

/// Reads a segment.
///
/// # Errors
/// [`JournalError`]; the operator's file is at fault.
pub fn read(segment: &[u8]) -> Result<Segment, JournalError> {
    let Some(rest) = segment.strip_prefix(MAGIC) else {
        let of_the_family = segment.starts_with(FAMILY);
        return Err(if of_the_family { JournalError::OtherVersion } else { JournalError::NotAJournal });
    };
    let (sum, node, mut rest) = split(rest).ok_or(JournalError::NodeDamaged)?;
    if check(node) != sum {
        return Err(JournalError::NodeDamaged);
    }
    let node: Node = postcard::from_bytes(node).map_err(|_| JournalError::OtherVersion)?;
    let mut turns: Vec<Recorded> = Vec::new();
    while let Some((sum, record, tail)) = split(rest) {
        if check(record) != sum {
            return Err(JournalError::Damaged(turns.len()));
        }
        let Record { before, now, input } =
            postcard::from_bytes(record).map_err(|_| JournalError::OtherVersion)?;
        if let Some(last) = turns.last_mut() {
            last.outputs = Some(before);
        }
        turns.push(Recorded { now, input, outputs: None });
        rest = tail;
    }
    Ok(Segment { node, turns, cut_bytes: rest.len() })
}

/// A block's check and bytes, and what comes behind it.
fn split(bytes: &[u8]) -> Option<([u8; 4], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (block, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((*sum, block, rest))
}
