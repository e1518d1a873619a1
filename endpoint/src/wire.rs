//! One connection to a node as two tasks: bytes in, bytes out. Bounded both ways, so that a slow core slows the node,
//! and a slow node the core.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::config::{FLUSH_MAX, RX_CHUNK_BYTES, RX_CHUNKS_MAX};

/// Buffers between core and connection: one being written, one waiting.
const TX_BUFFERS: usize = 1;

/// A connection's tasks; they end when it is dropped.
pub(crate) struct Wire {
    tx: Option<mpsc::Sender<Vec<u8>>>,
    used: mpsc::Receiver<Vec<u8>>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl Wire {
    /// The connection, and the chunks that it receives; their channel ends with the connection.
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> (Wire, mpsc::Receiver<BytesMut>) {
        let (read_half, write_half) = split(stream);
        let (rx_sender, rx) = mpsc::channel(RX_CHUNKS_MAX);
        let (tx, tx_receiver) = mpsc::channel(TX_BUFFERS);
        let (used_sender, used) = mpsc::channel(TX_BUFFERS + 2);
        let reader = tokio::spawn(read(read_half, rx_sender));
        let writer = tokio::spawn(write(write_half, tx_receiver, used_sender));
        (Wire { tx: Some(tx), used, reader, writer }, rx)
    }

    /// Hands over what `gather` appends, while there is room; whether there may be more.
    pub(crate) fn send(&mut self, mut gather: impl FnMut(&mut Vec<u8>) -> bool) -> bool {
        let Some(tx) = &self.tx else { return false };
        loop {
            let permit = match tx.try_reserve() {
                Ok(permit) => permit,
                Err(mpsc::error::TrySendError::Full(())) => return true,
                Err(mpsc::error::TrySendError::Closed(())) => return false,
            };
            let mut buffer = self.used.try_recv().unwrap_or_default();
            buffer.clear();
            if !gather(&mut buffer) {
                return false;
            }
            permit.send(buffer);
        }
    }

    /// Waits until there is room to send; for ever if the connection is gone, which its chunks tell. (Being ready for a
    /// closed channel costs no budget of the runtime's, so a loop around it would never let the reader run.)
    pub(crate) async fn writable(&self) {
        let ready = match &self.tx {
            Some(tx) => tx.reserve().await.is_ok(),
            None => false,
        };
        if !ready {
            std::future::pending::<()>().await;
        }
    }

    /// Writes what was handed over, and closes.
    pub(crate) async fn close(mut self) {
        self.tx = None;
        let _ = tokio::time::timeout(FLUSH_MAX, &mut self.writer).await;
    }
}

async fn read(mut stream: ReadHalf<TlsStream<TcpStream>>, chunks: mpsc::Sender<BytesMut>) {
    loop {
        let mut chunk = BytesMut::with_capacity(RX_CHUNK_BYTES);
        match stream.read_buf(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if chunks.send(chunk).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn write(
    mut stream: WriteHalf<TlsStream<TcpStream>>,
    mut buffers: mpsc::Receiver<Vec<u8>>,
    used: mpsc::Sender<Vec<u8>>,
) {
    while let Some(buffer) = buffers.recv().await {
        if stream.write_all(&buffer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        let _ = used.try_send(buffer);
    }
    let _ = stream.shutdown().await;
}
