//! What of a sender's bytes is still queued anywhere on the node, and what all queues of the node hold together.
//!
//! Every run of frames presses on its sender: while one of its copies waits, its bytes count against the sender's credit
//! \[FLW-2\]. The last copy to go gives them back and, if the sender is waiting for credit, wakes it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use proto_spec::TrafficClass;

use crate::config::{Limits, SHED_BULK_PERCENT, SHED_SCREEN_PERCENT};

/// Bytes in all queues of a node, each run counted once however many copies of it wait.
#[derive(Debug)]
pub struct NodeMemory {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl NodeMemory {
    /// An empty one.
    pub fn new(bytes_max: u64) -> Arc<NodeMemory> {
        Arc::new(NodeMemory { bytes: AtomicU64::new(0), bytes_max })
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether copies of this class are to be dropped for want of memory: bulk first, then screen; never the others.
    pub fn sheds(&self, class: TrafficClass) -> bool {
        let percent = match class {
            TrafficClass::Bulk => SHED_BULK_PERCENT,
            TrafficClass::Screen => SHED_SCREEN_PERCENT,
            TrafficClass::Control | TrafficClass::Interactive => return false,
        };
        self.bytes() >= self.bytes_max / 100 * percent
    }

    /// Whether new attachments are to be refused.
    pub fn refuses_newcomers(&self) -> bool {
        self.bytes() >= self.bytes_max / 100 * SHED_SCREEN_PERCENT
    }

    /// Whether even control and interactive bytes are too many: whoever they wait for is detached.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.bytes_max
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One sender's bytes that wait in queues, by class.
pub struct Ledger {
    outstanding: [AtomicU64; 4],
    /// Whether the sender waits for this class to fall below `resume_below`.
    starved: [AtomicBool; 4],
    resume_below: [u64; 4],
    memory: Arc<NodeMemory>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("outstanding", &self.outstanding).finish_non_exhaustive()
    }
}

impl Ledger {
    /// `wake` is called, from whatever thread drops the last copy, when a sender that waits may be granted more.
    pub fn new(limits: &Limits, memory: Arc<NodeMemory>, wake: Box<dyn Fn() + Send + Sync>) -> Arc<Ledger> {
        Arc::new(Ledger {
            outstanding: Default::default(),
            starved: Default::default(),
            resume_below: TrafficClass::ALL.map(|class| limits.class(class).credit_bytes / 2),
            memory,
            wake,
        })
    }

    /// Bytes of the class that wait in queues.
    pub fn outstanding(&self, class: TrafficClass) -> u64 {
        self.outstanding[class as usize].load(Ordering::SeqCst)
    }

    /// The node's memory that the sender's bytes count in.
    pub fn memory(&self) -> &NodeMemory {
        &self.memory
    }

    /// Asks for a wake-up once the class has fallen to half of its share. Returns whether it already has.
    pub(crate) fn starve(&self, class: TrafficClass) -> bool {
        self.starved[class as usize].store(true, Ordering::SeqCst);
        // Whoever released between the caller's look and the store has not seen the flag: look again.
        self.outstanding(class) <= self.resume_below[class as usize]
    }

    fn give_back(&self, class: TrafficClass, bytes: u64) {
        let index = class as usize;
        let before = self.outstanding[index].fetch_sub(bytes, Ordering::SeqCst);
        if before - bytes <= self.resume_below[index]
            && self.starved[index].load(Ordering::SeqCst)
            && self.starved[index].swap(false, Ordering::SeqCst)
        {
            (self.wake)();
        }
    }
}

/// The part of a run that all its copies share.
#[derive(Debug)]
pub(crate) struct Press {
    ledger: Arc<Ledger>,
    class: TrafficClass,
    bytes: u64,
    /// Copies that still press on the sender.
    copies: AtomicU32,
}

impl Press {
    pub(crate) fn new(ledger: &Arc<Ledger>, class: TrafficClass, bytes: u64) -> Arc<Press> {
        ledger.outstanding[class as usize].fetch_add(bytes, Ordering::SeqCst);
        ledger.memory.add(bytes);
        Arc::new(Press { ledger: Arc::clone(ledger), class, bytes, copies: AtomicU32::new(1) })
    }

    pub(crate) fn add_copy(&self) {
        self.copies.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_copy(&self) {
        if self.copies.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ledger.give_back(self.class, self.bytes);
        }
    }
}

impl Drop for Press {
    fn drop(&mut self) {
        self.ledger.memory.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_copy_gives_back_and_wakes_once() {
        let limits = Limits::default();
        let woken = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&woken);
        let memory = NodeMemory::new(1_000_000);
        let ledger = Ledger::new(
            &limits,
            Arc::clone(&memory),
            Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
        );
        let press = Press::new(&ledger, TrafficClass::Bulk, limits.bulk.credit_bytes);
        assert!(!ledger.starve(TrafficClass::Bulk));
        press.add_copy();
        press.remove_copy();
        assert_eq!(ledger.outstanding(TrafficClass::Bulk), limits.bulk.credit_bytes);
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        press.remove_copy();
        assert_eq!(ledger.outstanding(TrafficClass::Bulk), 0);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert_eq!(
            memory.bytes(),
            limits.bulk.credit_bytes,
            "a buffer is held until its last reference goes"
        );
        drop(press);
        assert_eq!(memory.bytes(), 0);
    }

    /// [FWD-10]: bulk is shed before screen, and newcomers are refused before anyone is detached.
    #[test]
    fn memory_is_shed_in_order() {
        let memory = NodeMemory::new(1_000);
        memory.add(799);
        assert!(!memory.sheds(TrafficClass::Bulk));
        memory.add(1);
        assert!(memory.sheds(TrafficClass::Bulk) && !memory.sheds(TrafficClass::Screen));
        memory.add(100);
        assert!(memory.sheds(TrafficClass::Screen) && memory.refuses_newcomers() && !memory.is_full());
        memory.add(100);
        assert!(memory.is_full());
        assert!(!memory.sheds(TrafficClass::Control) && !memory.sheds(TrafficClass::Interactive));
    }
}
