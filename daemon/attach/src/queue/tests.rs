use std::time::Duration;

use proto_spec::SenderNumber;
use proto_spec::frame::{ControlFrame, DataHeader, Destination, Ping, Replace};

use super::*;
use crate::ledger::Ledger;

fn at(ms: u64) -> Timestamp {
    Timestamp(Duration::from_millis(ms))
}

struct Harness {
    queues: ClassQueues,
    ledger: Arc<Ledger>,
    memory: Arc<NodeMemory>,
    limits: Arc<Limits>,
}

impl Harness {
    fn new() -> Harness {
        let limits = Arc::new(Limits::default());
        let memory = NodeMemory::new(limits.node_queue_bytes_max);
        Harness {
            queues: ClassQueues::new(Arc::clone(&limits), Arc::clone(&memory)),
            ledger: Ledger::new(&limits, Arc::clone(&memory), Box::new(|| {})),
            memory,
            limits,
        }
    }

    /// A run of `frames` frames of `length` bytes each, header included.
    fn run(&self, class: TrafficClass, frames: u32, length: usize) -> Run {
        self.run_of(
            class,
            (class == TrafficClass::Screen).then_some(Replace { key: 1, update: 1, last: true }),
            frames,
            length,
        )
    }

    fn run_of(&self, class: TrafficClass, replace: Option<Replace>, frames: u32, length: usize) -> Run {
        let header = DataHeader {
            class,
            sender: SenderNumber::new(5).unwrap(),
            destination: Destination::All,
            replace,
        };
        let mut bytes = Vec::new();
        for _ in 0..frames {
            let empty = header.put(&mut Vec::new(), |_| {});
            header.put(&mut bytes, |out| out.resize(out.len() + length - empty, 1));
        }
        let pinned = bytes.len();
        Run::new(&self.ledger, &header, bytes.into(), frames, pinned)
    }

    fn update(&self, key: u16, update: u32, last: bool, length: usize) -> Run {
        self.run_of(TrafficClass::Screen, Some(Replace { key, update, last }), 1, length)
    }

    fn take(&mut self, bytes_max: usize) -> Vec<(Option<TrafficClass>, usize)> {
        let mut batch = Batch::new();
        self.queues.take(bytes_max, &mut batch);
        batch.iter().map(|item| (item.run().map(Run::class), item.bytes().len())).collect()
    }

    fn updates_left(&mut self) -> Vec<(u16, u32)> {
        let mut batch = Batch::new();
        self.queues.take(usize::MAX, &mut batch);
        batch
            .iter()
            .filter_map(|item| item.run()?.replace())
            .map(|replace| (replace.key, replace.update))
            .collect()
    }
}

const QUEUED: Push = Push::Queued { replaced: 0 };

/// [FWD-5]: control first; while all classes wait, each batch serves every one of them.
#[test]
fn served_in_order_and_none_starves() {
    let mut harness = Harness::new();
    for class in TrafficClass::ALL.into_iter().rev() {
        for update in 0..16 {
            let run = match class {
                TrafficClass::Screen => harness.update(1, update, false, 4_000),
                _ => harness.run(class, 1, 4_000),
            };
            assert_eq!(harness.queues.push(at(0), run), QUEUED);
        }
    }
    let first = harness.take(WRITE);
    assert_eq!(first[0].0, Some(TrafficClass::Control));
    for class in TrafficClass::ALL {
        let bytes: usize =
            first.iter().filter(|(other, _)| *other == Some(class)).map(|(_, length)| length).sum();
        assert!(bytes > 0, "{class:?} starves in {first:?}");
        assert!(bytes <= CLASS_QUANTUM[class as usize] + 4_000, "{class:?} took {bytes}");
    }
}

const WRITE: usize = crate::config::WRITE_BATCH_BYTES;

