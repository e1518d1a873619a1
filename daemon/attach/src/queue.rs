//! The queues of one receiver: four classes, served in order with shares, each with its own answer to being full
//! \[FWD-5\] \[FWD-6\] \[FWD-7\].
//!
//! Owns what waits for one attachment. Never splits a frame, never reorders one class for one sender, never drops
//! control or interactive frames: if they cannot be kept, the attachment ends and its endpoint resumes.

mod screen;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use proto_spec::{Refusal, Timestamp, TrafficClass};
use smallvec::SmallVec;

use crate::config::{BEHIND_MAX, CLASS_QUANTUM, LAG, Limits};
use crate::counters::DropReason;
use crate::ledger::NodeMemory;
use crate::run::Run;
use screen::ScreenQueue;

/// What became of a run that was pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push {
    /// It waits; `replaced` older frames were dropped for it.
    Queued {
        /// Frames of superseded screen updates.
        replaced: u32,
    },
    /// It was dropped, and with it so many frames (those of its own update that waited are among them).
    Dropped {
        /// Why.
        reason: DropReason,
        /// How many.
        frames: u32,
    },
    /// It can neither be kept nor dropped: the attachment ends with this reason.
    Detach(Refusal),
}

/// A run, or bytes of the node's own.
#[derive(Debug)]
pub enum Item {
    /// Frames of another endpoint.
    Run(Run),
    /// Control frames made by the node.
    Own(Bytes),
}

impl Item {
    /// The bytes to write.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Item::Run(run) => run.bytes(),
            Item::Own(bytes) => bytes,
        }
    }

    fn cost(&self) -> usize {
        match self {
            Item::Run(run) => run.cost(),
            Item::Own(bytes) => bytes.len(),
        }
    }

    fn run(&self) -> Option<&Run> {
        match self {
            Item::Run(run) => Some(run),
            Item::Own(_) => None,
        }
    }

    fn split_front(&mut self, bytes_max: usize) -> Option<Item> {
        match self {
            Item::Run(run) => run.split_front(bytes_max).map(Item::Run),
            Item::Own(_) => None,
        }
    }

    fn unpin(&mut self) {
        if let Item::Run(run) = self {
            run.unpin();
        }
    }
}

/// What is written next. Holding it presses on the senders still; drop it when the bytes are encrypted.
pub type Batch = SmallVec<[Item; 8]>;

#[derive(Debug)]
struct Entry {
    item: Item,
    queued_at: Timestamp,
    /// Whether a write attempt has left it behind already.
    settled: bool,
}

