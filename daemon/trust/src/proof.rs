//! Proofs of possession: that who presents a ticket or credential holds its key, on this very connection \[TKT-6\].
//!
//! Pure checks over bytes: the shell takes the exporter from its TLS connection, nobody sends it.

use ed25519_dalek::{Signature, VerifyingKey};
use proto_spec::AttachSeq;
use proto_spec::frame::{attach_proof_message, ticket_call_message};
use thiserror::Error;

use crate::sha256;

/// TLS exporter label of an attachment's proof; empty context, 32 bytes \[ATT-5\].
pub const ATTACH_EXPORTER_LABEL: &[u8] = b"EXPORTER-sealcast-attach";
/// TLS exporter label of gRPC connections; empty context, 32 bytes \[GW-6\].
pub const RPC_EXPORTER_LABEL: &[u8] = b"EXPORTER-sealcast-rpc";
/// Length of the metadata `sealcast-credential-bin`: `id[16] | signature[64]` \[GW-6\].
pub const CREDENTIAL_LENGTH: usize = 80;

/// The proof does not fit key, connection or ticket. It does not say which: that would help only a thief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the proof is wrong for this connection: it was made with another key or for another connection")]
pub struct ProofError;

/// How a proof names a ticket: SHA-256 of its text.
pub fn ticket_hash(ticket: &str) -> [u8; 32] {
    sha256(&[ticket.as_bytes()])
}

/// Checks the proof in a `ticket` frame against the attach key that the ticket names \[ATT-5\].
///
/// # Errors
/// [`ProofError`] when key, exporter, ticket or sequence is another.
pub fn verify_attach_proof(
    attach_key: &[u8; 32],
    exporter: &[u8; 32],
    ticket: &str,
    attach_seq: AttachSeq,
    proof: &[u8; 64],
) -> Result<(), ProofError> {
    verify(attach_key, &attach_proof_message(exporter, &ticket_hash(ticket), attach_seq), proof)
}

/// Checks the signature of a gRPC call made with a ticket \[GW-7\].
///
/// # Errors
/// [`ProofError`] when key, exporter or ticket is another.
pub fn verify_ticket_call(
    attach_key: &[u8; 32],
    exporter: &[u8; 32],
    ticket: &str,
    signature: &[u8; 64],
) -> Result<(), ProofError> {
    verify(attach_key, &ticket_call_message(exporter, &ticket_hash(ticket)), signature)
}

/// Checks the signature of a call made with a credential \[GW-6\].
///
/// # Errors
/// [`ProofError`] when key, exporter or credential is another.
pub fn verify_credential(
    credential_key: &[u8; 32],
    exporter: &[u8; 32],
    credential: &[u8; 16],
    signature: &[u8; 64],
) -> Result<(), ProofError> {
    verify(credential_key, &credential_message(exporter, credential), signature)
}

/// What a credential's holder signs for a connection \[GW-6\].
pub fn credential_message(exporter: &[u8; 32], credential: &[u8; 16]) -> Vec<u8> {
    [b"sealcast credential 1".as_slice(), exporter, credential].concat()
}

/// Strict Ed25519: no small-order keys, one encoding of each signature.
pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), ProofError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| ProofError)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| ProofError)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    const EXPORTER: [u8; 32] = [1; 32];
    const TICKET: &str = "v4.public.x";

    fn key(seed: u8) -> (SigningKey, [u8; 32]) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = *key.verifying_key().as_bytes();
        (key, public)
    }

    /// \[TKT-6\]: bound to key, connection, ticket and sequence.
    #[test]
    fn a_stolen_or_replayed_attach_proof_fails() {
        let (signing, public) = key(1);
        let (_, other) = key(2);
        let seq = AttachSeq(4);
        let proof = signing.sign(&attach_proof_message(&EXPORTER, &ticket_hash(TICKET), seq)).to_bytes();
        assert_eq!(verify_attach_proof(&public, &EXPORTER, TICKET, seq, &proof), Ok(()));
        assert_eq!(verify_attach_proof(&other, &EXPORTER, TICKET, seq, &proof), Err(ProofError));
        assert_eq!(verify_attach_proof(&public, &[2; 32], TICKET, seq, &proof), Err(ProofError));
        assert_eq!(verify_attach_proof(&public, &EXPORTER, "v4.public.y", seq, &proof), Err(ProofError));
        assert_eq!(verify_attach_proof(&public, &EXPORTER, TICKET, AttachSeq(5), &proof), Err(ProofError));
        assert_eq!(verify_ticket_call(&public, &EXPORTER, TICKET, &proof), Err(ProofError));
        for index in 0..64 {
            let mut altered = proof;
            altered[index] ^= 1;
            assert_eq!(verify_attach_proof(&public, &EXPORTER, TICKET, seq, &altered), Err(ProofError));
        }
    }

    /// \[GW-6\] \[GW-7\]
    #[test]
    fn calls_are_bound_to_their_connection() {
        let (signing, public) = key(1);
        let signature = signing.sign(&ticket_call_message(&EXPORTER, &ticket_hash(TICKET))).to_bytes();
        assert_eq!(verify_ticket_call(&public, &EXPORTER, TICKET, &signature), Ok(()));
        assert_eq!(verify_ticket_call(&public, &[9; 32], TICKET, &signature), Err(ProofError));

        let id = [5; 16];
        let signature = signing.sign(&credential_message(&EXPORTER, &id)).to_bytes();
        assert_eq!(verify_credential(&public, &EXPORTER, &id, &signature), Ok(()));
        assert_eq!(verify_credential(&public, &[9; 32], &id, &signature), Err(ProofError));
        assert_eq!(verify_credential(&public, &EXPORTER, &[6; 16], &signature), Err(ProofError));
    }

    #[test]
    fn a_weak_key_proves_nothing() {
        // The identity point as key: a signature of zeros would pass a lax check for any message.
        let mut weak = [0u8; 32];
        weak[0] = 1;
        let mut signature = [0u8; 64];
        signature[0] = 1;
        assert_eq!(verify(&weak, b"anything", &signature), Err(ProofError));
    }
}
