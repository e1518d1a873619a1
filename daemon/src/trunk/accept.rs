//! The port for other nodes: mutual TLS, the welcome, and what each connection is for \[TRK-1\], \[TRK-3\], \[TRK-4\].
//!
//! ```text
//! accept -> places -> TLS handshake, both ends judged -> welcome
//!             sealcast-trunk/1 -> the transport of libp2p's swarm
//!             sealcast-data/1  -> number of its trunk -> the trunk's task
//!             h2               -> queue of gRPC connections
//! ```
//! Libp2p never sees a connection whose other end is not proven.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use proto_spec::trunk::{TrunkRefusal, WELCOME};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PeerConnection;
use super::calls::CallStream;
use super::config::{
    ACCEPT_PAUSE, ADDRESS_HANDSHAKES_MAX, CALLS_MAX, HANDSHAKES_MAX, LAST_WORDS, TRUNK_NUMBER_TIME,
};
use super::dial::set_options;
use super::hub::Hub;
use super::refusals::Source;
use crate::listener::{Place, Places};
use crate::tls::Metered;
use crate::tls::mesh::{Failure, Peer, Purpose};

/// A control connection that came in, proven and welcomed.
pub(super) struct Incoming {
    pub(super) stream: TlsStream<Metered>,
    pub(super) peer: Peer,
    pub(super) remote: SocketAddr,
}

/// What a new connection is handed to.
pub(super) struct Doors {
    pub(super) hub: Arc<Hub>,
    pub(super) control: mpsc::Sender<Incoming>,
    pub(super) calls: mpsc::Sender<PeerConnection>,
    pub(super) tasks: TaskTracker,
    places: Arc<Places>,
    call_places: Arc<Semaphore>,
}

impl Doors {
    pub(super) fn new(
        hub: Arc<Hub>,
        control: mpsc::Sender<Incoming>,
        calls: mpsc::Sender<PeerConnection>,
        tasks: TaskTracker,
    ) -> Doors {
        let places = Places::new(HANDSHAKES_MAX, ADDRESS_HANDSHAKES_MAX);
        Doors { hub, control, calls, tasks, places, call_places: Arc::new(Semaphore::new(CALLS_MAX)) }
    }
}

/// Accepts connections until `stop`.
pub(super) async fn serve(socket: TcpListener, doors: Arc<Doors>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => match doors.places.take(remote.ip()) {
                Some(place) => drop(doors.tasks.spawn(connection(stream, remote, place, Arc::clone(&doors)))),
                None => doors.hub.refusals.refused(Source::Address(remote.ip()), TrunkRefusal::TooMany),
            },
            Err(error) => {
                tracing::warn!(%error, "a node's connection could not be accepted: raise the limit of open files (ulimit -n)");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(tcp: TcpStream, remote: SocketAddr, place: Place, doors: Arc<Doors>) {
    let hub = &doors.hub;
    set_options(&tcp);
    let tls = hub.tls.load_full();
    let acceptor = TlsAcceptor::from(tls.server());
    let handshake = Box::pin(acceptor.accept(Metered::new(tcp)));
    let source = Source::Address(remote.ip());
    let mut stream = match tokio::time::timeout(hub.settings.handshake, handshake).await {
        Err(_) => return hub.refusals.refused(source, TrunkRefusal::TooSlow),
        Ok(Err(error)) => {
            return match Failure::of(&error) {
                Failure::Ours(reason) => hub.refusals.refused(source, reason),
                Failure::Theirs(reason) => hub.refusals.refused_by(source, reason),
                // Whoever only looks whether the port is open is none to be told of.
                Failure::Broken => tracing::debug!(%remote, %error, "a connection ended in its handshake"),
            };
        }
        Ok(Ok(stream)) => stream,
    };
    let (socket, session) = stream.get_mut();
    socket.lift();
    let purpose = Purpose::negotiated(session.alpn_protocol());
    let peer = tls.peer(session.peer_certificates(), hub.clock.now().wall);
    let (purpose, peer) = match (purpose, peer) {
        (Some(purpose), Ok(peer)) => (purpose, peer),
        (None, _) => return refuse(&mut stream, hub, source, TrunkRefusal::UnknownProtocol).await,
        (_, Err(reason)) => return refuse(&mut stream, hub, source, reason).await,
    };
    let stream = TlsStream::from(stream);
    match purpose {
        Purpose::Control => control(stream, peer, remote, &doors).await,
        Purpose::Data => data(stream, peer, &doors).await,
        Purpose::Calls => calls(stream, peer, &doors).await,
    }
    drop(place);
}

async fn control(mut stream: TlsStream<Metered>, peer: Peer, remote: SocketAddr, doors: &Doors) {
    let Ok(door) = doors.control.try_reserve() else {
        return refuse(&mut stream, &doors.hub, Source::Node(peer.number), TrunkRefusal::TooMany).await;
    };
    if welcome(&mut stream).await.is_ok() {
        door.send(Incoming { stream, peer, remote });
    }
}

async fn data(mut stream: TlsStream<Metered>, peer: Peer, doors: &Doors) {
    let named = async {
        welcome(&mut stream).await?;
        stream.read_u64().await
    };
    match tokio::time::timeout(TRUNK_NUMBER_TIME, named).await {
        Ok(Ok(trunk)) => {
            if !doors.hub.hand_data(&peer, trunk, stream) {
                tracing::debug!(node = %peer.number, "a data connection without its trunk");
            }
        }
        Ok(Err(error)) => tracing::debug!(node = %peer.number, %error, "a data connection ended at once"),
        Err(_) => doors.hub.refusals.refused(Source::Node(peer.number), TrunkRefusal::TooSlow),
    }
}

async fn calls(mut stream: TlsStream<Metered>, peer: Peer, doors: &Doors) {
    let place = Arc::clone(&doors.call_places).try_acquire_owned();
    let (Ok(place), Ok(door)) = (place, doors.calls.try_reserve()) else {
        return refuse(&mut stream, &doors.hub, Source::Node(peer.number), TrunkRefusal::TooMany).await;
    };
    if welcome(&mut stream).await.is_ok() {
        door.send(CallStream::between(&doors.hub, stream, peer, Some(place)));
    }
}

async fn welcome(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(&[WELCOME]).await?;
    stream.flush().await
}

/// Says why, and closes.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), hub: &Hub, source: Source, reason: TrunkRefusal) {
    hub.refusals.refused(source, reason);
    let word = async {
        stream.write_all(&[reason as u8]).await?;
        stream.shutdown().await
    };
    // Who does not listen is not told.
    let _ = tokio::time::timeout(LAST_WORDS, word).await;
}
