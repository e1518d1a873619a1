//! Records: the sealed unit of everything that members say to each other.
//!
//! Owns the limits, the refusals and what is signed; `seal` and `open` own the keys' use, `replay` the counters,
//! `carry` the repair across epochs. A record is never opened by trying keys, and nothing here allocates per record.

pub(crate) mod carry;
pub(crate) mod compress;
pub(crate) mod open;
pub(crate) mod replay;
pub(crate) mod seal;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use proto_spec::frame::{DATA_OVERHEAD_MAX, FRAME_LENGTH_MAX};
use proto_spec::packet::RecordHeader;
use proto_spec::{DecodeError, StreamId, TrafficClass};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use compress::{PADDING_MULTIPLE, Shape};
pub use open::{OLD_EPOCH_GRACE, OLD_EPOCH_KEYS, OLD_EPOCHS_MAX, Opened};
pub use proto_spec::mpsl::epoch::STREAMS_MAX;
pub use replay::REPLAY_WINDOW_RECORDS;

use crate::suite::{NONCE_LENGTH, TAG_LENGTH_MAX};

/// The session's own channel: base statements and their acknowledgements \[REC-2\].
pub const SESSION_STREAM: StreamId = StreamId(0);
/// The longest packet that fits a frame, whoever it is addressed to.
pub const PACKET_LENGTH_MAX: usize = FRAME_LENGTH_MAX - DATA_OVERHEAD_MAX;
/// Bytes of a record packet before what is sealed: the packet kind and the header.
pub const RECORD_PREFIX_LENGTH: usize = 1 + RecordHeader::LENGTH;
/// An Ed25519 signature inside the seal.
pub const SIGNATURE_LENGTH: usize = 64;
/// The most that a packet is longer than its plaintext, padding aside.
pub const RECORD_OVERHEAD_MAX: usize =
    RECORD_PREFIX_LENGTH + compress::ENCODING_LENGTH + SIGNATURE_LENGTH + TAG_LENGTH_MAX;
/// What carrying adds to a record: another prefix, signature and tag; the old packet kind is left out \[REC-11\].
pub const CARRY_OVERHEAD_MAX: usize = RECORD_PREFIX_LENGTH - 1 + SIGNATURE_LENGTH + TAG_LENGTH_MAX;
/// The longest plaintext of a record: with the longer tag, signed, and with room for one carry \[REC-9\].
pub const PLAINTEXT_LENGTH_MAX: usize = PACKET_LENGTH_MAX - CARRY_OVERHEAD_MAX - RECORD_OVERHEAD_MAX;
/// The longest plaintext that can be padded.
pub const PADDED_PLAINTEXT_LENGTH_MAX: usize = PLAINTEXT_LENGTH_MAX / PADDING_MULTIPLE * PADDING_MULTIPLE - 1;
/// Records that one sender seals in one epoch: far below what GCM-SIV bears under one key \[REC-5\].
pub const RECORDS_PER_EPOCH_MAX: u32 = u32::MAX;

const SIGNATURE_LABEL: &[u8] = b"mpsl record";

/// How the caller wants a record sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealing {
    /// The data frame's class. Control and interactive records are always signed.
    pub class: TrafficClass,
    /// The channel, 1..64.
    pub stream: StreamId,
    /// Whether the member's key signs inside the seal.
    pub signed: bool,
    /// Padding or compression.
    pub shape: Shape,
}

/// Why a record was not sealed. The culprit is the caller, or the time being wrong for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SealError {
    /// Wait for `EpochInstalled`.
    #[error("no epoch is installed yet: wait to be admitted")]
    NoEpoch,
    /// Wait for `Resumed`.
    #[error("the leader has not answered for 30 seconds: nothing is sealed until it does")]
    Silent,
    /// Call `state_bases`.
    #[error("the channels' bases have not been stated in this epoch")]
    BasesNotStated,
    /// Split it.
    #[error("plaintext of {length} bytes, at most {limit} fit one record")]
    TooLong {
        /// Of the plaintext.
        length: usize,
        /// For the shape asked for.
        limit: usize,
    },
    /// Choose another channel.
    #[error("channel {} is not one of 1 to 63", .0.0)]
    Stream(StreamId),
    /// Ask for a signature.
    #[error("records of class {} are always signed", .0.name())]
    MustBeSigned(TrafficClass),
    /// Wait for the next rekey.
    #[error("this epoch's record count is used up: wait for the next")]
    EpochFull,
    /// The packet handed to `carry` cannot be carried.
    #[error("not carried: {0}")]
    NotCarriable(&'static str),
}

