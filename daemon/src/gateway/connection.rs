//! One attachment's task: reads, drives the core, carries out what it asks for, writes.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use proto_spec::frame::{ControlFrame, ErrorFrame};
use proto_spec::{Now, Refusal, SessionId, Timestamp, TrafficClass};
use sealcast_attach::attachment::Close;
use sealcast_attach::config::WRITE_BATCH_BYTES;
use sealcast_attach::queue::{Batch, Item};
use sealcast_attach::{
    Attachment, AttachmentId, DropReason, Forward, JoinRequest, Joined, Ledger, Output, RoomView, Traffic,
    fanout, verify,
};
use smallvec::SmallVec;
use tokio::time::Sleep;

use super::accept::AcceptPermit;
use super::outbox::{Bell, Outbox, encode};
use super::tap::TapDirection;
use super::{Gateway, Handle, SOFTWARE};
use crate::tls::{EXPORTER_ATTACH, Received, ServerStream, Strides, Wire};

/// Reads and batches of one turn; then others have theirs.
const TURN_STRIDES: usize = 4;
/// How long a refused endpoint may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a refused endpoint may still send before its connection is cut.
const DISCARD_BYTES_MAX: usize = 256 * 1024;

/// What the session knows of an attachment that is in.
struct Seat {
    session: SessionId,
    view: Arc<ArcSwap<RoomView<Handle>>>,
    traffic: Arc<Traffic>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// Last words and the end of our direction are on their way.
    Closing {
        discard_left: usize,
    },
    Done,
}

/// An endpoint's line is thinner than the machine: one TLS record may wait in the kernel.
const STRIDES: Strides = Strides { read_bytes_max: 64 * 1024, unsent_bytes: 16 * 1024 };

struct Inner {
    gateway: Arc<Gateway>,
    wire: Wire,
    core: Attachment,
    id: AttachmentId,
    outbox: Handle,
    /// Plaintext of a frame that is not complete.
    plain: BytesMut,
    seat: Option<Seat>,
    permit: Option<AcceptPermit>,
    /// Whether an endpoint that leaves has ended its direction: it may still read.
    deaf: bool,
    /// Whether encrypted bytes have been waiting for the socket.
    blocked: bool,
    phase: Phase,
    closing_by: Timestamp,
    armed_for: Option<Timestamp>,
}

