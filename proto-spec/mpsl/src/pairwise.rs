//! Sealed messages between one member and the leader \[PWM-1\]: epoch messages, heartbeats, tickets. Owns a key and a
//! counter for each direction, the replay window and the chain that wraps group secrets; never reads what it carries.

use proto_spec::DecodeError;
use proto_spec::mpsl::handshake::MessageType;
use proto_spec::mpsl::pairwise::{PLAINTEXT_MAX, PairwiseHeader};
use proto_spec::packet::PacketKind;
use thiserror::Error;

use crate::keys::{Chain, HandshakeKeys};
use crate::limits::PAIRWISE_WINDOW;
use crate::suite::{NONCE_LENGTH, OpenFailed, PacketKey};

/// Length of the associated data: `kind8 | type8 | counter64 | TH[32]`.
const ASSOCIATED_LENGTH: usize = PairwiseHeader::LENGTH + 32;

/// Counter of the identity sealed in M3 and M4; pairwise messages go on from the next.
const HANDSHAKE_COUNTER: u64 = 0;

/// Which end of the pair this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The member: the joiner of a handshake.
    Member,
    /// The leader.
    Leader,
}

/// Why a pairwise packet was not opened. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PairwiseError {
    /// The packet's form.
    #[error("malformed pairwise packet: {0}")]
    Malformed(#[from] DecodeError),
    /// Its counter was seen before, or lies behind the window.
    #[error("repeated or too old pairwise packet")]
    Replayed,
    /// Altered, or made by somebody else.
    #[error("pairwise packet: {0}")]
    Sealed(#[from] OpenFailed),
}

/// Both directions between a member and the leader, after a handshake. Keys are erased when dropped.
pub struct Pairwise {
    transcript: [u8; 32],
    send: PacketKey,
    receive: PacketKey,
    next_counter: u64,
    window: Window,
    chain: Chain,
}

impl Pairwise {
    /// After a handshake: counter 0 of both directions has been used by M3 and M4.
    pub(crate) fn new(transcript: [u8; 32], keys: PairwiseKeys, side: Side) -> Self {
        let PairwiseKeys { to_leader, to_member, chain } = keys;
        let (send, receive) = match side {
            Side::Member => (to_leader, to_member),
            Side::Leader => (to_member, to_leader),
        };
        Pairwise {
            transcript,
            send,
            receive,
            next_counter: HANDSHAKE_COUNTER + 1,
            window: Window::new(HANDSHAKE_COUNTER),
            chain,
        }
    }

    /// Seals one message; returns a whole packet.
    ///
    /// # Panics
    /// If `message_type` is 0 or the plaintext is longer than [`PLAINTEXT_MAX`]: callers hold the registry's types and
    /// bounded messages.
    pub fn seal(&mut self, message_type: u8, plaintext: &[u8]) -> Vec<u8> {
        assert!(message_type != 0, "pairwise message type 0 is reserved");
        assert!(plaintext.len() <= PLAINTEXT_MAX, "pairwise message above its limit");
        let counter = self.next_counter;
        // Used up before anything is sealed under it \[PWM-2\].
        self.next_counter = counter.checked_add(1).expect("2^64 pairwise messages are never sent");
        let header = PairwiseHeader { message_type, counter }.to_array();
        let mut packet = Vec::with_capacity(header.len() + plaintext.len() + self.send.suite().tag_length());
        packet.extend_from_slice(&header);
        packet.extend_from_slice(plaintext);
        let associated = associated(&header, &self.transcript);
        self.send.seal_tail(&nonce(counter), &associated, &mut packet, header.len());
        packet
    }

    /// Opens a whole packet; returns its type and plaintext. Packets that are lost in between do not matter.
    ///
    /// # Errors
    /// [`PairwiseError`]; the window moves only after the packet has verified \[PWM-2\].
    pub fn open(&mut self, packet: &[u8]) -> Result<(u8, Vec<u8>), PairwiseError> {
        let (header, sealed) = PairwiseHeader::split(packet)?;
        if !self.window.is_new(header.counter) {
            return Err(PairwiseError::Replayed);
        }
        let mut buffer = sealed.to_vec();
        let associated = associated(&header.to_array(), &self.transcript);
        let length = self.receive.open_sealed(&nonce(header.counter), &associated, &mut buffer)?.len();
        buffer.truncate(length);
        self.window.mark(header.counter);
        Ok((header.message_type, buffer))
    }

    /// The chain that wraps group secrets \[PWM-3\].
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The chain, to step it.
    pub const fn chain_mut(&mut self) -> &mut Chain {
        &mut self.chain
    }

    /// The transcript hash of the handshake that made this pair.
    pub const fn transcript(&self) -> &[u8; 32] {
        &self.transcript
    }
}

impl std::fmt::Debug for Pairwise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pairwise(next counter {}, {:?})", self.next_counter, self.chain)
    }
}

