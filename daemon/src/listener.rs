//! The ports for endpoints: one listener a port, which tells by its first bytes what a connection is.
//!
//! ```text
//! accept -> address limits -> first byte
//!            0x16 -> TLS handshake -> ALPN sealcast/1 -> gateway
//!                                          h2         -> gRPC
//!                                          else       -> a page that says what this is
//!            'S'  -> probe: 16 bytes, answered by 16
//!            A..Z -> HTTP in the clear: redirected to https, nothing else
//!            else -> closed and counted
//! ```
//! Never keeps a connection that makes no progress, and never reads more than it may before it knows who speaks.

mod grpc;
pub mod local;
mod places;
mod plain;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto_spec::alpn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Connections;
use crate::gateway::{self, AcceptPermit, Gateway};
use crate::metrics::{Accepted, Metrics};
use crate::revocations::Revocations;
use crate::tls::{self, Metered};

pub use grpc::{Caller, Exporter, GrpcStream, Transport};
pub use places::{Place, Places};

/// First byte of a TLS record that holds a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Pause after an accept failed for want of descriptors: long enough for some to be freed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// gRPC connections on their way to the server's task.
pub const GRPC_QUEUE: usize = 16;

/// Everything a new connection is handed to, shared by all listeners of one kind.
pub struct Intake {
    /// Bounds.
    pub limits: Connections,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// TLS settings in force.
    pub tls: tls::Current,
    /// Attachments go there.
    pub gateway: Arc<Gateway>,
    /// gRPC connections go there.
    pub grpc: mpsc::Sender<GrpcStream>,
    /// One place a gRPC connection.
    pub grpc_places: Arc<Places>,
    /// Host of redirects from http to https.
    pub public_host: String,
    /// What HTTP/1.1 is shown.
    pub page: axum::Router,
    /// Every connection's task.
    pub tasks: TaskTracker,
}

/// Accepts connections until `stop`.
pub async fn serve(socket: TcpListener, intake: Arc<Intake>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &intake),
            Err(error) => {
                intake.metrics.accepted(Accepted::Failed);
                tracing::warn!(%error, "a connection could not be accepted: raise the limit of open files (ulimit -n)");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, intake: &Arc<Intake>) {
    match intake.gateway.accept(peer.ip()) {
        Ok(permit) => drop(intake.tasks.spawn(connection(stream, peer, permit, Arc::clone(intake)))),
        // The gateway has counted why; closing at once is the only answer that costs nothing.
        Err(_) => intake.metrics.accepted(Accepted::Limited),
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, permit: AcceptPermit, intake: Arc<Intake>) {
    let deadline = Instant::now() + Duration::from_millis(intake.limits.handshake_ms);
    // Without it every small frame waits for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let mut first = [0u8; 1];
    let outcome = match tokio::time::timeout_at(deadline, stream.peek(&mut first)).await {
        Err(_) => Accepted::TooSlow,
        Ok(Err(_) | Ok(0)) => Accepted::Closed,
        Ok(Ok(_)) => match first[0] {
            TLS_HANDSHAKE => return secure(stream, peer, permit, intake, deadline).await,
            b'S' => plain::probe(stream, deadline).await,
            b'A'..=b'Z' => plain::redirect(stream, &intake.public_host, deadline).await,
            _ => Accepted::Unknown,
        },
    };
    intake.metrics.accepted(outcome);
}

async fn secure(
    stream: TcpStream,
    peer: SocketAddr,
    permit: AcceptPermit,
    intake: Arc<Intake>,
    deadline: Instant,
) {
    let acceptor = TlsAcceptor::from(intake.tls.load_full());
    let handshake = Box::pin(tokio::time::timeout_at(deadline, acceptor.accept(Metered::new(stream))));
    let mut tls = match handshake.await {
        Err(_) => return intake.metrics.accepted(Accepted::TooSlow),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            return intake.metrics.accepted(Accepted::TlsFailed);
        }
        Ok(Ok(tls)) => tls,
    };
    tls.get_mut().0.lift();
    match tls.get_ref().1.alpn_protocol() {
        Some(alpn::ATTACH) => {
            intake.metrics.accepted(Accepted::Attach);
            // It holds the permit until a valid ticket. A task of its own, as this one's state is that of a handshake:
            // an idle attachment would carry it for hours.
            intake.tasks.spawn(gateway::serve(tls, permit, Arc::clone(&intake.gateway)));
        }
        Some(alpn::GRPC) => {
            let accepted = match intake.grpc_places.take(peer.ip()) {
                Some(place) => hand_over(tls, peer, place, &intake),
                None => Accepted::GrpcFull,
            };
            intake.metrics.accepted(accepted);
        }
        _ => {
            intake.metrics.accepted(Accepted::Http);
            plain::page(tls, intake.page.clone(), Duration::from_millis(intake.limits.handshake_ms)).await;
            // Nothing else bounds how many look at the page.
            drop(permit);
        }
    }
}

