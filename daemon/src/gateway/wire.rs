//! TLS bytes between socket and plaintext, in large strides: reads of up to 64 KiB, records of 16 KiB, vectored
//! writes. An idle connection holds no buffer of its own.
//!
//! The TLS state machine is driven by hand rather than through an async stream, as only so are several frames
//! gathered into one record without a copy, and several records into one system call.

use std::io::{self, BufRead, IoSlice, Write};
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustls::ServerConnection;
use sealcast_attach::queue::Batch;
use smallvec::SmallVec;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::tls::{EXPORTER_ATTACH, Metered, ServerStream};

/// Most TLS bytes read at once.
const READ_BYTES_MAX: usize = 64 * 1024;
/// The first read after a wake-up: a whole TLS record fits.
const READ_BYTES_MIN: usize = 17 * 1024;

/// What a read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// So many bytes of plaintext (perhaps none, if a record is not complete); there may be more.
    Bytes(usize),
    /// The peer closes.
    End,
}

/// One TLS connection.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Metered,
    tls: Box<ServerConnection>,
    /// Size of the next read: grows while reads are full.
    read_bytes: usize,
}

impl Wire {
    pub(super) fn new(stream: ServerStream) -> Wire {
        let (socket, mut tls) = stream.into_inner();
        // What is written is bounded by the batch, so that rustls need not bound it again.
        tls.set_buffer_limit(None);
        set_options(socket.tcp());
        Wire { socket, tls: Box::new(tls), read_bytes: READ_BYTES_MIN }
    }

    /// Keying material of this very connection \[ATT-5\].
    pub(super) fn exporter(&self) -> io::Result<[u8; 32]> {
        self.tls.export_keying_material([0; 32], EXPORTER_ATTACH, None).map_err(io::Error::other)
    }

    /// Reads once and appends the plaintext to `plain`.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut BytesMut,
    ) -> Poll<io::Result<Received>> {
        // What the handshake's last read brought along.
        let early = self.drain_plaintext(plain)?;
        if early > 0 {
            return Poll::Ready(Ok(Received::Bytes(early)));
        }
        loop {
            std::task::ready!(self.socket.tcp().poll_read_ready(cx))?;
            let mut sealed = BytesMut::with_capacity(self.read_bytes);
            match self.socket.tcp().try_read_buf(&mut sealed) {
                Ok(0) => return Poll::Ready(Ok(Received::End)),
                Ok(read) => {
                    let full = read == self.read_bytes;
                    self.read_bytes = if full { READ_BYTES_MAX } else { self.read_bytes };
                    if read < READ_BYTES_MIN {
                        self.read_bytes = READ_BYTES_MIN;
                    }
                    return Poll::Ready(self.open(&sealed, plain));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn open(&mut self, mut sealed: &[u8], plain: &mut BytesMut) -> io::Result<Received> {
        plain.reserve(sealed.len());
        let mut received = 0;
        while !sealed.is_empty() {
            self.tls.read_tls(&mut sealed)?;
            let state = self
                .tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if state.plaintext_bytes_to_read() > 0 {
                received += self.drain_plaintext(plain)?;
            }
            if state.peer_has_closed() {
                return Ok(if received > 0 { Received::Bytes(received) } else { Received::End });
            }
        }
        Ok(Received::Bytes(received))
    }

    fn drain_plaintext(&mut self, plain: &mut BytesMut) -> io::Result<usize> {
        let mut received = 0;
        let mut reader = self.tls.reader();
        loop {
            match reader.fill_buf() {
                Ok([]) => return Ok(received),
                Ok(chunk) => {
                    let length = chunk.len();
                    plain.extend_from_slice(chunk);
                    reader.consume(length);
                    received += length;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(received),
                Err(error) => return Err(error),
            }
        }
    }

    /// Encrypts a batch; it waits inside until [`Wire::poll_flush`].
    pub(super) fn seal(&mut self, batch: &Batch) -> io::Result<()> {
        let slices: SmallVec<[IoSlice<'_>; 8]> =
            batch.iter().map(|item| IoSlice::new(item.bytes())).collect();
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let taken = self.tls.writer().write_vectored(&slices)?;
        if taken == length { Ok(()) } else { Err(io::Error::other("TLS took only part of a batch")) }
    }

    /// Whether encrypted bytes wait for the socket.
    pub(super) fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Writes what the socket takes. Ready when nothing waits; `written` counts what left, also when pending.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            std::task::ready!(self.socket.tcp().poll_write_ready(cx))?;
            match self.tls.write_tls(&mut SocketWriter(self.socket.tcp())) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(length) => *written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Queues the end of our direction.
    pub(super) fn send_close_notify(&mut self) {
        self.tls.send_close_notify();
    }

    /// Ends our direction of the socket.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Reads and forgets, so that our last words are not lost to a reset; ready at the end of the peer's direction or
    /// after `bytes_max`.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, bytes_max: &mut usize) -> Poll<()> {
        let mut scratch = [0u8; 1024];
        while *bytes_max > 0 {
            if std::task::ready!(self.socket.tcp().poll_read_ready(cx)).is_err() {
                break;
            }
            match self.socket.tcp().try_read(&mut scratch) {
                Ok(0) => break,
                Ok(read) => *bytes_max = bytes_max.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

/// Small frames leave at once, and little waits unsent in the kernel, where no class can overtake another.
fn set_options(socket: &TcpStream) {
    // A socket that takes no options still works.
    let _ = socket.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES);
}

/// Unsent bytes in the kernel above which a socket counts as full \[FWD-5\]: one TLS record.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT_BYTES: u32 = 16 * 1024;

struct SocketWriter<'a>(&'a TcpStream);

impl Write for SocketWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
