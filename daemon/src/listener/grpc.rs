//! A connection on its way to a gRPC server, with what is known about who speaks. Ends when nothing is heard for long.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use proto_spec::NodeNumber;
use sealcast_trust::Identity;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;

use super::Place;
use crate::tls::{EXPORTER_RPC, ServerStream};
use crate::trunk::{PeerBytes, PeerConnection};

/// Keying material of one TLS connection, which proofs in its calls sign.
pub type Exporter = [u8; 32];

/// Who is at the other end, as far as the connection tells.
#[derive(Clone, Debug)]
pub struct Caller {
    /// How the connection came in.
    pub transport: Transport,
}

/// How a gRPC connection came in.
#[derive(Clone, Debug)]
pub enum Transport {
    /// TLS on an endpoints' port.
    Endpoint {
        /// Where from.
        peer: SocketAddr,
        /// This connection's exporter.
        exporter: Exporter,
    },
    /// Mutual TLS on the administrators' port.
    Admin {
        /// Where from.
        peer: SocketAddr,
        /// What the certificate binds.
        identity: Arc<Identity>,
    },
    /// The local Unix socket, from a permitted user.
    Local {
        /// The peer's user id.
        uid: u32,
    },
    /// Mutual TLS between two nodes of the mesh.
    Peer {
        /// The node at the other end.
        node: NodeNumber,
    },
}

enum Io {
    Tls(Box<ServerStream>),
    Unix(UnixStream),
    Peer(Box<dyn PeerBytes>),
}

/// The stream that a gRPC server reads and writes.
pub struct GrpcStream {
    io: Io,
    caller: Caller,
    idle: Duration,
    idle_sleep: Pin<Box<Sleep>>,
    _held: Held,
}

/// What counts a connection until it is dropped.
enum Held {
    Place { _place: Place },
    Permit { _permit: OwnedSemaphorePermit },
}

impl GrpcStream {
    /// From an endpoints' port.
    ///
    /// # Errors
    /// When the connection has no exporter.
    pub fn endpoint(
        tls: ServerStream,
        peer: SocketAddr,
        place: Place,
        idle: Duration,
    ) -> Result<GrpcStream, rustls::Error> {
        let exporter = tls.get_ref().1.export_keying_material([0u8; 32], EXPORTER_RPC, Some(&[]))?;
        let caller = Caller { transport: Transport::Endpoint { peer, exporter } };
        Ok(GrpcStream::new(Io::Tls(Box::new(tls)), caller, Held::Place { _place: place }, idle))
    }

    /// From the administrators' port.
    ///
    /// # Errors
    /// When the certificate is not an administrator's.
    pub fn admin(
        tls: ServerStream,
        peer: SocketAddr,
        identity: Identity,
        permit: OwnedSemaphorePermit,
        idle: Duration,
    ) -> Result<GrpcStream, sealcast_trust::CertError> {
        if !matches!(identity.role, sealcast_trust::CertificateRole::Admin { .. }) {
            return Err(sealcast_trust::CertError::WrongRole);
        }
        let caller = Caller { transport: Transport::Admin { peer, identity: Arc::new(identity) } };
        Ok(GrpcStream::new(Io::Tls(Box::new(tls)), caller, Held::Permit { _permit: permit }, idle))
    }

    /// From the local socket.
    pub fn local(unix: UnixStream, uid: u32, permit: OwnedSemaphorePermit, idle: Duration) -> GrpcStream {
        let caller = Caller { transport: Transport::Local { uid } };
        GrpcStream::new(Io::Unix(unix), caller, Held::Permit { _permit: permit }, idle)
    }

    /// From another node.
    pub fn peer(connection: PeerConnection, permit: OwnedSemaphorePermit, idle: Duration) -> GrpcStream {
        let caller = Caller { transport: Transport::Peer { node: connection.peer } };
        GrpcStream::new(Io::Peer(connection.stream), caller, Held::Permit { _permit: permit }, idle)
    }

    fn new(io: Io, caller: Caller, held: Held, idle: Duration) -> GrpcStream {
        GrpcStream { io, caller, idle, idle_sleep: Box::pin(tokio::time::sleep(idle)), _held: held }
    }
}

impl Connected for GrpcStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for GrpcStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = match &mut self.io {
            Io::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Io::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Io::Peer(peer) => Pin::new(peer).poll_read(cx, buf),
        };
        match polled {
            Poll::Ready(result) => {
                let at = Instant::now() + self.idle;
                self.idle_sleep.as_mut().reset(at);
                Poll::Ready(result)
            }
            // Living clients answer the server's pings, so silence means a dead one.
            Poll::Pending => match self.idle_sleep.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for GrpcStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Io::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
            Io::Peer(peer) => Pin::new(peer).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Io::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
            Io::Peer(peer) => Pin::new(peer).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tls(tls) => tls.is_write_vectored(),
            Io::Unix(unix) => unix.is_write_vectored(),
            Io::Peer(peer) => peer.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Io::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Io::Peer(peer) => Pin::new(peer).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Io::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Io::Peer(peer) => Pin::new(peer).poll_shutdown(cx),
        }
    }
}
