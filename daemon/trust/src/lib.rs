//! Who may be believed in a mesh: certificates and their revocation, tickets, proofs of possession, tombstones and the
//! audit chain.
//!
//! Owns every check of a signature on the server side and the making of those that a broker makes. Never reads a
//! clock, opens a file or socket, or asks the operating system for randomness; the feature `issuing` (for
//! `relayctl pki` and `relayd dev`) is the one exception, as it makes keys.

pub mod audit;
pub mod cert;
#[cfg(feature = "issuing")]
pub mod issuing;
pub mod key;
pub mod proof;
pub mod revocation;
pub mod ticket;
pub mod tombstone;

pub use audit::{AuditFault, AuditLink, FaultKind, Head};
pub use cert::{AdminRole, CertError, CertificateRole, Identity, MeshName, MeshTrust};
pub use key::BrokerSigner;
pub use proof::{ProofError, ticket_hash, verify_attach_proof, verify_credential, verify_ticket_call};
pub use revocation::{RevocationError, RevocationList};
pub use ticket::{BrokerKey, TicketError, Verifier, issue};

/// SHA-256 over parts laid end to end; every caller fixes the lengths or writes them among the parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}
