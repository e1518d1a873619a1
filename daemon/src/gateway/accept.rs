//! Permits of half-open connections. The listener asks before it spends anything on a connection.

use std::net::IpAddr;
use std::sync::Arc;

use proto_spec::Refusal;
use sealcast_attach::address::AddressKey;

use super::Gateway;

/// Counts a connection as half open until it is dropped: at a valid ticket, at the end of another protocol's
/// handshake, or when the connection closes.
#[derive(Debug)]
pub struct AcceptPermit {
    gateway: Arc<Gateway>,
    key: AddressKey,
}

impl Gateway {
    /// Asks to serve a connection from `address`.
    ///
    /// # Errors
    /// [`Refusal::AddressLimited`] or [`Refusal::NodeFull`], counted: close the connection at once.
    pub fn accept(self: &Arc<Self>, address: IpAddr) -> Result<AcceptPermit, Refusal> {
        let now = self.clock.now().mono;
        let outcome = self.addresses.lock().accept(now, address);
        match outcome {
            Ok(key) => Ok(AcceptPermit { gateway: Arc::clone(self), key }),
            Err(refusal) => {
                self.counters.refused(refusal);
                Err(refusal)
            }
        }
    }
}

impl Drop for AcceptPermit {
    fn drop(&mut self) {
        self.gateway.addresses.lock().ended(self.key);
    }
}
