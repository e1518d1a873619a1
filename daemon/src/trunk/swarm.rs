//! The task that owns libp2p's swarm: dials, hears of new control connections and starts their trunks, closes those that
//! have ended. No heartbeat and no message waits for it: those are the trunks' own tasks'.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionDenied, ConnectionId, ListenError, NetworkBehaviour, SwarmEvent};
use libp2p::{Swarm, Transport, connection_limits, identify, mdns, memory_connection_limits};
use proto_spec::NodeNumber;
use proto_spec::trunk::TrunkRefusal;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::accept::Incoming;
use super::config::{
    CONNECTIONS_OF_PEER_MAX, DIALS_MAX, HANDSHAKES_MAX, IDLE_TIMEOUT, LAST_WORDS, MEMORY_SHARE_MAX,
    STREAMS_MAX,
};
use super::hub::Hub;
use super::refusals::Source;
use super::transport::{MeshTransport, Proofs, host_port, multiaddr, peer_id, public_key};
use super::{behaviour, neighbor};

/// Name of the protocol family in libp2p's identification.
const FAMILY: &str = "/sealcast/1";

/// What others ask of the owner.
#[derive(Debug)]
pub(super) enum Order {
    /// Try to reach a node.
    Dial {
        /// Which; `None` for whoever answers.
        peer: Option<NodeNumber>,
        /// Where, as `host:port`.
        addresses: Vec<String>,
    },
    /// A trunk has ended: its control connection goes.
    Ended(ConnectionId),
}

#[derive(NetworkBehaviour)]
struct Behaviours {
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    identify: identify::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    // The last, so that it sees only connections that all others allow.
    trunk: behaviour::Behaviour,
}

/// A dial under way.
struct Attempt {
    peer: Option<NodeNumber>,
    at: String,
    /// Where else to try.
    rest: VecDeque<String>,
}

pub(super) struct Owner {
    hub: Arc<Hub>,
    swarm: Swarm<Behaviours>,
    orders: mpsc::Receiver<Order>,
    /// At most [`DIALS_MAX`].
    attempts: BTreeMap<ConnectionId, Attempt>,
    trunks: TaskTracker,
}

