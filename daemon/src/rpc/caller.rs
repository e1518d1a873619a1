//! Who makes a call: from the connection it came on, or by the word of the node that handed it on \[GW-15\].

use std::net::IpAddr;

use proto_spec::NodeNumber;
use sealcast_broker::AdminCaller;
use sealcast_trust::CertificateRole;
use tonic::{Request as Incoming, Status};

use super::backend::{Backend, Fault};
use super::vouch::{Vouch, Vouched};
use crate::health::State;
use crate::listener::{Caller, Exporter, Transport};

/// An endpoint as seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndpointSeen {
    /// Its connection's exporter.
    pub(super) exporter: Exporter,
    /// Its address, for limits.
    pub(super) address: IpAddr,
    /// The node that saw it, if it was not this one.
    pub(super) via: Option<NodeNumber>,
}

/// An administrator as seen.
#[derive(Clone, Debug)]
pub(super) struct AdminSeen {
    /// Who.
    pub(super) admin: AdminCaller,
    /// The node that saw it, if it was not this one.
    pub(super) via: Option<NodeNumber>,
}

/// The endpoint behind a call of the `Endpoint` service; an error where this node serves none any more.
pub(super) fn endpoint<T>(backend: &Backend, request: &Incoming<T>) -> Result<EndpointSeen, Status> {
    // What a broker decided that no other node hears would hold nowhere [REV-4].
    if backend.state() == State::Revoked {
        return Err(backend.status(&Fault::OutOfService));
    }
    match (transport(backend, request)?, vouched(backend, request)?) {
        (Transport::Endpoint { peer, exporter }, None) => {
            Ok(EndpointSeen { exporter: *exporter, address: peer.ip(), via: None })
        }
        (Transport::Peer { node }, Some(Vouch::Endpoint { exporter, address })) => {
            Ok(EndpointSeen { exporter, address, via: Some(*node) })
        }
        (Transport::Peer { .. }, _) => Err(backend.status(&NOT_VOUCHED)),
        _ => Err(backend.status(&Fault::Bug)),
    }
}

/// The administrator behind a call of the `Admin` service.
pub(super) fn admin<T>(backend: &Backend, request: &Incoming<T>) -> Result<AdminSeen, Status> {
    match (transport(backend, request)?, vouched(backend, request)?) {
        (Transport::Local { uid }, None) => {
            Ok(AdminSeen { admin: AdminCaller::Local { uid: *uid }, via: None })
        }
        (Transport::Admin { identity, .. }, None) => match &identity.role {
            CertificateRole::Admin { role, name } => {
                // A list may have come into force since the connection was made [REV-4].
                if backend.revocations().names(&identity.certificate) {
                    return Err(backend
                        .status(&Fault::Refused("the certificate has been revoked: ask for a new one")));
                }
                let admin = AdminCaller::Certificate { role: *role, name: name.clone() };
                Ok(AdminSeen { admin, via: None })
            }
            _ => Err(backend.status(&Fault::Bug)),
        },
        (Transport::Peer { node }, Some(Vouch::Admin(admin))) => Ok(AdminSeen { admin, via: Some(*node) }),
        (Transport::Peer { .. }, _) => Err(backend.status(&NOT_VOUCHED)),
        _ => Err(backend.status(&Fault::Bug)),
    }
}

const NOT_VOUCHED: Fault = Fault::Refused(
    "a node that hands a call on says whose it is: update relayd on the node that you are connected to",
);

fn transport<'a, T>(backend: &Backend, request: &'a Incoming<T>) -> Result<&'a Transport, Status> {
    match request.extensions().get::<Caller>() {
        Some(caller) => Ok(&caller.transport),
        None => Err(backend.status(&Fault::Bug)),
    }
}

/// What is vouched for; an error where nobody may vouch.
fn vouched<T>(backend: &Backend, request: &Incoming<T>) -> Result<Option<Vouch>, Status> {
    let vouched = Vouch::read(request.metadata());
    match transport(backend, request)? {
        Transport::Peer { node } => {
            // A node that left is forgotten by the overlay; its connection may still stand.
            if !backend.knows(*node) {
                return Err(backend.status(&Fault::UnknownPeer(*node)));
            }
            match vouched {
                Vouched::By(vouch) => Ok(Some(vouch)),
                Vouched::Absent | Vouched::Malformed => Err(backend.status(&NOT_VOUCHED)),
            }
        }
        // Else anybody could claim another's address, connection or role.
        _ if vouched != Vouched::Absent => Err(backend.status(&Fault::Refused(
            "nobody but a node of the mesh may vouch for a caller: leave sealcast-vouch-bin out of the call",
        ))),
        _ => Ok(None),
    }
}
