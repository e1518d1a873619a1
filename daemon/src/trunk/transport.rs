//! Libp2p's transport between nodes: TCP, mutual TLS under the mesh CA, yamux, nothing negotiated in the clear.
//!
//! Connections that come in are accepted, proven and welcomed by the port (see [`super::accept`]) and arrive here as they
//! are; those that go out take the way of every other connection between nodes (see [`super::dial`]).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Ready, ready};
use futures::io::BufWriter;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::identity::{PublicKey, ed25519};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, yamux};
use tokio::sync::mpsc;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::accept::Incoming;
use super::config::STREAMS_MAX;
use super::dial::{Dialled, connect};
use super::hub::{DataStream, Hub};
use crate::tls::mesh::{Peer, Purpose};

/// Yamux writes a header and a body; together they are one TLS record.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Proofs that wait for the swarm: as many as connections that are being made.
const PROOFS_MAX: usize = 256;

/// What libp2p does not carry along: the certificate behind a connection, by peer and address.
#[derive(Clone, Debug, Default)]
pub(super) struct Proofs(Arc<Mutex<VecDeque<(PeerId, Multiaddr, Peer)>>>);

impl Proofs {
    fn add(&self, id: PeerId, address: Multiaddr, peer: Peer) {
        let mut proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection that libp2p itself refused leaves its proof behind.
        if proofs.len() >= PROOFS_MAX {
            proofs.pop_front();
        }
        proofs.push_back((id, address, peer));
    }

    /// The node behind a new connection.
    pub(super) fn take(&self, id: PeerId, address: &Multiaddr) -> Option<Peer> {
        let mut proofs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = proofs.iter().rposition(|(of, from, _)| *of == id && from == address)?;
        proofs.remove(at).map(|(_, _, peer)| peer)
    }
}

pub(super) struct MeshTransport {
    hub: Arc<Hub>,
    incoming: mpsc::Receiver<Incoming>,
    proofs: Proofs,
    listener: Option<(ListenerId, Multiaddr)>,
    announced: bool,
}

impl MeshTransport {
    pub(super) fn new(hub: Arc<Hub>, incoming: mpsc::Receiver<Incoming>, proofs: Proofs) -> MeshTransport {
        MeshTransport { hub, incoming, proofs, listener: None, announced: false }
    }
}

type Output = (PeerId, StreamMuxerBox);

impl Transport for MeshTransport {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Output>>;
    type Dial = BoxFuture<'static, io::Result<Output>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.listener = Some((id, address));
        self.announced = false;
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listener.take_if(|(held, _)| *held == id).is_some()
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(host_port) = host_port(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let (hub, proofs) = (Arc::clone(&self.hub), self.proofs.clone());
        Ok(Box::pin(async move {
            let Dialled { stream, peer } = connect(&hub, &host_port, Purpose::Control, None).await?;
            let id = peer_id(&peer)?;
            proofs.add(id, address, peer);
            let yamux = yamux_config();
            let protocol = yamux.protocol_info().next().unwrap_or_default();
            Ok((id, StreamMuxerBox::new(yamux.upgrade_outbound(buffered(stream), protocol).await?)))
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let Some((listener_id, listen_addr)) = self.listener.clone() else { return Poll::Pending };
        if !self.announced {
            self.announced = true;
            return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr });
        }
        let Some(incoming) = std::task::ready!(self.incoming.poll_recv(cx)) else {
            self.listener = None;
            return Poll::Ready(TransportEvent::ListenerClosed { listener_id, reason: Ok(()) });
        };
        let Incoming { stream, peer, remote } = incoming;
        let send_back_addr = of_socket(remote);
        let upgrade = match peer_id(&peer) {
            Ok(id) => {
                self.proofs.add(id, send_back_addr.clone(), peer);
                let yamux = yamux_config();
                let protocol = yamux.protocol_info().next().unwrap_or_default();
                let muxer = yamux.upgrade_inbound(buffered(stream), protocol).into_inner();
                muxer.map(|muxer| (id, StreamMuxerBox::new(muxer)))
            }
            Err(error) => Err(error),
        };
        Poll::Ready(TransportEvent::Incoming {
            listener_id,
            upgrade: ready(upgrade),
            local_addr: listen_addr,
            send_back_addr,
        })
    }
}

fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS_MAX);
    config
}

fn buffered(stream: DataStream) -> BufWriter<tokio_util::compat::Compat<DataStream>> {
    BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream.compat())
}

/// The name that libp2p gives to the key of a node's certificate.
pub(super) fn peer_id(peer: &Peer) -> io::Result<PeerId> {
    Ok(public_key(peer)?.to_peer_id())
}

/// The key of a node's certificate as libp2p holds it.
pub(super) fn public_key(peer: &Peer) -> io::Result<PublicKey> {
    let key = ed25519::PublicKey::try_from_bytes(&peer.identity.key);
    Ok(key.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?.into())
}

/// `host:port` as libp2p writes it.
pub(super) fn multiaddr(address: &str) -> Option<Multiaddr> {
    if let Ok(socket) = address.parse::<SocketAddr>() {
        return Some(of_socket(socket));
    }
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    (!host.is_empty()).then(|| Multiaddr::empty().with(Protocol::Dns(host.into())).with(Protocol::Tcp(port)))
}

/// And back.
pub(super) fn host_port(address: &Multiaddr) -> Option<String> {
    let mut parts = address.iter();
    let host = parts.next()?;
    let Protocol::Tcp(port) = parts.next()? else { return None };
    match host {
        Protocol::Ip4(ip) => Some(SocketAddr::new(IpAddr::V4(ip), port).to_string()),
        Protocol::Ip6(ip) => Some(SocketAddr::new(IpAddr::V6(ip), port).to_string()),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some(format!("{name}:{port}")),
        _ => None,
    }
}

fn of_socket(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_there_and_back() {
        for address in ["192.0.2.1:8210", "[2001:db8::1]:8210", "relay.example.org:8210"] {
            assert_eq!(host_port(&multiaddr(address).unwrap()).as_deref(), Some(address));
        }
        assert!(multiaddr("relay").is_none() && multiaddr(":1").is_none());
        assert!(host_port(&"/ip4/192.0.2.1/udp/1".parse().unwrap()).is_none());
    }
}
