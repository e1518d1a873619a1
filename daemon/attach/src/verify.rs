//! Checks of a ticket frame against the mesh's brokers and this very connection \[ATT-5\]. No clock: the time is
//! handed in; no policy: tombstones and limits are the registry's.

use proto_spec::frame::TicketFrame;
use proto_spec::ticket::Claims;
use proto_spec::{Refusal, WallTime};
use sealcast_trust::{Verifier, verify_attach_proof};

/// The claims of a ticket that a broker of this mesh signed, that is valid at `wall`, and whose key made the frame's
/// proof for the connection with this `exporter` (32 bytes of TLS keying material).
///
/// # Errors
/// [`Refusal::TicketMalformed`], [`Refusal::TicketForeign`], [`Refusal::TicketExpired`] or [`Refusal::ProofWrong`].
pub fn check(
    verifier: &Verifier,
    frame: &TicketFrame,
    exporter: &[u8; 32],
    wall: WallTime,
) -> Result<Claims, Refusal> {
    let claims = verifier.verify(&frame.ticket, wall)?;
    verify_attach_proof(&claims.attach_key, exporter, &frame.ticket, frame.attach_seq, &frame.proof)
        .map_err(|_| Refusal::ProofWrong)?;
    Ok(claims)
}
