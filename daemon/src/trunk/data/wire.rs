//! TLS bytes between a data connection's socket and plaintext, in large strides. The state machine is driven by hand, as
//! only so are many units gathered into one record without a copy, and many records into one system call.

use std::io::{self, BufRead, IoSlice, Write};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustls::Connection;
use smallvec::SmallVec;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::queue::Batch;
use crate::tls::Metered;
use crate::trunk::hub::DataStream;

/// Most TLS bytes read at once: a trunk carries what many endpoints send.
const READ_BYTES_MAX: usize = 128 * 1024;
/// The first read after a wake-up: a whole TLS record fits.
const READ_BYTES_MIN: usize = 17 * 1024;
/// Slices of a batch that need no allocation: a head and a run for each of the smallest runs that senders make.
const SLICES_INLINE: usize = 128;

/// What a read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// Plaintext, or part of a record.
    Bytes,
    /// The other end closes.
    End,
}

pub(super) struct Wire {
    socket: Metered,
    tls: Box<Connection>,
    /// Size of the next read: grows while reads are full.
    read_bytes: usize,
    /// TLS bytes as read; kept while reads are full.
    sealed: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: DataStream) -> Wire {
        let (socket, mut tls) = match stream {
            TlsStream::Client(stream) => {
                let (socket, tls) = stream.into_inner();
                (socket, Connection::Client(tls))
            }
            TlsStream::Server(stream) => {
                let (socket, tls) = stream.into_inner();
                (socket, Connection::Server(tls))
            }
        };
        // What is written is bounded by the batch, so that rustls need not bound it again.
        tls.set_buffer_limit(None);
        // A socket that takes no options still works.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(socket.tcp())
            .set_tcp_notsent_lowat(crate::trunk::config::NOTSENT_LOWAT_BYTES);
        Wire { socket, tls: Box::new(tls), read_bytes: READ_BYTES_MIN, sealed: BytesMut::new() }
    }

    /// Reads once and appends the plaintext to `plain`.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut BytesMut,
    ) -> Poll<io::Result<Received>> {
        // What the handshake's last read brought along.
        if self.drain_plaintext(plain)? > 0 {
            return Poll::Ready(Ok(Received::Bytes));
        }
        loop {
            if self.socket.tcp().poll_read_ready(cx)?.is_pending() {
                self.sealed = BytesMut::new();
                return Poll::Pending;
            }
            self.sealed.clear();
            self.sealed.reserve(self.read_bytes);
            match self.socket.tcp().try_read_buf(&mut self.sealed) {
                Ok(0) => return Poll::Ready(Ok(Received::End)),
                Ok(read) => {
                    self.read_bytes = if read >= self.read_bytes { READ_BYTES_MAX } else { self.read_bytes };
                    if read < READ_BYTES_MIN {
                        self.read_bytes = READ_BYTES_MIN;
                    }
                    return Poll::Ready(self.open(plain));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn open(&mut self, plain: &mut BytesMut) -> io::Result<Received> {
        let sealed = std::mem::take(&mut self.sealed);
        let outcome = self.open_all(&sealed, plain);
        self.sealed = sealed;
        outcome
    }

    fn open_all(&mut self, mut sealed: &[u8], plain: &mut BytesMut) -> io::Result<Received> {
        plain.reserve(sealed.len());
        while !sealed.is_empty() {
            self.tls.read_tls(&mut sealed)?;
            let state = self
                .tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if state.plaintext_bytes_to_read() > 0 {
                self.drain_plaintext(plain)?;
            }
            if state.peer_has_closed() {
                return Ok(Received::End);
            }
        }
        Ok(Received::Bytes)
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
        let slices: SmallVec<[IoSlice<'_>; SLICES_INLINE]> = batch.slices().map(IoSlice::new).collect();
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let taken = self.tls.writer().write_vectored(&slices)?;
        if taken == length { Ok(()) } else { Err(io::Error::other("TLS took only part of a batch")) }
    }

    /// Writes what the socket takes. Ready when nothing waits.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            ready!(self.socket.tcp().poll_write_ready(cx))?;
            match self.tls.write_tls(&mut SocketWriter(self.socket.tcp())) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

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
