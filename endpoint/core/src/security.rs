//! What an endpoint asks of its end-to-end layer: sealing and opening of records, members, codes, keys.
//!
//! [`crate::mpsl::Mpsl`] is the real one; [`crate::null::Null`] moves plain bytes and serves the simulator and tests.
//! Channels see only [`Seal`]; the session drives all of [`Security`]. Nothing here touches a socket or a clock.

use bytes::{Bytes, BytesMut};
use proto_spec::ticket::Role;
use proto_spec::{EpochId, Now, SenderNumber, SessionId, SessionNumber, StreamId, Timestamp, TrafficClass};
use sealcast_mpsl::handshake::ProofBudget;
use sealcast_mpsl::{JoinCode, Suite};
use thiserror::Error;

/// The part that channels use: one record at a time, under the newest epoch held.
pub trait Seal {
    /// Appends a whole record packet to `out` and returns its counter on the stream.
    ///
    /// # Errors
    /// [`SealError`] when nothing may be sealed now; `out` is as it was.
    fn seal(
        &mut self,
        now: Now,
        class: TrafficClass,
        stream: StreamId,
        signed: bool,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError>;

    /// Appends `old`, a record packet that this endpoint sealed under an earlier epoch, as payload of a record of the
    /// newest \[REC-11\]. Works on the packet as it was first sealed, never on a carried one.
    ///
    /// # Errors
    /// [`SealError`] when nothing may be sealed now; `out` is as it was.
    fn carry(&mut self, now: Now, old: &[u8], out: &mut Vec<u8>) -> Result<(), SealError>;

    /// The newest epoch held, under which [`Seal::seal`] seals.
    fn epoch(&self) -> Option<EpochId>;

    /// The endpoint's own number.
    fn number(&self) -> SenderNumber;

    /// Members by the leader's newest signed roster, this endpoint among them, by number.
    fn roster(&self) -> &[RosterEntry];

    /// The longest plaintext of a record that still leaves room to be carried once.
    fn plaintext_max(&self) -> usize;
}

/// The whole end-to-end layer of one endpoint in one session.
pub trait Security: Seal + Sized {
    /// The creator's: it leads, and is the only member so far.
    fn create(now: Now, identity: Identity) -> Self;

    /// A joiner's: begins the handshake with `leader` under `code`, of which `budget` proofs may still be sent.
    fn join(now: Now, identity: Identity, leader: SenderNumber, code: &JoinCode, budget: ProofBudget)
    -> Self;

    /// Opens a record from the member that the relay says sent it.
    ///
    /// `None`: the layer has handled or kept it; what is kept is returned by [`Security::poll_held`] later.
    ///
    /// # Errors
    /// [`OpenError`]: the record is dropped and counted; nothing else changes.
    fn open(
        &mut self,
        now: Now,
        from: SenderNumber,
        class: TrafficClass,
        packet: BytesMut,
    ) -> Result<Option<Opened>, OpenError>;

    /// Records that came before their epoch and can be opened now.
    fn poll_held(&mut self, now: Now) -> Option<Opened>;

    /// A handshake or pairwise packet. What it leads to comes from [`Security::poll_event`]; a bad one is dropped.
    fn handle_packet(&mut self, now: Now, from: SenderNumber, packet: &[u8]);

    /// Timers that are due.
    fn handle_timeout(&mut self, now: Now);

    /// When [`Security::handle_timeout`] wants to be called.
    fn poll_timeout(&self) -> Option<Timestamp>;

    /// The next thing to do or to tell, until `None`.
    fn poll_event(&mut self) -> Option<SecurityEvent>;

    /// A joiner whose attachment came back: starts the handshake again if it is not over.
    fn reattached(&mut self, now: Now);

    /// The relay says that a member can be reached: a hint to repeat at once what it lacks.
    fn member_reachable(&mut self, now: Now, number: SenderNumber);

    /// The leader's number by the newest roster, or the one that the joiner was told.
    fn leader(&self) -> SenderNumber;

