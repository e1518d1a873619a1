//! The attach key: Ed25519, made for one session, bound into its tickets. Proves that a ticket is the endpoint's own.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use proto_spec::AttachSeq;
use proto_spec::frame::{attach_proof_message, ticket_call_message};
use sha2::{Digest, Sha256};

/// The key; erased from memory when dropped.
#[derive(Clone)]
pub struct AttachKey(SigningKey);

impl AttachKey {
    /// From 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> AttachKey {
        AttachKey(SigningKey::from_bytes(seed))
    }

    /// The public key that tickets name.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs an attachment of this number with this ticket on the connection of this exporter \[ATT-5\].
    pub fn prove_attachment(&self, exporter: &[u8; 32], ticket: &str, seq: AttachSeq) -> [u8; 64] {
        self.0.sign(&attach_proof_message(exporter, &ticket_hash(ticket), seq)).to_bytes()
    }

    /// Signs calls made with this ticket on the gateway connection of this exporter \[GW-7\].
    pub fn prove_call(&self, exporter: &[u8; 32], ticket: &str) -> [u8; 64] {
        self.0.sign(&ticket_call_message(exporter, &ticket_hash(ticket))).to_bytes()
    }
}

impl fmt::Debug for AttachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachKey(..)")
    }
}

fn ticket_hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}
