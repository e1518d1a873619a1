//! The audit: canonical records in a hash chain, and signed checkpoints on it \[AUD-1\].
//!
//! Owns the record's one spelling, its link and the verification of a whole chain. Never stores anything, and never
//! decides what is recorded: `sealcast-broker` does. Witnesses and the Merkle tree come with a later version of the
//! checkpoint.

mod verify;

pub use verify::{AuditFault, FaultKind, Summary, verify_chain};

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::checkpoint::{Checkpoint, CheckpointBody};
use proto_spec::{SenderNumber, SessionId, WallTime};
use serde::{Deserialize, Serialize};

use crate::key::BrokerSigner;
use crate::proof::{self, ProofError};
use crate::sha256;
use crate::ticket::Verifier;

/// Longest canonical record in bytes: every text in it is bounded by whoever makes it, far below.
pub const RECORD_LENGTH_MAX: usize = 4 * 1024;
/// A checkpoint is due after so many records \[AUD-6\] ...
pub const CHECKPOINT_RECORDS: u64 = 1_000;
/// ... or after so long with any new record \[AUD-6\].
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

const LINK_LABEL: &[u8] = b"sealcast audit 1";
const GENESIS_LABEL: &[u8] = b"sealcast audit genesis 1";

/// Who did something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Actor {
    /// Nobody known: an endpoint before login, a customer with a number.
    Anonymous,
    /// An account by its number, which stays when its address changes.
    Account {
        /// The account's number.
        id: u64,
    },
    /// A member of the record's session, by its ticket.
    Member {
        /// The member's number.
        number: SenderNumber,
    },
    /// An administrator by certificate.
    Admin {
        /// The name in the certificate.
        name: String,
    },
    /// Whoever may use the node's local socket.
    Local {
        /// The user's number on that machine.
        uid: u32,
    },
    /// The broker itself.
    Broker,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done.
    Done,
    /// Refused; `reason` in the detail says why.
    Refused,
}

/// One record \[AUD-2\]: who, what, in which session, when, with what outcome. Never a code, a ticket, a password or
/// content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Place in the chain, from 1.
    pub index: u64,
    /// When.
    pub time: WallTime,
    /// Who.
    pub actor: Actor,
    /// What, as a name of the registry such as `login` or `session.end`.
    pub action: String,
    /// In which session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// To whom: an account's number or a member's, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// With what outcome.
    pub outcome: Outcome,
    /// Further facts, sorted by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, String>,
}

impl Record {
    /// The one spelling: JSON without spaces, fields in the order of [`Record`], absent ones left out \[AUD-3\].
    ///
    /// # Panics
    /// If it is longer than [`RECORD_LENGTH_MAX`]: our own bug, as every text is bounded before.
    pub fn canonical(&self) -> Vec<u8> {
        let canonical = serde_json::to_vec(self).expect("a record is plain data");
        assert!(canonical.len() <= RECORD_LENGTH_MAX, "an audit record of {} bytes", canonical.len());
        canonical
    }

    /// Reads a canonical record; `None` for any other spelling of it \[AUD-3\].
    pub fn from_canonical(canonical: &[u8]) -> Option<Record> {
        if canonical.len() > RECORD_LENGTH_MAX {
            return None;
        }
        let record: Record = serde_json::from_slice(canonical).ok()?;
        (record.canonical() == canonical).then_some(record)
    }
}

/// A record as stored and handed out: exactly the bytes that were hashed, and the link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditLink {
    /// The canonical record.
    pub canonical: Vec<u8>,
    /// `SHA-256("sealcast audit 1" | link before | length64 | canonical)` \[AUD-4\].
    pub hash: [u8; 32],
}

/// The end of a chain: what the next record is linked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The last record's index; 0 before the first.
    pub index: u64,
    /// The last record's link.
    pub hash: [u8; 32],
}

impl Head {
    /// Before the first record: the hash of the mesh's name \[AUD-4\].
    pub fn genesis(mesh: &str) -> Head {
        Head { index: 0, hash: sha256(&[GENESIS_LABEL, mesh.as_bytes()]) }
    }

    /// Appends a record, whose index must be the next one.
    ///
    /// # Panics
    /// If it is not: our own bug.
    pub fn append(&self, record: &Record) -> (AuditLink, Head) {
        assert_eq!(record.index, self.index + 1, "an audit record out of its place");
        let canonical = record.canonical();
        let hash = link(&self.hash, &canonical);
        (AuditLink { canonical, hash }, Head { index: record.index, hash })
    }
}

/// Signs a checkpoint on the head of a chain \[AUD-6\].
pub fn sign_checkpoint(signer: &BrokerSigner, head: Head, now: WallTime) -> Checkpoint {
    let body = CheckpointBody {
        mesh: signer.mesh().to_owned(),
        index: head.index,
        hash: head.hash,
        time: now,
        broker: signer.certificate(),
    };
    let signature = signer.sign(&body.signed_message());
    Checkpoint { body, signature }
}

/// Checks a checkpoint's signature by a broker of the verifier's mesh.
///
/// # Errors
/// [`ProofError`] when it is another's or altered.
pub fn verify_checkpoint(checkpoint: &Checkpoint, verifier: &Verifier) -> Result<(), ProofError> {
    let broker = verifier.broker(&checkpoint.body.broker).ok_or(ProofError)?;
    if checkpoint.body.mesh != verifier.mesh() {
        return Err(ProofError);
    }
    proof::verify(broker.key(), &checkpoint.body.signed_message(), &checkpoint.signature)
}

fn link(before: &[u8; 32], canonical: &[u8]) -> [u8; 32] {
    sha256(&[LINK_LABEL, before, &(canonical.len() as u64).to_be_bytes(), canonical])
}
