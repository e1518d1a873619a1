//! A TCP stream that stops reading once a TLS handshake has cost too many bytes. Transparent afterwards.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes a peer may send before its handshake is complete: two hellos with hybrid key shares are below 4 KiB, a chain
/// of client certificates below 8.
pub const HANDSHAKE_BYTES_MAX: usize = 16 * 1024;

/// A TCP stream with a budget of bytes to read until [`Metered::lift`].
#[derive(Debug)]
pub struct Metered {
    inner: TcpStream,
    left_bytes: Option<usize>,
}

impl Metered {
    /// Allows [`HANDSHAKE_BYTES_MAX`] bytes to be read.
    pub fn new(inner: TcpStream) -> Metered {
        Metered { inner, left_bytes: Some(HANDSHAKE_BYTES_MAX) }
    }

    /// The handshake is over: reads freely from now on.
    pub fn lift(&mut self) {
        self.left_bytes = None;
    }

    /// The socket, for readiness and options.
    pub fn tcp(&self) -> &TcpStream {
        &self.inner
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(left) = self.left_bytes else {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        };
        if left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "TLS handshake too long")));
        }
        let part_length = left.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(part_length));
        let read = match Pin::new(&mut self.inner).poll_read(cx, &mut part) {
            Poll::Ready(Ok(())) => part.filled().len(),
            other => return other,
        };
        buf.advance(read);
        self.left_bytes = Some(left - read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