#[derive(Debug, Default)]
struct Fifo {
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// The queues of one receiver.
#[derive(Debug)]
pub struct ClassQueues {
    limits: Arc<Limits>,
    memory: Arc<NodeMemory>,
    control: Fifo,
    interactive: Fifo,
    screen: ScreenQueue,
    bulk: Fifo,
    /// Whether bulk copies have stopped pressing on their senders \[FWD-8\].
    lagging: bool,
    /// Whether the last write left bytes behind, so that what comes has to wait.
    stalled: bool,
}

impl ClassQueues {
    /// Empty queues; they hold no memory until something waits.
    pub fn new(limits: Arc<Limits>, memory: Arc<NodeMemory>) -> ClassQueues {
        ClassQueues {
            limits,
            memory,
            control: Fifo::default(),
            interactive: Fifo::default(),
            screen: ScreenQueue::default(),
            bulk: Fifo::default(),
            lagging: false,
            stalled: false,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.control.entries.is_empty()
            && self.interactive.entries.is_empty()
            && self.screen.is_empty()
            && self.bulk.entries.is_empty()
    }

    /// Bytes waiting in a class; a tiny droppable item counts as its bookkeeping.
    pub fn bytes(&self, class: TrafficClass) -> usize {
        match class {
            TrafficClass::Control => self.control.bytes,
            TrafficClass::Interactive => self.interactive.bytes,
            TrafficClass::Screen => self.screen.bytes(),
            TrafficClass::Bulk => self.bulk.bytes,
        }
    }

    /// Whether copies for this receiver have stopped holding its senders back.
    pub fn is_lagging(&self) -> bool {
        self.lagging
    }

    /// Queues a control frame of the node's own.
    pub fn push_own(&mut self, now: Timestamp, frame: Bytes) -> Push {
        self.push_kept(now, TrafficClass::Control, Item::Own(frame))
    }

    /// Queues a copy of a run.
    pub fn push(&mut self, now: Timestamp, mut run: Run) -> Push {
        if self.stalled {
            // Nobody settles again before the receiver reads on, and until then a tiny run may pin a large buffer.
            run.unpin();
        }
        match run.class() {
            class @ (TrafficClass::Control | TrafficClass::Interactive) => {
                self.push_kept(now, class, Item::Run(run))
            }
            TrafficClass::Screen => self.push_screen(now, run),
            TrafficClass::Bulk => self.push_bulk(now, run),
        }
    }

    /// Takes whole frames to write, about `bytes_max` bytes of them. While several classes wait, each is served its
    /// quantum in turn, control first, until the batch is full; every class that waits gets at least one frame in.
    pub fn take(&mut self, bytes_max: usize, batch: &mut Batch) {
        self.stalled = false;
        let mut taken = 0;
        let mut first_round = true;
        while taken < bytes_max && !self.is_empty() {
            for class in TrafficClass::ALL {
                let alone = self.waiting_classes() == 1;
                let quantum = if alone { bytes_max } else { CLASS_QUANTUM[class as usize] };
                let mut left = quantum.min(bytes_max.saturating_sub(taken)).max(usize::from(first_round));
                while left > 0 {
                    let Some(item) = self.pop(class, left, alone) else { break };
                    let length = item.bytes().len();
                    taken += length;
                    left = left.saturating_sub(length);
                    batch.push(item);
                }
            }
            first_round = false;
        }
        if self.bulk.bytes <= self.limits.bulk.queue_bytes / 2 {
            self.lagging = false;
        }
        if self.is_empty() {
            self.forget_capacity();
        }
    }

    /// After a write that could not take everything: what still waits lets go of large buffers \[FWD-9\].
    pub fn settle(&mut self) {
        self.stalled = true;
        for fifo in [&mut self.control, &mut self.interactive, &mut self.bulk] {
            settle(&mut fifo.entries);
        }
        self.screen.settle();
    }

    /// When control or interactive frames will have waited too long, unless they are taken.
    pub fn deadline(&self) -> Option<Timestamp> {
        [&self.control, &self.interactive]
            .iter()
            .filter_map(|fifo| fifo.entries.front())
            .map(|entry| entry.queued_at + BEHIND_MAX)
            .min()
    }

    /// The reason to detach, if [`ClassQueues::deadline`] has passed.
    pub fn handle_timeout(&self, now: Timestamp) -> Option<Refusal> {
        self.deadline().is_some_and(|deadline| deadline <= now).then_some(Refusal::FellBehind)
    }

    /// Drops all that waits of other endpoints; returns the node's own frames that waited.
    pub fn clear(&mut self) -> Vec<Bytes> {
        let control = std::mem::take(&mut self.control);
        let own = control.entries.into_iter().filter_map(|entry| match entry.item {
            Item::Own(bytes) => Some(bytes),
            Item::Run(_) => None,
        });
        let own = own.collect();
        self.interactive = Fifo::default();
        self.screen = ScreenQueue::default();
        self.bulk = Fifo::default();
        own
    }

    fn waiting_classes(&self) -> usize {
        usize::from(!self.control.entries.is_empty())
            + usize::from(!self.interactive.entries.is_empty())
            + usize::from(!self.screen.is_empty())
            + usize::from(!self.bulk.entries.is_empty())
    }

    fn push_kept(&mut self, now: Timestamp, class: TrafficClass, item: Item) -> Push {
        let limit = self.limits.class(class).queue_bytes;
        let fifo = if class == TrafficClass::Control { &mut self.control } else { &mut self.interactive };
        if fifo.bytes + item.cost() > limit {
            return Push::Detach(Refusal::FellBehind);
        }
        if self.memory.is_full() && !fifo.entries.is_empty() {
            return Push::Detach(Refusal::Shed);
        }
        fifo.push(now, item);
        Push::Queued { replaced: 0 }
    }

    fn push_screen(&mut self, now: Timestamp, mut run: Run) -> Push {
        if self.lagging {
            run.release();
        }
        if self.memory.sheds(TrafficClass::Screen) {
            return Push::Dropped { reason: DropReason::Shed, frames: self.screen.refuse(&run) };
        }
        self.screen.push(now, run, self.limits.screen.queue_bytes)
    }

    fn push_bulk(&mut self, now: Timestamp, mut run: Run) -> Push {
        let frames = run.frames();
        if self.memory.sheds(TrafficClass::Bulk) {
            return Push::Dropped { reason: DropReason::Shed, frames };
        }
        self.note_lag(now);
        if self.lagging && run.is_shared() {
            run.release();
        }
        if self.bulk.bytes + run.cost() > self.limits.bulk.queue_bytes {
            return Push::Dropped { reason: DropReason::QueueFull, frames };
        }
        self.bulk.push(now, Item::Run(run));
        Push::Queued { replaced: 0 }
    }

    /// When this receiver is to be looked at for lag, if bulk waits.
    pub fn lag_deadline(&self) -> Option<Timestamp> {
        let full = self.bulk.bytes >= self.limits.bulk.queue_bytes / 2;
        (!self.lagging && full)
            .then(|| self.bulk.entries.front().map(|entry| entry.queued_at + LAG))
            .flatten()
    }

    /// A receiver that stays behind stops holding others back: its copies of runs that others get too press on their
    /// senders no longer, and are dropped when the queue is full \[FWD-8\]. A sole receiver presses on for ever.
    pub fn note_lag(&mut self, now: Timestamp) {
        if self.lag_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.lagging = true;
        for entry in &mut self.bulk.entries {
            if let Item::Run(run) = &mut entry.item
                && run.is_shared()
            {
                run.release();
            }
        }
        self.screen.release();
    }

    fn pop(&mut self, class: TrafficClass, bytes_max: usize, alone: bool) -> Option<Item> {
        match class {
            TrafficClass::Control => self.control.pop(bytes_max, alone),
            TrafficClass::Interactive => self.interactive.pop(bytes_max, alone),
            TrafficClass::Screen => self.screen.pop(bytes_max, alone),
            TrafficClass::Bulk => self.bulk.pop(bytes_max, alone),
        }
    }

    /// Idle attachments hold no buffers.
    fn forget_capacity(&mut self) {
        for fifo in [&mut self.control, &mut self.interactive, &mut self.bulk] {
            if fifo.entries.capacity() > 16 {
                fifo.entries = VecDeque::new();
            }
        }
    }
}

impl Fifo {
    fn push(&mut self, now: Timestamp, item: Item) {
        self.bytes += item.cost();
        self.entries.push_back(Entry { item, queued_at: now, settled: false });
    }

    fn pop(&mut self, bytes_max: usize, alone: bool) -> Option<Item> {
        pop(&mut self.entries, &mut self.bytes, bytes_max, alone)
    }
}

/// The first item; only its first frames when it is long and other classes wait.
fn pop(entries: &mut VecDeque<Entry>, queued: &mut usize, bytes_max: usize, alone: bool) -> Option<Item> {
    let front = entries.front_mut()?;
    *queued -= front.item.cost();
    let part = if alone { None } else { front.item.split_front(bytes_max) };
    match part {
        Some(part) => {
            *queued += front.item.cost();
            Some(part)
        }
        None => Some(entries.pop_front()?.item),
    }
}

/// From the newest back to the first that an earlier attempt has settled: each entry is looked at once.
fn settle(entries: &mut VecDeque<Entry>) {
    for entry in entries.iter_mut().rev().take_while(|entry| !entry.settled) {
        entry.item.unpin();
        entry.settled = true;
    }
}

#[cfg(test)]
mod tests;