impl Owner {
    /// A swarm whose identity is the key of the certificate that the node presents.
    ///
    /// # Errors
    /// The certificate's key is none for libp2p, or multicast DNS cannot be had.
    pub(super) fn new(
        hub: Arc<Hub>,
        incoming: mpsc::Receiver<Incoming>,
        orders: mpsc::Receiver<Order>,
        trunks: TaskTracker,
    ) -> io::Result<Owner> {
        let own = hub.tls.load().own().clone();
        let local = peer_id(&own)?;
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(HANDSHAKES_MAX as u32))
            .with_max_pending_outgoing(Some(DIALS_MAX as u32))
            .with_max_established(Some(hub.settings.connections_max()))
            .with_max_established_per_peer(Some(CONNECTIONS_OF_PEER_MAX));
        let identify = identify::Config::new(FAMILY.to_owned(), public_key(&own)?)
            .with_agent_version(hub.settings.software.clone())
            .with_cache_size(0);
        let mdns = match hub.settings.mdns {
            true => Some(mdns::tokio::Behaviour::new(mdns::Config::default(), local)?),
            false => None,
        };
        let proofs = Proofs::default();
        let behaviours = Behaviours {
            limits: connection_limits::Behaviour::new(limits),
            memory: memory_connection_limits::Behaviour::with_max_percentage(MEMORY_SHARE_MAX),
            identify: identify::Behaviour::new(identify),
            mdns: Toggle::from(mdns),
            trunk: behaviour::Behaviour::new(Arc::clone(&hub), proofs.clone()),
        };
        let transport = MeshTransport::new(Arc::clone(&hub), incoming, proofs).boxed();
        let config = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            .with_max_negotiating_inbound_streams(STREAMS_MAX);
        let mut swarm = Swarm::new(transport, behaviours, local, config);
        assert_eq!(*swarm.local_peer_id(), peer_id(&own)?, "the swarm's identity is the certificate's key");
        let announced = multiaddr(&hub.settings.trunk_address).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the trunk address is no host with a port")
        })?;
        swarm.listen_on(announced).map_err(io::Error::other)?;
        Ok(Owner { hub, swarm, orders, attempts: BTreeMap::new(), trunks })
    }

    /// Runs until the node stops and every trunk has said so.
    pub(super) async fn run(mut self) {
        let stop = self.hub.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(order) = self.orders.recv() => self.carry_out(order),
                event = self.swarm.select_next_some() => self.handle(event),
            }
        }
        self.trunks.close();
        let trunks = self.trunks.clone();
        let ended = tokio::time::timeout(2 * LAST_WORDS, async {
            let mut waiting = std::pin::pin!(trunks.wait());
            loop {
                tokio::select! {
                    () = &mut waiting => return,
                    Some(order) = self.orders.recv() => self.carry_out(order),
                    _ = self.swarm.select_next_some() => {}
                }
            }
        });
        if ended.await.is_err() {
            tracing::debug!("some trunks did not end in time");
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Dial { peer, addresses } => self.dial(peer, addresses.into()),
            Order::Ended(connection) => {
                self.swarm.close_connection(connection);
            }
        }
    }

    fn dial(&mut self, peer: Option<NodeNumber>, mut addresses: VecDeque<String>) {
        let known = match peer {
            Some(peer) => {
                self.hub.is_claimed(peer) || self.attempts.values().any(|other| other.peer == Some(peer))
            }
            None => {
                addresses.retain(|address| !self.hub.is_reached_at(address));
                let at = addresses.front();
                self.attempts.values().any(|other| Some(&other.at) == at)
            }
        };
        if known || self.hub.stop.is_cancelled() {
            return;
        }
        if self.attempts.len() >= DIALS_MAX {
            return tracing::debug!("too many dials at once: the overlay will ask again");
        }
        while let Some(at) = addresses.pop_front() {
            let Some(address) = multiaddr(&at) else {
                tracing::debug!(address = at, "no host with a port");
                continue;
            };
            let options = DialOpts::unknown_peer_id().address(address).build();
            let connection = options.connection_id();
            if let Some(peer) = peer {
                self.swarm.behaviour_mut().trunk.want(connection, peer);
            }
            match self.swarm.dial(options) {
                Ok(()) => {
                    self.attempts.insert(connection, Attempt { peer, at, rest: addresses });
                    return;
                }
                Err(error) => tracing::debug!(address = at, %error, "not dialled"),
            }
        }
    }

    fn handle(&mut self, event: SwarmEvent<BehavioursEvent>) {
        match event {
            SwarmEvent::Behaviour(BehavioursEvent::Trunk(met)) => {
                self.trunks.spawn(neighbor::serve(Arc::clone(&self.hub), met));
            }
            SwarmEvent::Behaviour(BehavioursEvent::Mdns(mdns::Event::Discovered(found))) => {
                for (_, address) in found {
                    if let Some(address) = host_port(&address) {
                        self.dial(None, VecDeque::from([address]));
                    }
                }
            }
            SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                self.attempts.remove(&connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                let Some(Attempt { peer, at, rest }) = self.attempts.remove(&connection_id) else { return };
                tracing::debug!(address = at, error = %reason(&error), "not reached");
                if !rest.is_empty() {
                    self.dial(peer, rest);
                }
            }
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(error = %reason(&error), "a control connection was refused");
                let address = host_port(&send_back_addr).and_then(|from| from.parse::<SocketAddr>().ok());
                if let (ListenError::Denied { cause }, Some(address)) = (&error, address)
                    && is_limit(cause)
                {
                    self.hub.refusals.refused(Source::Address(address.ip()), TrunkRefusal::TooMany);
                }
            }
            _ => {}
        }
    }
}

/// Whether a bound on connections or memory denied it; other denials are counted where they are made.
fn is_limit(cause: &ConnectionDenied) -> bool {
    cause.downcast_ref::<connection_limits::Exceeded>().is_some()
        || cause.downcast_ref::<memory_connection_limits::MemoryUsageLimitExceeded>().is_some()
}

/// The innermost cause: libp2p's own sentence names only the layer that failed.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