/// Why a record was not opened. The culprit is whoever made or relayed it, except where said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OpenError {
    /// No record at all.
    #[error("malformed record: {0}")]
    Malformed(#[from] DecodeError),
    /// Another build.
    #[error("record of another suite")]
    Suite,
    /// Sender or class of the record and of the data frame differ.
    #[error("the record's {0} is not the data frame's")]
    HopMismatch(&'static str),
    /// A record of class control or interactive without a signature, or one on stream 0 that is not both.
    #[error("record without the signature that its class demands")]
    Unsigned,
    /// Kept until its epoch is installed; nobody's fault.
    #[error("record of a newer epoch: held until that epoch is installed")]
    Held,
    /// Of a newer epoch while the hold is full; the sender repairs it.
    #[error("record of a newer epoch, and no room to hold it")]
    HoldFull,
    /// Of an epoch whose grace is over, or that we never held.
    #[error("record of an epoch that is no longer open")]
    OldEpoch,
    /// No member of the record's epoch, or ourselves.
    #[error("record of a sender that is no member of its epoch")]
    NotAMember,
    /// Opened before.
    #[error("record replayed")]
    Replayed,
    /// Below the replay window.
    #[error("record older than the replay window")]
    TooOld,
    /// Under the epoch's key but with a counter from before the epoch.
    #[error("record below its channel's base in this epoch")]
    BelowBase,
    /// Altered on its way, or not made by its sender.
    #[error("record does not open under its sender's key")]
    Forged,
    /// Made by a member that is not its sender.
    #[error("record signed by nobody or by another member")]
    WrongSignature,
    /// Genuine, but its body is none.
    #[error("record body malformed: bad padding or compression")]
    MalformedBody,
    /// Genuine, but what it carries is refused.
    #[error("carried record refused: {0}")]
    Carried(#[from] CarriedRefusal),
}

/// Why the older record inside a carried one is not opened \[REC-11\] \[REC-14\].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CarriedRefusal {
    /// It is a carried record itself.
    #[error("nested")]
    Nested,
    /// It is of another sender than the record around it.
    #[error("of another sender")]
    OtherSender,
    /// It is of another channel or class.
    #[error("of another channel or class")]
    OtherChannel,
    /// Its epoch is not older, or we were no member of it, or its keys are gone: resynchronise the channel.
    #[error("of an epoch that is not open to us")]
    EpochNotOpen,
    /// The sender's base statement of this epoch has not arrived; the record will be repaired after it.
    #[error("before its sender's base statement")]
    BaseUnknown,
    /// Its counter is not below the channel's base.
    #[error("not below the channel's base")]
    AboveBase,
    /// Opened already, directly or carried, or too old to know.
    #[error("not missing")]
    NotMissing,
}

/// Genuine bytes that are no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MalformedBody;

/// Whether the class demands a signature inside the seal \[REC-6\].
pub const fn must_be_signed(class: TrafficClass) -> bool {
    matches!(class, TrafficClass::Control | TrafficClass::Interactive)
}

/// `stream32 | counter64` \[REC-4\]: the last 12 bytes of the header.
pub(crate) fn nonce(header: &[u8; RecordHeader::LENGTH]) -> [u8; NONCE_LENGTH] {
    let mut nonce = [0; NONCE_LENGTH];
    nonce.copy_from_slice(&header[RecordHeader::LENGTH - NONCE_LENGTH..]);
    nonce
}

/// `"mpsl record" | roster hash | header | SHA-256(body)` \[REC-6\].
pub(crate) fn signed_message(
    roster_hash: &[u8; 32],
    header: &[u8; RecordHeader::LENGTH],
    body: &[u8],
) -> [u8; SIGNATURE_LABEL.len() + 32 + RecordHeader::LENGTH + 32] {
    const HEADER: usize = SIGNATURE_LABEL.len() + 32;
    const DIGEST: usize = HEADER + RecordHeader::LENGTH;
    let mut message = [0; DIGEST + 32];
    message[..SIGNATURE_LABEL.len()].copy_from_slice(SIGNATURE_LABEL);
    message[SIGNATURE_LABEL.len()..HEADER].copy_from_slice(roster_hash);
    message[HEADER..DIGEST].copy_from_slice(header);
    message[DIGEST..].copy_from_slice(&Sha256::digest(body));
    message
}

const _: () = assert!(PADDED_PLAINTEXT_LENGTH_MAX < PLAINTEXT_LENGTH_MAX);