/// [FWD-3]: a long run is cut between frames when others wait, never inside one.
#[test]
fn runs_are_cut_between_frames_alone() {
    let mut harness = Harness::new();
    assert_eq!(harness.queues.push(at(0), harness.run(TrafficClass::Bulk, 50, 1_200)), QUEUED);
    assert_eq!(harness.queues.push(at(0), harness.run(TrafficClass::Control, 1, 500)), QUEUED);
    let taken = harness.take(10_000);
    assert_eq!(taken[0], (Some(TrafficClass::Control), 500));
    assert!(
        taken[1..].iter().all(|(class, length)| *class == Some(TrafficClass::Bulk) && length % 1_200 == 0)
    );
    let rest: usize = harness.take(usize::MAX).iter().map(|(_, length)| length).sum();
    let before: usize = taken[1..].iter().map(|(_, length)| length).sum();
    assert_eq!(before + rest, 60_000);
    assert!(harness.queues.is_empty());
}

/// [FWD-6] at each limit and one frame beyond: never dropped, the attachment ends and may resume.
#[test]
fn control_and_interactive_end_the_attachment_when_behind() {
    for (class, limit) in [(TrafficClass::Control, 256 * 1024), (TrafficClass::Interactive, 64 * 1024)] {
        let mut harness = Harness::new();
        for _ in 0..limit / 1_024 {
            assert_eq!(harness.queues.push(at(0), harness.run(class, 1, 1_024)), QUEUED);
        }
        assert_eq!(harness.queues.bytes(class), limit);
        assert_eq!(harness.queues.push(at(0), harness.run(class, 1, 20)), Push::Detach(Refusal::FellBehind));
    }
}

/// [FWD-6]: twenty seconds behind ends it as well, and bulk never does.
#[test]
fn waiting_too_long_ends_the_attachment() {
    let mut harness = Harness::new();
    harness.queues.push(at(0), harness.run(TrafficClass::Bulk, 1, 100));
    assert_eq!(harness.queues.deadline(), None);
    harness.queues.push(at(1_000), harness.run(TrafficClass::Control, 1, 100));
    assert_eq!(harness.queues.deadline(), Some(at(21_000)));
    assert_eq!(harness.queues.handle_timeout(at(20_999)), None);
    assert_eq!(harness.queues.handle_timeout(at(21_000)), Some(Refusal::FellBehind));
}

/// [FWD-7]: bulk beyond its bytes is dropped and told, and presses no longer.
#[test]
fn bulk_is_dropped_when_over_its_bytes() {
    let mut harness = Harness::new();
    let limit = harness.limits.bulk.queue_bytes;
    for _ in 0..limit / 1_024 {
        assert_eq!(harness.queues.push(at(0), harness.run(TrafficClass::Bulk, 1, 1_024)), QUEUED);
    }
    let dropped = harness.queues.push(at(0), harness.run(TrafficClass::Bulk, 2, 20));
    assert_eq!(dropped, Push::Dropped { reason: DropReason::QueueFull, frames: 2 });
    assert_eq!(harness.ledger.outstanding(TrafficClass::Bulk), limit as u64);
}

/// [FWD-7]: only a complete newer update replaces, only older ones of its key, and none that has begun to leave.
#[test]
fn complete_newer_updates_replace_older_ones() {
    let mut harness = Harness::new();
    harness.queues.push(at(0), harness.update(1, 1, true, 500));
    harness.queues.push(at(0), harness.update(2, 1, true, 500));
    harness.queues.push(at(0), harness.update(1, 2, false, 500));
    assert_eq!(harness.queues.bytes(TrafficClass::Screen), 1_500, "half an update replaces nothing");
    let pushed = harness.queues.push(at(0), harness.update(1, 2, true, 500));
    assert_eq!(pushed, Push::Queued { replaced: 1 });
    assert_eq!(harness.updates_left(), [(2, 1), (1, 2), (1, 2)]);
}

/// [FWD-7]: never half of one: what has begun to leave leaves in whole.
#[test]
fn an_update_that_has_begun_is_never_cut() {
    let mut harness = Harness::new();
    harness.queues.push(at(0), harness.update(1, 1, false, 500));
    harness.queues.push(at(0), harness.update(1, 1, false, 500));
    harness.queues.push(at(0), harness.update(1, 1, true, 500));
    assert_eq!(harness.take(1).len(), 1);
    assert_eq!(harness.queues.push(at(0), harness.update(1, 2, true, 500)), QUEUED);
    assert_eq!(harness.updates_left(), [(1, 1), (1, 1), (1, 2)]);
}

