//! What the mesh CA has taken back: numbered lists, signed by the issuing key \[REV-1\] \[REV-2\].
//!
//! Entries are hashes of leaves, as tickets, link state and links name certificates. Never keeps a list and never decides
//! which of two is in force: the shells and the overlay do, by the number.

use std::collections::BTreeSet;

use proto_spec::revocation::{REVOCATION_LIST_LENGTH_MAX, Revoked, SignedRevocations};
use proto_spec::{WallTime, Wire};
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use crate::cert::{CertError, MeshTrust};
use crate::proof;
use crate::ticket::CLOCK_LEEWAY;

/// Why a list is refused; whoever sent it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RevocationError {
    /// Not a list.
    #[error("the revocation list cannot be read: make a new one with `relayctl pki revoke`")]
    Malformed,
    /// Of another mesh, or signed by another CA.
    #[error("the revocation list is not this mesh's: use the one beside the CA that certified this node")]
    Foreign,
    /// Altered.
    #[error("the revocation list was altered: its signature does not fit")]
    Forged,
    /// Its issuing certificate is over, and with it all that it certified.
    #[error("the issuing certificate behind the revocation list has expired: sign a new list")]
    Expired,
    /// From the future.
    #[error("the revocation list comes from the future: check the clock where it was made, and this one")]
    NotYetValid,
}

impl RevocationError {
    /// The counter's label; never changes once released.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}

/// A list that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// Counts the lists; the greatest is in force.
    pub number: u64,
    /// When it was made.
    pub issued: WallTime,
    /// What it names, with each certificate's own end; ascending.
    pub entries: Vec<Revoked>,
}

impl RevocationList {
    /// SHA-256 of each revoked leaf.
    pub fn revoked(&self) -> BTreeSet<[u8; 32]> {
        self.entries.iter().map(|entry| entry.certificate).collect()
    }

    /// Whether it names this certificate.
    pub fn names(&self, certificate: &[u8; 32]) -> bool {
        self.entries.binary_search_by_key(certificate, |entry| entry.certificate).is_ok()
    }
}

/// Reads a list and checks it against the roots of a mesh \[REV-2\].
///
/// # Errors
/// [`RevocationError`]; what is refused revokes nothing.
pub fn verify(list: &[u8], trust: &MeshTrust, now: WallTime) -> Result<RevocationList, RevocationError> {
    if list.len() > REVOCATION_LIST_LENGTH_MAX {
        return Err(RevocationError::Malformed);
    }
    let SignedRevocations { body, signature } =
        SignedRevocations::from_bytes(list).map_err(|_| RevocationError::Malformed)?;
    if body.mesh != trust.mesh().as_str() {
        return Err(RevocationError::Foreign);
    }
    let issuing = CertificateDer::from(body.issuing.as_slice());
    let key = trust.verify_issuing(&issuing, now).map_err(|error| match error {
        CertError::Expired => RevocationError::Expired,
        CertError::NotYetValid => RevocationError::NotYetValid,
        _ => RevocationError::Foreign,
    })?;
    proof::verify(&key, &body.signed_message(), &signature).map_err(|_| RevocationError::Forged)?;
    if body.issued > now.plus(CLOCK_LEEWAY) {
        return Err(RevocationError::NotYetValid);
    }
    Ok(RevocationList { number: body.number, issued: body.issued, entries: body.revoked })
}