    /// States where each of this endpoint's channels stands at the start of the newest epoch \[REC-12\]: the
    /// stream, and the channel's next sequence number. To be called once for each [`SecurityEvent::EpochInstalled`],
    /// before anything is sealed under it.
    fn state_bases(&mut self, now: Now, bases: &[(StreamId, u64)]);

    /// Leader: makes a code for the number that the broker opened.
    ///
    /// # Errors
    /// A sentence: this endpoint does not lead, or has as many codes open as it may.
    fn open_code(&mut self, now: Now, number: SessionNumber, role: Role) -> Result<JoinCode, CodeRefused>;

    /// Leader: withdraws a code.
    fn close_code(&mut self, now: Now, number: SessionNumber);

    /// Leader: the joiner, who proved its code, becomes a member; new keys for everybody.
    fn admit(&mut self, now: Now, joiner: SenderNumber);

    /// Leader: the joiner is told no.
    fn refuse(&mut self, now: Now, joiner: SenderNumber);

    /// Leader: a member is out; new keys for everybody else.
    fn remove(&mut self, now: Now, number: SenderNumber);

    /// Leader: a member said, signed, that it leaves; new keys for everybody else.
    fn member_left(&mut self, now: Now, number: SenderNumber);

    /// Between leader and member or admitted joiner: sealed for the other alone, such as a ticket. Not repeated.
    fn send_private(&mut self, now: Now, to: SenderNumber, kind: u8, bytes: &[u8]);

    /// Member: tells the leader that it leaves; a courtesy beside the goodbye that all are told.
    fn leave(&mut self, now: Now);

    /// Leader: tells every member that the session is over; a courtesy beside the relay's word.
    fn end(&mut self, now: Now);
}

/// Who an endpoint is in the session.
#[derive(Clone)]
pub struct Identity {
    /// The session.
    pub session: SessionId,
    /// Own number, from the ticket.
    pub number: SenderNumber,
    /// Own role.
    pub role: Role,
    /// What it calls itself.
    pub display_name: String,
    /// The cipher suite of this program.
    pub suite: Suite,
    /// Seeds all randomness of the layer; from the operating system, or from a simulation's seed.
    pub seed: [u8; 32],
}

/// A member by the leader's signed roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RosterEntry {
    /// Its number.
    pub number: SenderNumber,
    /// As it calls itself: a claim.
    pub name: String,
    /// Provider or customer.
    pub role: Role,
}

/// A record that was opened and is genuine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Who sealed it.
    pub sender: SenderNumber,
    /// The channel.
    pub stream: StreamId,
    /// The class that the sender sealed it in.
    pub class: TrafficClass,
    /// Its counter on the stream when it was first sealed.
    pub counter: u64,
    /// Whether the member signed it, or only the group vouches for it.
    pub signed: bool,
    /// The content.
    pub payload: Bytes,
}

/// Where a channel of another member stands at the start of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base {
    /// The channel.
    pub stream: StreamId,
    /// The channel's sequence that a member who joined in this epoch expects first.
    pub sequence: u64,
}