/// [FWD-7]: an update that does not fit is dropped with all its frames, also those still to come, and leaves what it
/// would have replaced.
#[test]
fn an_update_that_does_not_fit_is_dropped_whole() {
    let mut harness = Harness::new();
    let limit = harness.limits.screen.queue_bytes;
    harness.queues.push(at(0), harness.update(1, 1, true, 500));
    harness.queues.push(at(0), harness.update(9, 1, true, 60_000));
    let mut filled = 60_500;
    let mut key = 10;
    while filled + 60_000 <= limit {
        assert_eq!(harness.queues.push(at(0), harness.update(key, 1, true, 60_000)), QUEUED);
        filled += 60_000;
        key += 1;
    }
    let left = limit - filled;
    assert_eq!(harness.queues.push(at(0), harness.update(1, 2, false, left)), QUEUED);
    let full = Push::Dropped { reason: DropReason::QueueFull, frames: 2 };
    assert_eq!(harness.queues.push(at(0), harness.update(1, 2, false, 600)), full);
    let tail = Push::Dropped { reason: DropReason::QueueFull, frames: 1 };
    assert_eq!(harness.queues.push(at(0), harness.update(1, 2, true, 10_000)), tail);
    assert!(harness.updates_left().contains(&(1, 1)));
    assert_eq!(
        harness.queues.push(at(0), harness.update(1, 3, true, 500)),
        QUEUED,
        "the next update is taken again"
    );
}

/// [FWD-7]: tiny frames fill a queue by their number.
#[test]
fn tiny_frames_count_as_their_bookkeeping() {
    let mut harness = Harness::new();
    let limit = harness.limits.bulk.queue_bytes / crate::config::ITEM_COST_MIN;
    for _ in 0..limit {
        assert_eq!(harness.queues.push(at(0), harness.run(TrafficClass::Bulk, 1, 10)), QUEUED);
    }
    let dropped = harness.queues.push(at(0), harness.run(TrafficClass::Bulk, 1, 10));
    assert_eq!(dropped, Push::Dropped { reason: DropReason::QueueFull, frames: 1 });
    assert_eq!(harness.take(usize::MAX).len(), limit);
    assert_eq!(harness.queues.bytes(TrafficClass::Bulk), 0);
}

#[test]
fn update_numbers_wrap() {
    let mut harness = Harness::new();
    harness.queues.push(at(0), harness.update(1, u32::MAX, true, 500));
    assert_eq!(harness.queues.push(at(0), harness.update(1, 0, true, 500)), Push::Queued { replaced: 1 });
    assert_eq!(
        harness.queues.push(at(0), harness.update(1, u32::MAX, true, 500)),
        QUEUED,
        "an older one replaces none"
    );
}

/// [FWD-8]: a receiver that stays behind stops holding back senders whom others wait for too; a sole receiver does not.
#[test]
fn a_lagging_receiver_stops_pressing() {
    let mut harness = Harness::new();
    let half = harness.limits.bulk.queue_bytes / 2;
    for sole in [false, true] {
        harness.queues.clear();
        let mut run = harness.run(TrafficClass::Bulk, 1, half / 8);
        if !sole {
            run.set_shared();
        }
        for _ in 0..8 {
            assert_eq!(harness.queues.push(at(0), run.clone()), QUEUED);
        }
        drop(run);
        let pressing = harness.ledger.outstanding(TrafficClass::Bulk);
        assert!(pressing > 0);
        assert_eq!(harness.queues.lag_deadline(), Some(at(1_000)));
        harness.queues.note_lag(at(999));
        assert!(!harness.queues.is_lagging());
        harness.queues.note_lag(at(1_000));
        assert!(harness.queues.is_lagging());
        let after = harness.ledger.outstanding(TrafficClass::Bulk);
        assert_eq!(after, if sole { pressing } else { 0 });
        assert_eq!(harness.queues.bytes(TrafficClass::Bulk), half, "what waits is still delivered");
        harness.take(usize::MAX);
        assert!(!harness.queues.is_lagging());
    }
}

