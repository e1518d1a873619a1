//! Keys derived from a handshake and the members' signing keys. Owns labels and lengths of every expansion made from
//! a handshake; never touches the network's bytes.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use proto_spec::{EpochId, SenderNumber};
use rand_core::CryptoRng;
use sha2::Sha256;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::suite::{KEY_LENGTH_MAX, PacketKey, Suite};
use crate::wrap::Kek;

/// The furthest a member's chain steps ahead for one message \[PWM-3\]: bounds the work an altered message can ask for.
pub const CHAIN_STEPS_AHEAD_MAX: u32 = 1_024;

/// An Ed25519 public key of a member as it stands in messages and rosters.
pub type MemberPublicKey = [u8; 32];

/// A member's signing key; made for one session and never stored \[HSK-2\]. Erased when dropped.
#[derive(Clone)]
pub struct MemberKey(SigningKey);

impl MemberKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        MemberKey(SigningKey::from_bytes(&seed))
    }

    /// The public half.
    pub fn public(&self) -> MemberPublicKey {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `message`; 64 bytes (RFC 8032).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberKey(..)")
    }
}

impl ZeroizeOnDrop for MemberKey {}

/// A signature that is not by the key over the message, or a key that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("wrong signature")]
pub struct WrongSignature;

/// Checks an Ed25519 signature; strict, so that one key and message have no second signature by anybody else and keys
/// of small order sign nothing.
///
/// # Errors
/// [`WrongSignature`] for any fault of key or signature.
pub fn verify(key: &MemberPublicKey, message: &[u8], signature: &[u8; 64]) -> Result<(), WrongSignature> {
    VerifyingKey::from_bytes(key)
        .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
        .map_err(|_| WrongSignature)
}

/// A pseudorandom key of HKDF-SHA-256, ready for expansions.
pub struct Prk(Hkdf<Sha256>);

impl Prk {
    /// HKDF-Extract (RFC 5869) over the parts in order.
    pub fn extract(salt: &[u8], parts: &[&[u8]]) -> Self {
        let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
        for part in parts {
            extract.input_ikm(part);
        }
        let (mut prk, hkdf) = extract.finalize();
        prk.as_mut_slice().zeroize();
        Prk(hkdf)
    }

    /// From bytes that already are a pseudorandom key.
    pub fn from_bytes(key: &[u8; 32]) -> Self {
        Prk(Hkdf::from_prk(key).expect("32 bytes are SHA-256's length"))
    }

    /// HKDF-Expand (RFC 5869); `info` is the concatenation of the parts.
    ///
    /// # Panics
    /// If `out` is longer than 8,160 bytes: our own bug.
    pub fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        self.0.expand_multi_info(info, out).expect("every expansion is shorter than 255 hashes");
    }

    /// A packet key for `suite`.
    pub fn packet_key(&self, suite: Suite, info: &[&[u8]]) -> PacketKey {
        let mut key = Zeroizing::new([0u8; KEY_LENGTH_MAX]);
        let key = &mut key[..suite.key_length()];
        self.expand(info, key);
        PacketKey::new(suite, key)
    }

    /// 32 bytes.
    pub fn expand_32(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0u8; 32]);
        self.expand(info, out.as_mut_slice());
        out
    }
}

impl std::fmt::Debug for Prk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prk(..)")
    }
}

/// All that a handshake's PRK is expanded to, a label each \[HSK-5\].
pub struct HandshakeKeys {
    /// Joiner's confirmation key.
    pub confirm_joiner: Zeroizing<[u8; 32]>,
    /// Leader's confirmation key.
    pub confirm_leader: Zeroizing<[u8; 32]>,
    /// Member to leader.
    pub to_leader: PacketKey,
    /// Leader to member.
    pub to_member: PacketKey,
    /// The chain that wraps group secrets.
    pub chain: Chain,
}

/// Label of the joiner's confirmation key.
pub const LABEL_CONFIRM_JOINER: &[u8] = b"mpsl confirm joiner";
/// Label of the leader's confirmation key.
pub const LABEL_CONFIRM_LEADER: &[u8] = b"mpsl confirm leader";
/// Label of the key from member to leader.
pub const LABEL_TO_LEADER: &[u8] = b"mpsl to leader";
/// Label of the key from leader to member.
pub const LABEL_TO_MEMBER: &[u8] = b"mpsl to member";
/// Label of the chain's first key.
pub const LABEL_CHAIN: &[u8] = b"mpsl chain";

impl HandshakeKeys {
    /// Expands all keys \[HSK-5\].
    pub fn expand(prk: &Prk, suite: Suite) -> Self {
        HandshakeKeys {
            confirm_joiner: prk.expand_32(&[LABEL_CONFIRM_JOINER]),
            confirm_leader: prk.expand_32(&[LABEL_CONFIRM_LEADER]),
            to_leader: prk.packet_key(suite, &[LABEL_TO_LEADER]),
            to_member: prk.packet_key(suite, &[LABEL_TO_MEMBER]),
            chain: Chain::new(prk.expand_32(&[LABEL_CHAIN])),
        }
    }
}

/// The chain keys ck_0, ck_1, ... of one member \[PWM-3\]. A step erases the key before it.
pub struct Chain {
    key: Zeroizing<[u8; 32]>,
    step: u32,
}

impl Chain {
    /// Starts at ck_0.
    pub const fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Chain { key, step: 0 }
    }

    /// The step that the next message uses, from 0.
    pub const fn step(&self) -> u32 {
        self.step
    }

    /// The wrapping key of the present step for one epoch and member.
    pub fn kek(&self, epoch: EpochId, member: SenderNumber) -> Kek {
        kek_of(&self.key, epoch, member)
    }

    /// The wrapping key of `step`, which lies at or ahead of the present one, without moving: a message is checked
    /// before the chain steps. `None` if the step is behind or more than [`CHAIN_STEPS_AHEAD_MAX`] ahead.
    pub fn kek_at(&self, step: u32, epoch: EpochId, member: SenderNumber) -> Option<Kek> {
        self.key_at(step).map(|key| kek_of(&key, epoch, member))
    }

    /// Steps once and erases what was.
    pub fn advance(&mut self) {
        self.key = next_of(&self.key);
        self.step = self.step.checked_add(1).expect("a chain steps once an epoch, never 2^32 times");
    }

    /// Steps behind `step`, whose message has been installed. `false`, and nothing moves, if [`Chain::kek_at`] would
    /// have refused that step.
    pub fn advance_past(&mut self, step: u32) -> bool {
        match self.key_at(step) {
            Some(key) => {
                self.key = key;
                self.step = step;
                self.advance();
                true
            }
            None => false,
        }
    }

    fn key_at(&self, step: u32) -> Option<Zeroizing<[u8; 32]>> {
        let ahead = step.checked_sub(self.step).filter(|ahead| *ahead <= CHAIN_STEPS_AHEAD_MAX)?;
        // The last step has no successor to advance to.
        step.checked_add(1)?;
        let mut key = self.key.clone();
        for _ in 0..ahead {
            key = next_of(&key);
        }
        Some(key)
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain(step {})", self.step)
    }
}

fn kek_of(key: &[u8; 32], epoch: EpochId, member: SenderNumber) -> Kek {
    let mut kek = Zeroizing::new([0u8; 32]);
    let epoch = epoch.to_u64().to_be_bytes();
    let member = member.value().to_be_bytes();
    Prk::from_bytes(key).expand(&[b"kek", &epoch, &member], kek.as_mut_slice());
    Kek::new(*kek)
}

fn next_of(key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Prk::from_bytes(key).expand_32(&[b"next"])
}