fn hand_over(tls: tls::ServerStream, peer: SocketAddr, place: Place, intake: &Intake) -> Accepted {
    let idle = Duration::from_millis(intake.limits.grpc_keepalive_ms).saturating_mul(3);
    match GrpcStream::endpoint(tls, peer, place, idle).map(|stream| intake.grpc.try_send(stream).is_ok()) {
        Ok(true) => Accepted::Grpc,
        Ok(false) => Accepted::GrpcFull,
        Err(error) => {
            tracing::debug!(%peer, %error, "no exporter");
            Accepted::TlsFailed
        }
    }
}

/// The administrators' port: mutual TLS, gRPC alone. The same limits, another acceptor.
pub async fn serve_admin(socket: TcpListener, intake: Arc<AdminIntake>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // One permit from the first byte on: an administrators' port is never busy.
        let Ok(permit) = Arc::clone(&intake.permits).try_acquire_owned() else {
            intake.metrics.accepted(Accepted::GrpcFull);
            continue;
        };
        intake.tasks.spawn(admin_connection(stream, peer, permit, Arc::clone(&intake)));
    }
}

/// What the administrators' port needs.
pub struct AdminIntake {
    /// Bounds.
    pub limits: Connections,
    /// The clock of the process.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// TLS settings in force.
    pub tls: tls::Current,
    /// Who signs administrators' certificates.
    pub trust: Arc<arc_swap::ArcSwap<sealcast_trust::MeshTrust>>,
    /// What the mesh CA has taken back.
    pub revocations: Arc<Revocations>,
    /// gRPC connections go there.
    pub grpc: mpsc::Sender<GrpcStream>,
    /// One permit a connection, handshakes included.
    pub permits: Arc<Semaphore>,
    /// Every connection's task.
    pub tasks: TaskTracker,
}

async fn admin_connection(
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    intake: Arc<AdminIntake>,
) {
    let deadline = Instant::now() + Duration::from_millis(intake.limits.handshake_ms);
    let _ = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(intake.tls.load_full());
    let handshake = Box::pin(tokio::time::timeout_at(deadline, acceptor.accept(Metered::new(stream))));
    let mut tls = match handshake.await {
        Err(_) => return intake.metrics.accepted(Accepted::TooSlow),
        Ok(Err(error)) => {
            tracing::info!(%error, "an administrator's TLS handshake failed");
            return intake.metrics.accepted(Accepted::TlsFailed);
        }
        Ok(Ok(tls)) => tls,
    };
    tls.get_mut().0.lift();
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let verified = intake.trust.load().verify(chain, intake.clock.now().wall);
    let identity = match verified.and_then(|identity| {
        let revoked = intake.revocations.names(&identity.certificate);
        if revoked { Err(sealcast_trust::CertError::Revoked) } else { Ok(identity) }
    }) {
        Ok(identity) => identity,
        Err(error) => {
            tracing::info!(reason = error.label(), "an administrator's certificate is refused");
            return intake.metrics.accepted(Accepted::AdminRefused);
        }
    };
    let idle = Duration::from_millis(intake.limits.grpc_keepalive_ms).saturating_mul(3);
    let accepted = match GrpcStream::admin(tls, peer, identity, permit, idle)
        .map(|stream| intake.grpc.try_send(stream).is_ok())
    {
        Ok(true) => Accepted::Admin,
        Ok(false) => Accepted::GrpcFull,
        Err(error) => {
            tracing::info!(%error, "an administrator's connection is refused");
            Accepted::AdminRefused
        }
    };
    intake.metrics.accepted(accepted);
}