/// The keys of both directions, while a handshake still runs: M3 and M4 seal with them at counter 0.
pub(crate) struct PairwiseKeys {
    to_leader: PacketKey,
    to_member: PacketKey,
    chain: Chain,
}

impl PairwiseKeys {
    pub(crate) fn new(keys: HandshakeKeys) -> (Self, ConfirmationKeys) {
        let HandshakeKeys { confirm_joiner, confirm_leader, to_leader, to_member, chain } = keys;
        let confirmation = ConfirmationKeys { joiner: confirm_joiner, leader: confirm_leader };
        (PairwiseKeys { to_leader, to_member, chain }, confirmation)
    }

    /// Seals the identity of M3 (by the member) or M4 (by the leader).
    pub(crate) fn seal_identity(&self, side: Side, transcript: &[u8; 32], mut plaintext: Vec<u8>) -> Vec<u8> {
        let (key, header) = self.identity_of(side);
        let associated = associated(&header, transcript);
        key.seal_tail(&nonce(HANDSHAKE_COUNTER), &associated, &mut plaintext, 0);
        plaintext
    }

    /// Opens what `side` sealed.
    pub(crate) fn open_identity(
        &self,
        side: Side,
        transcript: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Vec<u8>, OpenFailed> {
        let (key, header) = self.identity_of(side);
        let mut buffer = sealed.to_vec();
        let associated = associated(&header, transcript);
        let length = key.open_sealed(&nonce(HANDSHAKE_COUNTER), &associated, &mut buffer)?.len();
        buffer.truncate(length);
        Ok(buffer)
    }

    fn identity_of(&self, side: Side) -> (&PacketKey, [u8; PairwiseHeader::LENGTH]) {
        let (key, message) = match side {
            Side::Member => (&self.to_leader, MessageType::M3),
            Side::Leader => (&self.to_member, MessageType::M4),
        };
        let mut header = [0u8; PairwiseHeader::LENGTH];
        header[0] = PacketKind::Handshake as u8;
        header[1] = message as u8;
        header[2..].copy_from_slice(&HANDSHAKE_COUNTER.to_be_bytes());
        (key, header)
    }
}

/// The two confirmation keys; gone with the handshake.
pub(crate) struct ConfirmationKeys {
    pub(crate) joiner: zeroize::Zeroizing<[u8; 32]>,
    pub(crate) leader: zeroize::Zeroizing<[u8; 32]>,
}

fn nonce(counter: u64) -> [u8; NONCE_LENGTH] {
    let mut nonce = [0u8; NONCE_LENGTH];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

fn associated(header: &[u8; PairwiseHeader::LENGTH], transcript: &[u8; 32]) -> [u8; ASSOCIATED_LENGTH] {
    let mut out = [0u8; ASSOCIATED_LENGTH];
    out[..PairwiseHeader::LENGTH].copy_from_slice(header);
    out[PairwiseHeader::LENGTH..].copy_from_slice(transcript);
    out
}

/// The newest counter and which of the 63 before it were seen \[PWM-2\].
struct Window {
    newest: u64,
    /// Bit n: `newest - n` was seen.
    seen: u64,
}

impl Window {
    const fn new(newest: u64) -> Self {
        Window { newest, seen: 1 }
    }

    const fn is_new(&self, counter: u64) -> bool {
        if counter > self.newest {
            return true;
        }
        let age = self.newest - counter;
        age < PAIRWISE_WINDOW && self.seen & (1 << age) == 0
    }

    const fn mark(&mut self, counter: u64) {
        if counter > self.newest {
            let ahead = counter - self.newest;
            self.seen = if ahead < PAIRWISE_WINDOW { (self.seen << ahead) | 1 } else { 1 };
            self.newest = counter;
        } else {
            self.seen |= 1 << (self.newest - counter);
        }
    }
}