/// [FWD-9]: a small slice left behind by a write lets go of the large buffer it came in.
#[test]
fn left_behind_slices_let_go_of_large_buffers() {
    let mut harness = Harness::new();
    let header = DataHeader {
        class: TrafficClass::Bulk,
        sender: SenderNumber::new(5).unwrap(),
        destination: Destination::All,
        replace: None,
    };
    let mut bytes = Vec::new();
    header.put(&mut bytes, |out| out.resize(out.len() + 900, 1));
    let length = bytes.len();
    bytes.resize(64 * 1024, 0);
    let buffer = Bytes::from(bytes);
    for pinned in [length * 4, length * 4 + 1] {
        let run = Run::new(&harness.ledger, &header, buffer.slice(..length), 1, pinned);
        harness.queues.push(at(0), run);
    }
    harness.queues.settle();
    let mut batch = Batch::new();
    harness.queues.take(usize::MAX, &mut batch);
    assert_eq!(batch[0].bytes().as_ptr(), buffer.as_ptr(), "at the ratio it stays shared");
    assert_ne!(batch[1].bytes().as_ptr(), buffer.as_ptr(), "beyond it is copied out");
    assert_eq!(batch[0].bytes(), batch[1].bytes());
}

/// [FWD-9]: what comes while the receiver takes nothing waits as if it had been left behind already, in every class.
#[test]
fn what_comes_for_a_stalled_receiver_pins_no_large_buffer() {
    let mut harness = Harness::new();
    harness.queues.push(at(0), harness.run(TrafficClass::Bulk, 1, 100));
    harness.queues.settle();
    for class in TrafficClass::ALL {
        let small = harness.run(class, 1, 100);
        let mut large = small.bytes().to_vec();
        large.resize(64 * 1024, 0);
        let buffer = Bytes::from(large);
        let (header, _) = DataHeader::parse(&small.bytes()[proto_spec::frame::HEADER_LENGTH..]).unwrap();
        let run = || Run::new(&harness.ledger, &header, buffer.slice(..100), 1, buffer.len());
        harness.queues.push(at(0), run());
        assert!(buffer.is_unique(), "{class:?}");
        let mut batch = Batch::new();
        harness.queues.take(usize::MAX, &mut batch);
        batch.clear();
        harness.queues.push(at(0), run());
        assert!(!buffer.is_unique(), "shared again as soon as the receiver takes: {class:?}");
        harness.queues.settle();
    }
}

/// [FWD-10]: bulk and screen are dropped when the node is short of memory; nothing of the others is.
#[test]
fn memory_pressure_drops_by_class() {
    let mut harness = Harness::new();
    harness.memory.add(harness.limits.node_queue_bytes_max / 100 * 85);
    let shed = |frames| Push::Dropped { reason: DropReason::Shed, frames };
    assert_eq!(harness.queues.push(at(0), harness.run(TrafficClass::Bulk, 1, 100)), shed(1));
    assert_eq!(harness.queues.push(at(0), harness.run(TrafficClass::Screen, 1, 100)), QUEUED);
    harness.memory.add(harness.limits.node_queue_bytes_max / 10);
    assert_eq!(harness.queues.push(at(0), harness.update(7, 1, true, 100)), shed(1));
    assert_eq!(harness.queues.push(at(0), harness.run(TrafficClass::Control, 1, 100)), QUEUED);
    harness.memory.add(harness.limits.node_queue_bytes_max / 10);
    assert_eq!(
        harness.queues.push(at(0), harness.run(TrafficClass::Control, 1, 100)),
        Push::Detach(Refusal::Shed)
    );
}

#[test]
fn own_frames_survive_a_clear() {
    let mut harness = Harness::new();
    let mut bytes = Vec::new();
    ControlFrame::Pong(Ping { token: 3 }).put(&mut bytes);
    harness.queues.push_own(at(0), bytes.clone().into());
    harness.queues.push(at(0), harness.run(TrafficClass::Control, 1, 100));
    assert_eq!(harness.queues.clear(), [Bytes::from(bytes)]);
    assert!(harness.queues.is_empty());
    assert_eq!(harness.memory.bytes(), 0);
}