/// The future of one connection; small, as everything is in two boxes.
pub(super) struct Connection {
    inner: Box<Inner>,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(tls: ServerStream, permit: AcceptPermit, gateway: Arc<Gateway>) -> Connection {
        let now = gateway.clock.now();
        let bell = Arc::new(Bell::default());
        let wake = Arc::clone(&bell);
        let ledger = Ledger::new(
            &gateway.limits,
            Arc::clone(&gateway.memory),
            Box::new(move || wake.ring_for_credit()),
        );
        let outbox = Arc::new(Outbox::new(
            Arc::clone(&gateway.limits),
            Arc::clone(&gateway.memory),
            Arc::clone(&gateway.counters),
            bell,
        ));
        let core = Attachment::new(Arc::clone(&gateway.limits), ledger, SOFTWARE, now);
        let id = gateway.registry.lock().allot();
        let timer = Box::pin(tokio::time::sleep_until(gateway.clock.instant(now.mono).into()));
        let (socket, tls) = tls.into_inner();
        let inner = Box::new(Inner {
            wire: Wire::new(socket, tls.into(), STRIDES),
            core,
            id,
            outbox,
            plain: BytesMut::new(),
            seat: None,
            permit: Some(permit),
            deaf: false,
            blocked: false,
            phase: Phase::Open,
            closing_by: now.mono,
            armed_for: Some(now.mono),
            gateway,
        });
        Connection { inner, timer }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let inner = &mut *this.inner;
        inner.outbox.bell.waker.register(cx.waker());
        let fired = inner.armed_for.is_some() && this.timer.as_mut().poll(cx).is_ready();
        if fired {
            inner.armed_for = None;
        }
        inner.turn(cx, fired);
        if inner.phase == Phase::Done {
            return Poll::Ready(());
        }
        // A timer is only ever moved to an earlier time; one that fires too early finds nothing due.
        let deadline = inner.deadline();
        if let Some(deadline) = deadline
            && inner.armed_for.is_none_or(|armed| deadline < armed)
        {
            this.timer.as_mut().reset(inner.gateway.clock.instant(deadline).into());
            inner.armed_for = Some(deadline);
            if this.timer.as_mut().poll(cx).is_ready() {
                inner.armed_for = None;
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl Inner {
    fn turn(&mut self, cx: &mut Context<'_>, fired: bool) {
        let now = self.gateway.clock.now();
        if self.phase == Phase::Open {
            if fired {
                self.handle_timeout(now);
            }
            if self.outbox.bell.credit.swap(false, Ordering::SeqCst) {
                self.core.grant(now);
                self.drain_outputs(now);
            }
            if self.outbox.bell.ready.swap(false, Ordering::SeqCst)
                && let Some(attach_seq) = self.outbox.take_ready()
            {
                self.core.handle_ready(attach_seq);
                self.drain_outputs(now);
            }
            if self.read(cx, now).is_err() {
                self.phase = Phase::Done;
                return;
            }
            if self.core.close().is_none()
                && let Some(ending) = self.outbox.ending()
            {
                self.core.refuse(ending.refusal);
            }
            if let Some(close) = self.core.close() {
                self.begin_close(now, close);
            }
        }
        if self.phase != Phase::Done && self.write(cx).is_err() {
            self.phase = Phase::Done;
        }
        if let Phase::Closing { discard_left } = &mut self.phase {
            let over = self.closing_by <= self.gateway.clock.now().mono;
            let flushed = !self.wire.wants_write() && self.wire.poll_shutdown(cx).is_ready();
            if over || (flushed && self.wire.poll_discard(cx, discard_left).is_ready()) {
                self.phase = Phase::Done;
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Open => [self.core.deadline(), self.outbox.deadline()].into_iter().flatten().min(),
            Phase::Closing { .. } => Some(self.closing_by),
            Phase::Done => None,
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        if let Some(refusal) = self.outbox.handle_timeout(now.mono) {
            self.core.refuse(refusal);
        }
        self.core.handle_timeout(now);
        self.drain_outputs(now);
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Now) -> io::Result<()> {
        for _ in 0..TURN_STRIDES {
            if self.core.close().is_some() || self.deaf {
                return Ok(());
            }
            match self.wire.poll_read(cx, &mut self.plain) {
                Poll::Pending => {
                    // Nothing half received: an idle attachment holds no buffer.
                    if self.plain.is_empty() && self.plain.capacity() > 0 {
                        self.plain = BytesMut::new();
                    }
                    return Ok(());
                }
                Poll::Ready(received) => match received? {
                    Received::Bytes(fresh) => self.handle_bytes(now, fresh),
                    Received::End if self.core.is_leaving() => self.deaf = true,
                    Received::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                },
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn handle_bytes(&mut self, now: Now, fresh: usize) {
        let mut fresh = fresh;
        loop {
            let tapped = self.gateway.tap.as_ref().map(|_| Bytes::copy_from_slice(&self.plain));
            // A refusal is kept by the core, and found by the turn.
            let _ = self.core.handle_bytes(now, &mut self.plain, fresh);
            if let (Some(tap), Some(mut taken)) = (&self.gateway.tap, tapped) {
                taken.truncate(taken.len() - self.plain.len());
                tap.write(now.mono, TapDirection::Received, self.core.number(), taken);
            }
            self.drain_outputs(now);
            if !self.core.take_paused() {
                break;
            }
            fresh = 0;
        }
        self.core.grant(now);
        self.drain_outputs(now);
    }

    fn drain_outputs(&mut self, now: Now) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send(frame) => self.send(now, &frame),
                Output::Verify(frame) => {
                    let verdict = match self.wire.exporter(EXPORTER_ATTACH) {
                        Ok(exporter) => {
                            verify::check(&self.gateway.verifier.load(), &frame, &exporter, now.wall)
                        }
                        Err(_) => Err(Refusal::Internal),
                    };
                    self.core.handle_verdict(now, verdict);
                }
                Output::Join(request) => self.join(now, request),
                Output::Renew(request) => self.renew(now, request),
                Output::Activate(attach_seq) => {
                    let Some(session) = self.core.claims().map(|claims| claims.session) else { continue };
                    let outcome = self
                        .gateway
                        .change(|registry, notices| registry.activate(session, self.id, attach_seq, notices));
                    self.core.handle_activated(attach_seq, outcome);
                }
                Output::Detach => {
                    let registry = self.gateway.registry.lock();
                    let grace = self.core.claims().and_then(|claims| registry.detach(claims, self.id));
                    drop(registry);
                    self.core.handle_detached(now, grace);
                }
                Output::Forward(forward) => self.forward(now, forward),
            }
        }
    }

    fn send(&mut self, now: Now, frame: &ControlFrame) {
        let bytes = encode(frame);
        if let Some(tap) = &self.gateway.tap {
            tap.write(now.mono, TapDirection::Made, self.core.number(), bytes.clone());
        }
        self.outbox.push_own(now.mono, bytes);
    }

    fn join(&mut self, now: Now, request: JoinRequest) {
        let session = request.claims.session;
        let joined = self.gateway.change(|registry, notices| {
            let joined = registry.join(now, self.id, &request, Arc::clone(&self.outbox), notices);
            if let Ok(joined) = &joined {
                self.gateway.views.open(session, &joined.view, &joined.traffic);
            }
            joined
        });
        if joined.is_ok() {
            self.permit = None;
        }
        if let Err(refusal @ (Refusal::NodeFull | Refusal::Draining)) = joined {
            let addresses = self.gateway.addresses_elsewhere(session, 1);
            if !addresses.is_empty() {
                self.gateway.counters.refused(refusal);
                return self.core.handle_redirected(addresses);
            }
        }
        self.handle_joined(now, request, joined);
    }

    fn renew(&mut self, now: Now, request: JoinRequest) {
        let joined = self.gateway.change(|registry, notices| registry.renew(now, self.id, &request, notices));
        self.handle_joined(now, request, joined);
    }

    fn handle_joined(&mut self, now: Now, request: JoinRequest, joined: Result<Joined<Handle>, Refusal>) {
        let joined = joined.map(|Joined { view, traffic, peers, buckets }| {
            let guest = request.claims.kind == proto_spec::ticket::TicketKind::Lobby;
            self.outbox.admit(guest, Arc::clone(&traffic));
            self.seat = Some(Seat { session: request.claims.session, view, traffic });
            (peers, buckets)
        });
        self.core.handle_joined(now, request.claims, joined);
    }

    fn forward(&mut self, now: Now, forward: Forward) {
        let (Some(seat), Some(sender)) = (&self.seat, self.core.number()) else { return };
        let (class, frames, bytes) =
            (forward.run.class(), u64::from(forward.run.frames()), forward.run.bytes().len() as u64);
        seat.traffic.received(class, frames, bytes);
        let view = seat.view.load();
        let delivered =
            fanout::deliver(&view, sender, self.core.is_guest(), forward, |handle: &Handle, run| {
                handle.push(now.mono, run);
            });
        let copies = delivered.charged_copies();
        if copies == 0 {
            seat.traffic.dropped(class, frames);
            self.gateway.counters.dropped(class, DropReason::Unreachable, frames);
        }
        self.gateway.hops.forwarded(bytes * delivered.copies as u64);
        if let Some(beyond) = delivered.beyond {
            self.gateway.send_beyond(now.mono, seat.session, beyond);
        }
        self.core.charge(now, bytes, copies);
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut batch = Batch::new();
        let mut any = false;
        for _ in 0..TURN_STRIDES {
            let mut written = 0;
            let flushed = self.wire.poll_flush(cx, &mut written);
            any |= written > 0;
            match flushed {
                Poll::Pending => {
                    let now = self.gateway.clock.now();
                    self.core.handle_write(now, any, true);
                    self.outbox.settle(now.mono);
                    self.blocked = true;
                    return Ok(());
                }
                Poll::Ready(outcome) => outcome?,
            }
            self.outbox.take(WRITE_BATCH_BYTES, &mut batch);
            if batch.is_empty() {
                if std::mem::take(&mut self.blocked) {
                    self.core.handle_write(self.gateway.clock.now(), true, false);
                }
                return Ok(());
            }
            let slices: SmallVec<[IoSlice<'_>; 8]> =
                batch.iter().map(|item| IoSlice::new(item.bytes())).collect();
            self.wire.seal(&slices)?;
            drop(slices);
            self.count(&batch);
            batch.clear();
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Counts what was written; consecutive runs of one class at once.
    fn count(&self, batch: &Batch) {
        let Some(seat) = &self.seat else { return };
        let mut sums = [(0u64, 0u64); 4];
        for item in batch {
            if let Item::Run(run) = item {
                let sum = &mut sums[run.class() as usize];
                sum.0 += u64::from(run.frames());
                sum.1 += run.bytes().len() as u64;
            }
        }
        for class in TrafficClass::ALL {
            let (frames, bytes) = sums[class as usize];
            if frames > 0 {
                seat.traffic.sent(class, frames, bytes);
            }
        }
    }

    /// Leaves the session and says why, if there is a reason to say.
    fn begin_close(&mut self, now: Now, close: Close) {
        self.leave();
        let refusal = match close {
            Close::Detached | Close::Redirected => None,
            Close::Refused(refusal) => Some(refusal),
        };
        let ended = self.outbox.ending().and_then(|ending| ending.ended);
        let last_words = refusal.map(|refusal| {
            self.gateway.counters.refused(refusal);
            tracing::debug!(reason = refusal.label(), "attachment refused");
            match ended {
                Some(ended) => ControlFrame::Ended(ended),
                None => ControlFrame::Error(ErrorFrame { refusal, retry_after_ms: retry_after_ms(refusal) }),
            }
        });
        // What was made before the refusal, such as our hello, still goes; what others sent does not.
        let own = self.outbox.close(refusal.unwrap_or(Refusal::Superseded));
        let mut bytes = own.concat();
        if let Some(frame) = last_words {
            let start = bytes.len();
            frame.put(&mut bytes);
            if let Some(tap) = &self.gateway.tap {
                tap.write(
                    now.mono,
                    TapDirection::Made,
                    self.core.number(),
                    Bytes::copy_from_slice(&bytes[start..]),
                );
            }
        }
        if self.wire.seal(&[IoSlice::new(&bytes)]).is_err() {
            self.phase = Phase::Done;
            return;
        }
        self.wire.send_close_notify();
        self.phase = Phase::Closing { discard_left: DISCARD_BYTES_MAX };
        self.closing_by = now.mono + LAST_WORDS;
    }

    /// Leaves the registry, once.
    fn leave(&mut self) {
        self.permit = None;
        if self.seat.take().is_some()
            && let Some(claims) = self.core.claims()
        {
            self.gateway.change(|registry, notices| {
                registry.leave(claims, self.id, notices);
                if !registry.carries(claims.session) {
                    self.gateway.views.close(claims.session);
                }
            });
        }
    }
}

/// When an endpoint may try again: soon where another node may have room by then, 0 for as it likes.
const fn retry_after_ms(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::NodeFull | Refusal::Shed => 5_000,
        Refusal::Draining | Refusal::SessionFull => 1_000,
        _ => 0,
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.leave();
        self.outbox.close(Refusal::Superseded);
    }
}
