//! A gRPC connection between two nodes, as long as the other's certificate holds. Looks at no byte.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use proto_spec::trunk::TrunkRefusal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::PeerConnection;
use super::hub::{DataStream, Hub};
use crate::tls::mesh::{Peer, Revoked};

/// Breaks at the first read or write after a list that names the other node is in force \[REV-4\]: nothing that it says
/// from then on is taken, and nothing reaches it.
pub(super) struct CallStream {
    stream: DataStream,
    certificate: [u8; 32],
    revoked: Revoked,
    /// Its place among those that came in.
    _place: Option<OwnedSemaphorePermit>,
}

impl CallStream {
    /// The connection with a node that has proven itself.
    pub(super) fn between(
        hub: &Hub,
        stream: DataStream,
        peer: Peer,
        place: Option<OwnedSemaphorePermit>,
    ) -> PeerConnection {
        let Peer { number, identity } = peer;
        let (certificate, revoked) = (identity.certificate, hub.tls.load().revoked());
        let stream = CallStream { stream, certificate, revoked, _place: place };
        PeerConnection { peer: number, certificate, stream: Box::new(stream) }
    }

    fn alive(&mut self) -> io::Result<Pin<&mut DataStream>> {
        if self.revoked.load().contains(&self.certificate) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, TrunkRefusal::Revoked));
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for CallStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for CallStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.alive()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.alive()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
