//! What waits for one attachment, and the bell that wakes its task. Other tasks push, its own task takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::task::AtomicWaker;
use proto_spec::frame::{ControlFrame, Ended};
use proto_spec::{AttachSeq, Refusal, Timestamp};
use sealcast_attach::config::LOBBY_BYTES_MAX;
use sealcast_attach::queue::Batch;
use sealcast_attach::{ClassQueues, Counters, DropReason, Limits, NodeMemory, Push, Run, Traffic};

use super::parking::Lock;

/// Wakes a connection's task and says what for. Apart from the outbox, so that ledgers do not hold queues alive.
#[derive(Debug, Default)]
pub(super) struct Bell {
    pub(super) waker: AtomicWaker,
    /// More credit may be granted.
    pub(super) credit: AtomicBool,
    /// The mesh knows an attachment.
    pub(super) ready: AtomicBool,
}

impl Bell {
    pub(super) fn ring_for_credit(&self) {
        self.credit.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

/// Why others end an attachment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) refusal: Refusal,
    pub(super) ended: Option<Ended>,
}

#[derive(Debug)]
struct State {
    queues: ClassQueues,
    ending: Option<Ending>,
    /// The attachment that the session's nodes know, until the endpoint has been told.
    ready: Option<AttachSeq>,
    /// Bytes that a guest may still be sent; `None` for members.
    guest_left: Option<u64>,
    /// The session's counters, from the first join on.
    traffic: Option<Arc<Traffic>>,
}

#[derive(Debug)]
pub(super) struct Outbox {
    state: Lock<State>,
    pub(super) bell: Arc<Bell>,
    counters: Arc<Counters>,
}

impl Outbox {
    pub(super) fn new(
        limits: Arc<Limits>,
        memory: Arc<NodeMemory>,
        counters: Arc<Counters>,
        bell: Arc<Bell>,
    ) -> Outbox {
        Outbox {
            state: Lock::new(State {
                queues: ClassQueues::new(limits, memory),
                ending: None,
                ready: None,
                guest_left: None,
                traffic: None,
            }),
            bell,
            counters,
        }
    }

    /// The attachment is in: as a guest, who is sent little, or as a member.
    pub(super) fn admit(&self, guest: bool, traffic: Arc<Traffic>) {
        let mut state = self.state.lock();
        state.guest_left = guest.then_some(LOBBY_BYTES_MAX);
        state.traffic = Some(traffic);
    }

    /// The session's nodes know this attachment; its own task tells the endpoint, behind whatever goes before.
    pub(super) fn ready(&self, attach_seq: AttachSeq) {
        self.state.lock().ready = Some(attach_seq);
        self.bell.ready.store(true, Ordering::SeqCst);
        self.bell.waker.wake();
    }

    /// What [`Outbox::ready`] has said.
    pub(super) fn take_ready(&self) -> Option<AttachSeq> {
        self.state.lock().ready.take()
    }

    /// Queues a copy of a run, or drops it and counts that.
    pub(super) fn push(&self, now: Timestamp, run: Run) {
        let (class, frames, length) = (run.class(), run.frames(), run.bytes().len() as u64);
        let mut state = self.state.lock();
        let (reason, dropped) = if state.ending.is_some() {
            (DropReason::Closing, frames)
        } else if state.guest_left.is_some_and(|left| left < length) {
            (DropReason::LobbyLimited, frames)
        } else {
            if let Some(left) = &mut state.guest_left {
                *left -= length;
            }
            let was_empty = state.queues.is_empty();
            match state.queues.push(now, run) {
                Push::Queued { replaced } => {
                    if was_empty {
                        self.bell.waker.wake();
                    }
                    if replaced == 0 {
                        return;
                    }
                    (DropReason::Replaced, replaced)
                }
                Push::Dropped { reason, frames } => (reason, frames),
                Push::Detach(refusal) => {
                    self.end_locked(&mut state, Ending { refusal, ended: None });
                    (DropReason::Closing, frames)
                }
            }
        };
        if let Some(traffic) = &state.traffic {
            traffic.dropped(class, u64::from(dropped));
        }
        drop(state);
        self.counters.dropped(class, reason, u64::from(dropped));
    }

    /// Queues a frame of the node's own.
    pub(super) fn push_control(&self, now: Timestamp, frame: &ControlFrame) {
        self.push_own(now, encode(frame));
    }

    /// The same, encoded already.
    pub(super) fn push_own(&self, now: Timestamp, bytes: Bytes) {
        let mut state = self.state.lock();
        if state.ending.is_none() {
            let was_empty = state.queues.is_empty();
            match state.queues.push_own(now, bytes) {
                Push::Detach(refusal) => self.end_locked(&mut state, Ending { refusal, ended: None }),
                Push::Queued { .. } | Push::Dropped { .. } => {
                    if was_empty {
                        self.bell.waker.wake();
                    }
                }
            }
        }
    }

    /// Ends the attachment from outside; the first reason stays.
    pub(super) fn end(&self, refusal: Refusal, ended: Option<Ended>) {
        self.end_locked(&mut self.state.lock(), Ending { refusal, ended });
    }

    /// The reason, once another has ended the attachment.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.state.lock().ending
    }

    /// Takes what is to be written next.
    pub(super) fn take(&self, bytes_max: usize, batch: &mut Batch) {
        self.state.lock().queues.take(bytes_max, batch);
    }

    /// After a write that left bytes behind.
    pub(super) fn settle(&self, now: Timestamp) {
        let mut state = self.state.lock();
        state.queues.note_lag(now);
        state.queues.settle();
    }

    /// When to look again although nothing happened.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        [state.queues.deadline(), state.queues.lag_deadline()].into_iter().flatten().min()
    }

    /// Time has passed: whether the queue has waited too long.
    pub(super) fn handle_timeout(&self, now: Timestamp) -> Option<Refusal> {
        let mut state = self.state.lock();
        state.queues.note_lag(now);
        state.queues.handle_timeout(now)
    }

    /// Drops what waits and takes in nothing more; returns the node's own frames that waited.
    pub(super) fn close(&self, refusal: Refusal) -> Vec<Bytes> {
        let mut state = self.state.lock();
        state.ending.get_or_insert(Ending { refusal, ended: None });
        state.queues.clear()
    }

    fn end_locked(&self, state: &mut State, ending: Ending) {
        if state.ending.is_none() {
            state.ending = Some(ending);
            self.bell.waker.wake();
        }
    }
}

/// A frame of the node's own as bytes.
pub(super) fn encode(frame: &ControlFrame) -> Bytes {
    let mut bytes = Vec::with_capacity(64);
    frame.put(&mut bytes);
    bytes.into()
}
