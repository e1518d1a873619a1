//! Who calls: what the shell has seen of the connection, not yet believed.

use proto_spec::NodeNumber;
use sealcast_trust::AdminRole;
use sealcast_trust::audit::Actor;

/// The evidence that comes with a call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The TLS exporter of the call's connection (label `EXPORTER-sealcast-rpc`); `None` on a local socket.
    pub exporter: Option<[u8; 32]>,
    /// The metadata `sealcast-credential-bin`, if there was any.
    pub credential: Option<Credential>,
    /// Set by the shell for the local socket and for verified admin certificates, never from anything sent.
    pub admin: Option<AdminCaller>,
    /// The node that handed the call on and vouches for all of the above \[GW-15\]; set by the shell from that node's
    /// certificate.
    pub via: Option<NodeNumber>,
}

/// A credential and its signature for this connection \[GW-6\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: [u8; 16],
    /// Over `"sealcast credential 1" | exporter | id`.
    pub signature: [u8; 64],
}

impl Credential {
    /// From the 80 bytes of the metadata; `None` for any other length.
    pub fn from_metadata(bytes: &[u8]) -> Option<Credential> {
        let (id, signature) = bytes.split_first_chunk::<16>()?;
        Some(Credential { id: *id, signature: <[u8; 64]>::try_from(signature).ok()? })
    }
}

/// An administrator whom the shell has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminCaller {
    /// On the node's local socket: whoever may open it administers the node.
    Local {
        /// The user's number on that machine.
        uid: u32,
    },
    /// By mutual TLS with a certificate of this mesh.
    Certificate {
        /// What it may do.
        role: AdminRole,
        /// Whose it is.
        name: String,
    },
}

impl AdminCaller {
    /// Whether one of these roles is held; the local socket holds all.
    pub fn holds(&self, roles: &[AdminRole]) -> bool {
        match self {
            AdminCaller::Local { .. } => true,
            AdminCaller::Certificate { role, .. } => roles.contains(role),
        }
    }

    /// As the audit names it.
    pub fn actor(&self) -> Actor {
        match self {
            AdminCaller::Local { uid } => Actor::Local { uid: *uid },
            AdminCaller::Certificate { name, .. } => Actor::Admin { name: name.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[GW-6\]
    #[test]
    fn metadata_has_one_length() {
        let read = Credential::from_metadata(&[&[1u8; 16][..], &[2u8; 64][..]].concat()).unwrap();
        assert_eq!((read.id, read.signature), ([1; 16], [2; 64]));
        assert_eq!(Credential::from_metadata(&[0; 79]), None);
        assert_eq!(Credential::from_metadata(&[0; 81]), None);
        assert_eq!(Credential::from_metadata(&[]), None);
    }
}
