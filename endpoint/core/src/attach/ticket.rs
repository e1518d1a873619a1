//! Reading one's own ticket. Only nodes and brokers check its signature; to its holder it is a hint, such as when to ask
//! for the next.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto_spec::ticket::{Claims, TICKET_HEADER, TICKET_LENGTH_MAX};

/// Length of the signature at the end of the token's payload.
const SIGNATURE_LENGTH: usize = 64;

/// The claims of a token, unchecked; `None` if it cannot be read.
pub fn ticket_claims(ticket: &str) -> Option<Claims> {
    if ticket.len() > TICKET_LENGTH_MAX {
        return None;
    }
    let payload = ticket.strip_prefix(TICKET_HEADER)?.split('.').next()?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims = bytes.get(..bytes.len().checked_sub(SIGNATURE_LENGTH)?)?;
    serde_json::from_slice(claims).ok()
}
