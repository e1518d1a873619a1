//! One connection to a node as two tasks: bytes in, bytes out. Bounded both ways, so that a slow core slows the node,
//! and a slow node the core.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{FLUSH_MAX, LIFE_INTERVAL, RX_CHUNK_BYTES, RX_CHUNKS_MAX};
use crate::connect::Stream;

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
    /// The connection, and the chunks that it receives: an empty one tells that bytes came that make no chunk yet. Their
    /// channel ends with the connection.
    pub(crate) fn new(stream: Stream, heard: Arc<AtomicU64>) -> (Wire, mpsc::Receiver<BytesMut>) {
        let (read_half, write_half) = split(stream);
        let (rx_sender, rx) = mpsc::channel(RX_CHUNKS_MAX);
        let (tx, tx_receiver) = mpsc::channel(TX_BUFFERS);
        let (used_sender, used) = mpsc::channel(TX_BUFFERS + 2);
        let reader = tokio::spawn(read(read_half, heard, rx_sender));
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

async fn read(mut stream: impl AsyncRead + Unpin, heard: Arc<AtomicU64>, chunks: mpsc::Sender<BytesMut>) {
    let mut told = Told { heard: heard.load(Ordering::Relaxed), at: Instant::now() };
    while let Ok(Some(chunk)) = next_chunk(&mut stream, &heard, &mut told).await {
        if chunks.send(chunk).await.is_err() {
            return;
        }
    }
}

/// The next bytes, or an empty chunk if some have come that TLS cannot open yet; `None` at the end.
async fn next_chunk(
    stream: &mut (impl AsyncRead + Unpin),
    heard: &AtomicU64,
    told: &mut Told,
) -> io::Result<Option<BytesMut>> {
    let mut chunk = BytesMut::with_capacity(RX_CHUNK_BYTES);
    let mut reading = pin!(stream.read_buf(&mut chunk));
    let read = poll_fn(|context| match reading.as_mut().poll(context) {
        Poll::Pending if told.is_due(heard.load(Ordering::Relaxed)) => Poll::Ready(Ok(None)),
        read => read.map_ok(Some),
    })
    .await?;
    told.tell(heard.load(Ordering::Relaxed));
    Ok((read != Some(0)).then_some(chunk))
}

/// What the core was last told of the bytes that came.
struct Told {
    heard: u64,
    at: Instant,
}

impl Told {
    fn is_due(&self, heard: u64) -> bool {
        heard != self.heard && self.at.elapsed() >= LIFE_INTERVAL
    }

    fn tell(&mut self, heard: u64) {
        *self = Told { heard, at: Instant::now() };
    }
}

async fn write(
    mut stream: impl AsyncWrite + Unpin,
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

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use tokio::io::duplex;

    use super::*;

    /// \[SES-18\]: bytes of a TLS record that is not complete are life, told at a bounded pace; what is complete is told
    /// at once.
    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_record_is_life() {
        let (mut far, mut near) = duplex(64);
        let heard = AtomicU64::new(0);
        let mut told = Told { heard: 0, at: Instant::now() };
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut reading = pin!(next_chunk(&mut near, &heard, &mut told));
            tokio::time::advance(LIFE_INTERVAL).await;
            assert!(reading.as_mut().poll(&mut context).is_pending(), "nothing has come");
            heard.store(20, Ordering::Relaxed);
            let Poll::Ready(Ok(Some(life))) = reading.as_mut().poll(&mut context) else {
                panic!("a part of a record has come");
            };
            assert!(life.is_empty());
        }
        {
            let mut reading = pin!(next_chunk(&mut near, &heard, &mut told));
            heard.store(40, Ordering::Relaxed);
            assert!(reading.as_mut().poll(&mut context).is_pending(), "too soon after the last word");
        }
        far.write_all(b"whole").await.unwrap();
        let chunk = next_chunk(&mut near, &heard, &mut told).await.unwrap().unwrap();
        assert_eq!(&chunk[..], b"whole");
        drop(far);
        assert!(next_chunk(&mut near, &heard, &mut told).await.unwrap().is_none());
    }
}
