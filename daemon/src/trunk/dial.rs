//! Reaching another node: TCP, mutual TLS, its welcome. The same for control, data and gRPC \[TRK-1\], \[TRK-3\].

use std::io;
use std::net::SocketAddr;

use proto_spec::NodeNumber;
use proto_spec::trunk::{TrunkRefusal, WELCOME};
use sealcast_mesh::Input;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::config::{DIAL_TIME, USER_TIMEOUT};
use super::hub::Hub;
use super::refusals::Source;
use crate::tls::Metered;
use crate::tls::mesh::{Failure, Peer, Purpose, server_name};

/// A connection between two nodes, both proven.
pub(super) struct Dialled {
    pub(super) stream: TlsStream<Metered>,
    pub(super) peer: Peer,
}

/// Why a node was not reached.
#[derive(Debug, Error)]
pub(super) enum DialError {
    /// Nobody there, or the connection broke.
    #[error("no connection: {0}")]
    Unreachable(#[from] io::Error),
    /// This node refuses the other.
    #[error("refused: {0}")]
    Refused(TrunkRefusal),
    /// The other refuses this one.
    #[error("the other node refuses this one: {}", .0.map_or("it gave no reason", TrunkRefusal::sentence))]
    RefusedBy(Option<TrunkRefusal>),
}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> io::Error {
        match error {
            DialError::Unreachable(error) => error,
            other => io::Error::new(io::ErrorKind::PermissionDenied, other),
        }
    }
}

/// Connects to `host:port`; refuses whoever answers if `wanted` names another. Counts and logs refusals.
pub(super) async fn connect(
    hub: &Hub,
    address: &str,
    purpose: Purpose,
    wanted: Option<NodeNumber>,
) -> Result<Dialled, DialError> {
    let mut source = None;
    let attempt = tokio::time::timeout(DIAL_TIME, attempt(hub, address, purpose, wanted, &mut source));
    let outcome = attempt.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
    if let (Err(error), Some(source)) = (&outcome, source) {
        match error {
            DialError::Refused(reason) => hub.refusals.refused(source, *reason),
            DialError::RefusedBy(reason) => {
                hub.refusals.refused_by(source, *reason);
                // Only a node that has proven itself is believed; what finds no place in the queue comes with the next dial.
                if let (Source::Node(by), Some(TrunkRefusal::Revoked)) = (source, reason) {
                    let _ = hub.inputs.try_send(Input::CalledRevoked { by });
                }
            }
            DialError::Unreachable(_) => {}
        }
    }
    outcome
}

async fn attempt(
    hub: &Hub,
    address: &str,
    purpose: Purpose,
    wanted: Option<NodeNumber>,
    source: &mut Option<Source>,
) -> Result<Dialled, DialError> {
    let tcp = TcpStream::connect(address).await?;
    let remote: SocketAddr = tcp.peer_addr()?;
    *source = Some(Source::Address(remote.ip()));
    set_options(&tcp);
    let tls = hub.tls.load_full();
    let connector = TlsConnector::from(tls.client(purpose));
    let mut stream = connector.connect(server_name(), Metered::new(tcp)).await.map_err(handshake_error)?;
    let (socket, session) = stream.get_mut();
    socket.lift();
    if session.alpn_protocol() != Some(purpose.alpn()) {
        return Err(DialError::Refused(TrunkRefusal::UnknownProtocol));
    }
    let peer = tls.peer(session.peer_certificates(), hub.clock.now().wall).map_err(DialError::Refused)?;
    *source = Some(Source::Node(peer.number));
    if wanted.is_some_and(|wanted| wanted != peer.number) {
        return Err(DialError::Refused(TrunkRefusal::WrongNode));
    }
    // Before it the other end may still be judging this node's certificate.
    let mut word = [0u8; 1];
    stream.read_exact(&mut word).await.map_err(handshake_error)?;
    if word[0] != WELCOME {
        return Err(DialError::RefusedBy(TrunkRefusal::from_code(word[0].into())));
    }
    Ok(Dialled { stream: stream.into(), peer })
}

fn handshake_error(error: io::Error) -> DialError {
    match Failure::of(&error) {
        Failure::Ours(reason) => DialError::Refused(reason),
        Failure::Theirs(reason) => DialError::RefusedBy(reason),
        Failure::Broken => DialError::Unreachable(error),
    }
}

/// Small writes leave at once, and a connection to a machine that is gone does not stay for minutes.
pub(super) fn set_options(tcp: &TcpStream) {
    // A socket that takes no options still works.
    let _ = tcp.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(tcp).set_tcp_user_timeout(Some(USER_TIMEOUT));
}
