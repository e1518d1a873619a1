//! Control connections as libp2p's swarm sees them: checks who was reached, and reports each new one with its proof.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use proto_spec::NodeNumber;
use proto_spec::trunk::TrunkRefusal;
use tokio::sync::oneshot;

use super::handler::{Handler, Streams};
use super::hub::Hub;
use super::refusals::Source;
use super::transport::{Proofs, host_port};
use crate::tls::mesh::Peer;

/// A new control connection.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) connection: ConnectionId,
    pub(super) peer: Peer,
    /// `host:port` as dialled, or where it came from.
    pub(super) address: String,
    /// Whether this node dialled.
    pub(super) dialled: bool,
    /// Come once both streams are there.
    pub(super) streams: oneshot::Receiver<Streams>,
}

pub(super) struct Behaviour {
    hub: Arc<Hub>,
    proofs: Proofs,
    /// Which node a dial is for; the owner of the swarm bounds the dials.
    wanted: BTreeMap<ConnectionId, NodeNumber>,
    met: VecDeque<Met>,
}

impl Behaviour {
    pub(super) fn new(hub: Arc<Hub>, proofs: Proofs) -> Behaviour {
        Behaviour { hub, proofs, wanted: BTreeMap::new(), met: VecDeque::new() }
    }

    /// The dial of this connection is for this node and no other.
    pub(super) fn want(&mut self, connection: ConnectionId, node: NodeNumber) {
        self.wanted.insert(connection, node);
    }

    fn meet(
        &mut self,
        connection: ConnectionId,
        id: PeerId,
        address: &Multiaddr,
        dialled: bool,
    ) -> Result<Handler, ConnectionDenied> {
        let wanted = self.wanted.remove(&connection);
        let peer =
            self.proofs.take(id, address).ok_or_else(|| ConnectionDenied::new(TrunkRefusal::WrongNode))?;
        if wanted.is_some_and(|wanted| wanted != peer.number) {
            self.hub.refusals.refused(Source::Node(peer.number), TrunkRefusal::WrongNode);
            return Err(ConnectionDenied::new(TrunkRefusal::WrongNode));
        }
        let (sender, streams) = oneshot::channel();
        let address = host_port(address).unwrap_or_default();
        self.met.push_back(Met { connection, peer, address, dialled, streams });
        Ok(Handler::new(sender))
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Met;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.meet(connection, peer, remote, false)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.meet(connection, peer, address, true)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::DialFailure(failure) = event {
            self.wanted.remove(&failure.connection_id);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let never: Infallible = event;
        match never {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Met, THandlerInEvent<Self>>> {
        match self.met.pop_front() {
            Some(met) => Poll::Ready(ToSwarm::GenerateEvent(met)),
            None => Poll::Pending,
        }
    }
}
