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

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::kem::{self, JoinerKeys};
    use crate::srp::{Exponent, Verifier, client_public_value};

    struct Fixture {
        rng: ChaCha20Rng,
        premaster: Premaster,
        shared: SharedSecrets,
    }

    fn fixture() -> Fixture {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let code: crate::JoinCode = "483920117 lucky abandon zoo".parse().unwrap();
        let verifier = Verifier::new(code.number, &code.words, &mut rng);
        let (a, b) = (Exponent::generate(&mut rng), Exponent::generate(&mut rng));
        let premaster = verifier.premaster(&b, &client_public_value(&a), &verifier.public_value(&b)).unwrap();
        let joiner = JoinerKeys::generate(&mut rng);
        let shared = kem::answer(&joiner.x25519_public(), &joiner.ml_kem_public(), &mut rng).unwrap().secrets;
        Fixture { rng, premaster, shared }
    }

    /// \[HSK-4\] \[HSK-5\]: every byte of the transcript flipped: even with the same shared secrets neither proof fits.
    #[test]
    fn proofs_depend_on_every_byte_of_m1_and_m2() {
        let Fixture { premaster, shared, .. } = fixture();
        let lengths = [1_692usize, 1_602];
        let [m1, m2] = lengths.map(|length| (0..length).map(|at| at as u8).collect::<Vec<_>>());
        let confirmation = |m1: &[u8], m2: &[u8]| {
            let transcript = transcript_hash(m1, m2);
            (transcript, derive(&transcript, &premaster, &shared, Suite::Modern).1)
        };
        let (transcript, keys) = confirmation(&m1, &m2);
        let sides = [Side::Member, Side::Leader];
        let proofs: Vec<[u8; 32]> = sides
            .iter()
            .map(|side| proof_mac(*side, &transcript, &keys).finalize().into_bytes().into())
            .collect();
        assert!(sides.iter().zip(&proofs).all(|(side, proof)| proof_is_right(
            *side,
            &transcript,
            &keys,
            proof
        )));
        assert!(!proof_is_right(Side::Member, &transcript, &keys, &proofs[1]));
        for (message, length) in lengths.into_iter().enumerate() {
            for at in 0..length {
                let mut flipped = [m1.clone(), m2.clone()];
                flipped[message][at] ^= 1;
                let (transcript, keys) = confirmation(&flipped[0], &flipped[1]);
                for (side, proof) in sides.iter().zip(&proofs) {
                    assert!(
                        !proof_is_right(*side, &transcript, &keys, proof),
                        "byte {at} of M{}",
                        message + 1
                    );
                }
            }
        }
        // A byte moved from the end of M1 to the beginning of M2.
        let (head, last) = m1.split_at(m1.len() - 1);
        assert_ne!(transcript_hash(head, &[last, &m2].concat()), transcript);
    }

    /// \[HSK-5\]: every shared secret counts.
    #[test]
    fn keys_depend_on_every_secret() {
        let Fixture { premaster, shared, mut rng } = fixture();
        let key = |premaster: &Premaster, shared: &SharedSecrets| {
            pseudorandom_key(&[1; 32], premaster, shared).expand_32(&[b"test"])
        };
        let expected = key(&premaster, &shared);
        for (x25519, ml_kem) in [(1, 0), (0, 1)] {
            let mut other = SharedSecrets { x25519: shared.x25519, ml_kem: shared.ml_kem };
            other.x25519[31] ^= x25519;
            other.ml_kem[31] ^= ml_kem;
            assert_ne!(key(&premaster, &other), expected);
        }
        let code: crate::JoinCode = "483920117 lucky abandon zoo".parse().unwrap();
        let verifier = Verifier::new(code.number, &code.words, &mut rng);
        let b = Exponent::generate(&mut rng);
        let public = verifier.public_value(&b);
        assert_ne!(key(&verifier.premaster(&b, &public, &public).unwrap(), &shared), expected);
    }

    /// \[HSK-6\] \[HSK-7\]: somebody who knows the code, but not the member key in M1 or M2, or signs as the other side.
    #[test]
    fn identities_of_other_keys_and_sides_are_refused() {
        let Fixture { premaster, shared, mut rng } = fixture();
        let transcript = [1; 32];
        let (keys, confirmation) = derive(&transcript, &premaster, &shared, Suite::Modern);
        let (ours, other) = (MemberKey::generate(&mut rng), MemberKey::generate(&mut rng));
        for side in [Side::Member, Side::Leader] {
            let made = prove(side, &transcript, &confirmation, &keys, &ours, "name");
            let open = |side, transcript: &[u8; 32], key: &MemberKey| {
                open_identity(side, transcript, &keys, &key.public(), &made.sealed)
            };
            assert_eq!(open(side, &transcript, &ours).as_deref(), Ok("name"));
            assert_eq!(open(side, &transcript, &other), Err(HandshakeError::WrongSignature));
            assert_eq!(open(side, &[2; 32], &ours), Err(HandshakeError::WrongSignature));
            let swapped = if side == Side::Member { Side::Leader } else { Side::Member };
            assert_eq!(open(swapped, &transcript, &ours), Err(HandshakeError::WrongSignature));
        }
    }
}