/// What the end-to-end layer does or says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecurityEvent {
    /// A packet of its own is to be sent.
    Transmit {
        /// To whom; empty for every member.
        to: Vec<SenderNumber>,
        /// Queued as.
        class: TrafficClass,
        /// The whole packet.
        packet: Bytes,
    },
    /// Leader: this joiner proved its code; the user decides.
    JoinerProved {
        /// Its number.
        number: SenderNumber,
        /// As it calls itself.
        name: String,
        /// The role that the code gives.
        role: Role,
    },
    /// Leader: this joiner will not come any more (its handshake or wait timed out).
    JoinerGone {
        /// Its number.
        number: SenderNumber,
    },
    /// Leader: a wrong proof.
    WrongGuess {
        /// Guesses left for this code.
        left: u32,
    },
    /// Leader: a code can no longer be used.
    CodeEnded {
        /// Its number.
        code: SessionNumber,
        /// Its role.
        role: Role,
        /// Why.
        reason: crate::event::CodeEnd,
    },
    /// Joiner: both sides have proved the code; the leader's user decides.
    Proved,
    /// Joiner: it will not become a member.
    JoinFailed {
        /// Why.
        reason: JoinFailure,
    },
    /// A new epoch is in use: the roster may have changed. Channels re-wrap what is unacknowledged.
    EpochInstalled {
        /// The epoch.
        epoch: EpochId,
        /// Whether somebody left or was removed, so that the old keys are of no more use at once.
        departed: bool,
    },
    /// A member stated where its channels stand at the start of the newest epoch.
    Bases {
        /// The member.
        sender: SenderNumber,
        /// Its channels.
        bases: Vec<Base>,
    },
    /// Leader: every member holds keys that the removed one has not.
    RemovalComplete {
        /// Who was removed.
        number: SenderNumber,
    },
    /// Something from the leader, or to it, for this endpoint alone.
    Private {
        /// Who sent it.
        from: SenderNumber,
        /// What it is, by the layer above.
        kind: u8,
        /// The content.
        bytes: Bytes,
    },
    /// The leader's signed word: this endpoint is out.
    Removed,
    /// The leader's word that the session is over.
    Ended,
    /// Leader: the member's word that it leaves.
    Leaving {
        /// Who.
        number: SenderNumber,
    },
    /// Leader: a member that was absent for too long is out.
    Absent {
        /// Who.
        number: SenderNumber,
    },
    /// The leader is silent: nothing may be sealed until it answers again.
    Silenced,
    /// The leader answers again.
    Resumed,
}

/// Why a joiner did not become a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum JoinFailure {
    /// The words are not the ones, or the code is used up; nothing more is told.
    #[error("the code is wrong or no longer valid: ask for it again, word by word")]
    WrongCode,
    /// The leader's user, or its time limit, said no.
    #[error("the other side did not admit you")]
    Denied,
    /// The leader does not answer.
    #[error("the other side does not answer: check that its program is still running, and try again")]
    NoAnswer,
    /// The two programs do not speak the same suite or version.
    #[error("the two programs do not fit together: update the older one")]
    Incompatible,
}

/// Why nothing could be sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SealError {
    /// No group key is held yet.
    #[error("not a member yet")]
    NoEpoch,
    /// The leader is silent; sealing resumes when it answers.
    #[error("the session's leader does not answer")]
    Silenced,
    /// Longer than [`Seal::plaintext_max`].
    #[error("longer than a record may be")]
    TooLong,
    /// The epoch's counters are used up; a rekey is due.
    #[error("the keys of this epoch are used up")]
    Exhausted,
    /// A stream, class or signature that the layer does not allow: our own bug.
    #[error("a record that may not be")]
    Misuse,
    /// The packet to be carried is not one of this endpoint's, or is carried already.
    #[error("not a record to be carried")]
    NotCarriable,
}

/// Why a record could not be opened; the culprit is its sender or a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OpenError {
    /// Not a record.
    #[error("malformed record")]
    Malformed,
    /// No key for its epoch and sender.
    #[error("record of an epoch or sender without a key")]
    NoKey,
    /// Seal or signature are wrong.
    #[error("record that is not genuine")]
    Forged,
    /// Seen before, or too old to tell.
    #[error("record that was seen before")]
    Replayed,
    /// Carried from an epoch that this endpoint was no member of, or whose keys are gone: the sender's channels go on
    /// from the newest epoch's start.
    #[error("carried record of an epoch without a key")]
    Unopenable,
}

/// Why no code was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CodeRefused {
    /// Only the leader makes codes.
    #[error("only the session's leader makes codes")]
    NotLeader,
    /// As many codes are open as may be.
    #[error("too many codes are open: wait until one is used or expires")]
    TooMany,
}
