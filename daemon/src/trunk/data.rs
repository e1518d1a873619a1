//! The data connection of a trunk: units out by class, units in as runs \[TRK-15\], \[TRK-16\].
//!
//! ```text
//!  gateway --push--> [4 queues] --take 64 KiB--> one TLS write ==> socket
//!  socket ==> TLS --whole units--> slices of the read buffer --> Arrivals
//! ```
//! Never reorders one class, never copies a packet, and reads on whatever waits to be written.

mod queue;

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use proto_spec::TrafficClass;
use proto_spec::trunk::{TrunkRefusal, Unit, unit_length};
use rustls::Connection;
use sealcast_attach::{Ledger, Run};
use smallvec::SmallVec;
use tokio_rustls::TlsStream;

use super::config::{NOTSENT_LOWAT_BYTES, TURN_STRIDES, WRITE_BATCH_BYTES};
use super::hub::{DataStream, Hub, Neighbor};
use super::neighbor::End;
use crate::metrics::TrunkDirection;
use crate::tls::{Received, Strides, Wire};
use queue::Batch;
pub(super) use queue::DataQueue;

/// A trunk carries what many endpoints send.
const STRIDES: Strides = Strides { read_bytes_max: 128 * 1024, unsent_bytes: NOTSENT_LOWAT_BYTES };
/// Slices of a batch that need no allocation: a head and a run for each of the smallest runs that senders make.
const SLICES_INLINE: usize = 128;

/// Carries packets both ways until the connection ends; says why it did.
pub(super) fn carry(
    hub: Arc<Hub>,
    neighbor: Arc<Neighbor>,
    stream: DataStream,
) -> impl Future<Output = End> + Send {
    let (socket, tls) = match stream {
        TlsStream::Client(stream) => {
            let (socket, tls) = stream.into_inner();
            (socket, Connection::Client(tls))
        }
        TlsStream::Server(stream) => {
            let (socket, tls) = stream.into_inner();
            (socket, Connection::Server(tls))
        }
    };
    // What other nodes' endpoints sent counts in this node's memory; nobody here waits for credit of it.
    let ledger = Ledger::new(&hub.limits, Arc::clone(&hub.memory), Box::new(|| {}));
    Carrier {
        wire: Wire::new(socket, tls, STRIDES),
        hub,
        neighbor,
        ledger,
        plain: BytesMut::new(),
        batch: Batch::default(),
    }
}

struct Carrier {
    wire: Wire,
    hub: Arc<Hub>,
    neighbor: Arc<Neighbor>,
    ledger: Arc<Ledger>,
    /// Plaintext of a unit that is not complete.
    plain: BytesMut,
    batch: Batch,
}

impl Future for Carrier {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = &mut *self;
        this.neighbor.data.register(cx.waker());
        match this.read(cx).and_then(|()| this.write(cx)) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }
}

impl Carrier {
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        for _ in 0..TURN_STRIDES {
            match self.wire.poll_read(cx, &mut self.plain) {
                Poll::Pending => {
                    // Nothing half received: an idle trunk holds no buffer.
                    if self.plain.is_empty() && self.plain.capacity() > 0 {
                        self.plain = BytesMut::new();
                    }
                    return Ok(());
                }
                Poll::Ready(received) => {
                    let received = received.map_err(|error| End::Broken(error.to_string()))?;
                    self.neighbor.hear(self.hub.now_us());
                    if received == Received::End {
                        return Err(End::Broken("the other end closed the data connection".into()));
                    }
                    self.hand_on()?;
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Hands on every whole unit; their runs share the buffer.
    fn hand_on(&mut self) -> Result<(), End> {
        let mut units = SmallVec::<[(Unit, usize); 16]>::new();
        let mut offset = 0;
        let malformed = loop {
            match unit_length(&self.plain[offset..]) {
                Ok(Some(length)) => {
                    let Some(bytes) = self.plain.get(offset..offset + length) else { break None };
                    match Unit::parse(bytes) {
                        Ok(unit) => {
                            offset += length;
                            units.push((unit, offset));
                        }
                        Err(error) => break Some(error),
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if !units.is_empty() {
            let chunk = self.plain.split_to(offset).freeze();
            let mut sums = Sums::default();
            for (Unit { header, data, frames, run_length }, end) in units {
                sums.add(data.class, frames, run_length);
                let bytes = chunk.slice(end - run_length..end);
                let run = Run::new(&self.ledger, &data, bytes, frames, chunk.len());
                self.hub.arrivals.packet(self.neighbor.number(), header, run);
            }
            sums.count(&self.hub, &self.neighbor, TrunkDirection::In);
        }
        match malformed {
            Some(error) => {
                tracing::debug!(node = %self.neighbor.number(), %error, "malformed unit");
                Err(End::Ours(TrunkRefusal::Malformed))
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let broken = |error: std::io::Error| End::Broken(error.to_string());
        // What left is counted as it is sealed.
        let mut left = 0;
        for _ in 0..TURN_STRIDES {
            match self.wire.poll_flush(cx, &mut left) {
                Poll::Pending => {
                    self.neighbor.data.settle();
                    return Ok(());
                }
                Poll::Ready(flushed) => flushed.map_err(broken)?,
            }
            self.neighbor.data.take(WRITE_BATCH_BYTES, &mut self.batch);
            if self.batch.is_empty() {
                return Ok(());
            }
            let slices: SmallVec<[IoSlice<'_>; SLICES_INLINE]> =
                self.batch.slices().map(IoSlice::new).collect();
            self.wire.seal(&slices).map_err(broken)?;
            drop(slices);
            let mut sums = Sums::default();
            for run in self.batch.runs() {
                sums.add(run.class(), run.frames(), run.bytes().len());
            }
            sums.count(&self.hub, &self.neighbor, TrunkDirection::Out);
            // Sealed, so it presses on nobody any more.
            self.batch.clear();
        }
        cx.waker().wake_by_ref();
        Ok(())
    }
}

/// What went one way in one turn, so that counters are touched once a class.
#[derive(Default)]
struct Sums([(u64, u64); 4]);

impl Sums {
    fn add(&mut self, class: TrafficClass, frames: u32, bytes: usize) {
        let sum = &mut self.0[class as usize];
        sum.0 += u64::from(frames);
        sum.1 += bytes as u64;
    }

    fn count(&self, hub: &Hub, neighbor: &Neighbor, direction: TrunkDirection) {
        let traffic = match direction {
            TrunkDirection::In => &neighbor.received,
            TrunkDirection::Out => &neighbor.sent,
        };
        for class in TrafficClass::ALL {
            let (frames, bytes) = self.0[class as usize];
            if frames > 0 {
                traffic.add(frames, bytes);
                hub.metrics.trunk_traffic(class, direction, frames, bytes);
            }
        }
    }
}
