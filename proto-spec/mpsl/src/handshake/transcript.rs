//! What both sides compute alike from M1 and M2: the transcript hash, the keys, proofs and signed texts
//! \[HSK-4\] \[HSK-5\]. Holds no state.

use hmac::{Hmac, KeyInit, Mac};
use proto_spec::Wire;
use proto_spec::mpsl::handshake::{Identity, PROOF_LENGTH, Proof};
use sha2::{Digest, Sha256};

use super::HandshakeError;
use crate::kem::SharedSecrets;
use crate::keys::{HandshakeKeys, MemberKey, MemberPublicKey, Prk, verify};
use crate::pairwise::{ConfirmationKeys, PairwiseKeys, Side};
use crate::srp::Premaster;
use crate::suite::Suite;

const LABEL: &[u8] = b"mpsl th 1";

/// TH = SHA-256("mpsl th 1" | length32 M1 | M1 | length32 M2 | M2), over whole packets \[HSK-4\].
pub(super) fn transcript_hash(m1: &[u8], m2: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(LABEL);
    for message in [m1, m2] {
        let length = u32::try_from(message.len()).expect("handshake messages are below 2 KiB");
        hash.update(length.to_be_bytes());
        hash.update(message);
    }
    hash.finalize().into()
}

/// PRK = HKDF-Extract(TH, PAD(S) | X25519 | ML-KEM) \[HSK-5\].
pub(super) fn pseudorandom_key(transcript: &[u8; 32], premaster: &Premaster, shared: &SharedSecrets) -> Prk {
    Prk::extract(transcript, &[premaster.as_bytes(), &shared.x25519, &shared.ml_kem])
}

/// All keys of the handshake.
pub(super) fn derive(
    transcript: &[u8; 32],
    premaster: &Premaster,
    shared: &SharedSecrets,
    suite: Suite,
) -> (PairwiseKeys, ConfirmationKeys) {
    PairwiseKeys::new(HandshakeKeys::expand(&pseudorandom_key(transcript, premaster, shared), suite))
}

/// M3 or M4 of `side`.
pub(super) fn prove(
    side: Side,
    transcript: &[u8; 32],
    confirmation: &ConfirmationKeys,
    keys: &PairwiseKeys,
    member_key: &MemberKey,
    display_name: &str,
) -> Proof {
    let signature = member_key.sign(&signed_text(side, transcript));
    let identity = Identity { signature, display_name: display_name.to_owned() };
    let proof = proof_mac(side, transcript, confirmation).finalize().into_bytes();
    Proof { proof: proof.into(), sealed: keys.seal_identity(side, transcript, identity.to_bytes()) }
}

/// Whether `side` knows the code; in constant time.
pub(super) fn proof_is_right(
    side: Side,
    transcript: &[u8; 32],
    confirmation: &ConfirmationKeys,
    proof: &[u8; PROOF_LENGTH],
) -> bool {
    proof_mac(side, transcript, confirmation).verify_slice(proof).is_ok()
}

/// Opens what came beside a right proof and checks its signature; returns the display name.
pub(super) fn open_identity(
    side: Side,
    transcript: &[u8; 32],
    keys: &PairwiseKeys,
    member_key: &MemberPublicKey,
    sealed: &[u8],
) -> Result<String, HandshakeError> {
    let plaintext =
        keys.open_identity(side, transcript, sealed).map_err(|_| HandshakeError::WrongSignature)?;
    let identity = Identity::from_bytes(&plaintext).map_err(HandshakeError::Malformed)?;
    verify(member_key, &signed_text(side, transcript), &identity.signature)
        .map_err(|_| HandshakeError::WrongSignature)?;
    Ok(identity.display_name)
}

fn proof_mac(side: Side, transcript: &[u8; 32], confirmation: &ConfirmationKeys) -> Hmac<Sha256> {
    let (key, letter) = match side {
        Side::Member => (&confirmation.joiner, b"J"),
        Side::Leader => (&confirmation.leader, b"L"),
    };
    Hmac::<Sha256>::new_from_slice(key.as_slice())
        .expect("HMAC takes keys of any length")
        .chain_update(letter)
        .chain_update(transcript)
}

fn signed_text(side: Side, transcript: &[u8; 32]) -> Vec<u8> {
    let label: &[u8] = match side {
        Side::Member => b"mpsl joiner",
        Side::Leader => b"mpsl leader",
    };
    [label, transcript].concat()
}
