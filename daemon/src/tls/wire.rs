//! TLS bytes between socket and plaintext, in large strides: reads that grow while they are full, records of 16 KiB,
//! vectored writes. An idle connection holds no buffer of its own.
//!
//! The TLS state machine is driven by hand rather than through an async stream, as only so are many frames gathered
//! into one record without a copy, and many records into one system call.

use std::io::{self, BufRead, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustls::Connection;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::Metered;

/// The first read after a wake-up: a whole TLS record fits.
const READ_BYTES_MIN: usize = 17 * 1024;

/// How large the strides of a connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Strides {
    /// Most TLS bytes read at once.
    pub(crate) read_bytes_max: usize,
    /// Unsent bytes in the kernel above which the socket counts as full, as no class can overtake another there
    /// \[FWD-5\].
    pub(crate) unsent_bytes: u32,
}

/// What a read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    /// So many bytes of plaintext (perhaps none, if a record is not complete); there may be more.
    Bytes(usize),
    /// The peer closes.
    End,
}

/// One TLS connection.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Metered,
    tls: Box<Connection>,
    strides: Strides,
    /// Size of the next read: grows while reads are full.
    read_bytes: usize,
    /// TLS bytes as read; kept until nothing is there to read.
    sealed: BytesMut,
    /// The peer has said that nothing follows.
    closed: bool,
}

impl Wire {
    /// Goes on after the handshake.
    pub(crate) fn new(socket: Metered, mut tls: Connection, strides: Strides) -> Wire {
        // What is written is bounded by the batch, so that rustls need not bound it again.
        tls.set_buffer_limit(None);
        set_options(socket.tcp(), strides);
        Wire {
            socket,
            tls: Box::new(tls),
            strides,
            read_bytes: READ_BYTES_MIN,
            sealed: BytesMut::new(),
            closed: false,
        }
    }

    /// Keying material of this very connection.
    ///
    /// # Errors
    /// rustls' own.
    pub(crate) fn exporter(&self, label: &[u8]) -> io::Result<[u8; 32]> {
        self.tls.export_keying_material([0; 32], label, None).map_err(io::Error::other)
    }

    /// Reads once and appends the plaintext to `plain`.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut BytesMut,
    ) -> Poll<io::Result<Received>> {
        // What the handshake's last read brought along.
        let early = self.drain_plaintext(plain)?;
        if early > 0 {
            return Poll::Ready(Ok(Received::Bytes(early)));
        }
        while !self.closed {
            if self.socket.tcp().poll_read_ready(cx)?.is_pending() {
                self.sealed = BytesMut::new();
                return Poll::Pending;
            }
            self.sealed.clear();
            self.sealed.reserve(self.read_bytes);
            match self.socket.tcp().try_read_buf(&mut self.sealed) {
                Ok(0) => break,
                Ok(read) => {
                    if read >= self.read_bytes {
                        self.read_bytes = self.strides.read_bytes_max;
                    } else if read < READ_BYTES_MIN {
                        self.read_bytes = READ_BYTES_MIN;
                    }
                    let sealed = std::mem::take(&mut self.sealed);
                    let opened = self.open(&sealed, plain);
                    self.sealed = sealed;
                    return Poll::Ready(opened);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(Received::End))
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
                self.closed = true;
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
    ///
    /// # Errors
    /// rustls' own.
    pub(crate) fn seal(&mut self, batch: &[IoSlice<'_>]) -> io::Result<()> {
        let length: usize = batch.iter().map(|slice| slice.len()).sum();
        let taken = self.tls.writer().write_vectored(batch)?;
        if taken == length { Ok(()) } else { Err(io::Error::other("TLS took only part of a batch")) }
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Writes what the socket takes. Ready when nothing waits; `written` counts what left, also when pending.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            ready!(self.socket.tcp().poll_write_ready(cx))?;
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
    pub(crate) fn send_close_notify(&mut self) {
        self.tls.send_close_notify();
    }

    /// Ends our direction of the socket.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Reads and forgets, so that our last words are not lost to a reset; ready at the end of the peer's direction or
    /// after `bytes_max`.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>, bytes_max: &mut usize) -> Poll<()> {
        let mut scratch = [0u8; 1024];
        while *bytes_max > 0 {
            if ready!(self.socket.tcp().poll_read_ready(cx)).is_err() {
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

/// Small frames leave at once, and little waits unsent in the kernel.
fn set_options(socket: &TcpStream, strides: Strides) {
    // A socket that takes no options still works.
    let _ = socket.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(strides.unsent_bytes);
    #[cfg(not(target_os = "linux"))]
    let _ = strides;
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
