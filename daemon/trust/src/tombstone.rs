//! Tombstones signed by brokers and checked by nodes \[TMB-2\].
//!
//! Never keeps them: the node's attach core does, until the tickets they end have expired.

use proto_spec::tombstone::{TOMBSTONE_LENGTH_MAX, Tombstone, TombstoneBody};
use proto_spec::{SenderNumber, SessionId, WallTime, Wire};
use thiserror::Error;

use crate::key::BrokerSigner;
use crate::proof;
use crate::ticket::{CLOCK_LEEWAY, MEMBER_VALIDITY_MAX, Verifier};

/// Why a tombstone is refused; whoever sent it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TombstoneError {
    /// Not one.
    #[error("the tombstone cannot be read")]
    Malformed,
    /// Not by a broker of this mesh, or altered.
    #[error("the tombstone was not signed by a broker of this mesh")]
    Foreign,
    /// Everything that it ended has expired by itself.
    #[error("the tombstone is over: every ticket that it ended has expired")]
    Over,
}

/// Ends a session, or one number of it, for as long as tickets issued by now can last \[TMB-3\].
pub fn sign(
    signer: &BrokerSigner,
    session: SessionId,
    number: Option<SenderNumber>,
    now: WallTime,
) -> Tombstone {
    let body = TombstoneBody {
        mesh: signer.mesh().to_owned(),
        session,
        number,
        issued: now,
        keep_until: now.plus(MEMBER_VALIDITY_MAX).plus(CLOCK_LEEWAY),
        broker: signer.certificate(),
    };
    let signature = signer.sign(&body.signed_message());
    Tombstone { body, signature }
}

/// Reads and checks a tombstone.
///
/// # Errors
/// [`TombstoneError`]; what is refused ends nothing.
pub fn verify(bytes: &[u8], verifier: &Verifier, now: WallTime) -> Result<TombstoneBody, TombstoneError> {
    if bytes.len() > TOMBSTONE_LENGTH_MAX {
        return Err(TombstoneError::Malformed);
    }
    let Tombstone { body, signature } =
        Tombstone::from_bytes(bytes).map_err(|_| TombstoneError::Malformed)?;
    let broker = verifier.broker(&body.broker).ok_or(TombstoneError::Foreign)?;
    proof::verify(broker.key(), &body.signed_message(), &signature).map_err(|_| TombstoneError::Foreign)?;
    if body.mesh != verifier.mesh() {
        return Err(TombstoneError::Foreign);
    }
    // Kept longer than any ticket lasts, a tombstone would let a broker fill every node's memory.
    if body.keep_until > body.issued.plus(MEMBER_VALIDITY_MAX).plus(CLOCK_LEEWAY) {
        return Err(TombstoneError::Malformed);
    }
    if now >= body.keep_until { Err(TombstoneError::Over) } else { Ok(body) }
}
