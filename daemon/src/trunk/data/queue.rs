//! What waits for one neighbour: four classes, each bounded, served in order with shares \[TRK-16\], \[FWD-5\].
//!
//! What is full drops the newest and counts it: the endpoints repair. Never splits a frame, never reorders a class.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;
use proto_spec::TrafficClass;
use proto_spec::egress::TrunkHeader;
use proto_spec::trunk::Unit;
use sealcast_attach::config::CLASS_QUANTUM;
use sealcast_attach::{DropReason, NodeMemory, Run};

use crate::metrics::Metrics;
use crate::trunk::config::{ITEM_OVERHEAD, QUEUE_BYTES_MAX};

#[derive(Debug)]
struct Entry {
    header: TrunkHeader,
    run: Run,
    /// Whether a write attempt has left it behind already.
    settled: bool,
}

impl Entry {
    fn cost(&self) -> usize {
        self.run.bytes().len() + ITEM_OVERHEAD
    }
}

#[derive(Debug, Default)]
struct Fifo {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Fifo {
    /// The first entry; only its first frames when it is long and other classes wait.
    fn pop(&mut self, bytes_max: usize, alone: bool) -> Option<(TrunkHeader, Run)> {
        let front = self.entries.front_mut()?;
        self.bytes -= front.cost();
        if !alone && let Some(part) = front.run.split_front(bytes_max) {
            self.bytes += front.cost();
            return Some((front.header.clone(), part));
        }
        let Entry { header, run, .. } = self.entries.pop_front()?;
        Some((header, run))
    }
}

#[derive(Debug, Default)]
struct Queues {
    fifos: [Fifo; 4],
    /// Whether the last write left bytes behind, so that what comes has to wait.
    stalled: bool,
    ended: bool,
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.fifos.iter().all(|fifo| fifo.entries.is_empty())
    }

    fn waiting(&self) -> usize {
        self.fifos.iter().filter(|fifo| !fifo.entries.is_empty()).count()
    }
}

/// The queue of one trunk. Gateways push, the data connection's task takes.
#[derive(Debug)]
pub(in crate::trunk) struct DataQueue {
    queues: Mutex<Queues>,
    bell: AtomicWaker,
    memory: Arc<NodeMemory>,
    metrics: Arc<Metrics>,
    dropped: AtomicU64,
}

impl DataQueue {
    pub(in crate::trunk) fn new(memory: Arc<NodeMemory>, metrics: Arc<Metrics>) -> DataQueue {
        let (queues, bell, dropped) = (Mutex::default(), AtomicWaker::new(), AtomicU64::new(0));
        DataQueue { queues, bell, memory, metrics, dropped }
    }

    /// Queues one copy of a run, or drops it and counts.
    pub(in crate::trunk) fn push(&self, header: &TrunkHeader, mut run: Run) {
        let (class, index) = (run.class(), run.class() as usize);
        let mut queues = self.queues();
        let full = queues.fifos[index].bytes + run.bytes().len() + ITEM_OVERHEAD > QUEUE_BYTES_MAX[index];
        let refused = if queues.ended {
            Some(DropReason::Closing)
        } else if self.memory.sheds(class) || self.memory.is_full() {
            Some(DropReason::Shed)
        } else {
            full.then_some(DropReason::QueueFull)
        };
        if let Some(reason) = refused {
            drop(queues);
            let frames = u64::from(run.frames());
            self.dropped.fetch_add(frames, Relaxed);
            return self.metrics.trunk_dropped(class, reason, frames);
        }
        let (was_empty, settled) = (queues.is_empty(), queues.stalled);
        if settled {
            // Nobody settles again before the neighbour reads on, and a tiny run may pin a large buffer.
            run.unpin();
        }
        let entry = Entry { header: header.clone(), run, settled };
        let fifo = &mut queues.fifos[index];
        fifo.bytes += entry.cost();
        fifo.entries.push_back(entry);
        drop(queues);
        // While something waits the task is either woken already or waits for its socket.
        if was_empty {
            self.bell.wake();
        }
    }

    /// Whom to wake when something waits.
    pub(super) fn register(&self, waker: &Waker) {
        self.bell.register(waker);
    }

    /// Takes whole runs to write, about `bytes_max` bytes of them. While several classes wait, each is served its quantum
    /// in turn, control first, until the batch is full; every class that waits gets at least one frame in.
    pub(super) fn take(&self, bytes_max: usize, batch: &mut Batch) {
        let mut queues = self.queues();
        queues.stalled = false;
        let mut taken = 0;
        let mut first_round = true;
        while taken < bytes_max && !queues.is_empty() {
            for class in TrafficClass::ALL {
                let alone = queues.waiting() == 1;
                let quantum = if alone { bytes_max } else { CLASS_QUANTUM[class as usize] };
                let mut left = quantum.min(bytes_max.saturating_sub(taken)).max(usize::from(first_round));
                while left > 0 {
                    let Some((header, run)) = queues.fifos[class as usize].pop(left, alone) else { break };
                    taken += run.bytes().len();
                    left = left.saturating_sub(run.bytes().len());
                    batch.push(&header, run);
                }
            }
            first_round = false;
        }
    }

    /// After a write that could not take everything: what still waits lets go of large buffers \[FWD-9\].
    pub(super) fn settle(&self) {
        let mut queues = self.queues();
        queues.stalled = true;
        for fifo in &mut queues.fifos {
            // From the newest back to the first that an earlier attempt has settled: each entry is looked at once.
            for entry in fifo.entries.iter_mut().rev().take_while(|entry| !entry.settled) {
                entry.run.unpin();
                entry.settled = true;
            }
        }
    }

    /// Takes nothing more, and lets go of what waits.
    pub(in crate::trunk) fn end(&self) {
        let left = {
            let mut queues = self.queues();
            queues.ended = true;
            std::mem::take(&mut queues.fifos)
        };
        for class in TrafficClass::ALL {
            let entries = &left[class as usize].entries;
            let frames: u64 = entries.iter().map(|entry| u64::from(entry.run.frames())).sum();
            if frames > 0 {
                self.dropped.fetch_add(frames, Relaxed);
                self.metrics.trunk_dropped(class, DropReason::Closing, frames);
            }
        }
    }

    /// Bytes that wait.
    pub(in crate::trunk) fn bytes(&self) -> usize {
        self.queues().fifos.iter().map(|fifo| fifo.bytes).sum()
    }

    /// Frames dropped since the trunk began.
    pub(in crate::trunk) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written next, as it lies on the wire: heads of units and runs. Holding it presses on the senders still.
#[derive(Debug, Default)]
pub(super) struct Batch {
    heads: Vec<u8>,
    /// Where each run's head lies.
    runs: Vec<(Range<usize>, Run)>,
}

impl Batch {
    fn push(&mut self, header: &TrunkHeader, run: Run) {
        let start = self.heads.len();
        Unit::put_head(&mut self.heads, header, run.bytes().len());
        self.runs.push((start..self.heads.len(), run));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().map(|(_, run)| run)
    }

    /// Every head and its run, in order.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.iter().flat_map(|(head, run)| [&self.heads[head.clone()], run.bytes()])
    }

    /// Keeps its memory for the next one.
    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests;
